"""Connected components of masks, and distances within them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from otovox.core.geometry import FloatArray
from otovox.core.segments import Box

#: Neighbours across faces, edges and corners.
ALL_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)
#: Neighbours across faces.
FACE_NEIGHBOURS = np.abs(np.indices((3, 3, 3)) - 1).sum(axis=0) <= 1


def pieces(
    mask: NDArray[Any], neighbours: NDArray[Any] = ALL_NEIGHBOURS
) -> tuple[NDArray[np.int64], int]:
    """Number the connected pieces of a mask.

    Args:
        mask: (i, j, k); nonzero voxels are foreground.
        neighbours: (3, 3, 3) structuring element of connected voxels.

    Returns:
        (i, j, k) numbers from 1, 0 outside, and the number of pieces.

    >>> pieces(np.eye(3)[None])[1]
    1
    """
    numbers = np.zeros(mask.shape, dtype=np.int64)
    count = ndimage.label(mask, structure=neighbours, output=numbers)
    assert isinstance(count, int)
    return numbers, count


def main_piece(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """The largest piece of a mask; empty for an empty mask.

    >>> main_piece(np.array([[[1, 0, 1, 1]]])).tolist()
    [[[False, False, True, True]]]
    """
    numbers, count = pieces(mask)
    if count < 2:
        return np.asarray(mask, dtype=bool)
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0
    return numbers == int(sizes.argmax())


def pieces_with(mask: NDArray[Any], seeds: NDArray[Any]) -> NDArray[np.bool_]:
    """The pieces of a mask that contain at least one of the seeds.

    >>> pieces_with(np.array([[[1, 0, 1, 1]]]), np.array([[[1, 1, 0, 0]]])).tolist()
    [[[True, False, False, False]]]
    """
    mask = np.asarray(mask, dtype=bool)
    numbers, count = pieces(mask)
    kept = np.zeros(count + 1, dtype=bool)
    kept[numbers[mask & np.asarray(seeds, dtype=bool)]] = True
    return kept[numbers]


def largest(mask: NDArray[Any]) -> NDArray[np.bool_]:
    """The largest piece of a mask, with cavities filled.

    >>> mask = np.array([[[1, 1, 1, 0, 0, 1]]])
    >>> largest(mask).astype(int).tolist()
    [[[1, 1, 1, 0, 0, 0]]]
    """
    around, _ = pieces(~np.pad(main_piece(mask), 1), FACE_NEIGHBOURS)
    return (around != around[0, 0, 0])[1:-1, 1:-1, 1:-1]


def depth_mm(mask: NDArray[Any], spacing_mm: FloatArray) -> FloatArray:
    """Distance of every voxel to the nearest one outside the mask, 0 outside.

    >>> mask = np.pad(np.ones((3, 3, 3), dtype=bool), 1)
    >>> float(depth_mm(mask, np.full(3, 0.5))[2, 2, 2])
    1.0
    """
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=spacing_mm))


def nearest(mask: NDArray[Any], spacing_mm: FloatArray) -> tuple[NDArray[Any], ...]:
    """Index, one array per axis, of the nearest voxel of a mask.

    >>> mask = np.array([[[True, False, False, True]]])
    >>> nearest(mask, np.ones(3))[2].tolist()
    [[[0, 0, 3, 3]]]
    """
    indices = ndimage.distance_transform_edt(
        ~np.asarray(mask, dtype=bool),
        sampling=spacing_mm,
        return_distances=False,
        return_indices=True,
    )
    return tuple(np.asarray(indices))


def box_around(ijk: NDArray[Any], margin: int) -> Box:
    """Slices around some voxels, (n, 3), n > 0, with a margin, clipped at index 0.

    >>> box_around(np.array([[0, 3, 4]]), margin=1)
    (slice(0, 2, None), slice(2, 5, None), slice(3, 6, None))
    """
    low = np.maximum(ijk.min(axis=0) - margin, 0)
    high = ijk.max(axis=0) + margin + 1
    i, j, k = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    return i, j, k
