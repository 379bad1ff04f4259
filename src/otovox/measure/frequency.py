"""Frequency maps: by position on the organ of Corti, and by angle along the spiral ganglion."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import PchipInterpolator

from otovox.core.geometry import FloatArray

#: Angle from the round window, degrees, and characteristic frequency of the spiral ganglion, Hz.
#: Source: Stakhovskaya et al. 2007.
_GANGLION = np.array(
    [
        (0, 17225), (90, 6193), (180, 3174), (270, 1539), (360, 785),
        (450, 550), (540, 366), (630, 215), (720, 58),
    ],
    dtype=float,
)  # fmt: skip


def greenwood_hz(share: ArrayLike) -> FloatArray:
    """Characteristic frequency on the organ of Corti.

    Args:
        share: fraction of its length, 0 at the apex, 1 at the base; nan outside.

    Source: Greenwood 1990, human.

    >>> greenwood_hz([0, 0.5, 1]).round().tolist()
    [20.0, 1710.0, 20677.0]
    """
    x = np.asarray(share, dtype=float)
    return np.where((x >= 0) & (x <= 1), 165.4 * (10 ** (2.1 * np.clip(x, 0, 1)) - 0.88), np.nan)


def greenwood_share(frequency_hz: ArrayLike) -> FloatArray:
    """Position of a frequency on the organ of Corti: the inverse of `greenwood_hz`.

    >>> round(float(greenwood_share(1000)), 2)
    0.4
    """
    ratio = np.asarray(frequency_hz, dtype=float) / 165.4 + 0.88
    share = np.log10(np.maximum(ratio, 1e-12)) / 2.1
    return np.where((share >= -1e-12) & (share <= 1 + 1e-12), share, np.nan)


def ganglion_hz(angle_deg: ArrayLike) -> FloatArray:
    """Characteristic frequency of the spiral ganglion at an angle from the round window.

    Args:
        angle_deg: 0 to 720; nan outside, where the ganglion ends.

    Source: Stakhovskaya et al. 2007, interpolated monotonically.

    >>> ganglion_hz([90, 360]).round().tolist()
    [6193.0, 785.0]
    """
    return PchipInterpolator(_GANGLION[:, 0], _GANGLION[:, 1], extrapolate=False)(angle_deg)


def ganglion_percent(corti_percent: ArrayLike) -> FloatArray:
    """Percentage of the spiral ganglion's length for one of the organ of Corti's, from the base.

    Args:
        corti_percent: 0 to 100.

    Source: Stakhovskaya et al. 2007, coefficients not yet checked against the paper; 0 and
    100 map to themselves.

    >>> ganglion_percent([0, 50]).round(1).tolist()
    [0.0, 67.9]
    """
    x = np.asarray(corti_percent, dtype=float)
    return -5.7e-5 * x**3 + 0.0014 * x**2 + 1.43 * x
