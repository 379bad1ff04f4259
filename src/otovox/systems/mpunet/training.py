"""MPUNet as Lim et al. 2024 use it: one 2D network asked from six views, whose answers are fused.

Two things differ from the framework. The learning rate follows the settings of all systems, in the
preset a constant, where L6 lowers it by a tenth on a plateau. Training ends after the iterations
that are set, the best kept, where L6 ends it 15 epochs after the best.
"""

import logging
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from otovox.config.systems import MultiPlanarConfig
from otovox.config.training import TrainConfig
from otovox.core.volume import Grid, Scan
from otovox.dataset.prepared import Prepared
from otovox.errors import ConfigError
from otovox.formats.writing import make_folder
from otovox.imaging.resample import resample
from otovox.learning.bundle import Bundle
from otovox.learning.engine import on_device
from otovox.systems.interface import Course, Predict
from otovox.systems.mpunet.elastic import robust_scale
from otovox.systems.mpunet.fusion import contested, fuse, train_fusion
from otovox.systems.mpunet.network import MultiPlanarUNet
from otovox.systems.mpunet.planes import TrainingPlanes, ValidationPlanes
from otovox.systems.mpunet.views import draw_views, map_back, sample_planes, stack
from otovox.systems.networks import build
from otovox.systems.whole_volume import (
    Sweep,
    VolumePrediction,
    answer_arrays,
    field_grid,
    slabs,
)

if TYPE_CHECKING:
    from otovox.learning.training import Task

logger = logging.getLogger(__name__)

#: Planes per forward pass, times the sweep's batch size. Chosen.
PLANES = 8
#: Training volumes that fusion learns from, and voxels of each. Source of the first: MPUNet's
#: `train_fusion`; the second is chosen.
FUSION_CASES, FUSION_VOXELS = 15, 100_000


class MultiPlanar:
    """The planes' network with the losses and figures of planes; see `training.Task`."""

    memory_format = torch.channels_last

    def __init__(self, config: TrainConfig, network: nn.Module) -> None:
        self.network = network
        self.shape = (config.data.batch_size, 1, *config.data.shape[:2])

    def losses(self, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
        """Cross-entropy (L6); a deformed plane counts less."""
        logits = self.network(batch["image"]).float()
        each = functional.cross_entropy(logits, batch["labels"], reduction="none").mean(dim=(1, 2))
        return {"loss": (each * batch["weight"]).mean()}

    def scores(self, batch: dict[str, Tensor], iteration: int) -> dict[str, float]:
        """Of the planes of one case and view, taken together."""
        image, labels = batch["image"][0], batch["labels"][0]
        parts = [self.network(part).float() for part in image.split(PLANES)]
        logits = torch.cat(parts)
        found, truth = logits[:, 1] > logits[:, 0], labels > 0
        both, either = float((found & truth).sum()), float((found | truth).sum())
        return {
            "val_loss": float(functional.cross_entropy(logits, labels)),
            "dsc": 2 * both / (both + either) if either else 1.0,
            "iou": both / either if either else 1.0,
        }

    def choice(self, figures: Mapping[str, float]) -> float:
        """Dice, as in the framework."""
        return figures["dsc"]

    def example(self, image: Tensor) -> dict[str, Tensor]:
        """See `training.Task.example`."""
        labels = (image[:, 0] > 1).long()
        return {"image": image, "labels": labels, "weight": image.new_ones(len(image))}


def tasks(config: TrainConfig) -> "list[Task]":
    """See `interface.Tasks`."""
    return [MultiPlanar(config, build(config))]


def train(config: TrainConfig, output: Path, course: Course) -> Bundle:
    """See `interface.Course`; every volume is scaled by itself, so it needs no statistics (L5)."""
    from otovox.learning.training import begin, finish, fit

    system = _settings(config)
    begin(config, output, course.origin)
    rng = np.random.default_rng([config.seed, system.views])
    views = draw_views(system.views, min_angle_deg=system.min_angle_deg, rng=rng)
    network = cast("MultiPlanarUNet", build(config))
    network.fusion.requires_grad_(False)
    network.views.copy_(torch.from_numpy(views))
    datasets = (
        TrainingPlanes(course.training, config, views),
        ValidationPlanes(course.validation, config, views),
    )
    run = course.run
    if system.fusion == "learned":
        run = replace(run, hardware=run.hardware.alone())
    facts = fit(MultiPlanar(config, network), output, datasets, config=config, run=run)
    if system.fusion == "learned":
        on_device(network, run.hardware.device)
        _learn_fusion(network, course.training, output, rng)
    return finish(network.cpu(), output, config, facts)


def opened(bundle: Bundle, *, device: str = "auto", threads: int | None = None) -> Predict:
    """See `interface.Opened`; always torch."""
    network = on_device(bundle.network(), device, threads)
    return partial(predict, bundle, cast("MultiPlanarUNet", network))


def predict(
    bundle: Bundle,
    network: MultiPlanarUNet,
    scan: Scan,
    workspace: Path,
    *,
    sweep: Sweep | None = None,
) -> VolumePrediction:
    """What the model says of a whole scan.

    Args:
        bundle: the model.
        network: the same, on its device, in evaluation mode.
        scan: of one ear.
        workspace: folder for `probability.npy` and `uncertainty.npy`, and meanwhile for about
            4 (views + 5) bytes per voxel.
        sweep: `batch_size` and `largest_voxels` are heeded; planes know no chunks to overlap.

    Returns:
        The fused probability, and as uncertainty the SD over the views.

    Raises:
        InputError: if the scan has too many voxels at the model's spacing.
        ConfigError: if test-time turns are asked for: the views are these already.
    """
    sweep = sweep or Sweep()
    if sweep.tta != "none":
        raise ConfigError("a multi-planar model looks from several views already: use no turns")
    system = _settings(bundle.config)
    make_folder(workspace)
    grid = field_grid(scan, bundle.config, sweep.largest_voxels)
    image = resample(scan.values, scan.grid, grid, outside="edge")
    probability, uncertainty = answer_arrays(workspace, grid)
    with tempfile.TemporaryDirectory(prefix=".views-", dir=workspace) as scratch:
        seen = view_probabilities(
            network, image, grid, Path(scratch), planes=PLANES * (sweep.batch_size or 1)
        )
        for part, _ in slabs(grid):
            probability[part] = fuse(seen[:, part], network.fusion, system.fusion)
            uncertainty[part] = seen[:, part].std(axis=0)
        del seen
    none = np.zeros(0)
    return VolumePrediction(probability, uncertainty, None, none, none, grid)


def view_probabilities(
    network: MultiPlanarUNet,
    image: NDArray[np.float32],
    grid: Grid,
    scratch: Path,
    *,
    planes: int = PLANES,
) -> NDArray[np.float32]:
    """What the network says of a volume from each view, mapped back onto the volume (L7).

    The planes hold the whole volume, whatever their size in training: the network is convolutional.

    Args:
        network: in evaluation mode.
        image: (i, j, k) grey values.
        grid: isotropic, at the spacing of training.
        scratch: folder on which the answer lies.
        planes: per forward pass.

    Returns:
        (views, i, j, k) probability of the labyrinth, in a file of `scratch`.
    """
    scale = robust_scale(image)
    scaled = scale.applied(image)
    views = network.views.cpu().numpy().astype(float)
    shape = (len(views), *grid.shape)
    seen = open_memmap(scratch / "views.npy", mode="w+", dtype=np.float32, shape=shape)
    for number, view in enumerate(views):
        stacked = stack(
            grid, view, spacing_mm=float(grid.spacing_mm[0]), multiple=network.planar.shape.stride
        )
        x, y, count = stacked.shape
        said = open_memmap(scratch / "stack.npy", mode="w+", dtype=np.float32, shape=stacked.shape)
        for start in range(0, count, planes):
            part = stacked.crop((0, 0, start), (x, y, min(planes, count - start)))
            sampled = sample_planes(scaled, grid, part, outside=scale.beyond)
            said[..., start : start + planes] = _asked(network, sampled)
        for part, piece in slabs(grid):
            seen[number, part] = map_back(said, stacked, piece)
    return seen


def _asked(network: MultiPlanarUNet, planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(x, y, n) planes -> (x, y, n) probability of the labyrinth."""
    device = network.views.device
    batch = torch.from_numpy(np.ascontiguousarray(np.moveaxis(planes, -1, 0)[:, None]))
    with torch.inference_mode():
        answer = torch.softmax(network(batch.to(device)).float(), dim=1)[:, 1]
    return np.moveaxis(answer.cpu().numpy(), 0, -1)


def _learn_fusion(
    network: MultiPlanarUNet, cases: list[Prepared], output: Path, rng: np.random.Generator
) -> None:
    """Give the network's fusion the weights that training cases teach it."""
    drawn = rng.permutation(len(cases))[:FUSION_CASES]
    logger.info("what each view is worth is learned from %d cases", len(drawn))
    parts = []
    for number in drawn:
        case = cases[number]
        with tempfile.TemporaryDirectory(prefix=".views-", dir=output) as scratch:
            seen = view_probabilities(network, np.array(case.image), case.grid, Path(scratch))
            labels = np.array(case.labels)
            parts.append(contested(seen, labels, most=FUSION_VOXELS, rng=rng))
            del seen
    given, truth = (np.concatenate(part) for part in zip(*parts, strict=True))
    network.fusion.load_state_dict(train_fusion(given, truth).state_dict())


def _settings(config: TrainConfig) -> MultiPlanarConfig:
    if not isinstance(config.system, MultiPlanarConfig):
        raise ConfigError(f"{config.name}: is no multi-planar system")
    return config.system
