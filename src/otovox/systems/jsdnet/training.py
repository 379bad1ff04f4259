"""Training of JSDNet: displacement maps first, then segmentation and heatmaps.

Source: Zhang et al. 2020, Medical Image Analysis 60:101621; as a baseline of Stebani et al. 2023.
The losses, and freezing the first network while the second is trained, are chosen.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from otovox.config.training import TrainConfig
from otovox.imaging.intensity import normalise
from otovox.imaging.windows import Shape, windows
from otovox.learning.bundle import Bundle
from otovox.learning.training_data import VolumeChunks, Volumes
from otovox.systems.dual_head.training import DualHeadTask, chunks_shape, example_chunks
from otovox.systems.interface import TrainingInput
from otovox.systems.jsdnet.network import JSDNet
from otovox.systems.jsdnet.settings import settings_of

if TYPE_CHECKING:
    from otovox.learning.training import Task


def displacements(points_ijk: Tensor, shape: Shape, *, unit_voxels: float) -> Tensor:
    """The vector from every voxel to every landmark.

    Computed from the points of the rotated chunk, so that vectors are rotated with it.

    Args:
        points_ijk: (b, n, 3) voxels; nan where absent.
        shape: voxels of the chunk, which need not contain the points.
        unit_voxels: unit of the maps, voxels.

    Returns:
        (b, 3 n, i, j, k): i, j, k of the first landmark, then of the others; nan where absent.

    >>> maps = displacements(torch.tensor([[[2.0, 0.0, 0.0]]]), (3, 1, 1), unit_voxels=2)
    >>> maps[0, 0, :, 0, 0].tolist()
    [1.0, 0.5, 0.0]
    """
    lines = [torch.arange(size, dtype=torch.float32, device=points_ijk.device) for size in shape]
    places = torch.stack(torch.meshgrid(*lines, indexing="ij"))
    ways = points_ijk.float()[..., None, None, None] - places
    return ways.flatten(1, 2) / unit_voxels


def displacement_loss(predicted: Tensor, points_ijk: Tensor, *, unit_voxels: float) -> Tensor:
    """Mean absolute error of displacement maps over the present landmarks, in units.

    Args:
        predicted: (b, 3 n, i, j, k).
        points_ijk: (b, n, 3) voxels; nan where absent.
        unit_voxels: unit of the maps, voxels.
    """
    shape = (predicted.shape[2], predicted.shape[3], predicted.shape[4])
    truth = displacements(points_ijk, shape, unit_voxels=unit_voxels)
    present = torch.isfinite(truth)
    gaps = (predicted.float() - torch.where(present, truth, 0.0)).abs() * present
    return gaps.sum() / present.sum().clamp(min=1)


class DisplacementTask:
    """Training of the first network."""

    memory_format = torch.channels_last_3d

    def __init__(self, config: TrainConfig, network: nn.Module) -> None:
        self.config = config
        self.network = network
        self.unit_voxels = settings_of(config).displacement_unit_voxels
        self.shape = chunks_shape(config)

    def losses(self, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
        """See `training.Task.losses`."""
        output = self.network(batch["image"])
        return {"loss": displacement_loss(output, batch["points"], unit_voxels=self.unit_voxels)}

    def scores(self, batch: dict[str, Tensor], iteration: int) -> dict[str, float]:
        """Metrics of one whole volume, or of chunks; see `training.Task.scores`."""
        image, points = batch["image"], batch["points"]
        shape = (image.shape[2], image.shape[3], image.shape[4])
        gaps: list[float] = []
        for window in windows(shape, self.config.data.shape, self.config.data.shape):
            chunk = image[(slice(None), slice(None), *window)]
            if self.config.data.normalisation == "chunk" and shape != self.config.data.shape:
                own = normalise(chunk[0, 0].cpu().numpy())
                chunk = torch.from_numpy(own[None, None]).to(image.device)
            moved = points - points.new_tensor([along.start for along in window])
            loss = displacement_loss(self.network(chunk), moved, unit_voxels=self.unit_voxels)
            gaps.append(float(loss))
        return {"displacement_voxels": self.unit_voxels * sum(gaps) / len(gaps)}

    def choice(self, figures: Mapping[str, float]) -> float:
        """The lowest validation error (chosen)."""
        return -figures["displacement_voxels"]

    def example(self, image: Tensor) -> dict[str, Tensor]:
        """See `training.Task.example`."""
        return example_chunks(self.config, image)


def tasks(config: TrainConfig) -> "list[Task]":
    """See `interface.Tasks`: the displacements, then the tasks of the second network."""
    network = JSDNet(config)
    return [DisplacementTask(config, network.displacement), DualHeadTask(config, network)]


def train(config: TrainConfig, output: Path, course: TrainingInput) -> Bundle:
    """See `interface.Train`; the first network is trained in `output`/displacement.

    Each of the two is trained for the full number of iterations.
    """
    from otovox.learning.training import begin, clear, finish, fit

    first = output / "displacement"
    if not course.resume:
        clear([first])
    begin(config, output, course.origin)
    network = JSDNet(config)
    datasets = (
        VolumeChunks(course.training, config, course.statistics),
        Volumes(course.validation, course.statistics),
    )
    task = DisplacementTask(config, network.displacement)
    fit(task, first, datasets, config=config, run=course.run)
    network.displacement.requires_grad_(False)
    facts = fit(DualHeadTask(config, network), output, datasets, config=config, run=course.run)
    return finish(network, output, config, facts)
