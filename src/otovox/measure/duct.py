"""Length of the cochlear duct: along the traced wall, and from published formulas.

LW: lateral wall; OC: organ of Corti; (i): Alexiades' path for electrodes, slightly inside the wall.
A runs from the round window's centre through the axis to the opposite lateral wall, B
perpendicular.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.interpolate import PchipInterpolator

from otovox.core.geometry import FloatArray

Route = Literal["LW", "OC", "electrode"]


def escude_lw_mm(a_mm: float, angle_deg: ArrayLike) -> FloatArray:
    """Lateral wall from the round window to an angle. Source: Escude et al. 2006.

    >>> round(float(escude_lw_mm(9.0, 360)), 2)
    21.91
    """
    return 2.62 * a_mm * np.log1p(np.asarray(angle_deg, dtype=float) / 235)


def escude_angle_deg(a_mm: float, length_mm: ArrayLike) -> FloatArray:
    """Angle at a given length of the lateral wall: the inverse of `escude_lw_mm`.

    >>> round(float(escude_angle_deg(9.0, 20.0)))
    314
    """
    return 235 * np.expm1(np.asarray(length_mm, dtype=float) / (2.62 * a_mm))


def erixon_lw_mm(a_mm: float) -> float:
    """Whole lateral wall. Source: Erixon and Rask-Andersen 2013.

    >>> round(erixon_lw_mm(9.0), 2)
    40.16
    """
    return 3.08 * a_mm + 12.44


def alexiades_oc_mm(a_mm: float) -> float:
    """Whole organ of Corti. Source: Alexiades et al. 2015.

    >>> round(alexiades_oc_mm(9.0), 2)
    33.44
    """
    return 4.16 * a_mm - 4


def alexiades_electrode_mm(a_mm: float) -> float:
    """Whole "(i)" path. Source: Alexiades et al. 2015.

    >>> round(alexiades_electrode_mm(9.0), 2)
    34.74
    """
    return 4.16 * a_mm - 2.7


def alexiades_two_turns_oc_mm(a_mm: float) -> float:
    """Two turns of the organ of Corti. Source: Alexiades et al. 2015.

    >>> round(alexiades_two_turns_oc_mm(9.0), 2)
    29.2
    """
    return 3.65 * (a_mm - 1)


def alexiades_two_turns_electrode_mm(a_mm: float) -> float:
    """Two turns of the "(i)" path. Source: Alexiades et al. 2015.

    >>> round(alexiades_two_turns_electrode_mm(9.0), 2)
    30.3
    """
    return 3.65 * (a_mm - 0.7)


def koch_oc_mm(a_mm: float) -> float:
    """Whole organ of Corti. Source: Koch et al. 2017.

    >>> round(koch_oc_mm(9.0), 2)
    32.39
    """
    return 4.16 * a_mm - 5.05


def koch_lw_mm(a_mm: float) -> float:
    """Whole lateral wall. Source: Koch et al. 2017.

    >>> round(koch_lw_mm(9.0), 2)
    39.73
    """
    return 3.86 * a_mm + 4.99


def eca_basal_turn_mm(a_mm: float, b_mm: float) -> float:
    """Basal turn of the lateral wall by the elliptic-circular approximation.

    Source: Schurzig et al. 2018, coefficients not yet checked against the paper.

    >>> round(eca_basal_turn_mm(9.0, 6.5), 2)
    21.62
    """
    return 1.18 * a_mm + 2.69 * b_mm - float(np.sqrt(0.72 * a_mm * b_mm))


def eca_lw_mm(a_mm: float, b_mm: float) -> float:
    """Whole lateral wall. Source: as `eca_basal_turn_mm`.

    >>> round(eca_lw_mm(9.0, 6.5), 2)
    37.14
    """
    return 1.71 * eca_basal_turn_mm(a_mm, b_mm) + 0.18


def eca_oc_mm(a_mm: float, b_mm: float) -> float:
    """Whole organ of Corti: the same, 0.5 mm inside the wall. Source: as `eca_basal_turn_mm`.

    >>> round(eca_oc_mm(9.0, 6.5), 2)
    32.0
    """
    return eca_lw_mm(a_mm - 1, b_mm - 1)


@dataclass(frozen=True)
class Formula:
    """A published estimate of a length from A and B.

    Attributes:
        name: unique name of the formula.
        route: path along which it measures.
        to: end point, in words.
        source: publication.
        length_mm: function of A and B, mm.
    """

    name: str
    route: Route
    to: str
    source: str
    length_mm: Callable[[float, float], float]


_ESCUDE, _ERIXON, _KOCH = "Escude 2006", "Erixon 2013", "Koch 2017"
_ALEXIADES, _ECA = "Alexiades 2015", "Schurzig 2018"
#: Every formula, in the order in which they are reported.
FORMULAS = (
    Formula("escude_lw_360", "LW", "360 deg", _ESCUDE, lambda a, _: float(escude_lw_mm(a, 360))),
    Formula("escude_lw_900", "LW", "900 deg", _ESCUDE, lambda a, _: float(escude_lw_mm(a, 900))),
    Formula("erixon_lw", "LW", "apex", _ERIXON, lambda a, _: erixon_lw_mm(a)),
    Formula("alexiades_oc", "OC", "apex", _ALEXIADES, lambda a, _: alexiades_oc_mm(a)),
    Formula("alexiades_i", "electrode", "apex", _ALEXIADES, lambda a, _: alexiades_electrode_mm(a)),
    Formula(
        "alexiades_oc_720", "OC", "720 deg", _ALEXIADES, lambda a, _: alexiades_two_turns_oc_mm(a)
    ),
    Formula(
        "alexiades_i_720",
        "electrode",
        "720 deg",
        _ALEXIADES,
        lambda a, _: alexiades_two_turns_electrode_mm(a),
    ),
    Formula("koch_oc", "OC", "apex", _KOCH, lambda a, _: koch_oc_mm(a)),
    Formula("koch_lw", "LW", "apex", _KOCH, lambda a, _: koch_lw_mm(a)),
    Formula("eca_basal_turn_lw", "LW", "360 deg", _ECA, eca_basal_turn_mm),
    Formula("eca_lw", "LW", "apex", _ECA, eca_lw_mm),
    Formula("eca_oc", "OC", "apex", _ECA, eca_oc_mm),
)


@dataclass(frozen=True, eq=False)
class Duct:
    """A path along the cochlea: its length up to each angle.

    Attributes:
        angle_deg: (n,) increasing from 0.
        length_mm: (n,) from the round window, increasing from 0.
    """

    angle_deg: FloatArray
    length_mm: FloatArray

    def __post_init__(self) -> None:
        if len(self.angle_deg) < 2 or self.angle_deg.shape != self.length_mm.shape:
            raise ValueError("a duct needs at least two angles, and a length for each")
        if min(np.diff(self.angle_deg).min(), np.diff(self.length_mm).min()) <= 0:
            raise ValueError("a duct's angles and lengths must increase")

    @property
    def total_mm(self) -> float:
        """Length to the last angle."""
        return float(self.length_mm[-1])

    def length_at_mm(self, angle_deg: ArrayLike) -> FloatArray:
        """Length up to angles; nan before the round window and beyond the end."""
        return PchipInterpolator(self.angle_deg, self.length_mm, extrapolate=False)(angle_deg)

    def angle_at_deg(self, length_mm: ArrayLike) -> FloatArray:
        """Angle at lengths; nan before the round window and beyond the end."""
        return PchipInterpolator(self.length_mm, self.angle_deg, extrapolate=False)(length_mm)


def duct_along(theta_deg: FloatArray, radius_mm: FloatArray, height_mm: FloatArray) -> Duct:
    """The length of a path given in cylindrical coordinates.

    Args:
        theta_deg: (n,) increasing; the first is at the round window.
        radius_mm, height_mm: (n,) at these angles.

    >>> theta_deg = np.linspace(0, 360, 49)
    >>> circle = duct_along(theta_deg, np.ones(49), np.zeros(49))
    >>> round(float(circle.length_mm[-1]), 3)
    6.283
    """
    # Chords of finer steps: chords of 7.5 degrees are shorter than the arc by 1 in 1400.
    fine = np.linspace(theta_deg[0], theta_deg[-1], 8 * (len(theta_deg) - 1) + 1)
    radius = PchipInterpolator(theta_deg, radius_mm)(fine)
    height = PchipInterpolator(theta_deg, height_mm)(fine)
    angle = np.radians(fine)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), height], axis=1)
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    length = np.concatenate([[0.0], np.cumsum(steps)])
    return Duct(theta_deg - theta_deg[0], length[::8])
