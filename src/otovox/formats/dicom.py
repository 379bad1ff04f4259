"""A DICOM series in a folder to a Scan: nothing about its geometry is guessed."""

import warnings
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from otovox.core.geometry import FloatArray
from otovox.core.volume import Scan
from otovox.errors import InputError
from otovox.formats.guards import COARSEST_MM, FEWEST_VOXELS, check_header, check_values

#: How far slice positions may be off a regular line, share of the slice distance: chosen.
_REGULAR = 0.02
#: The same in mm, the larger counts: headers round positions to 0.01 mm. Chosen.
_ROUNDING_MM = 0.011
#: Smallest gantry tilt or shear that is refused, degrees: chosen, 0.4 mm over a 50 mm stack.
_TILT_DEG = 0.5
#: SimpleITK's code of a 32-bit float pixel, what rescaled values are.
_FLOAT32 = 8

_TAGS = [
    "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality", "ImageType",
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns",
    "GantryDetectorTilt", "NumberOfFrames", "SliceThickness",
]  # fmt: skip
#: What places a slice in space, with its count of numbers.
_PLACE = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6, "PixelSpacing": 2}


@dataclass(frozen=True, eq=False)
class Series:
    """The headers of one series, with their files."""

    uid: str
    headers: tuple[tuple[Path, Dataset], ...]

    @property
    def first(self) -> Dataset:
        return self.headers[0][1]

    @property
    def label(self) -> str:
        """How the series is named to the user."""
        number = self.first.get("SeriesNumber", "?")
        text = self.first.get("SeriesDescription", "") or "no description"
        modality = self.first.get("Modality", "?")
        return f"{number} ({text}, {len(self.headers)} images, {modality})"

    def answers_to(self, name: str) -> bool:
        """Whether the user means this series: by UID, number or description."""
        first = self.first
        known = (
            self.uid,
            str(first.get("SeriesNumber", "")),
            str(first.get("SeriesDescription", "")),
        )
        return name in known

    @property
    def is_stack(self) -> bool:
        """Whether it may be a volume: CT images, no scout."""
        kind = [str(part) for part in self.first.get("ImageType", [])]
        several = len(self.headers) >= FEWEST_VOXELS or "NumberOfFrames" in self.first
        return self.first.get("Modality") == "CT" and "LOCALIZER" not in kind and several


def is_dicom_folder(folder: Path) -> bool:
    """Whether a folder holds a DICOM image file."""
    return any(series_of(path) is not None for path in _files(folder))


def series_of(path: Path) -> str | None:
    """UID of the series that a DICOM image file belongs to; None for any other file."""
    header = _header(path)
    return None if header is None else str(header.SeriesInstanceUID)


def load_dicom(folder: Path, series: str | None = None) -> Scan:
    """A scan from a folder with DICOM files.

    Args:
        folder: holds one or several series.
        series: UID, number or description of the one to take.

    Raises:
        InputError: if there is none, several fit, or its slices make no regular CT volume.
    """
    chosen = _choose(folder, _series(folder), series)
    _check_kind(folder, chosen)
    headers = _sorted(folder, chosen)
    first = headers[0][1]
    rows, columns, normal = _axes(first)
    positions = np.array([header.ImagePositionPatient for _, header in headers], dtype=float)
    distance = _slice_distance(folder, chosen, positions, normal)
    spacing = np.array([*reversed([float(v) for v in first.PixelSpacing]), distance])
    size = (int(first.Columns), int(first.Rows), len(headers))
    grid = check_header(
        folder,
        size=size,
        spacing=spacing,
        direction=np.stack([rows, columns, normal], axis=1).ravel(),
        origin=positions[0],
        pixel=_FLOAT32,
        components=1,
    )
    values = np.empty(size, dtype=np.float32)
    for number, (path, _) in enumerate(headers):
        values[:, :, number] = _pixels(path).T
    check_values(folder, values)
    return Scan(values, grid, folder.resolve().name, str(folder), chosen.uid)


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error})") from error


def _header(path: Path) -> Dataset | None:
    """The header of a DICOM image; None for any other file."""
    try:
        with warnings.catch_warnings():
            # pydicom tells of odd values in headers; those that matter are checked here.
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_TAGS)
            return header if header.get("SeriesInstanceUID") else None
    except (InvalidDicomError, OSError, ValueError, EOFError):
        return None


def _series(folder: Path) -> list[Series]:
    found: dict[str, list[tuple[Path, Dataset]]] = defaultdict(list)
    for path in _files(folder):
        header = _header(path)
        if header is not None:
            found[str(header.SeriesInstanceUID)].append((path, header))
    if not found:
        raise InputError(f"{folder}: holds no DICOM images")
    return [Series(uid, tuple(headers)) for uid, headers in sorted(found.items())]


def _choose(folder: Path, all_series: list[Series], name: str | None) -> Series:
    listed = "; ".join(series.label for series in all_series)
    if name is not None:
        fitting = [series for series in all_series if series.answers_to(name)]
        if len(fitting) != 1:
            count = "no" if not fitting else "more than one"
            raise InputError(f"{folder}: {count} series is called {name!r}; there are: {listed}")
        return fitting[0]
    if len(all_series) == 1:
        return all_series[0]
    stacks = [series for series in all_series if series.is_stack]
    if len(stacks) == 1:
        return stacks[0]
    raise InputError(f"{folder}: holds several series; name one with --series: {listed}")


def _check_kind(folder: Path, series: Series) -> None:
    modality = series.first.get("Modality") or "unknown"
    if modality != "CT":
        raise InputError(f"{folder}: the modality is {modality}; a CT is needed")
    if "NumberOfFrames" in series.first:
        raise InputError(
            f"{folder}: is an enhanced multi-frame CT; export it as single-frame CT images"
        )
    for path, header in series.headers:
        for tag, count in _PLACE.items():
            if np.size(header.get(tag) or ()) != count:
                raise InputError(f"{path}: lacks {tag}; its place in space is not known")
        if not header.get("Rows") or not header.get("Columns"):
            raise InputError(f"{path}: lacks Rows or Columns; its size is not known")
        thickness = float(header.get("SliceThickness", 0) or 0)
        if thickness > COARSEST_MM:
            raise InputError(
                f"{folder}: slices of {thickness:g} mm are too thick for an inner ear; "
                f"at most {COARSEST_MM:g} mm are needed"
            )
        tilt = float(header.get("GantryDetectorTilt", 0) or 0)
        if abs(tilt) > _TILT_DEG:
            raise InputError(
                f"{folder}: the gantry was tilted by {tilt:g} degrees; correct the tilt first"
            )
    for tag, what in (
        ("Rows", "image heights"),
        ("Columns", "image widths"),
        ("PixelSpacing", "pixel sizes"),
        ("ImageOrientationPatient", "orientations"),
    ):
        kinds = {
            tuple(np.round(np.atleast_1d(header.get(tag)).astype(float), 4))
            for _, header in series.headers
        }
        if len(kinds) > 1:
            raise InputError(
                f"{folder}: the slices of the series have {len(kinds)} different {what}"
            )


def _axes(header: Dataset) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Unit directions of columns (i), rows (j) and slices (k)."""
    orientation = np.asarray(header.ImageOrientationPatient, dtype=float)
    rows, columns = orientation[:3], orientation[3:]
    return rows, columns, np.cross(rows, columns)


def _sorted(folder: Path, series: Series) -> list[tuple[Path, Dataset]]:
    """The headers along the slice normal, each position once."""
    normal = _axes(series.first)[2]

    def along(item: tuple[Path, Dataset]) -> float:
        return float(np.dot(np.asarray(item[1].ImagePositionPatient, dtype=float), normal))

    headers = sorted(series.headers, key=along)
    places = np.array([along(item) for item in headers])
    doubled = int(np.count_nonzero(np.diff(places) < 1e-4))
    if doubled:
        raise InputError(f"{folder}: {doubled} slices lie where another one lies already")
    return headers


def _slice_distance(
    folder: Path, series: Series, positions: FloatArray, normal: FloatArray
) -> float:
    """The one distance between neighbouring slices, mm."""
    if len(positions) < FEWEST_VOXELS:
        raise InputError(
            f"{folder}: the series has {len(positions)} slices; at least {FEWEST_VOXELS} are needed"
        )
    steps = np.diff(positions, axis=0)
    gaps = steps @ normal
    sideways = np.linalg.norm(steps - gaps[:, None] * normal, axis=1)
    lean = float(np.degrees(np.arctan2(np.median(sideways), np.median(gaps))))
    if lean > _TILT_DEG:
        raise InputError(
            f"{folder}: the slices are sheared by {lean:.1f} degrees (gantry tilt); correct it"
        )
    distance = float(np.median(gaps))
    tolerance = max(_REGULAR * distance, _ROUNDING_MM)
    irregular = np.flatnonzero(np.abs(gaps - distance) > tolerance)
    if len(irregular):
        missing = int(np.rint(gaps[irregular] / distance - 1).clip(0).sum())
        where = float(positions[irregular[0]] @ normal)
        what = f"{missing} slices are missing" if missing else "the slices are not evenly spaced"
        raise InputError(f"{folder}: {what}, the first gap lies at {where:.1f} mm along the stack")
    # The mean, not the median: rounded positions must not add up to an error along the stack.
    return float(gaps.mean())


def _pixels(path: Path) -> NDArray[np.float32]:
    """(rows, columns) Hounsfield units of one slice."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = pydicom.dcmread(path)
            syntax = dataset.file_meta.TransferSyntaxUID
            if syntax.is_compressed and not _decodes(syntax):
                return _pixels_by_gdcm(path)
            stored = dataset.pixel_array
    except Exception as error:  # the decoders raise what their plugins raise
        raise InputError(f"{path}: its pixels cannot be decoded ({_short(error)})") from error
    if stored.ndim != 2:
        raise InputError(f"{path}: is a colour image; a CT slice is needed")
    slope = float(dataset.get("RescaleSlope", 1) or 1)
    intercept = float(dataset.get("RescaleIntercept", 0) or 0)
    return stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def _decodes(syntax: UID) -> bool:
    """Whether pydicom has a plugin for a transfer syntax here."""
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _pixels_by_gdcm(path: Path) -> NDArray[np.float32]:
    """The same through SimpleITK, which decodes all kinds of JPEG and applies the rescaling."""
    try:
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path), sitk.sitkFloat32))[0]
    except RuntimeError:
        name = pydicom.dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID.name
        raise ValueError(f"{name} is damaged or not supported; export it uncompressed") from None


def _short(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
