"""The full headers of the DICOM series that a scan came from, for what is written about it."""

import warnings
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from otovox.core.volume import Scan
from otovox.errors import InputError
from otovox.formats.dicom import series_of

#: What ties an answer to its series: study, frame of reference and image (PS3.3, C.7.2.1, C.7.4.1).
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
#: How far the first slice may lie from where the scan has it, mm: chosen, headers' rounding.
_SAME_MM = 0.05


def source_headers(scan: Scan) -> list[Dataset]:
    """Headers of a scan's slices, without pixels, in the order of its k axis.

    Args:
        scan: read from a DICOM series.

    Raises:
        InputError: if it came from no DICOM series, its files are gone or changed, or their headers
            do not name study, frame of reference and image.
    """
    if not scan.series:
        raise InputError(f"{scan.source or scan.name}: was not read from a DICOM series")
    folder = Path(scan.source)
    try:
        paths = sorted(path for path in folder.iterdir() if path.is_file())
        found = [_header(path) for path in paths if series_of(path) == scan.series]
    except (OSError, InvalidDicomError) as error:
        raise InputError(f"{folder}: its DICOM series cannot be read again ({error})") from error
    normal = scan.grid.directions[:, 2]
    found.sort(key=lambda header: float(_place(header) @ normal))
    first_mm = scan.grid.to_mm((0, 0, 0))
    complete = len(found) == scan.grid.shape[2]
    if not complete or np.linalg.norm(_place(found[0]) - first_mm) > _SAME_MM:
        raise InputError(f"{folder}: no longer holds the series that {scan.name} was read from")
    for tag in _NEEDED:
        if not all(header.get(tag) for header in found):
            raise InputError(f"{folder}: its headers lack {tag}, so nothing can refer to them")
    return found


def _header(path: Path) -> Dataset:
    with warnings.catch_warnings():
        # pydicom tells of odd values in headers; they are passed on as they are.
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path, stop_before_pixels=True)


def _place(header: Dataset) -> np.ndarray:
    return np.asarray(header.ImagePositionPatient, dtype=float)
