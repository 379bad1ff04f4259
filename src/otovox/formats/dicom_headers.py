"""Headers of DICOM images by series; damage is repaired only where the repair is unambiguous."""

import struct
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from otovox.errors import InputError
from otovox.formats.guards import FEWEST_VOXELS

#: Tags read from each image when searching for scans.
TAGS = [
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription",
    "StudyInstanceUID", "PatientID", "Modality", "ImageType", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "GantryDetectorTilt",
    "NumberOfFrames", "SliceThickness", "RescaleSlope", "RescaleIntercept",
    "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Header:
    """The header of one DICOM image file.

    Attributes:
        path: of the file.
        data: its content, with decimal commas replaced by points.
        commas: keywords of the tags that contained commas.
    """

    path: Path
    data: Dataset
    commas: frozenset[str] = frozenset()

    @property
    def series(self) -> str:
        return str(self.data.SeriesInstanceUID)

    @property
    def frames(self) -> int:
        """Images in the file."""
        return int(self.number("NumberOfFrames") or 1)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns.

        Raises:
            InputError: if the header lacks them.
        """
        rows, columns = self.number("Rows") or 0, self.number("Columns") or 0
        if rows < 1 or columns < 1:
            raise InputError(f"{self.path}: lacks Rows or Columns, so its size is unknown")
        return int(rows), int(columns)

    def text(self, tag: str) -> str:
        """A tag as text; empty if absent or damaged."""
        try:
            return str(self.data.get(tag) or "").strip()
        except Exception:  # pydicom raises various errors on damaged values
            return ""

    def number(self, tag: str) -> float | None:
        """A number that the geometry does not depend on; None if absent or invalid."""
        try:
            value = float(self.data.get(tag))
        except Exception:  # as above
            return None
        return value if np.isfinite(value) else None


@dataclass(frozen=True, eq=False)
class Series:
    """The headers of one series."""

    uid: str
    headers: tuple[Header, ...]

    @property
    def first(self) -> Header:
        return self.headers[0]

    @property
    def files(self) -> tuple[Path, ...]:
        return tuple(header.path for header in self.headers)

    @property
    def images(self) -> int:
        return sum(header.frames for header in self.headers)

    @property
    def label(self) -> str:
        """The series as shown to the user."""
        number, text = self.first.text("SeriesNumber") or "?", self.first.text("SeriesDescription")
        modality = self.first.text("Modality") or "?"
        return f"{number} ({text or 'no description'}, {self.images} images, {modality})"

    def answers_to(self, name: str) -> bool:
        """Whether a name matches this series: its UID, number or description."""
        tags = ("SeriesNumber", "SeriesDescription")
        return name == self.uid or name in [self.first.text(tag) for tag in tags]

    @property
    def is_stack(self) -> bool:
        """Whether it may be a volume: CT images with positions, and not a scout."""
        if self.first.text("Modality") != "CT" or "LOCALIZER" in self.first.text("ImageType"):
            return False
        if self.images < FEWEST_VOXELS:
            return False
        return self.first.frames > 1 or any("ImagePositionPatient" in h.data for h in self.headers)


def read_header(path: Path, tags: list[str] | None = TAGS) -> Header | None:
    """The header of a DICOM image, with or without a preamble; None for any other file.

    Args:
        path: any file.
        tags: keywords to read; None for all but the pixels.
    """
    try:
        with warnings.catch_warnings(), path.open("rb") as file:
            # pydicom warns about odd values in headers; those that matter are checked here.
            warnings.simplefilter("ignore")
            start = file.read(132)
            bare = start[128:] != b"DICM"
            if bare and not _starts_as_dicom(start):
                return None
            file.seek(0)
            wanted: Any = tags
            data = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=wanted, force=bare)
            if not data.get("SeriesInstanceUID") or not data.get("SOPClassUID"):
                return None
            name_encoding(data)
            return Header(path, data, mend(data))
    except Exception:  # pydicom raises various errors on damaged bytes; not a DICOM image
        return None


def all_series(headers: Iterable[Header]) -> list[Series]:
    """Headers by series, in the order of their UIDs."""
    by_uid: dict[str, list[Header]] = {}
    for header in headers:
        by_uid.setdefault(header.series, []).append(header)
    return [Series(uid, tuple(group)) for uid, group in sorted(by_uid.items())]


def _starts_as_dicom(start: bytes) -> bool:
    """Whether bytes may start a data set without a preamble: a low tag of group 2 or 8."""
    if len(start) < 132:
        return False
    group, element = struct.unpack_from("<HH", start)
    return group in (2, 8) and element <= 0x0100


def name_encoding(data: Dataset) -> None:
    """Record the transfer syntax that a file without meta information was read with."""
    meta = getattr(data, "file_meta", None)
    if meta is None:
        meta = data.file_meta = FileMetaDataset()
    if "TransferSyntaxUID" not in meta:
        implicit, _ = data.original_encoding
        meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian


def mend(data: Dataset) -> frozenset[str]:
    """Replace decimal commas, which DICOM does not allow, by points; return the affected tags."""
    commas = set()
    for tag in list(data.keys()):
        raw = data.get_item(tag)
        if not isinstance(raw, RawDataElement) or not isinstance(raw.value, bytes):
            continue
        if b"," in raw.value and (raw.VR or _usual_vr(tag)) == "DS":
            data[tag] = raw._replace(value=raw.value.replace(b",", b"."))
            commas.add(keyword_for_tag(tag))
    return frozenset(commas)


def _usual_vr(tag: BaseTag) -> str:
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""
