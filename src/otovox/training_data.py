"""What a network trains on, as torch data sets: the same index always gives the same sample."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from otovox.config import DataConfig, TrainConfig
from otovox.dataset import Fold, read_index
from otovox.errors import ConfigError, InputError
from otovox.phantom.cache import VERSION as PHANTOM_VERSION
from otovox.phantom.samples import ear_sample, head_sample, lone_ear_sample
from otovox.volume_data import VolumeChunks, WholeVolumes, open_all, set_contrast, set_scaling

#: First anatomy of the validation samples: far from any that training draws.
VALIDATION_SEED = 900_000
#: Share of the locator's samples that show a temporal bone without its head. Chosen, not measured.
LONE_EARS = 0.5


class Datasets(NamedTuple):
    """What a run sees.

    Attributes:
        training: samples, indexed without end.
        validation: samples, in full.
        facts: for the model's card; JSON values.
    """

    training: Dataset[dict[str, Tensor]]
    validation: Dataset[dict[str, Tensor]]
    facts: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it


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


def phantom_datasets(config: DataConfig, cache: Path) -> Datasets:
    """Training and validation samples.

    Raises:
        ConfigError: if the settings ask for a data set on disk.
    """
    if config.source == "dataset":
        raise ConfigError("these settings train on a data set: give its folder with --data")
    facts = {
        "validation_data": f"{config.validation_cases} unseen phantom samples",
        "training_data": f"phantoms of version {PHANTOM_VERSION}, seeds from {config.seed}",
    }
    training, validation = (PhantomSamples(config, cache, validation=v) for v in (False, True))
    return Datasets(training, validation, facts)


def disk_datasets(config: TrainConfig, dataset: Path, fold: Fold, cache: Path) -> Datasets:
    """Chunks of a fold's training cases, and its whole validation volumes.

    Args:
        config: spacing, windows, scaling, augmentation.
        dataset: folder of the data set.
        fold: which cases train and which validate; the scaling is the training cases' alone.
        cache: folder in which resampled volumes are kept, shared by all folds.

    Raises:
        ConfigError: if the settings ask for phantoms.
        InputError: if a case is not there or cannot be used.
    """
    if config.data.source != "dataset":
        raise ConfigError(
            f"the settings {config.name} train on phantoms; --data needs settings with"
            ' data.source = "dataset"'
        )
    entries = {entry.case: entry for entry in read_index(dataset)}
    missing = [case for case in (*fold.train, *fold.validation) if case not in entries]
    if missing:
        raise InputError(f"{dataset}: holds no case {missing[0]}")
    training, validation = (
        open_all(dataset, [entries[case] for case in cases], config, cache)
        for cases in (fold.train, fold.validation)
    )
    scaling, contrast = None, None
    if config.data.intensity == "set":
        scaling = set_scaling(training, config.data.quantiles)
        tissue, (mean, sd) = set_contrast(training, scaling, config.data.spacing_mm)
        contrast = {
            "quantiles": [round(float(value), 5) for value in tissue.quantiles],
            "fluid": tissue.fluid,
            "bone": tissue.bone,
            "labyrinth_mean": mean,
            "labyrinth_sd": sd,
        }
    facts = {
        "validation_data": f"{len(validation)} whole volumes of {len(fold.validation)} cases",
        "training_data": f"{len(training)} volumes of {len(fold.train)} cases",
        "validation_cases": list(fold.validation),
        "scaling": asdict(scaling) if scaling else None,
        "contrast": contrast,
    }
    return Datasets(
        VolumeChunks(training, config, scaling), WholeVolumes(validation, config, scaling), facts
    )
