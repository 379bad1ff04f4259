"""Closed surfaces of masks and probabilities, in LPS mm, oriented outward."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from otovox.core.case import EarPrediction
from otovox.core.geometry import FloatArray
from otovox.core.volume import Grid, LabelMap
from otovox.imaging.smoothing import gaussian

FaceArray = NDArray[np.int64]

#: SD of the Gaussian that smooths the steps of a binary mask, voxels: chosen, not measured; below
#: one voxel, so that canals two voxels wide remain intact.
SMOOTHING_VOXELS = 0.7
#: Tolerance of a smooth surface's volume relative to its mask's: chosen, a third of the documented.
_VOLUME_TOLERANCE = 0.01
#: Bisection steps for the level before the best one is used: chosen, 2^-12 of the range.
_HALVINGS = 12


def cropped(
    values: NDArray[Any], grid: Grid, *, level: float = 0.5, margin: int = 2
) -> tuple[NDArray[np.float32], Grid]:
    """The part of a volume above a level, with a margin; outside the grid it is padded with zeros.

    Args:
        values: (i, j, k) mask or probability on `grid`.
        grid: position of the voxels.
        level: threshold of the inside.
        margin: voxels kept, or added, on each side.

    Returns:
        The part as float32, and its grid; a single zero voxel if nothing is above the level.

    >>> grid = Grid.centred((0, 0, 0), (9, 9, 9), spacing_mm=1)
    >>> mask = np.zeros(grid.shape)
    >>> mask[4, 4, 4] = 1
    >>> cropped(mask, grid, margin=1)[0].shape
    (3, 3, 3)
    """
    inside = values > level
    start, stop = np.zeros(3, dtype=int), np.zeros(3, dtype=int)
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        hit = np.flatnonzero(inside.any(axis=others))
        if not len(hit):
            return np.zeros((1, 1, 1), np.float32), grid.crop((0, 0, 0), (1, 1, 1))
        start[axis], stop[axis] = hit[0] - margin, hit[-1] + 1 + margin
    low, high = np.maximum(start, 0), np.minimum(stop, grid.shape)
    crop = values[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    missing = list(zip(low - start, stop - high, strict=True))
    crop = np.pad(crop.astype(np.float32), missing)
    i, j, k = crop.shape
    return crop, grid.crop(start, (i, j, k))


def smoothed(mask: NDArray[np.bool_], grid: Grid) -> tuple[NDArray[np.float32], Grid]:
    """A mask as a smooth field whose 0.5 level encloses as many voxels as the mask.

    Smoothed with a Gaussian of `SMOOTHING_VOXELS` along each axis; the values are then shifted,
    because a Gaussian alone shrinks thin structures.

    Args:
        mask: (i, j, k) on `grid`.
        grid: position of the voxels.

    Returns:
        The field around the mask, and its grid.

    >>> grid = Grid.centred((0, 0, 0), (9, 9, 9), spacing_mm=1)
    >>> mask = np.pad(np.ones((3, 3, 3), dtype=bool), 3)
    >>> field, _ = smoothed(mask, grid)
    >>> int((field > 0.5).sum()), int(mask.sum())
    (27, 27)
    """
    crop, grid = cropped(mask, grid, margin=4)
    count = int(np.count_nonzero(crop))
    if count == 0:
        return crop, grid
    field = gaussian(crop, SMOOTHING_VOXELS, mode="constant")
    ranked = np.partition(field.ravel(), [field.size - count - 1, field.size - count])
    level = float(ranked[-count - 1] + ranked[-count]) / 2
    return (field + np.float32(0.5 - level)).astype(np.float32), grid


def mesh(values: NDArray[Any], grid: Grid, level: float = 0.5) -> tuple[FloatArray, FaceArray]:
    """The surface at a level, by marching cubes; closed at the border of the grid.

    Args:
        values: (i, j, k) mask or probability on `grid`.
        grid: position of the voxels, of either handedness.
        level: level of the surface.

    Returns:
        Vertices (n, 3) in LPS mm and faces (m, 3), oriented outward; both empty for an empty mask.

    Source: Lewiner et al. 2003, as in scikit-image.

    >>> grid = Grid.centred((0, 0, 0), (3, 3, 3), spacing_mm=1)
    >>> vertices_mm, faces = mesh(np.pad([[[1.0]]], 1), grid)
    >>> len(vertices_mm), len(faces)
    (6, 8)
    """
    from skimage.measure import marching_cubes

    crop, grid = cropped(values, grid, level=level)
    if not (crop > level).any():
        return np.empty((0, 3)), np.empty((0, 3), dtype=np.int64)
    vertices, faces, _, _ = marching_cubes(crop, level)
    vertices_mm = grid.to_mm(vertices)
    faces = faces.astype(np.int64)
    if signed_volume_mm3(vertices_mm, faces) < 0:
        faces = faces[:, ::-1]
    return vertices_mm, np.ascontiguousarray(faces)


def smooth_mesh(mask: NDArray[np.bool_], grid: Grid) -> tuple[FloatArray, FaceArray]:
    """A smooth surface that encloses the mask's volume within 3 %.

    The level is adjusted until it does, because the volume within a surface differs from the voxel
    count. For masks of a few voxels, where this is impossible, the closest surface is returned.

    Args:
        mask: (i, j, k) on `grid`.
        grid: position of the voxels.

    Returns:
        As `mesh`.

    >>> grid = Grid.centred((0, 0, 0), (14, 14, 14), spacing_mm=0.5)
    >>> mask = np.pad(np.ones((6, 6, 6), dtype=bool), 4)
    >>> bool(abs(signed_volume_mm3(*smooth_mesh(mask, grid)) / 27 - 1) < 0.03)
    True
    """
    wanted = float(np.count_nonzero(mask)) * grid.voxel_mm3
    field, crop = smoothed(mask, grid)
    low, high = float(field.min()), float(field.max())
    level = 0.5
    surface = mesh(field, crop, level)
    for _ in range(_HALVINGS):
        volume = signed_volume_mm3(*surface)
        if wanted == 0 or abs(volume / wanted - 1) < _VOLUME_TOLERANCE:
            break
        low, high = (level, high) if volume > wanted else (low, level)
        level = (low + high) / 2
        surface = mesh(field, crop, level)
    return surface


def ear_surface(ear: EarPrediction, labels: LabelMap) -> tuple[FloatArray, FaceArray]:
    """The surface of a labyrinth: of its probability, or of its voxels if that is a mask or None.

    Args:
        ear: the predicted ear.
        labels: 1 right, 2 left labyrinth, on the scan's grid.

    Returns:
        As `mesh`.
    """
    if ear.probability is None or ear.probability.is_mask:
        return smooth_mesh(labels.values == ear.side.label, labels.grid)
    return mesh(ear.probability.values, ear.probability.grid)


def signed_volume_mm3(vertices_mm: FloatArray, faces: FaceArray) -> float:
    """Volume enclosed by a closed surface; negative if its faces are oriented inward.

    Args:
        vertices_mm: (n, 3).
        faces: (m, 3) indices.

    Source: the divergence theorem, summed over the tetrahedra from one point to each face.

    >>> corners_mm = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=float)
    >>> faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    >>> round(signed_volume_mm3(corners_mm, faces), 4)
    0.1667
    """
    if not len(faces):
        return 0.0
    # Relative to the centre: far from the origin the sum would lose precision by cancellation.
    points = (vertices_mm - vertices_mm.mean(axis=0))[faces]
    return float(np.einsum("ij,ij->", points[:, 0], np.cross(points[:, 1], points[:, 2])) / 6)
