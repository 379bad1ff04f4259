"""Sliding windows over a volume, and the weights with which their predictions are blended."""

from collections.abc import Callable, Iterator
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


def piece(
    values: NDArray, start: tuple[int, int, int], shape: Shape, *, edge: bool
) -> NDArray[np.float32]:
    """A window of a volume, read from there alone, that may reach beyond the volume's borders.

    Args:
        values: (i, j, k), such as a memory-mapped file.
        start: first voxel; may be negative.
        shape: voxels of the window, which must meet the volume.
        edge: beyond the borders the border's values; else 0.
    """
    ends = [(s, s + n, size) for s, n, size in zip(start, shape, values.shape, strict=True)]
    inner = tuple(slice(max(a, 0), min(b, size)) for a, b, size in ends)
    width = [(max(-a, 0), max(b - size, 0)) for a, b, size in ends]
    part = np.asarray(values[inner], dtype=np.float32)
    return np.pad(part, width, mode="edge" if edge else "constant") if np.any(width) else part


def slabs(
    volume: NDArray,
    run: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    *,
    chunk: Shape,
    stride: Shape,
    batch_size: int = 1,
) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Run windows over a volume and blend them, in slabs along the first axis.

    No more than one window's thickness of the volume is held at a time, whatever its length.

    Args:
        volume: (i, j, k), no axis shorter than `chunk`; such as a memory-mapped file.
        run: (b, 1, i, j, k) windows to (b, c, i, j, k).
        chunk: voxels of a window.
        stride: voxels between windows.
        batch_size: windows run at a time.

    Returns:
        Rows of the volume and their blended (c, rows, j, k), in order, every row once.
    """
    blend = blend_weights(chunk)
    rows, *others = (starts(n, c, s) for n, c, s in zip(volume.shape, chunk, stride, strict=True))
    places = [(slice(j, j + chunk[1]), slice(k, k + chunk[2])) for j, k in product(*others)]
    weight = np.zeros((chunk[0], *volume.shape[1:]), np.float32)
    total = np.zeros((0, *weight.shape), np.float32)
    for first, following in zip(rows, [*rows[1:], rows[-1] + chunk[0]], strict=True):
        thick = slice(first, first + chunk[0])
        for begin in range(0, len(places), batch_size):
            batch = places[begin : begin + batch_size]
            images = np.stack([volume[thick, j, k] for j, k in batch]).astype(np.float32)
            found = run(images[:, None])
            if not total.size:
                total = np.zeros((found.shape[1], *weight.shape), np.float32)
            for (j, k), one in zip(batch, found, strict=True):
                total[:, :, j, k] += blend * one
                weight[:, j, k] += blend
        done = following - first
        yield slice(first, following), total[:, :done] / weight[:done]
        for sums in (total, weight[None]):
            sums[:, : chunk[0] - done] = sums[:, done:].copy()
            sums[:, chunk[0] - done :] = 0
