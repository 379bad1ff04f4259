"""The full headers of a scan's DICOM series, which DICOM results refer to."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from otovox.core.volume import Scan
from otovox.errors import InputError
from otovox.formats.dicom import sorted_slices
from otovox.formats.dicom_headers import Header, all_series, read_header

#: Tags that link a result to its study, frame of reference, image (PS3.3, C.7.2.1, C.7.4.1).
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
#: Largest distance of a slice from its position in the scan, mm: chosen, rounding in headers.
_SAME_MM = 0.05
_UTF8 = "ISO_IR 192"


@dataclass(frozen=True, eq=False)
class SourceImages:
    """The DICOM images that a scan was read from.

    Attributes:
        headers: without pixels, in the order of the scan's k axis; a multi-frame image is one.
        frames: (k,) frame of a multi-frame image by the scan's k; None for single images.
    """

    headers: list[Dataset]
    frames: NDArray[np.int_] | None = None


def source_images(scan: Scan) -> SourceImages:
    """Read the images of a scan again; all text is converted to Unicode.

    Args:
        scan: read from a DICOM series.

    Raises:
        InputError: if it was not read from a DICOM series, its files are missing or have changed,
            or their headers lack the study, frame of reference or image.
    """
    if not scan.series:
        raise InputError(f"{scan.source or scan.name}: was not read from a DICOM series")
    place = Path(scan.source)
    changed = InputError(f"{place}: no longer contains the series that {scan.name} was read from")
    headers = [
        header for path in scan.files if (header := read_header(Path(path), None)) is not None
    ]
    series = [one for one in all_series(headers) if one.uid == scan.series]
    if not series or len(series[0].headers) != len(scan.files):
        raise changed
    slices, _ = sorted_slices(place, series[0])
    if len(slices) != scan.grid.shape[2]:
        raise changed
    places = scan.grid.to_mm([(0, 0, k) for k in range(len(slices))])
    off = np.linalg.norm([one.position_mm for one in slices] - places, axis=1)
    if off.max() > max(_SAME_MM, 0.1 * scan.grid.spacing_mm[2]):
        raise changed
    for tag in _NEEDED:
        if not all(header.text(tag) for header in headers):
            raise InputError(f"{place}: its headers lack {tag}, which DICOM results refer to")
    if not any("PerFrameFunctionalGroupsSequence" in header.data for header in headers):
        return SourceImages(_alike([_unicode(one.header) for one in slices], scan))
    if len(headers) > 1:
        raise InputError(
            f"{place}: its series has {len(headers)} multi-frame images; DICOM results can refer "
            "to only one"
        )
    return SourceImages([_unicode(headers[0])], np.array([one.frame for one in slices]))


def source_headers(scan: Scan) -> list[Dataset]:
    """Headers of a scan's images, see `source_images`.

    Raises:
        InputError: see `source_images`.
    """
    return source_images(scan).headers


def _alike(headers: list[Dataset], scan: Scan) -> list[Dataset]:
    """Headers with one orientation and pixel size; the scan's replace theirs if they differ."""
    cosines = [f"{value:.10f}" for value in scan.grid.directions[:, :2].T.ravel()]
    spacing = [f"{value:.10f}" for value in scan.grid.spacing_mm[1::-1]]
    for tag, common in (("ImageOrientationPatient", cosines), ("PixelSpacing", spacing)):
        if len({tuple(header.get(tag)) for header in headers}) > 1:
            for header in headers:
                setattr(header, tag, common)
    return headers


def _unicode(header: Header) -> Dataset:
    """A header with decoded text, which will be written as UTF-8.

    An empty first character set means ASCII (PS3.3, C.12.1.1.2), which writers do not support.
    """
    data = header.data
    if data.get("SpecificCharacterSet"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data.decode()
        data.SpecificCharacterSet = _UTF8
    return data
