"""Sliding windows over a volume, and the weights with which their predictions are blended."""

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]


def starts(size: int, chunk: int, stride: int) -> list[int]:
    """First voxels of the windows along one axis: every `stride`, the last one flush with the end.

    Args:
        size: voxels of the volume; at least `chunk`.
        chunk: voxels of a window.
        stride: voxels between windows.
    """
    if size < chunk:
        raise ValueError(f"an axis of {size} voxels holds no window of {chunk}")
    regular = list(range(0, size - chunk, stride))
    return [*regular, size - chunk]


def windows(shape: Shape, chunk: Shape, stride: Shape) -> Iterator[tuple[slice, slice, slice]]:
    """Windows that cover a volume, in order of i, j, k."""
    per_axis = [starts(n, c, s) for n, c, s in zip(shape, chunk, stride, strict=True)]
    for i, j, k in product(*per_axis):
        yield slice(i, i + chunk[0]), slice(j, j + chunk[1]), slice(k, k + chunk[2])


def blend_weights(chunk: Shape) -> NDArray[np.float32]:
    """Weights that fall from 1 in a window's middle to about 0.1 at its borders (a Gaussian)."""
    weights = np.ones(chunk, dtype=np.float32)
    for axis, size in enumerate(chunk):
        position = (np.arange(size) - (size - 1) / 2) / (size / 2)
        profile = np.exp(-0.5 * (position / 0.46) ** 2).astype(np.float32)
        weights *= profile.reshape([-1 if a == axis else 1 for a in range(3)])
    return weights


def padded(values: NDArray[np.float32], chunk: Shape) -> tuple[NDArray[np.float32], Shape]:
    """The volume extended by its border values to hold a window; the voxels added in front."""
    missing = [max(c - n, 0) for n, c in zip(values.shape, chunk, strict=True)]
    front = (missing[0] // 2, missing[1] // 2, missing[2] // 2)
    width = [(f, m - f) for f, m in zip(front, missing, strict=True)]
    return np.pad(values, width, mode="edge"), front
