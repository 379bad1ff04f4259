"""Planes of a data set's volumes as training and validation data of MPUNet (L4, L5)."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from otovox.config.training import TrainConfig
from otovox.core.geometry import FloatArray
from otovox.core.volume import Grid
from otovox.dataset.prepared import Prepared
from otovox.errors import ConfigError, InputError
from otovox.imaging.resample import corners
from otovox.systems.mpunet.elastic import (
    Elastic,
    RobustScale,
    deform,
    draw_elastic,
    robust_scale,
    windowed,
)
from otovox.systems.mpunet.settings import settings_of
from otovox.systems.mpunet.views import frame, plane, sample_plane

#: SD of the noise added to a training plane's unit normal along each axis, and weight of a deformed
#: plane in the loss. Source: MPUNet's defaults (`noise_sd`, `aug_weight`).
NORMAL_SD, DEFORMED_WEIGHT = 0.1, 0.33
#: Maximum distance of the labyrinth from the centre of a plane that is smaller than the volume, as
#: a fraction of half its side. Chosen.
INWARDS = 0.8
#: Planes of each view of a validation case, evenly spaced over its labyrinth. Chosen, not measured.
VALIDATION_PLANES = 16


class TrainingPlanes(Dataset[dict[str, Tensor]]):
    """Unlimited planes of random cases, views and depths; the same index gives the same plane.

    Args:
        cases: cases at the working spacing, which is also that of the planes.
        config: `data.shape` gives the side of the planes, `data.near_labyrinth` the fraction of
            planes that contain labyrinth; also the system's own settings.
        views: (views, 3) LPS.

    Raises:
        InputError: if there are no cases.
        ConfigError: if the planes would not be square.
    """

    def __init__(self, cases: Sequence[Prepared], config: TrainConfig, views: FloatArray) -> None:
        if not cases:
            raise InputError("there are no cases to train on")
        self.cases = _Volumes(cases, settings_of(config).window_hu)
        self.config = config
        self.views = views
        self.size = plane_side(config)

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        data = self.config.data
        rng = np.random.default_rng([data.seed, index])
        number = int(rng.integers(len(self.cases)))
        normal = self.views[rng.integers(len(self.views))] + rng.normal(0, NORMAL_SD, 3)
        near = None
        marked = self.cases.labyrinth(number)
        if len(marked) and rng.random() < data.near_labyrinth:
            near = self.cases.grid(number).to_mm(marked[rng.integers(len(marked))])
        middle_mm = _middle(self.cases.grid(number), normal, self.size * data.spacing_mm, near, rng)
        one = plane(normal, middle_mm, size=self.size, spacing_mm=data.spacing_mm)
        image, labels = self.cases.cut(number, one)
        deformation = Elastic()
        if settings_of(self.config).elastic:
            deformation = draw_elastic(rng)
        beyond = self.cases.scale(number).beyond
        image, labels = deform(deformation, image, labels, outside=beyond)
        weight = DEFORMED_WEIGHT if deformation.strength else 1.0
        return _tensors(image[None], labels) | {"weight": torch.tensor(weight)}


class ValidationPlanes(Dataset[dict[str, Tensor]]):
    """Fixed planes through the labyrinth of each case, a batch per case and view."""

    def __init__(self, cases: Sequence[Prepared], config: TrainConfig, views: FloatArray) -> None:
        self.cases = _Volumes(cases, settings_of(config).window_hu)
        self.views = views
        self.size = plane_side(config)
        self.spacing_mm = config.data.spacing_mm

    def __len__(self) -> int:
        return len(self.cases) * len(self.views)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        number, which = divmod(index, len(self.views))
        grid, axes = self.cases.grid(number), frame(self.views[which])
        marked = self.cases.labyrinth(number)
        seen = grid.to_mm(marked) if len(marked) else corners(grid)
        along = (seen - grid.center_mm) @ axes
        lateral = _towards(np.zeros(2), along[:, :2].mean(axis=0), self._half_mm())
        planes = []
        for depth in np.linspace(along[:, 2].min(), along[:, 2].max(), VALIDATION_PLANES):
            middle_mm = grid.center_mm + axes @ [*lateral, depth]
            one = plane(axes[:, 2], middle_mm, size=self.size, spacing_mm=self.spacing_mm)
            planes.append(self.cases.cut(number, one))
        return _tensors(
            np.stack([[image] for image, _ in planes]), np.stack([p for _, p in planes])
        )

    def _half_mm(self) -> float:
        return self.size * self.spacing_mm / 2


def plane_side(config: TrainConfig) -> int:
    """Pixels along each side of a plane.

    Raises:
        ConfigError: if `data.shape` is not cubic.
    """
    if len(set(config.data.shape)) > 1:
        raise ConfigError("data.shape: planes are square, so all three sides must be the same")
    return config.data.shape[0]


class _Volumes:
    """Prepared cases with cached properties."""

    def __init__(self, cases: Sequence[Prepared], window_hu: tuple[float, float] | None) -> None:
        self._cases = tuple(cases)
        self._window_hu = window_hu
        self._scales: dict[int, RobustScale] = {}
        self._marked: dict[int, NDArray] = {}

    def __len__(self) -> int:
        return len(self._cases)

    def grid(self, number: int) -> Grid:
        return self._cases[number].grid

    def scale(self, number: int) -> RobustScale:
        if number not in self._scales:
            self._scales[number] = robust_scale(
                windowed(self._cases[number].image, self._window_hu)
            )
        return self._scales[number]

    def labyrinth(self, number: int) -> NDArray:
        """(n, 3) voxels of its labyrinth."""
        if number not in self._marked:
            marked = np.argwhere(np.asarray(self._cases[number].labels) > 0)
            self._marked[number] = marked.astype(np.int16)
        return self._marked[number]

    def cut(self, number: int, one: Grid) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(x, y) scaled image and labels of a plane."""
        case, scale = self._cases[number], self.scale(number)
        inside = sample_plane(case.image, case.grid, one, outside=np.nan)
        inside = windowed(inside, self._window_hu)
        image = np.where(np.isnan(inside), np.float32(scale.beyond), scale.applied(inside))
        return image, sample_plane(case.labels, case.grid, one, nearest=True)


def _middle(
    grid: Grid,
    normal: FloatArray,
    side_mm: float,
    near: FloatArray | None,
    rng: np.random.Generator,
) -> FloatArray:
    """(3,) LPS centre of a plane, through a given point or at any depth of the volume.

    A plane that covers the volume is centred on it, as in the framework; a smaller one is anywhere
    inside.
    """
    axes = frame(normal)
    reach_mm = np.ptp(corners(grid) @ axes, axis=0)
    free = np.maximum(reach_mm[:2] - side_mm, 0) / 2
    lateral, depth = rng.uniform(-free, free), rng.uniform(-reach_mm[2] / 2, reach_mm[2] / 2)
    if near is not None:
        away = (near - grid.center_mm) @ axes
        lateral, depth = _towards(lateral, away[:2], side_mm / 2), away[2]
    return grid.center_mm + axes @ [*lateral, depth]


def _towards(lateral: FloatArray, point: FloatArray, half_mm: float) -> FloatArray:
    """(2,) centre of a plane, moved as little as possible so that it contains a point."""
    return np.clip(lateral, point - INWARDS * half_mm, point + INWARDS * half_mm)


def _tensors(image: NDArray, labels: NDArray) -> dict[str, Tensor]:
    return {
        "image": torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32)),
        "labels": torch.from_numpy(np.ascontiguousarray(labels)).long(),
    }
