"""Phantom samples and chunks of a data set: the same index always gives the same sample."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from otovox.config.training import DataConfig, TrainConfig
from otovox.dataset.prepared import Prepared
from otovox.errors import InputError
from otovox.imaging.intensity import Statistics, normalise, standardise
from otovox.imaging.windows import holding, windows
from otovox.learning.augment import apply, draw
from otovox.phantom.samples import ear_sample, head_sample, lone_ear_sample

#: First anatomy of the validation samples: far from any that training draws.
VALIDATION_SEED = 900_000
#: Share of the locator's samples that show a temporal bone without its head. Chosen, not measured.
LONE_EARS = 0.5


class PhantomSamples(Dataset[dict[str, Tensor]]):
    """Endless training samples, or a fixed set of validation samples of other anatomies.

    Args:
        config: what to draw.
        cache: folder in which rendered anatomies are kept.
        validation: the fixed set instead.
    """

    def __init__(self, config: DataConfig, cache: Path, *, validation: bool = False) -> None:
        self.config = config
        self.cache = cache
        self.validation = validation

    def __len__(self) -> int:
        # Sampling by index never ends in training; a large number stands for that.
        return self.config.validation_cases if self.validation else 1 << 40

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        config = self.config
        rng = np.random.default_rng([config.seed, int(self.validation), index])
        if self.validation:
            anatomy = VALIDATION_SEED + index
        else:
            anatomy = config.seed + int(rng.integers(config.anatomies))
        draw = ear_sample
        if config.source == "head":
            draw = lone_ear_sample if rng.random() < LONE_EARS else head_sample
        sample = draw(self.cache, anatomy, rng, config.shape, config.spacing_mm)
        points = sample.points_ijk
        if config.source == "head":
            points = _nearest(points, config.shape)
        return {
            "image": torch.from_numpy(sample.image[None]),
            "labels": torch.from_numpy(np.ascontiguousarray(sample.labels[None])),
            "points": torch.from_numpy(points.astype(np.float32)),
        }


def _nearest(points: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """(1, 3): of the ears within a chunk the one nearest its middle; nan where there is none."""
    away = np.linalg.norm(points - (np.asarray(shape) - 1) / 2, axis=1)
    away = np.where(np.isfinite(away), away, np.inf)
    return points[[int(np.argmin(away))]]


def phantom_datasets(config: DataConfig, cache: Path) -> tuple[PhantomSamples, PhantomSamples]:
    """Training and validation samples."""
    return PhantomSamples(config, cache), PhantomSamples(config, cache, validation=True)


class VolumeChunks(Dataset[dict[str, Tensor]]):
    """Endless training chunks of a data set (S7), augmented (S8).

    Args:
        cases: at the working spacing.
        config: chunks and augmentation.
        statistics: of the training set, by which chunks are normalised; None for each chunk's own.

    Raises:
        InputError: if there is no case.
    """

    def __init__(
        self, cases: Sequence[Prepared], config: TrainConfig, statistics: Statistics | None
    ) -> None:
        if not cases:
            raise InputError("there is no case to train on")
        self.cases = tuple(cases)
        self.config = config
        self.statistics = statistics
        self._near: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        data = self.config.data
        rng = np.random.default_rng([data.seed, index])
        number = int(rng.integers(len(self.cases)))
        case = self.cases[number]
        window = self._window(number, rng)
        image = normalised(np.array(case.image[window]), self.statistics)
        labels = np.array(case.labels[window], dtype=np.float32)
        points = _nearest_of_sides(case.points_ijk - [part.start for part in window], data.shape)
        warp = draw(self.config.augmentation, rng)
        return _tensors(*apply(warp, image, labels, points))

    def _window(self, number: int, rng: np.random.Generator) -> tuple[slice, slice, slice]:
        """One of the sliding windows; with the share asked for, one that holds labyrinth."""
        data = self.config.data
        case = self.cases[number]
        stride = (data.stride_voxels, data.stride_voxels, data.stride_voxels)
        places = list(windows(case.grid.shape, data.shape, stride))
        if rng.random() < data.near_labyrinth:
            if number not in self._near:
                held = holding(case.labels, data.shape, stride)
                self._near[number] = np.flatnonzero(held)
            if len(self._near[number]):
                return places[int(rng.choice(self._near[number]))]
        return places[int(rng.integers(len(places)))]


class Volumes(Dataset[dict[str, Tensor]]):
    """Whole volumes for validation (S18)."""

    def __init__(self, cases: Sequence[Prepared], statistics: Statistics | None) -> None:
        self.cases = tuple(cases)
        self.statistics = statistics

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        case = self.cases[index]
        # Chunks that are normalised one by one are so later, in the sliding window.
        image = np.array(case.image)
        if self.statistics is not None:
            image = standardise(image, self.statistics)
        labels = np.array(case.labels, dtype=np.float32)
        return _tensors(image, labels, _nearest_of_sides(case.points_ijk, case.grid.shape))


def normalised(values: np.ndarray, statistics: Statistics | None) -> np.ndarray:
    """A chunk by the statistics of a data set, or by its own where there are none."""
    return normalise(values) if statistics is None else standardise(values, statistics)


def _tensors(image: np.ndarray, labels: np.ndarray, points: np.ndarray) -> dict[str, Tensor]:
    return {
        "image": torch.from_numpy(np.ascontiguousarray(image[None], dtype=np.float32)),
        "labels": torch.from_numpy(np.ascontiguousarray(labels[None], dtype=np.float32)),
        "points": torch.from_numpy(points.astype(np.float32)),
    }


def _nearest_of_sides(points: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """(sides, n, 3) to (n, 3): each landmark of the ear nearest the middle."""
    if not len(points):
        return np.full(points.shape[1:], np.nan)
    columns = [_nearest(points[:, n], shape)[0] for n in range(points.shape[1])]
    return np.stack(columns)
