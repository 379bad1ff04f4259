"""Training of MPUNet: one network on planes of every view, then the weights of the views.

The learning rate is reduced on plateaus of the validation and training stops early, as set in the
preset with the framework's defaults (L2, L6); an epoch is an interval between validations.
"""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from otovox.config.training import TrainConfig
from otovox.dataset.prepared import Prepared
from otovox.learning.bundle import Bundle
from otovox.learning.engine import on_device
from otovox.learning.losses import mask_overlap
from otovox.systems.interface import TrainingInput
from otovox.systems.mpunet.data import TrainingPlanes, ValidationPlanes
from otovox.systems.mpunet.elastic import windowed
from otovox.systems.mpunet.fusion import contested, train_fusion
from otovox.systems.mpunet.inference import PLANES, view_probabilities
from otovox.systems.mpunet.network import MPUNet
from otovox.systems.mpunet.settings import settings_of
from otovox.systems.mpunet.views import draw_views

if TYPE_CHECKING:
    from otovox.learning.training import Task

logger = logging.getLogger(__name__)

#: Training volumes for the fusion, and voxels of each. Source of the first: MPUNet's
#: `train_fusion`; the second is chosen.
FUSION_CASES, FUSION_VOXELS = 15, 100_000


class MPUNetTask:
    """The network for planes with its losses and metrics; see `training.Task`."""

    memory_format = torch.channels_last

    def __init__(self, config: TrainConfig, network: nn.Module) -> None:
        self.network = network
        self.shape = (config.data.batch_size, 1, *config.data.shape[:2])

    def losses(self, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
        """Cross-entropy (L6); deformed planes have a lower weight."""
        logits = self.network(batch["image"]).float()
        each = functional.cross_entropy(logits, batch["labels"], reduction="none").mean(dim=(1, 2))
        return {"loss": (each * batch["weight"]).mean()}

    def scores(self, batch: dict[str, Tensor], iteration: int) -> dict[str, float]:
        """Metrics of the planes of one case and view, pooled."""
        image, labels = batch["image"][0], batch["labels"][0]
        parts = [self.network(planes).float() for planes in image.split(PLANES)]
        logits = torch.cat(parts)
        predicted, truth = logits[:, 1] > logits[:, 0], labels > 0
        loss = float(functional.cross_entropy(logits, labels))
        return {"val_loss": loss} | mask_overlap(predicted, truth)

    def choice(self, figures: Mapping[str, float]) -> float:
        """Dice, as in the framework."""
        return figures["dsc"]

    def example(self, image: Tensor) -> dict[str, Tensor]:
        """See `training.Task.example`."""
        labels = (image[:, 0] > 1).long()
        return {"image": image, "labels": labels, "weight": image.new_ones(len(image))}


def tasks(config: TrainConfig) -> "list[Task]":
    """See `interface.Tasks`."""
    return [MPUNetTask(config, MPUNet.of(settings_of(config)))]


def train(config: TrainConfig, output: Path, course: TrainingInput) -> Bundle:
    """See `interface.Train`; volumes are scaled individually, so no statistics are needed (L5)."""
    from otovox.learning.training import begin, finish, fit

    system = settings_of(config)
    begin(config, output, course.origin)
    rng = np.random.default_rng([config.seed, system.views])
    views = draw_views(system.views, min_angle_deg=system.min_angle_deg, rng=rng)
    network = MPUNet.of(system)
    network.fusion.requires_grad_(False)
    network.views.copy_(torch.from_numpy(views))
    datasets = (
        TrainingPlanes(course.training, config, views),
        ValidationPlanes(course.validation, config, views),
    )
    run = course.run
    if system.fusion == "learned":
        run = replace(run, hardware=run.hardware.alone())
    facts = fit(MPUNetTask(config, network), output, datasets, config=config, run=run)
    if system.fusion == "learned":
        on_device(network, run.hardware.device)
        _learn_fusion(network, course.training, output, rng, system.window_hu)
    return finish(network.cpu(), output, config, facts)


def _learn_fusion(
    network: MPUNet,
    cases: list[Prepared],
    output: Path,
    rng: np.random.Generator,
    window_hu: tuple[float, float] | None,
) -> None:
    """Train the weights of the network's fusion on training cases."""
    drawn = rng.permutation(len(cases))[:FUSION_CASES]
    logger.info("learning the weights of the views from %d cases", len(drawn))
    parts = []
    for number in drawn:
        case = cases[number]
        with tempfile.TemporaryDirectory(prefix=".views-", dir=output) as scratch:
            image = windowed(case.image, window_hu)
            seen = view_probabilities(network, image, case.grid, Path(scratch))
            labels = np.array(case.labels)
            parts.append(contested(seen, labels, most=FUSION_VOXELS, rng=rng))
            del seen
    given, truth = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    network.fusion.load_state_dict(train_fusion(given, truth).state_dict())
