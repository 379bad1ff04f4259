"""A labyrinth's field in the canonical frame, and sections through it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from otovox.geometry import FloatArray, Pose, affine_from
from otovox.resample import resample
from otovox.volume import Grid

#: Voxel of the canonical field, mm: chosen, that of the working grid.
SPACING_MM = 0.2
#: Its box, canonical mm: chosen, the limits of 72 labyrinths and 2.5 mm around them.
BOX_MM = np.array([[-7.4, -10.4, -8.6], [7.2, 11.4, 10.8]])
#: Distance between samples of a section, mm: chosen, half a voxel.
SAMPLE_MM = 0.1
#: How far from its centre a section is sampled, mm: chosen, above an ampulla's radius of 1.0.
REACH_MM = 1.5
#: How near to the field's border a lumen's middle counts as cut, mm: chosen, a canal's radius.
BORDER_MM = 0.5


@dataclass(frozen=True, eq=False)
class Lumen:
    """Probabilities on the canonical grid.

    Attributes:
        values: (i, j, k) float32.
        low_mm: (3,) canonical position of the first voxel's centre.
    """

    values: NDArray[np.float32]
    low_mm: FloatArray

    def at(self, points_mm: FloatArray) -> NDArray[np.float32]:
        """Values at (..., 3) canonical points, linear; 0 outside."""
        ijk = (np.asarray(points_mm) - self.low_mm) / SPACING_MM
        at = np.moveaxis(ijk, -1, 0)
        found = ndimage.map_coordinates(self.values, at, order=1, prefilter=False)
        return np.asarray(found, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Sections:
    """What planes across a line see.

    Attributes:
        centres_mm: (n, 3) middle of the lumen; the plane's own where there is none.
        areas_mm2: (n,) of the lumen; 0 where there is none.
    """

    centres_mm: FloatArray
    areas_mm2: FloatArray


def canonical_lumen(values: NDArray, grid: Grid, pose: Pose) -> Lumen:
    """A field on any grid as the canonical frame sees it; left ears are mirrored.

    Args:
        values: (i, j, k) probability or mask on `grid`.
        grid: where the voxels lie.
        pose: canonical to LPS.
    """
    i, j, k = (int(n) for n in np.ceil((BOX_MM[1] - BOX_MM[0]) / SPACING_MM) + 1)
    affine = affine_from(pose.matrix * SPACING_MM, pose.to_lps(BOX_MM[:1])[0])
    target = Grid((i, j, k), affine)
    return Lumen(resample(values.astype(np.float32, copy=False), grid, target), BOX_MM[0])


def outside(canonical_mm: FloatArray, pose: Pose, fields: tuple[Grid, ...]) -> NDArray[np.bool_]:
    """Which (n, 3) canonical points lie outside any of some fields, or on its border."""
    cut = np.zeros(len(canonical_mm), dtype=bool)
    for grid in fields:
        ijk = grid.to_ijk(pose.to_lps(canonical_mm))
        margin = BORDER_MM / grid.spacing_mm - 0.5
        last = np.asarray(grid.shape) - 1
        cut |= np.any((ijk < margin) | (ijk > last - margin), axis=1)
    return cut


def across(directions: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Two unit vectors (n, 3) at right angles to each direction and to each other."""
    helper = np.eye(3)[np.argmin(np.abs(directions), axis=1)]
    first = np.asarray(np.cross(directions, helper), dtype=float)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return first, np.asarray(np.cross(directions, first), dtype=float)


def drawn_in(
    lumen: Lumen, points_mm: FloatArray, normals: FloatArray, reach_mm: float
) -> tuple[FloatArray, NDArray]:
    """Move points within their planes to the middle of what lies around them (mean shift).

    Args:
        lumen: the field.
        points_mm: (n, 3).
        normals: (n, 3) of the planes.
        reach_mm: radius of the disc that a point sees.

    Returns:
        (n, 3) weighted means of each disc, the point itself where the disc is empty, and the
        area of the lumen that each disc holds, mm2.
    """
    offsets = _disc(reach_mm, 2 * SAMPLE_MM)
    first, second = across(normals)
    shifts = offsets[:, 0, None] * first[:, None] + offsets[:, 1, None] * second[:, None]
    weights = lumen.at(points_mm[:, None] + shifts)
    total = weights.sum(axis=1)
    moved = np.einsum("nk,nkc->nc", weights, shifts) / np.maximum(total, 1e-6)[:, None]
    area = total * (2 * SAMPLE_MM) ** 2
    return points_mm + np.where(area[:, None] > 1e-3, moved, 0.0), area


def sections(
    lumen: Lumen, points_mm: FloatArray, normals: FloatArray, *, level: float = 0.5
) -> Sections:
    """The connected piece of lumen that each plane cuts nearest to its point.

    Args:
        lumen: the field.
        points_mm: (n, 3) points on the planes.
        normals: (n, 3) of the planes.
        level: what counts as lumen.
    """
    steps = np.arange(-REACH_MM, REACH_MM + 1e-9, SAMPLE_MM)
    u, v = np.meshgrid(steps, steps, indexing="ij")
    first, second = across(normals)
    shifts = u[None, ..., None] * first[:, None, None] + v[None, ..., None] * second[:, None, None]
    inside = (lumen.at(points_mm[:, None, None] + shifts) > level) & (np.hypot(u, v) <= REACH_MM)
    in_plane = np.zeros((3, 3, 3), dtype=bool)
    in_plane[1] = ndimage.generate_binary_structure(2, 2)
    labels = np.asarray(ndimage.label(inside, in_plane)[0])  # pyright: ignore[reportIndexIssue]
    distance = np.where(inside, np.hypot(u, v), np.inf).reshape(len(points_mm), -1)
    nearest = distance.argmin(axis=1)
    rows = np.arange(len(points_mm))
    # A lumen that begins farther from the point than this is another one: chosen.
    found = distance[rows, nearest] < 0.5
    own = labels.reshape(len(points_mm), -1)
    piece = (own == own[rows, nearest][:, None]) & found[:, None]
    count = piece.sum(axis=1)
    flat = shifts.reshape(len(points_mm), -1, 3)
    mean = np.einsum("nk,nkc->nc", piece.astype(np.float32), flat)
    mean /= np.maximum(count, 1)[:, None]
    return Sections(points_mm + mean, count * SAMPLE_MM**2)


def _disc(radius_mm: float, step_mm: float) -> FloatArray:
    """(k, 2) points of a square lattice within a disc."""
    steps = np.arange(-np.floor(radius_mm / step_mm), np.floor(radius_mm / step_mm) + 1) * step_mm
    u, v = np.meshgrid(steps, steps)
    kept = np.hypot(u, v) <= radius_mm + 1e-9
    return np.stack([u[kept], v[kept]], axis=1)
