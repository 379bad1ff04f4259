"""Reads and writes NIfTI, NRRD and MetaImage files through SimpleITK, whose world is LPS."""

import gzip
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from otovox.core.volume import Grid, LabelMap, Scan
from otovox.errors import InputError, OutputError
from otovox.formats.arguments import check_name
from otovox.formats.detached import PAIR, check_counts, image_files
from otovox.formats.guards import check_finite, check_header, check_values
from otovox.formats.native import alone
from otovox.formats.placement import Stated, placement_of, why_unreadable
from otovox.formats.writing import replacing
from otovox.imaging.itk import array_of

#: Extensions of supported image files, longest first.
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".hdr")

#: Bytes before the voxels in NIfTI files written here: the header without extensions (NIfTI-1).
_HEADER = 352

# SimpleITK's warnings would be printed before our own message.
sitk.ProcessObject.SetGlobalWarningDisplay(False)


def scan_name(path: Path) -> str:
    """The name of a file without its image extension, or of a folder; links are not resolved.

    >>> scan_name(Path("scans/anna.v2.nii.gz")), scan_name(Path("scans/ct"))
    ('anna.v2', 'ct')
    """
    name = Path(os.path.abspath(path)).name
    for ending in ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def is_image_file(path: Path) -> bool:
    """Whether a file has a supported image extension.

    >>> is_image_file(Path("scan.nrrd")), is_image_file(Path("photo.png"))
    (True, False)
    """
    return path.name.lower().endswith(ENDINGS)


def load_image(path: Path, stated: Stated | None = None) -> Scan:
    """A scan from an image file.

    Args:
        path: the file; for a pair, the header.
        stated: orientation and voxel size from the user, for headers that lack them.

    Raises:
        InputError: if it is missing, damaged, of unknown geometry, or not a CT volume that can be
            analysed.
    """
    reader = opened(path)
    spacing, direction = reader.GetSpacing(), reader.GetDirection()
    origin, warnings = reader.GetOrigin(), ()
    if reader.GetDimension() == 3:
        placement = placement_of(path, reader, stated or Stated())
        affine, warnings = placement.affine, placement.warnings
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        direction, origin = (affine[:3, :3] / spacing).ravel(), affine[:3, 3]
    grid = check_header(
        path,
        size=reader.GetSize(),
        spacing=spacing,
        direction=direction,
        origin=origin,
        pixel=reader.GetPixelID(),
        components=reader.GetNumberOfComponents(),
    )
    pixels = pixels_of(reader, path)
    with np.errstate(over="ignore"):  # overflow becomes infinite, and is refused below
        values = pixels.astype(np.float32, copy=False)
    check_values(path, values if pixels.dtype.kind == "f" else pixels)
    del pixels
    return Scan(values, grid, scan_name(path), str(path), warnings=warnings)


def load_label_map(path: Path) -> LabelMap:
    """A label map from an image file.

    Raises:
        InputError: if it cannot be read, its position is unknown, or its values are not integers
            from 0 to 255.

    >>> from tempfile import TemporaryDirectory
    >>> grid = Grid.centred((0, 0, 0), (1, 3, 3), spacing_mm=1)
    >>> labels = LabelMap(np.eye(3, dtype=np.uint8)[None], grid)
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "labels.nrrd")
    ...     save_label_map(labels, path)
    ...     bool((load_label_map(path).values == labels.values).all())
    True
    """
    reader = opened(path)
    values = pixels_of(reader, path)
    if values.ndim != 3 or values.min() < 0 or values.max() > 255 or np.any(values % 1):
        raise InputError(f"{path}: is not a label map (integers from 0 to 255 in 3D are needed)")
    return LabelMap(values.astype(np.uint8), grid_of(path, reader))


def segment_values(path: Path, pattern: str) -> list[int]:
    """Label values of the segments in a 3D Slicer `.seg.nrrd` whose names match a pattern.

    Args:
        path: the file.
        pattern: regular expression, searched for in the names, ignoring case.

    Returns:
        The label values; empty if no segment matches.

    Raises:
        InputError: if it cannot be read.
    """
    reader = opened(path)
    values = []
    for key in reader.GetMetaDataKeys():
        number = re.fullmatch(r"Segment(\d+)_Name", key)
        if number and re.search(pattern, reader.GetMetaData(key), re.IGNORECASE):
            value = f"Segment{number[1]}_LabelValue"
            values.append(int(reader.GetMetaData(value)) if reader.HasMetaDataKey(value) else 1)
    return values


def save_label_map(labels: LabelMap, path: Path) -> None:
    """Write a label map, compressed, on its own grid.

    Raises:
        OutputError: if it cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> grid = Grid.centred((0, 0, 0), (1, 3, 3), spacing_mm=1)
    >>> labels = LabelMap(np.eye(3, dtype=np.uint8)[None], grid)
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "labels.nii.gz")
    ...     save_label_map(labels, path)
    ...     load_label_map(path).volume_mm3(1)
    3.0
    """
    save_image(labels.values, labels.grid, path)


def save_volume(values: NDArray[np.float32], grid: Grid, path: Path) -> None:
    """Write a volume of floats, compressed.

    Raises:
        OutputError: if it cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> grid = Grid.centred((0, 0, 0), (2, 2, 2), spacing_mm=0.5)
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "spread.nii.gz")
    ...     save_volume(np.full(grid.shape, 0.25, np.float32), grid, path)
    ...     float(pixels_of(opened(path), path).max())
    0.25
    """
    save_image(values.astype(np.float32, copy=False), grid, path)


def grid_of(path: Path, reader: sitk.ImageFileReader) -> Grid:
    """The grid of an opened 3D image.

    Raises:
        InputError: if its header does not define the grid.
    """
    i, j, k = reader.GetSize()[:3]
    return Grid((i, j, k), placement_of(path, reader, Stated()).affine)


def opened(path: Path) -> sitk.ImageFileReader:
    """A reader that has read the header of an image file.

    Raises:
        InputError: if it is missing, damaged, or of another format.
    """
    check_name(path)
    if not os.path.exists(path):
        if os.path.islink(path):
            raise InputError(
                f"{path}: is a link to a file that does not exist; fetch it first (git annex get)"
            )
        raise InputError(f"{path}: file not found")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty")
    if not is_image_file(path):
        raise InputError(f"{path}: is not {', '.join(ENDINGS)}, nor a folder of DICOM images")
    for file in image_files(path)[1:]:
        if not file.is_file():
            raise InputError(f"{path}: its voxel data file {file.name} does not exist")
    check_counts(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with alone():
            reader.ReadImageInformation()
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise InputError(
                f"{path}: its axes are not perpendicular (sheared); resample it first"
            ) from error
        reason = why_unreadable(path)
        raise InputError(
            f"{path}: {reason}"
            if reason
            else f"{path}: cannot be read as an image (damaged, truncated, or not one of "
            f"{', '.join(ENDINGS)})"
        ) from error
    return reader


def pixels_of(reader: sitk.ImageFileReader, path: Path) -> NDArray[Any]:
    """All values of an opened image, (i, j, k); multiple components come first.

    Raises:
        InputError: if the file is truncated, or does not fit into memory.
    """
    _check_complete(reader, path)
    try:
        with alone():
            image = reader.Execute()
        return array_of(image).T
    except RuntimeError as error:
        raise InputError(f"{path}: its voxels cannot be read (the file is truncated)") from error
    except MemoryError as error:
        raise InputError(f"{path}: does not fit into memory") from error


def _check_complete(reader: sitk.ImageFileReader, path: Path) -> None:
    """Refuse a NIfTI file that is truncated or has NaN: its reader would silently read zeros."""
    if not path.name.lower().endswith((".nii", ".nii.gz", *PAIR)):
        return
    voxels = image_files(path)[-1]
    bits, start = int(reader.GetMetaData("bitpix")), int(float(reader.GetMetaData("vox_offset")))
    need = start + int(np.prod(reader.GetSize())) * bits // 8
    real = {"16": "f4", "64": "f8"}.get(reader.GetMetaData("datatype"))
    try:
        with voxels.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        size = _unpacked_size(voxels, need) if packed else voxels.stat().st_size
        bad = 0
        if real and size >= need:
            bad = _not_finite(voxels, packed, start, need, _byte_order(path) + real)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: its voxels cannot be read (the file is truncated)") from error
    if size < need:
        raise InputError(f"{path}: its voxels cannot be read (the file is truncated)")
    check_finite(path, bad)


def _byte_order(path: Path) -> str:
    """The byte order of a NIfTI or Analyze header, whose first number is its size, 348 or 540."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    with gzip.open(path) if packed else path.open("rb") as file:
        return "<" if int.from_bytes(file.read(4), "little") in (348, 540) else ">"


def _not_finite(path: Path, packed: bool, start: int, stop: int, kind: str) -> int:
    """The number of floats between two byte offsets of a file that are NaN or infinite."""
    file: BinaryIO
    with gzip.open(path) if packed else path.open("rb") as file:  # type: ignore[assignment]
        file.read(start)
        bad, left = 0, stop - start
        while block := file.read(min(left, 2**24)):
            values = np.frombuffer(block, dtype=kind)
            bad += values.size - int(np.count_nonzero(np.isfinite(values)))
            left -= len(block)
    return bad


def _unpacked_size(path: Path, need: int) -> int:
    """Unpacked size of a gzip file, from its last four bytes; read in full only if these differ."""
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        size_mod_2_32 = int.from_bytes(file.read(4), "little")
    if size_mod_2_32 == need % 2**32:
        return need
    with gzip.open(path) as file:
        return sum(len(block) for block in iter(lambda: file.read(2**20), b""))


def save_image(
    values: NDArray[Any], grid: Grid, path: Path, *, facts: Mapping[str, str] | None = None
) -> None:
    """Write a volume, compressed, with key-value pairs in its header if the format supports them.

    Args:
        values: (i, j, k), or (layer, i, j, k) of several volumes on one grid.
        grid: position of the voxels.
        path: file to write.
        facts: the key-value pairs.

    Raises:
        OutputError: if it cannot be written.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.T), isVector=values.ndim == 4)
    for key, value in (facts or {}).items():
        image.SetMetaData(key, value)
    image.SetSpacing(grid.spacing_mm.tolist())
    image.SetDirection(grid.directions.ravel().tolist())
    image.SetOrigin(grid.affine[:3, 3].tolist())
    with replacing(path) as beside:
        try:
            with alone():
                sitk.WriteImage(image, str(beside), useCompression=True)
            _check_written(beside, values.nbytes)
        except (RuntimeError, EOFError) as error:
            raise OutputError(f"{path}: cannot be written (disk full or not writable)") from error


def _check_written(path: Path, need: int) -> None:
    """Check that a NIfTI file is complete: its writer does not report a full disk."""
    packed = path.name.lower().endswith(".nii.gz")
    if not packed and not path.name.lower().endswith(".nii"):
        return
    size = _unpacked_size(path, _HEADER + need) if packed else path.stat().st_size
    if size < _HEADER + need:
        raise EOFError
