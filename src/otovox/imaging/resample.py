"""Resampling of a volume onto another grid."""

from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from otovox.core.geometry import FloatArray
from otovox.core.volume import Grid
from otovox.imaging.itk import array_of
from otovox.imaging.smoothing import gaussian

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
    first_fastest: bool = False,
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
        first_fastest: lay the result out in memory as image files do.

    Returns:
        (i, j, k) float32 on `target`.

    >>> source = Grid.centred((0, 0, 0), (3, 1, 1), spacing_mm=1)
    >>> target = Grid.centred((0, 0, 0), (2, 1, 1), spacing_mm=1)
    >>> resample(np.array([[[0.0]], [[1.0]], [[2.0]]]), source, target).ravel().tolist()
    [0.5, 1.5]
    """
    antialias = antialias and order != "nearest"
    values, source = _cut(values, source, target)
    if antialias:
        values, source = _smoothed(values, source, _step(source, target))
    return _Image(values, source).on(target, order, outside, first_fastest=first_fastest)


def voxel_means(
    values: NDArray[Any], source: Grid, target: Grid, *, outside: float
) -> NDArray[np.float32]:
    """Mean of a volume over every voxel of a grid, for any axes of both grids.

    A voxel is sampled at points as dense as the source's voxels; `resample` would blur beyond it.

    Args:
        values: (i, j, k) on `source`.
        source: grid of the values.
        target: grid of the result.
        outside: value outside the source.

    Returns:
        (i, j, k) float32 on `target`, laid out in memory as image files do.

    >>> source = Grid.centred((0, 0, 0), (4, 2, 2), spacing_mm=1)
    >>> target = Grid.centred((0, 0, 0), (2, 1, 1), spacing_mm=2)
    >>> values = np.broadcast_to(np.reshape([0.0, 1, 2, 5], (4, 1, 1)), source.shape)
    >>> voxel_means(values, source, target, outside=0.0).ravel().tolist()
    [0.5, 3.5]
    """
    # A grid that differs by rounding alone needs no more points.
    ratio = target.spacing_mm / source.spacing_mm.min() - 1e-3
    points = np.maximum(np.ceil(ratio), 1).astype(int)
    affine = target.affine.copy()
    affine[:3, :3] /= points
    affine[:3, 3] = target.to_mm((1 / points - 1) / 2)
    (i, j, k), (a, b, c) = target.shape, points.tolist()
    dense = Grid((i * a, j * b, k * c), affine)
    sampled = resample(values, source, dense, outside=outside, antialias=False, first_fastest=True)
    return _block_means(sampled, points)


class Resampler:
    """A volume that is resampled to many grids of one voxel size, one near another.

    The same values as `resample` with linear interpolation and the nearest value beyond the border,
    but what the grids have in common is cut and smoothed once. Not for several threads at once.

    Args:
        values: (i, j, k) on `source`.
        source: grid of the values.
        slack_mm: how far around the first grid others are expected.
    """

    def __init__(self, values: NDArray[Any], source: Grid, *, slack_mm: float) -> None:
        self._values, self._source, self._slack_mm = values, source, slack_mm
        self._start = self._stop = np.zeros(3, dtype=int)
        self._voxel_mm = 0.0
        self._image: _Image | None = None

    def __call__(self, target: Grid) -> NDArray[np.float32]:
        """(i, j, k) float32 on a grid of cubic voxels."""
        voxel_mm = float(target.spacing_mm.mean())
        start, stop = _range(self._source, target)
        within = (start >= self._start).all() and (stop <= self._stop).all()
        if self._image is None or not within or abs(self._voxel_mm / voxel_mm - 1) > 1e-6:
            slack = np.ceil(self._slack_mm / self._source.spacing_mm).astype(int)
            self._start = np.maximum(start - slack, 0)
            self._stop = np.minimum(stop + slack, self._source.shape)
            self._voxel_mm = voxel_mm
            crop, grid = _part(self._values, self._source, self._start, self._stop)
            self._image = _Image(*_smoothed(crop, grid, _step(grid, target)))
        return self._image.on(target, "linear", "edge")


def corners(grid: Grid) -> FloatArray:
    """(8, 3) LPS centres of a grid's corner voxels.

    >>> corners(Grid.centred((0, 0, 0), (3, 3, 3), spacing_mm=0.5)).max(axis=0).tolist()
    [0.5, 0.5, 0.5]
    """
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape])).reshape(3, -1).T
    return grid.to_mm(ends)


def _step(source: Grid, target: Grid) -> FloatArray:
    """(3,) the target's voxel in voxels of the source, along the source's axes."""
    return np.linalg.norm(np.linalg.inv(source.affine)[:3, :3] @ target.affine[:3, :3], axis=1)


def _range(source: Grid, target: Grid) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """First and past-the-last voxel of the source that the target can see, at least one voxel."""
    ijk = source.to_ijk(corners(target))
    margin = _MARGIN + np.ceil(2 * _step(source, target))
    last = np.asarray(source.shape) - 1
    start = np.clip(np.floor(ijk.min(axis=0)) - margin, 0, last).astype(int)
    stop = np.clip(np.ceil(ijk.max(axis=0)) + margin, 0, last).astype(int) + 1
    return start, np.maximum(stop, start + 1)


def _part(
    values: NDArray[Any], source: Grid, start: NDArray[np.int_], stop: NDArray[np.int_]
) -> tuple[NDArray[Any], Grid]:
    crop = values[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    i, j, k = crop.shape
    return crop, source.crop(start, (i, j, k))


def _cut(values: NDArray[Any], source: Grid, target: Grid) -> tuple[NDArray[Any], Grid]:
    """The part of the source that the target can see."""
    return _part(values, source, *_range(source, target))


def _smoothed(values: NDArray[Any], source: Grid, step: FloatArray) -> tuple[NDArray[Any], Grid]:
    """Values without what voxels larger by a step (3,) cannot show; and their grid."""
    values, coarse = _blocks(values, source, step)
    step = step * source.spacing_mm / coarse.spacing_mm
    sd = 0.5 * np.sqrt(np.maximum(step**2 - 1, 0))
    # Below 0.1 it does nothing.
    if sd.max() > 0.1:
        values = gaussian(np.asarray(values, dtype=np.float32), sd, mode="nearest")
    return values, coarse


def _fastest_first(values: NDArray[Any]) -> bool:
    """Whether the first axis is the fastest in memory, as in arrays from image files."""
    return abs(values.strides[0]) < abs(values.strides[-1])


class _Image:
    """Values as SimpleITK has them, without a reordered copy."""

    def __init__(self, values: NDArray[Any], grid: Grid) -> None:
        # SimpleITK's x is the last axis of an array; here it is the one that is fastest in memory.
        natural = _fastest_first(values)
        laid = np.ascontiguousarray(values.T if natural else values, dtype=np.float32)
        self._image = sitk.GetImageFromArray(laid)
        self._order = slice(None) if natural else slice(None, None, -1)
        self._from_mm = np.linalg.inv(grid.affine)

    def on(
        self,
        target: Grid,
        order: Order,
        outside: float | Literal["edge"],
        *,
        first_fastest: bool = False,
    ) -> NDArray[np.float32]:
        """(i, j, k) on another grid, its last or first axis the fastest."""
        columns = slice(None) if first_fastest else slice(None, None, -1)
        to_source = self._from_mm @ target.affine
        transform = sitk.AffineTransform(3)
        transform.SetMatrix(to_source[:3, :3][self._order, columns].ravel().tolist())
        transform.SetTranslation(to_source[:3, 3][self._order].tolist())
        resampler = sitk.ResampleImageFilter()
        resampler.SetSize(tuple(int(n) for n in target.shape[columns]))
        resampler.SetTransform(transform)
        resampler.SetInterpolator(_INTERPOLATORS[order])
        if outside == "edge":
            resampler.SetUseNearestNeighborExtrapolator(True)
        else:
            resampler.SetDefaultPixelValue(float(outside))
        result = array_of(resampler.Execute(self._image))
        return result.T if first_fastest else result


def _blocks(values: NDArray[Any], source: Grid, step: FloatArray) -> tuple[NDArray[Any], Grid]:
    """Average whole blocks along axes on which the target is much coarser."""
    sizes = np.where(step >= _BLOCK_FROM, np.floor(step / 1.25), 1).astype(int)
    sizes = np.minimum(sizes, values.shape)
    if sizes.max() == 1:
        return values, source
    values = _block_means(values, sizes)
    affine = source.affine.copy()
    affine[:3, :3] = source.affine[:3, :3] * sizes
    affine[:3, 3] = source.to_mm((sizes - 1) / 2)
    i, j, k = values.shape
    return values, Grid((i, j, k), affine)


def _block_means(values: NDArray[Any], sizes: NDArray[np.int_]) -> NDArray[Any]:
    """Means over whole blocks of so many voxels along each axis; what is left over is dropped."""
    for axis, size in enumerate(sizes):
        if size > 1:
            count = values.shape[axis] // size * size
            kept = values[(slice(None),) * axis + (slice(count),)]
            shape = list(kept.shape)
            shape[axis : axis + 1] = [count // size, int(size)]
            values = kept.reshape(shape).mean(axis=axis + 1, dtype=np.float32)
    return values
