"""Inference of MPUNet: the whole volume from every view, with fusion of the outputs (L7)."""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from otovox.core.volume import Grid, Scan
from otovox.errors import ConfigError
from otovox.formats.writing import make_folder
from otovox.imaging.resample import resample
from otovox.learning.bundle import Bundle
from otovox.learning.engine import Precision, on_device
from otovox.systems.interface import Predict
from otovox.systems.mpunet.elastic import robust_scale, windowed
from otovox.systems.mpunet.fusion import fuse
from otovox.systems.mpunet.network import MPUNet
from otovox.systems.mpunet.settings import settings_of
from otovox.systems.mpunet.views import map_back, sample_planes, view_grid
from otovox.systems.registry import trained_network
from otovox.systems.whole_volume import (
    Sweep,
    VolumePrediction,
    answer_arrays,
    field_grid,
    slabs,
)

#: Planes per forward pass, times the sweep's batch size. Chosen.
PLANES = 8


def open_model(
    bundle: Bundle,
    *,
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "f32",
) -> Predict:
    """See `interface.OpenModel`; always torch."""
    network = on_device(trained_network(bundle), device, threads)
    assert isinstance(network, MPUNet)
    return partial(predict, bundle, network)


def predict(
    bundle: Bundle,
    network: MPUNet,
    scan: Scan,
    workspace: Path,
    *,
    sweep: Sweep | None = None,
) -> VolumePrediction:
    """Predict a whole scan.

    Args:
        bundle: the model.
        network: its network, on its device, in evaluation mode.
        scan: scan of one ear.
        workspace: folder for `probability.npy` and `uncertainty.npy`, and temporarily for
            about 4 (views + 5) bytes per voxel.
        sweep: only `batch_size` and `largest_voxels` are used, because there are no chunks.

    Returns:
        The fused probability, and as uncertainty the SD over the views.

    Raises:
        InputError: if the scan has too many voxels at the model's spacing.
        ConfigError: if test-time augmentation is requested: the views serve that purpose.
    """
    sweep = sweep or Sweep()
    if sweep.tta != "none":
        raise ConfigError("MPUNet combines several views already: it needs --tta none")
    system = settings_of(bundle.config)
    make_folder(workspace)
    grid = field_grid(scan, bundle.config, sweep.largest_voxels)
    image = resample(scan.values, scan.grid, grid, outside="edge")
    image = windowed(image, system.window_hu)
    probability, uncertainty = answer_arrays(workspace, grid)
    with tempfile.TemporaryDirectory(prefix=".views-", dir=workspace) as scratch:
        seen = view_probabilities(
            network, image, grid, Path(scratch), planes=PLANES * (sweep.batch_size or 1)
        )
        for slab, _ in slabs(grid):
            probability[slab] = fuse(seen[:, slab], network.fusion, system.fusion)
            uncertainty[slab] = seen[:, slab].std(axis=0)
        del seen
    none = np.zeros(0)
    return VolumePrediction(probability, uncertainty, None, none, none, grid)


def view_probabilities(
    network: MPUNet,
    image: NDArray[np.float32],
    grid: Grid,
    scratch: Path,
    *,
    planes: int = PLANES,
) -> NDArray[np.float32]:
    """Output of the network for a volume from each view, mapped back to the volume (L7).

    The planes cover the whole volume, regardless of their size in training, because the network is
    convolutional.

    Args:
        network: network in evaluation mode.
        image: (i, j, k) grey values.
        grid: isotropic grid at the spacing of training.
        scratch: folder for the output.
        planes: number of planes per forward pass.

    Returns:
        (views, i, j, k) probability of the labyrinth, in a file of `scratch`.
    """
    scale = robust_scale(image)
    scaled = scale.applied(image)
    views = network.views.cpu().numpy().astype(float)
    shape = (len(views), *grid.shape)
    seen = open_memmap(scratch / "views.npy", mode="w+", dtype=np.float32, shape=shape)
    for number, view in enumerate(views):
        stacked = view_grid(
            grid, view, spacing_mm=float(grid.spacing_mm[0]), multiple=network.planar.shape.stride
        )
        x, y, count = stacked.shape
        predicted = open_memmap(
            scratch / "stack.npy", mode="w+", dtype=np.float32, shape=stacked.shape
        )
        for start in range(0, count, planes):
            block = stacked.crop((0, 0, start), (x, y, min(planes, count - start)))
            sampled = sample_planes(scaled, grid, block, outside=scale.beyond)
            predicted[..., start : start + planes] = _segmented(network, sampled)
        for slab, piece in slabs(grid):
            seen[number, slab] = map_back(predicted, stacked, piece)
    return seen


def _segmented(network: MPUNet, planes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(x, y, n) planes -> (x, y, n) probability of the labyrinth."""
    device = network.views.device
    batch = torch.from_numpy(np.ascontiguousarray(np.moveaxis(planes, -1, 0)[:, None]))
    with torch.inference_mode():
        answer = torch.softmax(network(batch.to(device)).float(), dim=1)[:, 1]
    return np.moveaxis(answer.cpu().numpy(), 0, -1)
