"""Image files in and out: NIfTI, NRRD, MetaImage, through SimpleITK, whose world is LPS."""

import gzip
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from otovox.core.volume import Grid, LabelMap, Scan
from otovox.errors import InputError, OutputError
from otovox.formats.guards import check_finite, check_header, check_values
from otovox.formats.writing import replacing

#: Endings of the image files that are read, longest first.
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")

#: Bytes before the voxels in the NIfTI files that are written: header and no extension (NIfTI-1).
_HEADER = 352

#: Whether what C libraries print on standard error is discarded.
_SILENCED: ContextVar[bool] = ContextVar("silenced", default=False)

# SimpleITK's warnings would precede our one sentence.
sitk.ProcessObject.SetGlobalWarningDisplay(False)


def scan_name(path: Path) -> str:
    """A file's name without its image ending; a folder's name."""
    name = path.resolve().name
    for ending in ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def is_image_file(path: Path) -> bool:
    """Whether the ending is one that is read."""
    return path.name.lower().endswith(ENDINGS)


def load_image(path: Path) -> Scan:
    """A scan from an image file.

    Raises:
        InputError: if it is missing, damaged, or no CT volume that can be analysed.
    """
    reader = opened(path)
    grid = check_header(
        path,
        size=reader.GetSize(),
        spacing=reader.GetSpacing(),
        direction=reader.GetDirection(),
        origin=reader.GetOrigin(),
        pixel=reader.GetPixelID(),
        components=reader.GetNumberOfComponents(),
    )
    check_place(reader, path)
    pixels = pixels_of(reader, path)
    with np.errstate(over="ignore"):  # too large for float32: infinite, and refused as that
        values = pixels.astype(np.float32, copy=False)
    del pixels
    check_values(path, values)
    return Scan(values, grid, scan_name(path), str(path))


def load_label_map(path: Path) -> LabelMap:
    """A label map from an image file.

    Raises:
        InputError: if it cannot be read, or its values are no small whole numbers.
    """
    reader = opened(path)
    values = pixels_of(reader, path)
    if values.ndim != 3 or values.min() < 0 or values.max() > 255 or np.any(values % 1):
        raise InputError(f"{path}: is no label map (whole numbers from 0 to 255 in 3D are needed)")
    grid = grid_of(reader.GetSize(), reader.GetSpacing(), reader.GetDirection(), reader.GetOrigin())
    return LabelMap(values.astype(np.uint8), grid)


def segment_values(path: Path, pattern: str) -> list[int]:
    """Label values of the segments of a 3D Slicer `.seg.nrrd` whose names match a pattern.

    Args:
        path: the file.
        pattern: regular expression, searched for in the names, capital or not.

    Returns:
        The values; none if the file names no segment.

    Raises:
        InputError: if it cannot be read.
    """
    reader = opened(path)
    found = []
    for key in reader.GetMetaDataKeys():
        number = re.fullmatch(r"Segment(\d+)_Name", key)
        if number and re.search(pattern, reader.GetMetaData(key), re.IGNORECASE):
            value = f"Segment{number[1]}_LabelValue"
            found.append(int(reader.GetMetaData(value)) if reader.HasMetaDataKey(value) else 1)
    return found


def save_label_map(labels: LabelMap, path: Path) -> None:
    """Write a label map, compressed, on its own grid.

    Raises:
        OutputError: if it cannot be written.
    """
    save_image(labels.values, labels.grid, path)


def save_volume(values: NDArray[np.float32], grid: Grid, path: Path) -> None:
    """Write a volume of real numbers, compressed.

    Raises:
        OutputError: if it cannot be written.
    """
    save_image(values.astype(np.float32), grid, path)


def grid_of(
    size: Iterable[int],
    spacing: Iterable[float],
    direction: Iterable[float],
    origin: Iterable[float],
) -> Grid:
    """A grid from ITK's header: x, y, z are i, j, k."""
    i, j, k = (int(n) for n in size)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(list(direction), (3, 3)) * np.asarray(list(spacing))
    affine[:3, 3] = list(origin)
    return Grid((i, j, k), affine)


def opened(path: Path) -> sitk.ImageFileReader:
    """A reader that has read the header of an image file.

    Raises:
        InputError: if it is missing, damaged, or of another format.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty")
    if not is_image_file(path):
        raise InputError(f"{path}: is none of {', '.join(ENDINGS)}, nor a folder of DICOM images")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        with _quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise InputError(
                f"{path}: its axes are not perpendicular (sheared); resample it first"
            ) from error
        raise InputError(
            f"{path}: cannot be read as an image (damaged, truncated, or not {', '.join(ENDINGS)})"
        ) from error
    return reader


def pixels_of(reader: sitk.ImageFileReader, path: Path) -> NDArray:
    """All values of an opened image, (i, j, k); components, if there are several, come first.

    Raises:
        InputError: if the file is truncated, or does not fit into memory.
    """
    _check_complete(reader, path)
    try:
        with _quiet():
            image = reader.Execute()
        return sitk.GetArrayFromImage(image).T
    except RuntimeError as error:
        raise InputError(f"{path}: its voxels cannot be read (the file is truncated)") from error
    except MemoryError as error:
        raise InputError(f"{path}: does not fit into memory") from error


@contextmanager
def silenced_libraries() -> Iterator[None]:
    """Discard what C libraries print on standard error within this block, in this context.

    Only for a process that otovox has for itself, such as the command line: standard error belongs
    to the whole process, and is redirected while an image is read or written.
    """
    token = _SILENCED.set(True)
    try:
        yield
    finally:
        _SILENCED.reset(token)


@contextmanager
def _quiet() -> Iterator[None]:
    """No library noise in `silenced_libraries`: it would precede our one sentence."""
    if not _SILENCED.get():
        yield
        return
    try:
        kept = os.dup(2)
    except OSError:  # no standard error at all
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def check_place(reader: sitk.ImageFileReader, path: Path) -> None:
    """Refuse headers that leave open which side is left: SimpleITK would guess.

    Raises:
        InputError: if this one does.
    """
    told = {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}
    name = path.name.lower()
    if name.endswith((".nrrd", ".nhdr")) and not told.get("NRRD_space"):
        raise InputError(
            f"{path}: its header names no space, so left and right are not known; "
            "add one, such as left-posterior-superior"
        )
    codes = (int(told.get(f"{form}_code", "0")) for form in ("qform", "sform"))
    if name.endswith((".nii", ".nii.gz")) and not any(codes):
        raise InputError(
            f"{path}: its header has neither qform nor sform, so left and right are not known; "
            "set one of them"
        )


def _check_complete(reader: sitk.ImageFileReader, path: Path) -> None:
    """Refuse a NIfTI file that ends early or holds nan: its reader would put zeros, silently."""
    name = path.name.lower()
    if not name.endswith((".nii", ".nii.gz")):
        return
    bits, start = int(reader.GetMetaData("bitpix")), float(reader.GetMetaData("vox_offset"))
    need = int(start) + int(np.prod(reader.GetSize())) * bits // 8
    real = {"16": "f4", "64": "f8"}.get(reader.GetMetaData("datatype"))
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        size = _unpacked_size(path, need) if packed else path.stat().st_size
        bad = _not_finite(path, packed, int(start), need, real) if real and size >= need else 0
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: its voxels cannot be read (the file is truncated)") from error
    if size < need:
        raise InputError(f"{path}: its voxels cannot be read (the file is truncated)")
    check_finite(path, bad)


def _not_finite(path: Path, packed: bool, start: int, stop: int, real: str) -> int:
    """How many floats between two bytes of a NIfTI file are nan or infinite."""
    file: BinaryIO
    with gzip.open(path) if packed else path.open("rb") as file:  # type: ignore[assignment]
        header = file.read(start)
        # The header's first number is its own size, 348 or 540, in the file's byte order.
        order = "<" if int.from_bytes(header[:4], "little") in (348, 540) else ">"
        bad, left = 0, stop - start
        while block := file.read(min(left, 2**24)):
            values = np.frombuffer(block, dtype=order + real)
            bad += values.size - int(np.count_nonzero(np.isfinite(values)))
            left -= len(block)
    return bad


def _unpacked_size(path: Path, need: int) -> int:
    """Bytes that a gzip file holds, by its last four; read through only where these differ."""
    with path.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        told = int.from_bytes(file.read(4), "little")
    if told == need % 2**32:
        return need
    with gzip.open(path) as file:
        return sum(len(block) for block in iter(lambda: file.read(2**20), b""))


def save_image(
    values: NDArray, grid: Grid, path: Path, *, facts: Mapping[str, str] | None = None
) -> None:
    """Write a volume, compressed, with key-value pairs in its header where the format has them.

    Raises:
        OutputError: if it cannot be written.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.T))
    for key, value in (facts or {}).items():
        image.SetMetaData(key, value)
    image.SetSpacing(grid.spacing_mm.tolist())
    image.SetDirection(grid.directions.ravel().tolist())
    image.SetOrigin(grid.affine[:3, 3].tolist())
    with replacing(path) as beside:
        try:
            with _quiet():
                sitk.WriteImage(image, str(beside), useCompression=True)
            _check_written(beside, values.nbytes)
        except (RuntimeError, EOFError) as error:
            raise OutputError(f"{path}: cannot be written (disk full or not writable)") from error


def _check_written(path: Path, need: int) -> None:
    """Look whether all bytes of a NIfTI file are there: its writer says nothing of a full disk."""
    packed = path.name.lower().endswith(".nii.gz")
    if not packed and not path.name.lower().endswith(".nii"):
        return
    size = _unpacked_size(path, _HEADER + need) if packed else path.stat().st_size
    if size < _HEADER + need:
        raise EOFError
