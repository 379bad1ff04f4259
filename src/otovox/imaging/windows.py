"""Sliding windows over a volume, and the weights for blending their predictions."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from otovox.core.volume import Grid

Window = tuple[slice, slice, slice]
Shape = tuple[int, int, int]


#: Overlap of neighbouring chunks in voxels, and its maximum share of a side. Source of the first:
#: Stebani et al. 2023, Results (S7); the second, for small chunks, is chosen.
OVERLAP_VOXELS, OVERLAP_SHARE = 25, 0.25


def window_grid(grid: Grid, window: Window) -> Grid:
    """The grid of a window's voxels.

    >>> grid = Grid.centred((0, 0, 0), (9, 9, 9), spacing_mm=1)
    >>> cropped = window_grid(grid, (slice(0, 3), slice(0, 3), slice(0, 3)))
    >>> cropped.shape, cropped.center_mm.tolist()
    ((3, 3, 3), [-3.0, -3.0, -3.0])
    """
    i, j, k = (side.stop - side.start for side in window)
    return grid.crop([side.start for side in window], (i, j, k))


def usual_stride(chunk: Shape) -> Shape:
    """Default stride between neighbouring chunks, voxels.

    >>> usual_stride((128, 128, 64))
    (103, 103, 48)
    """
    i, j, k = (side - min(OVERLAP_VOXELS, int(OVERLAP_SHARE * side)) for side in chunk)
    return i, j, k


def starts(size: int, chunk: int, stride: int) -> list[int]:
    """First voxels of the windows along one axis: every `stride`, the last aligned with the end.

    Args:
        size: voxels of the volume; at least `chunk`.
        chunk: voxels of a window.
        stride: voxels between windows.

    >>> starts(10, 4, 3)
    [0, 3, 6]
    """
    if size < chunk:
        raise ValueError(f"an axis of {size} voxels is too short for a window of {chunk}")
    regular = list(range(0, size - chunk, stride))
    return [*regular, size - chunk]


def windows(shape: Shape, chunk: Shape, stride: Shape) -> Iterator[Window]:
    """Windows that cover a volume, in order of i, j, k.

    >>> len(list(windows((10, 4, 4), (4, 4, 4), (3, 3, 3))))
    3
    """
    per_axis = [starts(n, c, s) for n, c, s in zip(shape, chunk, stride, strict=True)]
    for i, j, k in product(*per_axis):
        yield slice(i, i + chunk[0]), slice(j, j + chunk[1]), slice(k, k + chunk[2])


def blend_weights(chunk: Shape) -> NDArray[np.float32]:
    """Weights that fall from 1 at a window's centre to about 0.1 at its borders (a Gaussian).

    >>> [round(float(weight), 2) for weight in blend_weights((5, 5, 5))[2, 2]]
    [0.22, 0.69, 1.0, 0.69, 0.22]
    """
    i, j, k = (_profile(size) for size in chunk)
    return i[:, None, None] * j[:, None] * k


def summed_weights(shape: Shape, chunk: Shape, stride: Shape) -> list[NDArray[np.float32]]:
    """The sum of the blend weights of all `windows` of a volume, (n,) per axis: their product.

    >>> [len(weights) for weights in summed_weights((8, 9, 4), (4, 4, 4), (2, 2, 2))]
    [8, 9, 4]
    """
    sums = [np.zeros(size, dtype=np.float32) for size in shape]
    for total, size, step in zip(sums, chunk, stride, strict=True):
        for start in starts(len(total), size, step):
            total[start : start + size] += _profile(size)
    return sums


def _profile(size: int) -> NDArray[np.float32]:
    position = (np.arange(size) - (size - 1) / 2) / (size / 2)
    return np.exp(-0.5 * (position / 0.46) ** 2).astype(np.float32)


def padded(values: NDArray[np.float32], chunk: Shape) -> tuple[NDArray[np.float32], Shape]:
    """The volume padded with border values to the size of a window, and the voxels added in front.

    >>> padded(np.zeros((2, 4, 4), np.float32), (4, 4, 4))[1]
    (1, 0, 0)
    """
    missing = [max(c - n, 0) for n, c in zip(values.shape, chunk, strict=True)]
    front = (missing[0] // 2, missing[1] // 2, missing[2] // 2)
    if not any(missing):
        return values, front
    width = [(f, m - f) for f, m in zip(front, missing, strict=True)]
    return np.pad(values, width, mode="edge"), front


def turned(values: NDArray[Any], turn: ArrayLike) -> NDArray[Any]:
    """A chunk rotated by a rotation of the cube; the inverse is `turn` transposed.

    Args:
        values: (..., i, j, k).
        turn: (3, 3) of 0 and +-1, from old to new voxel directions.

    Returns:
        A view, (..., i', j', k').

    >>> quarter = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    >>> values = np.arange(6).reshape(3, 2, 1)
    >>> there = turned(values, quarter)
    >>> there.shape, bool((turned(there, np.transpose(quarter)) == values).all())
    ((2, 3, 1), True)
    """
    matrix = np.asarray(turn)
    sources = [int(np.flatnonzero(row)[0]) for row in matrix]
    lead = values.ndim - 3
    flipped = [lead + n for n, source in enumerate(sources) if matrix[n, source] < 0]
    order = [*range(lead), *(lead + source for source in sources)]
    return np.flip(np.transpose(values, order), tuple(flipped))


def holding(labels: NDArray[Any], chunk: Shape, stride: Shape) -> NDArray[np.bool_]:
    """Which of the `windows` of a volume contain foreground, in the same order.

    Args:
        labels: (i, j, k), 0 for background.
        chunk, stride: see `windows`.

    >>> labels = np.zeros((4, 2, 2), dtype=int)
    >>> labels[3] = 1
    >>> holding(labels, (2, 2, 2), (2, 2, 2)).tolist()
    [False, True]
    """
    holds = np.asarray(labels) > 0
    for axis in range(3):
        parts = [
            holds.take(range(start, start + chunk[axis]), axis=axis).any(axis=axis)
            for start in starts(labels.shape[axis], chunk[axis], stride[axis])
        ]
        holds = np.stack(parts, axis=axis)
    return holds.ravel()


class Blend:
    """Weighted sum of the predictions of overlapping windows.

    Args:
        total: (c, i, j, k) zeros for the sum; may be on disk.
        weight: (i, j, k) zeros for the weights.
        chunk: shape of a window, voxels.
    """

    def __init__(self, total: NDArray[Any], weight: NDArray[Any], chunk: Shape) -> None:
        self.total, self.weight = total, weight
        self._weights = blend_weights(chunk)

    def add(self, window: Window, values: NDArray[Any]) -> None:
        """Add the (c, i, j, k) prediction of one window."""
        self.total[(slice(None), *window)] += values * self._weights
        self.weight[window] += self._weights

    def finish(self) -> NDArray[Any]:
        """Divide by the weights, slab by slab, and return the blended prediction."""
        for i in range(self.total.shape[1]):
            self.total[:, i] /= self.weight[i]
        return self.total


def batches(items: Iterator[Window], size: int) -> Iterator[Sequence[Window]]:
    """The windows in groups of `size`, the last one smaller.

    >>> [len(group) for group in batches(windows((8, 2, 2), (2, 2, 2), (2, 2, 2)), 3)]
    [3, 1]
    """
    group: list[Window] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
