"""Inference of AutoCasNet: all stages over one volume, on canonical axes."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from otovox.core.volume import Scan
from otovox.errors import ConfigError
from otovox.imaging.components import main_piece
from otovox.imaging.intensity import Scaling, Statistics
from otovox.imaging.resample import resample
from otovox.learning.bundle import Bundle
from otovox.learning.engine import Precision, on_device
from otovox.systems.autocasnet.data import Image, Mask, resized_grid, slice_stack, unstack
from otovox.systems.autocasnet.network import AutoCasNet
from otovox.systems.autocasnet.settings import View, settings_of
from otovox.systems.interface import Predict
from otovox.systems.registry import trained_network
from otovox.systems.whole_volume import (
    Sweep,
    VolumePrediction,
    answer_arrays,
    field_grid,
    slabs,
)

#: Slices per forward pass outside training. Chosen.
BATCH = 16

#: (planes, c, p, q) -> (planes, p, q) probabilities.
Stage = Callable[[Image], Image]


def cascade(
    stages: Sequence[Stage], image: Image, order: Sequence[View], *, largest: bool = True
) -> Image:
    """Run all stages over one volume.

    Args:
        stages: one per view.
        image: (i, j, k) normalised, on canonical axes.
        order: the views.
        largest: keep only the largest component of every stage's mask (H4).

    Returns:
        (i, j, k) probability of the last stage; with `largest` 0 in the removed components.
    """
    masks: list[Mask] = []
    probability = np.zeros_like(image)
    for run, view in zip(stages, order, strict=True):
        probability = stage_probability(run, image, masks, view)
        masks.insert(0, stage_mask(probability, largest=largest))
    return np.where((probability > 0.5) & ~masks[0], np.float32(0), probability)


def majority(
    stages: Sequence[Stage], image: Image, order: Sequence[View], *, largest: bool = True
) -> Image:
    """Run independent stages over one volume; for the arguments see `cascade`.

    Returns:
        (i, j, k) fraction of the stages whose mask contains the voxel.
    """
    masks = [
        stage_mask(stage_probability(run, image, (), view), largest=largest)
        for run, view in zip(stages, order, strict=True)
    ]
    return np.stack(masks).mean(axis=0, dtype=np.float32)


def stage_probability(run: Stage, image: Image, masks: Sequence[Mask], view: View) -> Image:
    """(i, j, k) output of one stage for a volume and the masks of the previous stages."""
    return np.ascontiguousarray(unstack(run(slice_stack(image, masks, view)), view))


def stage_mask(probability: Image, *, largest: bool) -> Mask:
    """Mask passed to later stages: the thresholded output, or only its largest component (H4).

    >>> stage_mask(np.array([[[0.9, 0.9, 0.1, 0.9]]]), largest=True).astype(int).tolist()
    [[[1, 1, 0, 0]]]
    """
    mask = probability > 0.5
    return main_piece(mask) if largest else mask


def running(network: nn.Module) -> Stage:
    """A stage's network on its device, as a function of stacks."""
    device = next(network.parameters()).device

    def run(images: Image) -> Image:
        parts = torch.from_numpy(images).split(BATCH)
        with torch.inference_mode():
            masks = [
                torch.sigmoid(network(batch.to(device)))[:, 0].float().cpu() for batch in parts
            ]
        return torch.cat(masks).numpy()

    return run


def open_model(
    bundle: Bundle,
    *,
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "f32",
) -> Predict:
    """See `interface.OpenModel`; on the CPU this is torch."""
    network = on_device(trained_network(bundle), device, threads)
    assert isinstance(network, AutoCasNet)
    return partial(_predict, bundle, [running(stage) for stage in network.stages])


def _predict(
    bundle: Bundle,
    stages: Sequence[Stage],
    scan: Scan,
    workspace: Path,
    *,
    sweep: Sweep | None = None,
) -> VolumePrediction:
    """See `interface.Predict`; grey values are processed as in training."""
    sweep = sweep or Sweep()
    if sweep.tta != "none":
        raise ConfigError("AutoCasNet has no test-time augmentation: it needs --tta none")
    config, system = bundle.config, settings_of(bundle.config)
    grid = field_grid(scan, config, sweep.largest_voxels)
    canonical = resized_grid(grid, config.data.shape)
    image = resample(scan.values, scan.grid, grid, outside="edge")
    image = resample(image, grid, canonical, order="cubic", outside="edge")
    scaling = sweep.scaling or Scaling(Statistics(**bundle.facts["intensity"]))
    combined = cascade if system.combination == "cascade" else majority
    merged = combined(stages, scaling.apply(image), system.order, largest=system.largest_component)
    workspace.mkdir(parents=True, exist_ok=True)
    probability, uncertainty = answer_arrays(workspace, grid)
    for window, slab in slabs(grid):
        probability[window] = resample(merged, canonical, slab, outside="edge", antialias=False)
    none = np.zeros(0)
    return VolumePrediction(probability, uncertainty, None, none, none, grid)
