"""Landmarks to heatmaps (S16): scheduled Gaussians; the way back is `peaks`."""

import torch
from torch import Tensor


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

    >>> point = torch.tensor([[[2.0, 2.0, 2.0]]])
    >>> heatmap = draw_heatmaps(point, (5, 5, 5), spread_voxels=1.0, amplitude=10.0)
    >>> heatmap.shape, float(heatmap[0, 0, 2, 2, 2])
    (torch.Size([1, 1, 5, 5, 5]), 10.0)
    """
    points = (points_ijk.float() + 0.5) / factor - 0.5
    spread = spread_voxels / factor
    profiles = []
    for axis, size in enumerate(shape):
        places = torch.arange(size // factor, dtype=torch.float32, device=points.device)
        distance = (places - points[..., axis, None]) / spread
        profiles.append(torch.exp(-0.5 * distance.square()))
    present = torch.isfinite(points).all(dim=-1)[..., None]
    along_i = torch.where(present, amplitude * profiles[0], 0.0)
    along_j, along_k = (torch.where(present, profile, 0.0) for profile in profiles[1:])
    plane = along_i[..., :, None] * along_j[..., None, :]
    return plane[..., None] * along_k[..., None, None, :]
