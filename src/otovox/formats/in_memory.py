"""Volumes that are already in memory: SimpleITK, nibabel and MONAI images, arrays.

nibabel and MONAI are recognised by the modules of their classes and never imported. Each library's
convention is converted to LPS mm here; volumes without a defined geometry are refused.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray

from otovox.core.volume import Grid, Scan
from otovox.errors import InputError
from otovox.formats.guards import check_header, check_values
from otovox.formats.images import scan_name

Space = Literal["LPS", "RAS"]

#: From RAS to LPS and back: x and y change sign.
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Millimetres per unit of length of a NIfTI header. Source: nifti1.h
_NIFTI_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
_HOW_TO = (
    'give the array with affine= (4x4, from voxel indices to mm) and space="LPS" or space="RAS"'
)


def scan_in_memory(
    volume: Any, *, affine: ArrayLike | None = None, space: Space | None = None
) -> Scan:
    """Convert a volume in memory to a scan.

    Args:
        volume: a SimpleITK image, nibabel image or MONAI MetaTensor, whose geometry is used
            exactly; or an array (i, j, k), with `affine` and `space`.
        affine: for arrays: (4, 4), from (i, j, k) of a voxel's centre to mm.
        space: space of `affine`, with the directions of x, y and z: left-posterior-superior or
            right-anterior-superior.

    Raises:
        InputError: if it is not a CT volume, or if its geometry is missing or stated twice.

    >>> values = np.random.default_rng(0).normal(0, 100, (40, 40, 40))
    >>> scan = scan_in_memory(values, affine=np.diag([-0.5, -0.5, 0.5, 1]), space="RAS")
    >>> scan.grid.to_mm([10, 0, 0]).tolist()
    [5.0, 0.0, 0.0]
    """
    kind = _kind(volume)
    if kind != "array" and (affine is not None or space is not None):
        raise InputError(f"a {kind} has its own geometry: affine= and space= are for arrays")
    if kind == "SimpleITK image":
        return _of_sitk(volume)
    if kind == "nibabel image":
        return _of_nibabel(volume)
    if kind == "MONAI MetaTensor":
        return _of_metatensor(volume)
    if affine is None or space is None:
        raise InputError(f"an array does not define the position of its voxels: {_HOW_TO}")
    return _scan("array", np.asarray(volume), affine, space)


def to_sitk(values: NDArray[Any], grid: Grid) -> sitk.Image:
    """An array (i, j, k) as a SimpleITK image on the same grid.

    >>> grid = Grid.centred((0, 0, 0), (2, 3, 4), spacing_mm=0.5)
    >>> image = to_sitk(np.zeros(grid.shape, np.int16), grid)
    >>> image.GetSize(), image.GetSpacing()
    ((2, 3, 4), (0.5, 0.5, 0.5))
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.T))
    image.SetSpacing(grid.spacing_mm.tolist())
    image.SetDirection(grid.directions.ravel().tolist())
    image.SetOrigin(grid.affine[:3, 3].tolist())
    return image


def _kind(volume: Any) -> str:
    """The kind of a volume, by the modules of its class and base classes.

    Raises:
        InputError: if it cannot be a scan.
    """
    if isinstance(volume, sitk.Image):
        return "SimpleITK image"
    packages = {parent.__module__.partition(".")[0] for parent in type(volume).__mro__}
    if "nibabel" in packages and hasattr(volume, "dataobj"):
        return "nibabel image"
    if "monai" in packages and hasattr(volume, "affine"):
        return "MONAI MetaTensor"
    if hasattr(volume, "__array__"):
        return "array"
    raise InputError(
        f"cannot analyse a {type(volume).__name__}: a path, Scan, SimpleITK image, nibabel image, "
        "MONAI MetaTensor or array is needed"
    )


def _of_sitk(image: sitk.Image) -> Scan:
    place = Path("SimpleITK image")
    grid = check_header(
        place,
        size=image.GetSize(),
        spacing=image.GetSpacing(),
        direction=image.GetDirection(),
        origin=image.GetOrigin(),
        pixel=image.GetPixelID(),
        components=image.GetNumberOfComponentsPerPixel(),
    )
    values = sitk.GetArrayFromImage(image).T.astype(np.float32)
    check_values(place, values)
    return Scan(values, grid)


def _of_nibabel(image: Any) -> Scan:
    header = image.header
    silent = (
        type(image).__name__.startswith("Nifti")
        and not int(header["qform_code"])
        and not int(header["sform_code"])
    )
    if image.affine is None or silent:
        raise InputError(
            "nibabel image: its header has neither qform nor sform, so left and right are unknown; "
            + _HOW_TO
        )
    values = np.asanyarray(image.dataobj)
    while values.ndim > 3 and values.shape[-1] == 1:
        values = values[..., 0]
    unit = header.get_xyzt_units()[0] if hasattr(header, "get_xyzt_units") else "mm"
    to_mm = np.diag([*(_NIFTI_MM.get(unit, 1.0),) * 3, 1.0])
    path = image.get_filename() if hasattr(image, "get_filename") else None
    return _scan("nibabel image", values, to_mm @ np.asarray(image.affine), "RAS", path)


def _of_metatensor(tensor: Any) -> Scan:
    """MONAI's affines are RAS unless `meta["space"]` states otherwise; channels come first."""
    meta = getattr(tensor, "meta", {})
    space = str(getattr(meta.get("space"), "value", meta.get("space") or "RAS"))
    if space not in ("LPS", "RAS"):
        raise InputError(f"MONAI MetaTensor: its space is {space!r}; RAS or LPS is needed")
    affine = np.asarray(tensor.affine.detach().cpu(), dtype=float).squeeze()
    if np.array_equal(affine, np.eye(4)) and "original_affine" not in meta:
        raise InputError(
            "MONAI MetaTensor: its affine is the identity, MONAI's default, so the position of its "
            f"voxels is unknown; set its affine, or {_HOW_TO}"
        )
    values = tensor.detach().cpu().numpy()
    while values.ndim > 3 and values.shape[0] == 1:
        values = values[0]
    path = meta.get("filename_or_obj")
    path = path if isinstance(path, str | Path) else None
    return _scan(
        "MONAI MetaTensor", np.asarray(values), affine, "LPS" if space == "LPS" else "RAS", path
    )


def _scan(
    kind: str,
    values: NDArray[Any],
    affine: ArrayLike,
    space: Space,
    path: str | Path | None = None,
) -> Scan:
    """Create a validated scan from an array and its affine.

    Args:
        kind: its name in messages.
        values: (i, j, k) numbers.
        affine: (4, 4) to mm.
        space: space of the affine.
        path: file of the volume, for its name.
    """
    place = Path(path or kind)
    if values.ndim != 3:
        raise InputError(f"{place}: has {values.ndim} dimensions; a 3D volume is needed")
    if values.dtype.kind not in "iuf":
        raise InputError(f"{place}: contains {values.dtype} values; numbers are needed")
    if space not in ("LPS", "RAS"):
        raise InputError(f"{place}: space={space!r} is neither 'LPS' nor 'RAS'")
    matrix = np.asarray(affine, dtype=float)
    if matrix.shape != (4, 4) or not np.array_equal(matrix[3], [0, 0, 0, 1]):
        raise InputError(f"{place}: the affine must be 4x4, with 0, 0, 0, 1 in its last row")
    lps = _RAS_TO_LPS @ matrix if space == "RAS" else matrix
    edges = np.linalg.norm(lps[:3, :3], axis=0)
    check_header(
        place,
        size=values.shape,
        spacing=edges,
        direction=(lps[:3, :3] / np.where(edges > 0, edges, 1)).ravel(),
        origin=lps[:3, 3],
        pixel=sitk.sitkFloat32,
        components=1,
    )
    with np.errstate(over="ignore"):  # too large for float32: becomes infinite and is refused
        numbers = values.astype(np.float32)
    check_values(place, numbers)
    i, j, k = numbers.shape
    name = scan_name(place) if path else "scan"
    return Scan(numbers, Grid((i, j, k), lps), name, str(path or ""))
