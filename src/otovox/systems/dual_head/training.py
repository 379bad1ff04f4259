"""Training of the dual-headed U-Net: chunks in training, whole volumes in validation."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from otovox.config.training import TrainConfig, heatmap_step
from otovox.errors import ConfigError
from otovox.learning.bundle import Bundle
from otovox.learning.losses import total_loss
from otovox.learning.training_data import VolumeChunks, Volumes
from otovox.learning.validation import validation_scores
from otovox.systems.dual_head.network import DualHeadUNet
from otovox.systems.interface import TrainingInput

if TYPE_CHECKING:
    from otovox.learning.training import Samples, Task, TrainingOptions


class DualHeadTask:
    """The dual-headed U-Net, or another network with the same output, on all its tasks."""

    memory_format = torch.channels_last_3d

    def __init__(self, config: TrainConfig, network: nn.Module | None = None) -> None:
        self.config = config
        self.network: nn.Module = network or DualHeadUNet(config.network)
        self.shape = chunks_shape(config)

    def losses(self, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
        """See `training.Task.losses`."""
        loss = total_loss(
            self.network(batch["image"]),
            batch["labels"],
            batch["points"],
            config=self.config.loss,
            step=heatmap_step(self.config.heatmaps, iteration),
            auxiliary_factors=self.config.network.auxiliary_factors,
        )
        return {
            "loss": loss.total,
            "loss_segmentation": loss.segmentation,
            "loss_heatmap": loss.heatmap,
        }

    def scores(self, batch: dict[str, Tensor], iteration: int) -> dict[str, float]:
        """See `training.Task.scores`."""
        step = heatmap_step(self.config.heatmaps, iteration)
        return validation_scores(self.network, batch, config=self.config, step=step)

    def choice(self, figures: Mapping[str, float]) -> float:
        """Dice, and for equal Dice the heatmap error (S18).

        Without masks the landmark error, because the heatmap error depends on the schedule.
        """
        if "dsc" in figures:
            return figures["dsc"] - 1e-4 * figures.get("mse", 0.0)
        return -figures.get("landmark_mm", 0.0)

    def example(self, image: Tensor) -> dict[str, Tensor]:
        """See `training.Task.example`; all landmarks are at the centre."""
        return example_chunks(self.config, image)


def chunks_shape(config: TrainConfig) -> tuple[int, ...]:
    """Shape of a batch of images in training: (b, c, i, j, k)."""
    return (config.data.batch_size, config.network.in_channels, *config.data.shape)


def example_chunks(config: TrainConfig, image: Tensor) -> dict[str, Tensor]:
    """A batch of chunks with random images (b, c, i, j, k)."""
    middle = torch.tensor(image.shape[2:], device=image.device) / 2
    points = middle.expand(len(image), len(config.network.landmarks), 3)
    return {"image": image, "labels": (image[:, :1] > 1).float(), "points": points}


def tasks(config: TrainConfig) -> "list[Task]":
    """See `interface.Tasks`."""
    return [DualHeadTask(config)]


def train(config: TrainConfig, output: Path, course: TrainingInput) -> Bundle:
    """See `interface.Train`."""
    datasets = (
        VolumeChunks(course.training, config, course.statistics),
        Volumes(course.validation, course.statistics),
    )
    return train_on(datasets, config, output, origin=course.origin, run=course.run)


def train_on(
    datasets: "tuple[Samples, Samples]",
    config: TrainConfig,
    output: Path,
    *,
    origin: Mapping[str, Any],
    run: "TrainingOptions",
) -> Bundle:
    """Train on samples.

    Args:
        datasets: training samples with unlimited indices, and validation samples.
        config: all settings.
        output: folder for checkpoints, curves, metrics and the finished model (`model/`).
        origin: data description for the model card, JSON values.
        run: training options.

    Returns:
        The best model so far, also written to `output`/model.
    """
    from otovox.learning.training import begin, finish, fit

    if run.start is not None:
        if run.start.config.network != config.network:
            raise ConfigError("the network of the --from model differs from that in the settings")
        origin = {**origin, "started_from": _lineage(run.start)}
    begin(config, output, origin)
    task = DualHeadTask(config)
    if run.start is not None:
        run.start.onto(task.network).train()
    facts = fit(task, output, datasets, config=config, run=run)
    return finish(task.network, output, config, facts)


def _lineage(start: Bundle) -> list[dict[str, Any]]:
    """Earlier training of a model: one record per run, the oldest first."""
    own = {"sha256": start.sha256}
    own |= {key: start.facts[key] for key in ("iteration", "training_data") if key in start.facts}
    return [*start.facts.get("started_from", []), own]
