"""Robust scaling of a volume and elastic deformation of its planes (L5)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: Fraction of planes deformed, factor on the displacements in pixels and SD in pixels of their
#: smoothing. Source: MPUNet's defaults (`Elastic2D`), which Lim et al. 2024 use (L2).
PROBABILITY, STRENGTH, SMOOTHNESS = 1 / 3, (0.0, 450.0), (20.0, 30.0)

#: Quantile of a volume's grey values that is used outside its field of view. Source: the same
#: (`bg_value: 1pct`).
BEYOND = 0.01


@dataclass(frozen=True)
class Elastic:
    """Parameters of an elastic deformation.

    Attributes:
        strength: factor on the smoothed displacements, pixels; 0 changes nothing.
        smoothness: SD of the Gaussian that smooths them, pixels.
        seed: random seed of the displacements, so that applying it twice gives the same plane.
    """

    strength: float = 0.0
    smoothness: float = 20.0
    seed: int = 0


def draw_elastic(
    rng: np.random.Generator,
    *,
    probability: float = PROBABILITY,
    strength: tuple[float, float] = STRENGTH,
    smoothness: tuple[float, float] = SMOOTHNESS,
) -> Elastic:
    """Draw the deformation of a plane.

    Args:
        rng: source of randomness.
        probability: probability of a deformation.
        strength: minimum and maximum factor, pixels.
        smoothness: minimum and maximum SD, pixels.
    """
    happens = rng.random() < probability
    drawn = float(rng.uniform(*strength)), float(rng.uniform(*smoothness))
    seed = int(rng.integers(1 << 32))
    return Elastic(*drawn, seed) if happens else Elastic()


def deform(
    elastic: Elastic, image: NDArray, labels: NDArray, *, outside: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Apply the same deformation to image and labels.

    Args:
        elastic: the deformation.
        image: (x, y), interpolated linearly.
        labels: (x, y), nearest-neighbour interpolation; 0 outside the image.
        outside: grey value outside the image.

    Returns:
        Both, float32.

    Source: Simard et al. 2003: displacements uniform in -1..1 along both axes, smoothed with a
    Gaussian, times a factor.
    """
    image, labels = np.asarray(image, np.float32), np.asarray(labels, np.float32)
    if not elastic.strength:
        return image, labels
    rng = np.random.default_rng(elastic.seed)
    moves = [
        elastic.strength
        * ndimage.gaussian_filter(
            rng.uniform(-1, 1, image.shape), elastic.smoothness, mode="constant"
        )
        for _ in range(2)
    ]
    seen = np.indices(image.shape) + np.stack(moves)
    moved = ndimage.map_coordinates(image, seen, order=1, mode="constant", cval=outside)
    marked = ndimage.map_coordinates(labels, seen, order=0, mode="constant", cval=0.0)
    return np.asarray(moved, np.float32), np.asarray(marked, np.float32)


@dataclass(frozen=True)
class RobustScale:
    """Scaling of one volume (L5).

    Attributes:
        middle: median of its grey values.
        spread: interquartile range; 1 if that is 0.
        beyond: the first percentile, scaled, used outside the field of view.
    """

    middle: float
    spread: float
    beyond: float

    def applied(self, values: NDArray) -> NDArray[np.float32]:
        """Grey values minus the median, divided by the interquartile range."""
        scaled = (np.asarray(values, np.float32) - np.float32(self.middle)) / self.spread
        return scaled.astype(np.float32)


def robust_scale(volume: NDArray) -> RobustScale:
    """The scale of a volume, of any shape and unit.

    Source: requirement L5 and MPUNet's defaults (`RobustScaler`, `bg_value: 1pct`).
    """
    dark, low, middle, high = np.quantile(volume, (BEYOND, 0.25, 0.5, 0.75))
    spread = float(high - low) or 1.0
    return RobustScale(float(middle), spread, float(dark - middle) / spread)
