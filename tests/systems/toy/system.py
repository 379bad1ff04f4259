"""The toy: its network, how it learns, how it looks at a scan."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from otovox.config.training import TrainConfig
from otovox.core.volume import Scan
from otovox.imaging.resample import resample
from otovox.learning.bundle import Bundle
from otovox.learning.engine import Precision, on_device
from otovox.learning.training import Task, begin, finish, fit
from otovox.learning.training_data import VolumeChunks, Volumes
from otovox.systems.interface import Predict, System, TrainingInput
from otovox.systems.registry import trained_network
from otovox.systems.whole_volume import Sweep, VolumePrediction, answer_arrays, field_grid
from systems.toy.settings import ToyConfig


class Threshold(nn.Module):
    """(b, 1, i, j, k) grey values -> logits."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        assert isinstance(config.system, ToyConfig)
        self.gain = config.system.gain
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, image: Tensor) -> Tensor:
        return self.gain * (image + self.shift)


class ToyTask:
    """See `training.Task`."""

    memory_format = torch.contiguous_format

    def __init__(self, config: TrainConfig) -> None:
        self.network: nn.Module = Threshold(config)
        self.shape = (config.data.batch_size, 1, *config.data.shape)

    def losses(self, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
        logits = self.network(batch["image"])
        return {"loss": binary_cross_entropy_with_logits(logits, batch["labels"])}

    def scores(self, batch: dict[str, Tensor], iteration: int) -> dict[str, float]:
        return {"val_loss": float(self.losses(batch, iteration)["loss"])}

    def choice(self, figures: Mapping[str, float]) -> float:
        return -figures["val_loss"]

    def example(self, image: Tensor) -> dict[str, Tensor]:
        return {"image": image, "labels": (image > 1).float()}


def tasks(config: TrainConfig) -> list[Task]:
    return [ToyTask(config)]


def train(config: TrainConfig, output: Path, course: TrainingInput) -> Bundle:
    begin(config, output, course.origin)
    datasets = (
        VolumeChunks(course.training, config, course.statistics),
        Volumes(course.validation, course.statistics),
    )
    task = ToyTask(config)
    facts = fit(task, output, datasets, config=config, run=course.run)
    return finish(task.network, output, config, facts)


def open_model(
    bundle: Bundle,
    *,
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "f32",
) -> Predict:
    return partial(_predict, bundle, on_device(trained_network(bundle), device, threads))


def _predict(
    bundle: Bundle,
    network: nn.Module,
    scan: Scan,
    workspace: Path,
    *,
    sweep: Sweep | None = None,
) -> VolumePrediction:
    grid = field_grid(scan, bundle.config)
    image = resample(scan.values, scan.grid, grid, outside="edge")
    workspace.mkdir(exist_ok=True)
    probability, uncertainty = answer_arrays(workspace, grid)
    with torch.inference_mode():
        probability[:] = torch.sigmoid(network(torch.from_numpy(image))).numpy()
    none = np.zeros(0)
    return VolumePrediction(probability, uncertainty, None, none, none, grid)


SYSTEM = System(network=Threshold, tasks=tasks, train=train, open_model=open_model, turns=False)
