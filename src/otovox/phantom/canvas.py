"""Painting signed distances onto a grid, in canonical ear coordinates.

A canvas maps every voxel of its grid to the canonical frame of one ear. Tubes are painted sphere by
sphere into small windows, so the cost depends on the tube, not on the volume.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from otovox.core.geometry import FloatArray, Pose, unit
from otovox.core.volume import Grid

Field = NDArray[np.floating]

#: Upward in the canonical frame of a mean head.
UP = unit((0.12, 0.08, 0.99))
#: Value of a distance field where nothing was painted, mm.
FAR_MM = 50.0


@dataclass(frozen=True, eq=False)
class Canvas:
    """A grid with orthogonal axes, related to an ear's canonical frame.

    Attributes:
        grid: voxels in LPS.
        pose: canonical to LPS; may contain a mirror.
        scale: size of the ear relative to the canonical millimetre.
    """

    grid: Grid
    pose: Pose

    @cached_property
    def linear(self) -> FloatArray:
        """(3, 3) from voxel steps to canonical mm."""
        return self.pose.matrix.T @ self.grid.affine[:3, :3]

    @cached_property
    def spacing_mm(self) -> float:
        """Largest voxel edge, over which borders are anti-aliased."""
        return float(self.grid.spacing_mm.max())

    def ijk(self, canonical_mm: ArrayLike) -> FloatArray:
        """Canonical (n, 3) mm to continuous voxel coordinates."""
        return self.grid.to_ijk(self.pose.to_lps(canonical_mm))

    def window(self, center_ijk: FloatArray, reach_mm: float) -> tuple[slice, slice, slice] | None:
        """Voxels within `reach_mm` of a point along each axis, or None outside the grid."""
        reach = reach_mm / self.grid.spacing_mm
        start = np.maximum(np.ceil(center_ijk - reach), 0).astype(int)
        stop = np.minimum(np.floor(center_ijk + reach) + 1, self.grid.shape).astype(int)
        if np.any(start >= stop):
            return None
        i, j, k = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        return i, j, k

    def steps(
        self, center_ijk: FloatArray, window: tuple[slice, slice, slice]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Voxel steps from a point, one broadcastable array per axis."""
        i, j, k = (np.arange(w.start, w.stop) - c for w, c in zip(window, center_ijk, strict=True))
        return i[:, None, None], j[None, :, None], k[None, None, :]

    def blank(self) -> Field:
        """A distance field with nothing painted."""
        return np.full(self.grid.shape, FAR_MM, dtype=np.float32)

    @property
    def everything(self) -> tuple[slice, slice, slice]:
        """The window of all voxels."""
        i, j, k = (slice(0, n) for n in self.grid.shape)
        return i, j, k

    def along(self, direction: ArrayLike, origin: ArrayLike = (0.0, 0.0, 0.0)) -> Field:
        """Coordinate of every voxel along a canonical direction, mm from `origin`."""
        slope = np.asarray(direction, dtype=float) @ self.linear
        i, j, k = self.steps(self.ijk(np.asarray(origin, dtype=float)[None])[0], self.everything)
        return (slope[0] * i + slope[1] * j + slope[2] * k).astype(np.float32)

    def paint_tube(
        self, field: Field, points_mm: FloatArray, radii_mm: ArrayLike, reach_mm: float = 0.6
    ) -> None:
        """Lower `field` to the distance from a round tube.

        Args:
            field: changed in place.
            points_mm: (n, 3) canonical centreline, closely spaced.
            radii_mm: (n,) or one.
            reach_mm: range outside the wall in which distances are needed.
        """
        spacing = self.grid.spacing_mm
        radii = np.broadcast_to(np.asarray(radii_mm, dtype=float), len(points_mm))
        for center, radius in zip(self.ijk(points_mm), radii, strict=True):
            window = self.window(center, radius + reach_mm)
            if window is None:
                continue
            i, j, k = self.steps(center, window)
            squared = (spacing[0] * i) ** 2 + (spacing[1] * j) ** 2 + (spacing[2] * k) ** 2
            distance = np.sqrt(squared, dtype=np.float32) - np.float32(radius)
            np.minimum(field[window], distance, out=field[window])

    def paint_ellipsoids(
        self,
        field: Field,
        centers_mm: FloatArray,
        axes: FloatArray,
        radii_mm: FloatArray,
        reach_mm: float = 0.6,
    ) -> None:
        """Lower `field` to the approximate distance from ellipsoids (first-order, exact in sign).

        Args:
            field: changed in place.
            centers_mm: (n, 3) canonical.
            axes: (n, 3, 3) whose rows are unit axes.
            radii_mm: (n, 3) half-axes along those rows.
            reach_mm: range outside in which distances are needed.
        """
        for center, axis, radius in zip(self.ijk(centers_mm), axes, radii_mm, strict=True):
            window = self.window(center, float(radius.max()) + reach_mm)
            if window is None:
                continue
            i, j, k = self.steps(center, window)
            slopes = axis @ self.linear
            near = np.zeros(1, dtype=np.float32)
            steep = np.zeros(1, dtype=np.float32)
            for slope, r in zip(slopes, radius, strict=True):
                along = (slope[0] * i + slope[1] * j + slope[2] * k).astype(np.float32)
                near = near + (along / np.float32(r)) ** 2
                steep = steep + (along / np.float32(r * r)) ** 2
            near, steep = np.sqrt(near), np.sqrt(steep)
            distance = near * (near - 1) / np.maximum(steep, 1e-6)
            inside_center = steep < 1e-6
            distance[inside_center] = -radius.min()
            np.minimum(field[window], distance, out=field[window])

    def coarse(self, spacing_mm: float) -> "Canvas":
        """The same field of view on a coarser grid (never finer), with the same corners."""
        shape = np.maximum(np.ceil(self.grid.extent_mm / spacing_mm), 2).astype(int)
        shape = np.minimum(shape, self.grid.shape)
        step = (
            np.maximum((np.asarray(self.grid.shape) - 1) / np.maximum(shape - 1, 1), 1e-6)
            * self.grid.spacing_mm
        )
        affine = self.grid.affine.copy()
        affine[:3, :3] = self.grid.directions * step
        i, j, k = (int(n) for n in shape)
        return Canvas(Grid((i, j, k), affine), self.pose)

    def refine(self, coarse_field: NDArray[np.floating]) -> Field:
        """A field of `coarse(...)` interpolated linearly onto this grid."""
        field = coarse_field.astype(np.float32)
        for axis, fine in enumerate(self.grid.shape):
            weights = _interpolation(field.shape[axis], fine)
            field = np.moveaxis(np.tensordot(weights, field, axes=(1, axis)), 0, axis)
        return np.ascontiguousarray(field)

    def noise(self, rng: np.random.Generator, grain_mm: float) -> Field:
        """A smooth random field, mean 0 and SD about 1, whose features are `grain_mm` wide."""
        coarse = self.coarse(grain_mm)
        field = self.refine(rng.standard_normal(coarse.grid.shape))
        return field / np.float32(max(float(field.std()), 1e-6))


@dataclass(frozen=True, eq=False)
class Region:
    """A region that replaces what was painted before.

    Attributes:
        distance: (i, j, k) signed distance from its surface, mm; negative inside.
        density: HU.
    """

    distance: Field
    density: float


def _interpolation(coarse: int, fine: int) -> NDArray[np.float32]:
    """(fine, coarse) linear interpolation matrix between grids that share their end voxels."""
    position = np.linspace(0, coarse - 1, fine)
    lower = np.minimum(position.astype(int), max(coarse - 2, 0))
    matrix = np.zeros((fine, coarse), dtype=np.float32)
    rows = np.arange(fine)
    matrix[rows, lower] = 1 - (position - lower)
    if coarse > 1:
        matrix[rows, lower + 1] += position - lower
    return matrix


def smooth_union(first: Field, second: Field, blend_mm: float) -> Field:
    """Union of two distance fields with a fillet about `blend_mm` wide (polynomial minimum).

    >>> both = smooth_union(np.array([1.0, 5.0]), np.array([1.0, -1.0]), 0.4)
    >>> both.round(2).tolist()
    [0.9, -1.0]
    """
    mix = np.clip(0.5 + 0.5 * (second - first) / np.float32(blend_mm), 0, 1)
    fillet = np.float32(blend_mm) * mix * (1 - mix)
    return second + (first - second) * mix - fillet


def occupancy(distance: Field, width_mm: float) -> Field:
    """Fraction of a voxel inside a surface, from its signed distance (linear over one voxel).

    >>> occupancy(np.array([-1.0, 0.0, 0.05, 1.0]), 0.2).round(2).tolist()
    [1.0, 0.5, 0.25, 0.0]
    """
    return np.clip(0.5 - distance / np.float32(width_mm), 0, 1)
