"""Resampling of a volume onto another grid."""

from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from otovox.core.geometry import FloatArray
from otovox.core.volume import Grid

Order = Literal["linear", "nearest", "cubic"]

_INTERPOLATORS = {
    "linear": sitk.sitkLinear,
    "nearest": sitk.sitkNearestNeighbor,
    "cubic": sitk.sitkBSpline,
}
#: Source voxels kept around the target: enough for cubic splines and the tails of the blur.
_MARGIN = 6
#: Blocks of this many voxels are averaged first if the target is much coarser.
_BLOCK_FROM = 2.5


def resample(
    values: NDArray[Any],
    source: Grid,
    target: Grid,
    *,
    order: Order = "linear",
    outside: float | Literal["edge"] = 0.0,
    antialias: bool = True,
) -> NDArray[np.float32]:
    """Resample a volume, in world coordinates, for any axes of both grids.

    The source is first cropped to the target, so that a small target is cheap in a large scan. With
    `antialias`, if the target's voxels are coarser by a factor t, whole blocks are averaged and the
    remaining factor is smoothed with a Gaussian of SD sqrt(t^2 - 1) / 2 source voxels.

    Args:
        values: (i, j, k) on `source`.
        source: grid of the values.
        target: grid of the result.
        order: interpolation.
        outside: value outside the source, or "edge" for the nearest border value.
        antialias: smooth before downsampling; ignored with "nearest", which preserves the
            values.

    Returns:
        (i, j, k) float32 on `target`.
    """
    antialias = antialias and order != "nearest"
    values, source = _cut(values, source, target)
    step = np.linalg.norm(np.linalg.inv(source.affine)[:3, :3] @ target.affine[:3, :3], axis=1)
    if antialias:
        values, source = _blocks(values, source, step)
    to_source = np.linalg.inv(source.affine) @ target.affine
    image = sitk.GetImageFromArray(np.ascontiguousarray(values, dtype=np.float32))
    if antialias:
        step = np.linalg.norm(to_source[:3, :3], axis=1)
        sd = 0.5 * np.sqrt(np.maximum(step**2 - 1, 0))
        if (
            sd.max() > 0.1 and min(values.shape) >= 4
        ):  # minimum of the filter; below 0.1 it has no effect
            image = sitk.SmoothingRecursiveGaussian(image, np.maximum(sd, 0.01)[::-1].tolist())
    transform = sitk.AffineTransform(3)
    # SimpleITK's x is the last axis of an array: the map is the same with both ends reversed.
    transform.SetMatrix(to_source[:3, :3][::-1, ::-1].ravel().tolist())
    transform.SetTranslation(to_source[:3, 3][::-1].tolist())
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(tuple(int(n) for n in target.shape[::-1]))
    resampler.SetTransform(transform)
    resampler.SetInterpolator(_INTERPOLATORS[order])
    if outside == "edge":
        resampler.SetUseNearestNeighborExtrapolator(True)
    else:
        resampler.SetDefaultPixelValue(float(outside))
    return sitk.GetArrayFromImage(resampler.Execute(image))


def corners(grid: Grid) -> FloatArray:
    """(8, 3) LPS centres of a grid's corner voxels."""
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape])).reshape(3, -1).T
    return grid.to_mm(ends)


def _cut(values: NDArray[Any], source: Grid, target: Grid) -> tuple[NDArray[Any], Grid]:
    """The part of the source that the target covers, at least one voxel."""
    ijk = source.to_ijk(corners(target))
    step = np.linalg.norm(np.linalg.inv(source.affine)[:3, :3] @ target.affine[:3, :3], axis=1)
    margin = _MARGIN + np.ceil(2 * step)
    last = np.asarray(source.shape) - 1
    start = np.clip(np.floor(ijk.min(axis=0)) - margin, 0, last).astype(int)
    stop = np.clip(np.ceil(ijk.max(axis=0)) + margin, 0, last).astype(int) + 1
    stop = np.maximum(stop, start + 1)
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    part = values[window]
    i, j, k = part.shape
    return part, source.crop(start, (i, j, k))


def _blocks(values: NDArray[Any], source: Grid, step: FloatArray) -> tuple[NDArray[Any], Grid]:
    """Average whole blocks along axes on which the target is much coarser."""
    sizes = np.where(step >= _BLOCK_FROM, np.floor(step / 1.25), 1).astype(int)
    sizes = np.minimum(sizes, values.shape)
    if sizes.max() == 1:
        return values, source
    for axis, size in enumerate(sizes):
        if size > 1:
            count = values.shape[axis] // size * size
            kept = (
                np.take(values, np.arange(count), axis=axis)
                if count < values.shape[axis]
                else values
            )
            shape = list(kept.shape)
            shape[axis : axis + 1] = [count // size, int(size)]
            values = kept.reshape(shape).mean(axis=axis + 1, dtype=np.float32)
    affine = source.affine.copy()
    affine[:3, :3] = source.affine[:3, :3] * sizes
    affine[:3, 3] = source.to_mm((sizes - 1) / 2)
    i, j, k = values.shape
    return values, Grid((i, j, k), affine)
