"""Heatmaps to landmarks (S16, S20): the highest voxel, and where the peak lies within it."""

import numpy as np
from numpy.typing import NDArray

from otovox.core.geometry import FloatArray


def decode(
    heatmaps: NDArray[np.floating], *, subvoxel: bool = True
) -> tuple[FloatArray, FloatArray]:
    """Positions and heights of the heatmaps' peaks.

    The highest voxel; with `subvoxel`, the logarithm of the map is fitted around it by a parabola
    along each axis (exact for a Gaussian), over five voxels where they fit and are positive.

    Args:
        heatmaps: (n, i, j, k).
        subvoxel: False for the plain highest voxel, as Stebani et al. 2023 score it (S20).

    Returns:
        (n, 3) voxel coordinates and (n,) heights of the highest voxels.

    >>> heatmaps = np.zeros((1, 9, 9, 9), np.float32)
    >>> heatmaps[0, 4, 4, 3:6] = 0.5, 1.0, 0.5
    >>> positions, heights = decode(heatmaps)
    >>> positions.round(3).tolist(), heights.tolist()
    ([[4.0, 4.0, 4.0]], [1.0])
    """
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

    The log profile is averaged over the 3 x 3 neighbouring lines, against noise.
    """
    window = tuple(
        slice(max(0, int(c) - (2 if a == axis else 1)), int(c) + (3 if a == axis else 2))
        for a, c in enumerate(top)
    )
    block = np.moveaxis(np.asarray(heatmap[window], dtype=float), axis, 0)
    block = block.reshape(len(block), -1)
    # A tenth of the peak bounds the window where a map is narrow; chosen, not measured.
    near = (block > 0.1 * float(heatmap[top])).all(axis=1)
    places = np.arange(len(block)) + max(0, int(top[axis]) - 2) - int(top[axis])
    if near.sum() < 3:
        return 0.0
    curve, slope, _ = np.polyfit(places[near], np.log(block[near]).mean(axis=1), 2)
    return float(np.clip(-0.5 * slope / curve, -1.0, 1.0)) if curve < 0 else 0.0
