"""Phantoms, real ears and chunks of a data set: the same index always gives the same sample."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from otovox.config.training import DataConfig, TrainConfig
from otovox.core.anatomy import LANDMARK_NAMES, POSE_NAMES
from otovox.core.case import Case
from otovox.core.geometry import MIDDLE_MM, fit_pose
from otovox.core.volume import Grid
from otovox.dataset.layout import Entry, load_case
from otovox.dataset.prepared import Prepared
from otovox.errors import InputError
from otovox.imaging.intensity import Statistics, normalise, standardise
from otovox.imaging.resample import resample
from otovox.imaging.windows import holding, windows
from otovox.learning.augment import apply, draw
from otovox.phantom.cache import Anatomy
from otovox.phantom.samples import PhantomSample, ear_sample, head_sample, lone_ear_sample, view_of

#: Landmarks of a phantom ear.
PHANTOM_LANDMARKS = LANDMARK_NAMES + POSE_NAMES
#: First anatomy of the validation samples: far from those used in training.
VALIDATION_SEED = 900_000
#: Fraction of the locator's samples that contain a temporal bone without a head. Chosen, not
#: measured.
LONE_EARS = 0.5
#: Shape and voxel size of the canonical grids of real ears: 29.4 mm, as fine as clinical scans.
#: Chosen.
EAR_SHAPE, EAR_SPACING_MM = (245, 245, 245), 0.12
#: Fraction of real-ear samples that also pass through a simulated scanner. Chosen.
SCANNED_AGAIN = 0.6


class PhantomSamples(Dataset[dict[str, Tensor]]):
    """Unlimited training samples, or a fixed set of validation samples of other anatomies.

    Args:
        config: settings of the samples.
        cache: folder for rendered anatomies.
        landmarks: of `PHANTOM_LANDMARKS`, in the order of the samples' points; a head has one
            point, its ear.
        validation: use the fixed validation set.
    """

    def __init__(
        self,
        config: DataConfig,
        cache: Path,
        *,
        landmarks: Sequence[str] = PHANTOM_LANDMARKS,
        validation: bool = False,
    ) -> None:
        self.config = config
        self.cache = cache
        self.columns = [0]
        if config.source == "ear":
            self.columns = [PHANTOM_LANDMARKS.index(name) for name in landmarks]
        self.validation = validation

    def __len__(self) -> int:
        # Training samples are unlimited; a large number represents that.
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
        if config.source == "head":
            sample = replace(sample, points_ijk=_nearest(sample.points_ijk, config.shape))
        return self.tensors(sample)

    def tensors(self, sample: PhantomSample) -> dict[str, Tensor]:
        """Image, labels and the chosen landmarks."""
        return _tensors(sample.image, sample.labels, sample.points_ijk[self.columns])


class MixedSamples(Dataset[dict[str, Tensor]]):
    """Phantoms mixed with a fraction of real ears, each at a new angle.

    Args:
        phantoms: the training samples.
        ears: real ears of a data set, see `canonical_ears`.

    Raises:
        InputError: if there are no ears.
    """

    def __init__(self, phantoms: PhantomSamples, ears: Sequence[Anatomy]) -> None:
        if not ears:
            raise InputError("no ear of the data set has a mask and all three landmarks")
        self.phantoms = phantoms
        self.ears = tuple(ears)
        self.grid = Grid.centred(MIDDLE_MM, EAR_SHAPE, spacing_mm=EAR_SPACING_MM)

    def __len__(self) -> int:
        return len(self.phantoms)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        config = self.phantoms.config
        rng = np.random.default_rng([config.seed, 2, index])
        if rng.random() >= config.ears_share:
            return self.phantoms[index]
        ear = self.ears[int(rng.integers(len(self.ears)))]
        again = rng.random() < SCANNED_AGAIN
        return self.phantoms.tensors(
            view_of(ear, self.grid, rng, config.shape, config.spacing_mm, scanned=again)
        )


def canonical_ears(folder: Path, entries: Sequence[Entry]) -> list[Anatomy]:
    """The ears of a data set in the canonical right-ear frame, to be used like phantoms.

    Args:
        folder: folder of the data set.
        entries: cases to load; ears without a mask or any of the three landmarks are skipped.

    Returns:
        Ears with their reported landmarks; pose landmarks are inf (unknown).

    Raises:
        OtovoxError: if a case cannot be read.
    """
    return [ear for entry in entries for ear in _canonical(load_case(folder, entry))]


def _canonical(case: Case) -> list[Anatomy]:
    grid = Grid.centred(MIDDLE_MM, EAR_SHAPE, spacing_mm=EAR_SPACING_MM)
    ears = []
    for side, landmarks in case.landmarks.items():
        points = landmarks.only(LANDMARK_NAMES).points_mm
        mask = case.labels.values == side.label
        if not np.isfinite(points).all() or not mask.any():
            continue
        pose = fit_pose(LANDMARK_NAMES, points, side)
        # Position of the canonical grid in the patient: mirrored for a left ear.
        affine = np.eye(4)
        affine[:3, :3] = pose.matrix @ grid.affine[:3, :3]
        affine[:3, 3] = pose.to_lps(grid.affine[:3, 3][None])[0]
        target = Grid(grid.shape, affine)
        hu = resample(case.scan.values, case.scan.grid, target, outside="edge", antialias=False)
        share = resample(
            mask.astype(np.float32), case.scan.grid, target, outside=0.0, antialias=False
        )
        unknown = np.full((len(POSE_NAMES), 3), np.inf)
        ears.append(
            Anatomy(
                np.clip(np.rint(hu), -32000, 32000).astype(np.int16),
                np.rint(255 * share).astype(np.uint8),
                np.vstack([pose.to_canonical(points), unknown]),
            )
        )
    return ears


def _nearest(points: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """(1, 3): the ear in a chunk that is nearest to its centre; nan if there is none."""
    away = np.linalg.norm(points - (np.asarray(shape) - 1) / 2, axis=1)
    away = np.where(np.isfinite(away), away, np.inf)
    return points[[int(np.argmin(away))]]


def phantom_datasets(
    config: DataConfig, cache: Path, landmarks: Sequence[str]
) -> tuple[PhantomSamples, PhantomSamples]:
    """Training and validation samples."""
    return (
        PhantomSamples(config, cache, landmarks=landmarks),
        PhantomSamples(config, cache, landmarks=landmarks, validation=True),
    )


class VolumeChunks(Dataset[dict[str, Tensor]]):
    """Unlimited augmented (S8) training chunks of a data set (S7).

    Args:
        cases: cases at the working spacing.
        config: chunks and augmentation.
        statistics: statistics of the training set for normalisation; None for each chunk's own.

    Raises:
        InputError: if there are no cases.
    """

    def __init__(
        self, cases: Sequence[Prepared], config: TrainConfig, statistics: Statistics | None
    ) -> None:
        if not cases:
            raise InputError("there are no cases to train on")
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
        points = _nearest_of_sides(case.points_ijk - [side.start for side in window], data.shape)
        warp = draw(self.config.augmentation, rng)
        return _tensors(*apply(warp, image, labels, points))

    def _window(self, number: int, rng: np.random.Generator) -> tuple[slice, slice, slice]:
        """One of the sliding windows, which contains labyrinth with the configured probability."""
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
        # If chunks are normalised individually, this happens later, in the sliding window.
        image = np.array(case.image)
        if self.statistics is not None:
            image = standardise(image, self.statistics)
        labels = np.array(case.labels, dtype=np.float32)
        return _tensors(image, labels, _nearest_of_sides(case.points_ijk, case.grid.shape))


def normalised(values: np.ndarray, statistics: Statistics | None) -> np.ndarray:
    """A chunk normalised with the statistics of a data set, or with its own if None.

    >>> values = normalised(np.arange(125.0).reshape(5, 5, 5), None)
    >>> round(float(values.std()), 3)
    1.0
    """
    return normalise(values) if statistics is None else standardise(values, statistics)


def _tensors(image: np.ndarray, labels: np.ndarray, points: np.ndarray) -> dict[str, Tensor]:
    return {
        "image": torch.from_numpy(np.ascontiguousarray(image[None], dtype=np.float32)),
        "labels": torch.from_numpy(np.ascontiguousarray(labels[None], dtype=np.float32)),
        "points": torch.from_numpy(points.astype(np.float32)),
    }


def _nearest_of_sides(points: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """(sides, n, 3) to (n, 3): each landmark of the ear nearest to the centre."""
    if not len(points):
        return np.full(points.shape[1:], np.nan)
    columns = [_nearest(points[:, n], shape)[0] for n in range(points.shape[1])]
    return np.stack(columns)
