"""Augmentation alpha and beta (S8): drawn as a frozen parameter set, then applied.

Voxels and points are transformed in the same call; heatmaps are rendered from the transformed
points, never rotated themselves.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from otovox.config.training import AugmentationConfig
from otovox.core.geometry import FloatArray, rotation_from_vector

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Augmentation:
    """One set of augmentation parameters for a chunk.

    Attributes:
        quarter_turns: number of 90-degree rotations, 0 to 3.
        quarter_axis: axis of these rotations, 0 to 2.
        turn_deg: rotation vector of the free rotation about the chunk's centre, voxel axes.
        contrast: contrast factor.
        gaussian_sd: SD of the noise added, in the image's unit; 0 for none.
        poisson_rate: rate of the counts added; 0 for none.
        poisson_scale: value of one count, in the image's unit.
        noise_seed: seed of both noises, so that applying the parameters twice gives the same image.
    """

    quarter_turns: int = 0
    quarter_axis: int = 0
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    contrast: float = 1.0
    gaussian_sd: float = 0.0
    poisson_rate: float = 0.0
    poisson_scale: float = 0.0
    noise_seed: int = 0

    @property
    def rotation(self) -> FloatArray:
        """(3, 3) from old to new voxel directions: 90-degree rotations, then the free rotation."""
        axis = np.zeros(3)
        axis[self.quarter_axis] = np.pi / 2 * self.quarter_turns
        fixed = np.rint(rotation_from_vector(axis))
        return rotation_from_vector(np.radians(self.turn_deg)) @ fixed


def draw(config: AugmentationConfig, rng: np.random.Generator) -> Augmentation:
    """Draw the augmentation of one chunk.

    Args:
        config: the protocol and its amplitudes.
        rng: source of randomness.

    Returns:
        Parameters; with protocol "none" those of the identity.

    Source: Stebani et al. 2023, Data processing and augmentation (S8); amplitudes and
    probabilities are chosen, not measured.

    >>> first, second = (draw(AugmentationConfig(), np.random.default_rng(0)) for _ in range(2))
    >>> first == second
    True
    """
    if config.protocol == "none":
        return Augmentation()
    happens = rng.random(5) < [*[config.turn_probability] * 2, *[config.probability] * 3]
    turned, freely, contrast, gaussian, poisson = (bool(event) for event in happens)
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    free_deg = direction * rng.uniform(-config.free_turn_deg, config.free_turn_deg)
    return Augmentation(
        quarter_turns=int(rng.integers(1, 4)) if turned else 0,
        quarter_axis=int(rng.integers(3)) if config.protocol == "beta" else 0,
        turn_deg=(float(free_deg[0]), float(free_deg[1]), float(free_deg[2]))
        if freely
        else (0.0, 0.0, 0.0),
        contrast=float(rng.uniform(*config.contrast)) if contrast else 1.0,
        gaussian_sd=float(rng.uniform(0, config.gaussian_sd)) if gaussian else 0.0,
        poisson_rate=float(rng.uniform(0, config.poisson_rate)) if poisson else 0.0,
        poisson_scale=config.poisson_scale,
        noise_seed=int(rng.integers(1 << 32)),
    )


def apply(
    augmentation: Augmentation, image: Image, labels: Image, points_ijk: FloatArray
) -> tuple[Image, Image, FloatArray]:
    """Apply contrast and noise to the image; then rotate image, labels and points about the centre.

    Args:
        augmentation: the parameters.
        image: (i, j, k), mean about 0; mirrored at its borders if the rotation exceeds them.
        labels: (i, j, k), 0 to 1; mirrored likewise.
        points_ijk: (n, 3) voxel coordinates; nan where absent. A point may move outside the
            chunk, in which case the tail of its Gaussian may remain inside.

    Returns:
        The three arrays, with unchanged shapes.

    Source: Stebani et al. 2023, Data processing and augmentation: contrast and noise, and "lastly,
    a free angle rotation", so that the noise is interpolated too (S8).
    """
    shape = np.asarray(image.shape)
    image, labels = np.asarray(image, np.float32), np.asarray(labels, np.float32)
    points = np.array(points_ijk, dtype=float)
    rng = np.random.default_rng(augmentation.noise_seed)
    image = np.asarray(image * augmentation.contrast, dtype=np.float32)
    if augmentation.gaussian_sd:
        noise = rng.normal(0, augmentation.gaussian_sd, image.shape)
        image = np.asarray(image + noise, dtype=np.float32)
    if augmentation.poisson_rate:
        counts = rng.poisson(augmentation.poisson_rate, image.shape) - augmentation.poisson_rate
        image = np.asarray(image + augmentation.poisson_scale * counts, dtype=np.float32)
    turn = augmentation.rotation
    if not np.array_equal(turn, np.eye(3)):
        middle = (shape - 1) / 2
        image = _turned(image, turn, middle)
        labels = np.clip(_turned(labels, turn, middle), 0, 1)
        points = (points - middle) @ turn.T + middle
    return image, labels, points


def _turned(values: Image, turn: FloatArray, middle: FloatArray) -> Image:
    """Values at new voxel x are those at the old voxel R^T (x - middle) + middle."""
    back = turn.T
    shift: Any = middle - back @ middle
    turned = ndimage.affine_transform(values, back, shift, order=1, mode="mirror")
    return np.asarray(turned, dtype=np.float32)
