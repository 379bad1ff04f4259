"""Input checks before any processing, each refusing with one sentence."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from otovox.core.volume import Grid
from otovox.errors import InputError

#: Coarsest and finest voxel edges that are analysed, mm: chosen. Thicker slices do not resolve a
#: canal; finer voxels mean micro-CT of another scale, or wrong units in the header.
COARSEST_MM, FINEST_MM = 3.0, 0.012
#: Shortest field along any axis, mm: chosen, half a labyrinth.
SHORTEST_FIELD_MM = 8.0
#: Fewest slices: chosen.
FEWEST_VOXELS = 8
#: Memory limit for a scan, bytes: chosen; about four copies of the volume are held.
MEMORY_LIMIT = 12 * 2**30
_COPIES = 4
#: A CT has more grey values than this, a label map does not. Chosen.
_FEW_VALUES = 8
#: Largest deviation of axes from perpendicular (cosine): chosen, far above header rounding.
_SKEW = 1e-3

_SCALAR_PIXELS = {
    sitk.sitkInt8, sitk.sitkUInt8, sitk.sitkInt16, sitk.sitkUInt16, sitk.sitkInt32,
    sitk.sitkUInt32, sitk.sitkInt64, sitk.sitkUInt64, sitk.sitkFloat32, sitk.sitkFloat64,
}  # fmt: skip


def check_header(
    path: Path,
    *,
    size: Iterable[int],
    spacing: Iterable[float],
    direction: Iterable[float],
    origin: Iterable[float],
    pixel: int,
    components: int,
) -> Grid:
    """The grid of an image header, if it describes a usable CT volume.

    Raises:
        InputError: stating the problem.

    >>> given = {"spacing": (0.2, 0.2, 0.4), "origin": (0, 0, 0), "pixel": 2, "components": 1}
    >>> grid = check_header(Path("a.nii"), size=(99, 99, 99), direction=np.eye(3).ravel(), **given)
    >>> grid.extent_mm.round(2).tolist()
    [19.8, 19.8, 39.6]
    """
    voxels = [int(n) for n in size]
    if len(voxels) == 4 and voxels[3] > 1:
        raise InputError(f"{path}: is a 4D series of {voxels[3]} volumes; pass a single 3D volume")
    if len(voxels) != 3:
        raise InputError(f"{path}: has {len(voxels)} dimensions; a 3D volume is needed")
    if components != 1 or pixel not in _SCALAR_PIXELS:
        raise InputError(
            f"{path}: is a colour or vector image; a CT with one value per voxel is needed"
        )
    edges = np.asarray(list(spacing))
    shape = " x ".join(map(str, voxels))
    if min(voxels) < FEWEST_VOXELS:
        problem = "is a single slice" if min(voxels) == 1 else f"has only {shape} voxels"
        raise InputError(
            f"{path}: {problem}; a volume of at least {FEWEST_VOXELS} slices is needed"
        )
    if not np.isfinite(edges).all() or edges.min() <= 0:
        raise InputError(f"{path}: its voxel size of {_list(edges)} mm is invalid")
    if edges.max() > COARSEST_MM:
        raise InputError(
            f"{path}: voxels of {_list(edges)} mm are too coarse for an inner ear; "
            f"at most {COARSEST_MM:g} mm are needed"
        )
    if edges.min() < FINEST_MM:
        raise InputError(
            f"{path}: voxels of {_list(edges)} mm are finer than {FINEST_MM:g} mm; "
            "check the unit in the header, or resample"
        )
    extent = edges * voxels
    if extent.min() < SHORTEST_FIELD_MM:
        raise InputError(
            f"{path}: its field of view of {_list(extent)} mm is too small for an inner ear; "
            f"at least {SHORTEST_FIELD_MM:g} mm are needed"
        )
    check_memory(path, voxels)
    axes = np.reshape(list(direction), (3, 3))
    gram = axes.T @ axes
    if not np.isfinite(gram).all() or np.abs(gram - np.eye(3)).max() > _SKEW:
        raise InputError(f"{path}: its axes are not perpendicular (sheared); resample it first")
    affine = np.eye(4)
    affine[:3, :3] = axes * edges
    affine[:3, 3] = list(origin)
    i, j, k = voxels
    return Grid((i, j, k), affine)


def check_memory(path: Path, voxels: Iterable[int]) -> None:
    """Refuse a volume too large for memory, before reading it.

    Raises:
        InputError: stating the memory needed.
    """
    shape = [int(n) for n in voxels]
    need = float(np.prod([float(n) for n in shape])) * 4 * _COPIES
    limit = min(MEMORY_LIMIT, 0.8 * _memory())
    if need > limit:
        raise InputError(
            f"{path}: {' x '.join(map(str, shape))} voxels need about {need / 2**30:.0f} GiB of "
            f"memory, but the limit is {limit / 2**30:.0f} GiB; crop or resample the volume"
        )


def check_values(path: Path, values: NDArray[Any]) -> None:
    """Refuse volumes whose values cannot be those of a CT.

    Raises:
        InputError: stating the problem.
    """
    if np.issubdtype(values.dtype, np.floating):
        check_finite(path, values.size - int(np.count_nonzero(np.isfinite(values))))
    low, high = values.min(), values.max()
    if low == high:
        raise InputError(f"{path}: all voxels have the value {low:g}; the image is empty")
    if (
        np.unique(values[::3, ::3, ::3]).size <= _FEW_VALUES
        and np.unique(values).size <= _FEW_VALUES
    ):
        raise InputError(f"{path}: has so few values that it looks like a label map, not a CT")


def check_finite(path: Path, bad: int) -> None:
    """Refuse a volume with `bad` voxels that are NaN or infinite.

    Raises:
        InputError: stating how many.
    """
    if bad:
        raise InputError(
            f"{path}: {bad} voxels are NaN or infinite; replace them, for example by air"
        )


def _list(values: NDArray[Any]) -> str:
    return " x ".join(f"{v:.3g}" for v in values)


def _memory() -> float:
    """Physical memory, bytes; infinite if the system does not report it."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return float("inf")
