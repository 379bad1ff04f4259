"""Reads a DICOM series as a Scan, with geometric tolerances and explicit reasons for refusal.

Only position and orientation determine where a slice lies; a mismatch in descriptive tags (tilt,
thickness) gives a warning at most. The slices of an enhanced multi-frame CT are its frames.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from otovox.core.geometry import FloatArray, unit
from otovox.core.volume import Scan
from otovox.errors import InputError
from otovox.formats.dicom_headers import (
    TAGS,
    Header,
    Series,
    all_series,
    mend,
    name_encoding,
    read_header,
)
from otovox.formats.guards import (
    COARSEST_MM,
    FEWEST_VOXELS,
    check_header,
    check_memory,
    check_values,
)
from otovox.formats.native import alone

#: Largest deviation of a slice from even spacing, as a share of the slice distance: chosen.
_REGULAR = 0.1
#: The same in mm (the larger applies): headers round positions to 0.01 mm. Chosen.
_ROUNDING_MM = 0.011
#: Smallest shear of a stack that is refused, degrees: chosen, 0.4 mm over a 50 mm stack.
_SHEAR_DEG = 0.5
#: Largest difference in cosines between slices: chosen, 0.1 mm over a field of 100 mm.
_COSINES = 1e-3
#: Largest deviation of the cosines from unit length and right angles: chosen.
_SKEW = 1e-3
#: Largest relative difference in pixel size between slices: chosen, 0.1 mm over 100 mm.
_SIZES = 1e-3
#: Positions closer than this are the same, mm: chosen.
_SAME_MM = 1e-4
#: SimpleITK's code of a 32-bit float pixel, the type of rescaled values.
_FLOAT32 = 8


@dataclass(frozen=True, eq=False)
class Slice:
    """One image of a series.

    Attributes:
        header: the header of its file.
        frame: its number within the file, from 0.
        position_mm: (3,) LPS, centre of its first voxel.
        cosines: (6,) unit directions along a row, then along a column.
        spacing_mm: between rows, between columns.
        slope, intercept: from stored values to Hounsfield units.
    """

    header: Header
    frame: int
    position_mm: FloatArray
    cosines: FloatArray
    spacing_mm: FloatArray
    slope: float
    intercept: float


def load_dicom(place: Path, files: Iterable[Path], series: str | None = None) -> Scan:
    """A scan from DICOM files.

    Args:
        place: folder or file named in messages.
        files: of one or several series; other files are ignored.
        series: UID, number or description of the series to read.

    Raises:
        InputError: if no or several series match, or the slices do not form a regular CT volume.
    """
    headers = [header for path in files if (header := read_header(path)) is not None]
    if not headers:
        raise InputError(f"{place}: contains no DICOM images")
    chosen = _choose(place, all_series(headers), series)
    slices, remarks = sorted_slices(place, chosen)
    axes = _axes(place, slices)
    origin, distance = _stack(place, slices, axes[:, 2])
    spacing = np.array([*reversed(slices[0].spacing_mm), distance])
    rows, columns = slices[0].header.shape
    size = (columns, rows, len(slices))
    grid = check_header(
        place,
        size=size,
        spacing=spacing,
        direction=axes.ravel(),
        origin=origin,
        pixel=_FLOAT32,
        components=1,
    )
    values = np.empty(size, dtype=np.float32)
    _fill(values, slices)
    check_values(place, values)
    return Scan(
        values,
        grid,
        place.absolute().name,
        str(place),
        chosen.uid,
        chosen.first.text("PatientID"),
        chosen.first.text("StudyInstanceUID"),
        files=tuple(str(path) for path in chosen.files),
        warnings=tuple(remarks),
    )


def sorted_slices(place: Path, series: Series) -> tuple[list[Slice], list[str]]:
    """The slices of a series sorted along their normal, and warnings for the user.

    Raises:
        InputError: if they are not CT, lack a position, or differ in size.
    """
    modality = series.first.text("Modality") or "unknown"
    if modality != "CT":
        raise InputError(f"{place}: the modality is {modality}; a CT is needed")
    slices = [one for header in series.headers for one in _slices(header)]
    _check_alike(place, slices)
    remarks = _remarks(place, series)
    normal = np.cross(slices[0].cosines[:3], slices[0].cosines[3:])
    slices.sort(key=lambda one: float(one.position_mm @ normal))
    along = np.array([one.position_mm @ normal for one in slices])
    doubled = int(np.count_nonzero(np.diff(along) < _SAME_MM))
    if doubled:
        raise InputError(f"{place}: {doubled} slices lie at the same position as another slice")
    return slices, remarks


def _choose(place: Path, candidates: list[Series], name: str | None) -> Series:
    listed = "; ".join(series.label for series in candidates)
    if name is not None:
        matching = [series for series in candidates if series.answers_to(name)]
        if len(matching) != 1:
            count = "no" if not matching else "more than one"
            raise InputError(f"{place}: {count} series is called {name!r}; available: {listed}")
        return matching[0]
    if len(candidates) == 1:
        return candidates[0]
    stacks = [series for series in candidates if series.is_stack]
    if len(stacks) == 1:
        return stacks[0]
    raise InputError(f"{place}: contains several series; choose one with --series: {listed}")


# ---------------------------------------------------------------- slices


def _slices(header: Header) -> list[Slice]:
    """The images of a file."""
    try:
        return _parsed(header)
    except InputError:
        raise
    except Exception as error:  # pydicom raises various errors on damaged values
        raise InputError(f"{header.path}: its header is invalid ({_short(error)})") from error


def _parsed(header: Header) -> list[Slice]:
    data = header.data
    if "PerFrameFunctionalGroupsSequence" not in data:
        if header.frames > 1:
            raise InputError(
                f"{header.path}: has {header.frames} frames but no position for each; "
                "export it as enhanced CT or as single images"
            )
        return [_slice(header, 0, [data])]
    own = list(data.PerFrameFunctionalGroupsSequence)
    shared = list(data.get("SharedFunctionalGroupsSequence") or [])
    return [_slice(header, number, [frame, *shared]) for number, frame in enumerate(own)]


def _slice(header: Header, frame: int, groups: Sequence[Dataset]) -> Slice:
    def numbers(tag: str, sequence: str, count: int) -> FloatArray:
        raw = _tag_value(tag, sequence, groups)
        try:
            values = np.array(() if raw is None else raw, dtype=float).ravel()
        except (TypeError, ValueError) as error:
            raise InputError(f"{header.path}: its {tag} {raw} is not {count} numbers") from error
        if values.size != count or not np.isfinite(values).all():
            raise InputError(f"{header.path}: lacks {tag}, so its position in space is unknown")
        return values

    def value(tag: str, usual: float) -> float:
        raw = _tag_value(tag, "PixelValueTransformationSequence", groups)
        try:
            return usual if raw in (None, "") else float(raw)
        except (TypeError, ValueError) as error:
            raise InputError(f"{header.path}: its {tag} {raw!r} is not a number") from error

    return Slice(
        header,
        frame,
        numbers("ImagePositionPatient", "PlanePositionSequence", 3),
        numbers("ImageOrientationPatient", "PlaneOrientationSequence", 6),
        numbers("PixelSpacing", "PixelMeasuresSequence", 2),
        value("RescaleSlope", 1.0) or 1.0,
        value("RescaleIntercept", 0.0),
    )


def _tag_value(tag: str, sequence: str, groups: Sequence[Dataset]) -> Any:
    """The value of an image's tag, at top level or in the functional group that contains it."""
    for group in groups:
        if tag in group:
            return group.get(tag)
        if group.get(sequence):
            value = group.get(sequence)[0].get(tag)
            if value is not None:
                return value
    return None


def _check_alike(place: Path, slices: list[Slice]) -> None:
    """Refuse slices of different sizes or orientations."""
    shapes = {one.header.shape for one in slices}
    if len(shapes) > 1:
        raise InputError(f"{place}: the slices of the series have {len(shapes)} different sizes")
    sizes = np.array([one.spacing_mm for one in slices])
    if sizes.min() <= 0:
        raise InputError(f"{place}: its PixelSpacing of {sizes.min():g} mm is invalid")
    if (np.ptp(sizes, axis=0) > _SIZES * sizes.mean(axis=0)).any():
        raise InputError(f"{place}: the slices of the series have different pixel sizes")
    orientations = np.array([one.cosines for one in slices])
    if np.ptp(orientations, axis=0).max() > _COSINES:
        raise InputError(f"{place}: the slices of the series have different orientations")


def _remarks(place: Path, series: Series) -> list[str]:
    """Warnings about tags that do not affect the geometry; far too thick slices are refused."""
    remarks = []
    commas = {tag for header in series.headers for tag in header.commas} & set(TAGS)
    for tag in sorted(commas - {"SliceThickness", "GantryDetectorTilt"}):
        text = "\\".join(map(str, np.atleast_1d(series.first.data.get(tag))))
        remarks.append(f"{tag} was written with decimal commas and read as {text}")
    thickness = max(abs(header.number("SliceThickness") or 0) for header in series.headers)
    if thickness > COARSEST_MM:
        raise InputError(
            f"{place}: slices of {thickness:g} mm are too thick for an inner ear; "
            f"at most {COARSEST_MM:g} mm are needed"
        )
    tilt = max((header.number("GantryDetectorTilt") or 0 for header in series.headers), key=abs)
    if abs(tilt) > _SHEAR_DEG:
        remarks.append(f"GantryDetectorTilt is {tilt:g} degrees, but the slices are not sheared")
    return remarks


# ---------------------------------------------------------------- geometry


def _axes(place: Path, slices: list[Slice]) -> FloatArray:
    """Unit directions of columns (i), rows (j) and slices (k), as the columns of a matrix.

    The mean over the slices, orthogonalised, because headers round cosines.
    """
    mean = np.mean([one.cosines for one in slices], axis=0)
    rows, columns = mean[:3], mean[3:]
    off = max(abs(rows @ rows - 1), abs(columns @ columns - 1), abs(rows @ columns))
    if off > _SKEW:
        raise InputError(
            f"{place}: its ImageOrientationPatient is not a pair of perpendicular unit vectors"
        )
    i = unit(rows)
    j = unit(columns - (columns @ i) * i)
    return np.stack([i, j, np.cross(i, j)], axis=1)


def _stack(place: Path, slices: list[Slice], normal: FloatArray) -> tuple[FloatArray, float]:
    """Position of the first slice and the slice distance, mm.

    A line is fitted through all positions, so rounding errors do not accumulate.
    """
    count = len(slices)
    if count < FEWEST_VOXELS:
        raise InputError(
            f"{place}: the series has {count} slices; at least {FEWEST_VOXELS} are needed"
        )
    positions = np.array([one.position_mm for one in slices])
    along = positions @ normal
    gaps = np.diff(along)
    distance = float(np.median(gaps))
    numbers = np.arange(count) - (count - 1) / 2
    step = numbers @ positions / (numbers @ numbers)
    origin = positions.mean(axis=0) + numbers[0] * step
    fitted = origin + np.arange(count)[:, None] * step
    sideways = float(np.linalg.norm(step - (step @ normal) * normal))
    shear = float(np.degrees(np.arctan2(sideways, step @ normal)))
    tolerance = max(_REGULAR * distance, _ROUNDING_MM)
    missing = np.rint(gaps / distance - 1).clip(0).astype(int)
    uneven = np.abs((positions - fitted) @ normal) > tolerance
    if missing.any():
        where = along[np.flatnonzero(missing)[0]]
        raise InputError(
            f"{place}: {missing.sum()} slices are missing; the first gap is at {where:.1f} mm "
            "along the stack"
        )
    if uneven.any():
        where = along[np.flatnonzero(uneven)[0]]
        raise InputError(
            f"{place}: the slices are not evenly spaced; the first deviation is at {where:.1f} mm "
            "along the stack"
        )
    if shear > _SHEAR_DEG:
        raise InputError(
            f"{place}: the slices are sheared by {shear:.1f} degrees (gantry tilt); correct it"
        )
    if np.linalg.norm(positions - fitted, axis=1).max() > 2 * tolerance:
        raise InputError(f"{place}: the slices are not aligned above each other")
    return origin, float(step @ normal)


# ---------------------------------------------------------------- pixels


def _fill(values: NDArray[np.float32], slices: list[Slice]) -> None:
    """Read the Hounsfield units of all slices into (i, j, k)."""
    stored: tuple[Path, NDArray[Any]] | None = None
    for number, one in enumerate(slices):
        path = one.header.path
        if one.header.frames == 1:
            values[:, :, number] = _pixels(one)
            continue
        if stored is None or stored[0] != path:
            check_memory(path, (*one.header.shape, one.header.frames))
            stored = (path, _decoded(path))
        if stored[1].shape[1:] != one.header.shape or one.frame >= len(stored[1]):
            raise InputError(f"{path}: its pixel data do not match its header")
        frame = stored[1][one.frame].astype(np.float32)
        values[:, :, number] = (frame * np.float32(one.slope) + np.float32(one.intercept)).T


def _pixels(one: Slice) -> NDArray[np.float32]:
    """(columns, rows) Hounsfield units of a file with one image."""
    path = one.header.path
    stored = _decoded(path)
    if stored.ndim == 3 and stored.shape[0] == 1:
        stored = stored[0]
    if stored.ndim != 2:
        raise InputError(f"{path}: is a colour image; a CT slice is needed")
    if stored.shape != one.header.shape:
        raise InputError(f"{path}: its pixel data do not match its header")
    return (stored.astype(np.float32) * np.float32(one.slope) + np.float32(one.intercept)).T


def _decoded(path: Path) -> NDArray[Any]:
    """Stored values of a file, (rows, columns) or (frames, rows, columns)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = pydicom.dcmread(path, force=True)
            name_encoding(data)
            mend(data)
            syntax = data.file_meta.TransferSyntaxUID
            if syntax.is_compressed and not _decodes(syntax):
                if int(data.get("NumberOfFrames") or 1) > 1:
                    raise ValueError(f"{syntax.name} of several frames; export it uncompressed")
                return _by_gdcm(path, data)
            return data.pixel_array
    except Exception as error:  # the errors depend on the decoder plugin
        raise InputError(f"{path}: its pixels cannot be decoded ({_short(error)})") from error


def _decodes(syntax: UID) -> bool:
    """Whether an installed pydicom plugin decodes a transfer syntax."""
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _by_gdcm(path: Path, data: Dataset) -> NDArray[Any]:
    """Decode through SimpleITK, which supports every JPEG variant but applies the rescaling."""
    try:
        with alone():
            values = sitk.GetArrayFromImage(sitk.ReadImage(str(path), sitk.sitkFloat64))
    except RuntimeError:
        name = data.file_meta.TransferSyntaxUID.name
        raise ValueError(f"{name} is damaged or not supported; export it uncompressed") from None
    slope = float(data.get("RescaleSlope", 1) or 1)
    intercept = float(data.get("RescaleIntercept", 0) or 0)
    return np.rint((values - intercept) / slope)


def _short(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
