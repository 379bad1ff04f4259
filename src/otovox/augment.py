"""Training augmentation (S8): draw a frozen parameter set, then apply it to a whole chunk.

Image, mask and landmarks move together; heatmaps are drawn later, from the moved points.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from otovox.config import AugmentConfig
from otovox.geometry import FloatArray, rotation_from_vector

#: Largest angle of the free rotation, degrees. Source: Stebani et al. 2023.
TILT_DEG = {"alpha": 30.0, "beta": 45.0}


@dataclass(frozen=True)
class Augmentation:
    """What is done to one chunk; the defaults do nothing.

    Attributes:
        turn_axis, quarter_turns: fixed rotation about an axis of the volume, times 90 degrees.
        tilt_axis, tilt_deg: free rotation that follows.
        contrast: factor of all values.
        gaussian_sd: SD of additive Gaussian noise.
        poisson_rate, poisson_scale: additive Poisson noise, centred, a count's height.
        noise_seed: of both noises.
    """

    turn_axis: int = 0
    quarter_turns: int = 0
    tilt_axis: int = 0
    tilt_deg: float = 0.0
    contrast: float = 1.0
    gaussian_sd: float = 0.0
    poisson_rate: float = 0.0
    poisson_scale: float = 0.0
    noise_seed: int = 0

    @property
    def rotation(self) -> FloatArray:
        """(3, 3) from the voxel coordinates of the chunk to those of the rotated one."""
        axes = np.eye(3)
        turn = rotation_from_vector(axes[self.turn_axis] * np.pi / 2 * self.quarter_turns)
        return rotation_from_vector(axes[self.tilt_axis] * np.radians(self.tilt_deg)) @ turn


def draw_augmentation(config: AugmentConfig, rng: np.random.Generator) -> Augmentation:
    """Draw what to do to one chunk.

    Args:
        config: the protocol with its probabilities and ranges.
        rng: draws the same count of numbers whatever comes out.

    Source: Stebani et al. 2023, Aug-alpha and Aug-beta.
    """
    chances = rng.random(5)
    axes = rng.integers(3, size=2)
    turns = int(rng.integers(1, 4))
    spread = rng.uniform(-1, 1)
    factor, sd = rng.uniform(*config.contrast), rng.uniform(*config.gaussian_sd)
    rate, scale = rng.uniform(*config.poisson_rate), rng.uniform(0, config.poisson_scale)
    seed = int(rng.integers(1 << 31))
    if config.protocol == "none":
        return Augmentation()
    turned, tilted = chances[0] < config.turn_probability, chances[1] < config.tilt_probability
    contrast, gaussian, poisson = chances[2:] < config.intensity_probability
    return Augmentation(
        turn_axis=0 if config.protocol == "alpha" else int(axes[0]),
        quarter_turns=turns if turned else 0,
        tilt_axis=int(axes[1]),
        tilt_deg=float(spread * TILT_DEG[config.protocol]) if tilted else 0.0,
        contrast=float(factor) if contrast else 1.0,
        gaussian_sd=float(sd) if gaussian else 0.0,
        poisson_rate=float(rate) if poisson else 0.0,
        poisson_scale=float(scale) if poisson else 0.0,
        noise_seed=seed,
    )


def augment(
    image: NDArray[np.float32],
    labels: NDArray[np.float32],
    points_ijk: FloatArray,
    *,
    by: Augmentation,
) -> tuple[NDArray[np.float32], NDArray[np.float32], FloatArray]:
    """Apply a drawn augmentation to a chunk.

    The rotation is about the chunk's middle, linear, and what it brings in from beyond the borders
    is the chunk reflected (chosen); multiples of 90 degrees of a cubic chunk are exact.

    Args:
        image: (i, j, k), normalised.
        labels: (i, j, k) in 0 to 1.
        points_ijk: (n, 3) voxel coordinates; nan where absent.
        by: what to do.

    Returns:
        The same three, points outside the chunk nan.
    """
    rotation = by.rotation
    if by.tilt_deg or by.quarter_turns % 4:
        image, labels = (_rotated(values, by) for values in (image, labels))
        middle = (np.asarray(image.shape) - 1) / 2
        points_ijk = (points_ijk - middle) @ rotation.T + middle
        inside = np.all((points_ijk >= -0.5) & (points_ijk <= 2 * middle + 0.5), axis=1)
        points_ijk = np.where(inside[:, None], points_ijk, np.nan)
    image = (image * by.contrast).astype(np.float32)
    rng = np.random.default_rng(by.noise_seed)
    if by.gaussian_sd:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        image = (image + by.gaussian_sd * noise).astype(np.float32)
    if by.poisson_rate and by.poisson_scale:
        counts = rng.poisson(by.poisson_rate, image.shape) - by.poisson_rate
        image = (image + by.poisson_scale * counts).astype(np.float32)
    return image, labels, points_ijk


def _rotated(values: NDArray[np.float32], by: Augmentation) -> NDArray[np.float32]:
    rotation = by.rotation
    if not by.tilt_deg and len(set(values.shape)) == 1:
        # About axis 0 a positive angle takes j to k; about 1, k to i; about 2, i to j.
        axes = ((1, 2), (2, 0), (0, 1))[by.turn_axis]
        return np.ascontiguousarray(np.rot90(values, by.quarter_turns, axes))
    middle = (np.asarray(values.shape) - 1) / 2
    back = rotation.T
    offset: Any = middle - back @ middle  # scipy's own hints know a number only
    turned = ndimage.affine_transform(values, back, offset=offset, order=1, mode="reflect")
    return np.asarray(turned, dtype=np.float32)
