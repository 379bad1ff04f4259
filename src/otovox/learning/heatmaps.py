"""Landmarks to heatmaps and back (S16): scheduled Gaussians, sub-voxel decoding."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from otovox.core.geometry import FloatArray


def draw_heatmaps(
    points_ijk: Tensor,
    shape: tuple[int, int, int],
    *,
    spread_voxels: float,
    amplitude: float,
    factor: int = 1,
) -> Tensor:
    """Gaussians at landmarks, as outer products of three profiles.

    Args:
        points_ijk: (b, n, 3) voxel coordinates on the finest grid; nan where absent.
        shape: voxels of the finest grid.
        spread_voxels: standard deviation, in voxels of the finest grid.
        amplitude: height at the landmark.
        factor: coarsening of the output grid; a coarse voxel covers factor^3 fine ones.

    Returns:
        (b, n, i, j, k) float32, `shape` divided by `factor`; zeros for absent landmarks.

    Source: Stebani et al. 2023; the coarser levels are drawn separately, not averaged (chosen).
    """
    points = (points_ijk.float() + 0.5) / factor - 0.5
    spread = spread_voxels / factor
    profiles = []
    for axis, size in enumerate(shape):
        places = torch.arange(size // factor, dtype=torch.float32, device=points.device)
        distance = (places - points[..., axis, None]) / spread
        profiles.append(torch.exp(-0.5 * distance.square()))
    known = torch.isfinite(points).all(dim=-1)[..., None]
    along_i = torch.where(known, amplitude * profiles[0], 0.0)
    along_j, along_k = (torch.where(known, profile, 0.0) for profile in profiles[1:])
    plane = along_i[..., :, None] * along_j[..., None, :]
    return plane[..., None] * along_k[..., None, None, :]


def decode(
    heatmaps: NDArray[np.floating] | Tensor, *, subvoxel: bool = True
) -> tuple[FloatArray, FloatArray]:
    """Positions and heights of the heatmaps' peaks.

    The highest voxel; with `subvoxel`, a parabola is fitted to the logarithm of the map around it
    along each axis (exact for a Gaussian), over five voxels if inside the map and positive.

    Args:
        heatmaps: (n, i, j, k).
        subvoxel: False for the highest voxel only, as scored by Stebani et al. 2023 (S20).

    Returns:
        (n, 3) voxel coordinates and (n,) heights of the highest voxels.
    """
    if isinstance(heatmaps, Tensor):
        heatmaps = heatmaps.detach().float().cpu().numpy()
    points = np.empty((len(heatmaps), 3))
    peaks = np.empty(len(heatmaps))
    for n, heatmap in enumerate(heatmaps):
        top = np.unravel_index(int(np.argmax(heatmap)), heatmap.shape)
        peaks[n] = heatmap[top]
        points[n] = top
        if subvoxel and peaks[n] > 0:
            points[n] += [_shift(heatmap, top, axis) for axis in range(3)]
    return points, peaks


def _shift(heatmap: NDArray[np.floating], top: tuple[np.intp, ...], axis: int) -> float:
    """Offset of the peak from its highest voxel along one axis, at most one voxel.

    The log profile is averaged over the 3 x 3 neighbouring lines to reduce noise.
    """
    window = tuple(
        slice(max(0, int(c) - (2 if a == axis else 1)), int(c) + (3 if a == axis else 2))
        for a, c in enumerate(top)
    )
    block = np.moveaxis(np.asarray(heatmap[window], dtype=float), axis, 0)
    block = block.reshape(len(block), -1)
    # For narrow maps the window is limited to a tenth of the peak; chosen, not measured.
    near = (block > 0.1 * float(heatmap[top])).all(axis=1)
    places = np.arange(len(block)) + max(0, int(top[axis]) - 2) - int(top[axis])
    if near.sum() < 3:
        return 0.0
    curve, slope, _ = np.polyfit(places[near], np.log(block[near]).mean(axis=1), 2)
    return float(np.clip(-0.5 * slope / curve, -1.0, 1.0)) if curve < 0 else 0.0
