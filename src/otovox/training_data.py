"""Phantom samples as torch data sets: the same index always gives the same sample."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from otovox.config import DataConfig
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
