"""DICOM Segmentation objects of any program: the names of their segments, and their voxels.

Source: DICOM PS3.3 A.51 and C.8.20; read through highdicom (Bridge et al. 2022).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.misc import is_dicom
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID, SegmentationStorage

from otovox.core.volume import Grid
from otovox.errors import InputError

#: Label Map Segmentation Storage (PS3.4 B.5), which pydicom 3.0 does not name.
_LABEL_MAP = UID("1.2.840.10008.5.1.4.1.1.66.7")
#: Share of a voxel that belongs to a fractional segment: chosen, the usual threshold.
_HALF = 0.5


@dataclass(frozen=True)
class DicomSegment:
    """A segment.

    Attributes:
        number: its segment number.
        label: its name.
        coded: meanings of its codes, with the modifier first, such as "Left Inner ear".
    """

    number: int
    label: str
    coded: str


def is_dicom_file(path: Path) -> bool:
    """Whether a path is a DICOM file with a preamble, as a Segmentation has it.

    >>> is_dicom_file(Path("absent.dcm"))
    False
    """
    try:
        return path.is_file() and is_dicom(path)
    except OSError:
        return False


class DicomSegmentation:
    """A DICOM Segmentation that was read.

    Attributes:
        segments: in the order of their numbers.
    """

    def __init__(self, path: Path) -> None:
        """Read a file.

        Raises:
            InputError: if it cannot be read, or is another kind of DICOM object.
        """
        import highdicom as hd

        self._path = path
        try:
            kind = UID(str(dcmread(path, specific_tags=["SOPClassUID"]).get("SOPClassUID", "")))
            if kind not in (SegmentationStorage, _LABEL_MAP):
                name = f"of type {kind.name}" if kind else "damaged, or of unknown type"
                raise InputError(f"{path}: is not a DICOM Segmentation but {name}")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._read = hd.seg.segread(path)
                _check_length(self._read)
                self.segments = [self._segment(n) for n in self._read.segment_numbers]
        except _UNREADABLE as error:
            raise _unreadable(path, error) from error

    def masks(self, numbers: Sequence[int]) -> tuple[NDArray[np.bool_], Grid]:
        """Voxels of some segments.

        Args:
            numbers: of the segments, at least one.

        Returns:
            (i, j, k, segment) masks, which may overlap, and their grid, which may be smaller than
            that of the scan.

        Raises:
            InputError: if its frames are damaged, or are not parallel planes of one volume.
        """
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                volume = self._read.get_volume(segment_numbers=list(numbers))
        except _UNREADABLE as error:
            raise _unreadable(self._path, error) from error
        # highdicom's axes are planes, rows, columns; ours the reverse. Its world is LPS, too.
        values = np.moveaxis(volume.array, (0, 1, 2), (2, 1, 0)) >= _HALF
        i, j, k = values.shape[:3]
        return values, Grid((i, j, k), volume.affine[:, [2, 1, 0, 3]])

    def _segment(self, number: int) -> DicomSegment:
        item = self._read.get_segment_description(number)
        kind: Any = item.SegmentedPropertyTypeCodeSequence[0]
        modifiers = kind.get("SegmentedPropertyTypeModifierCodeSequence") or ()
        coded = " ".join(str(code.CodeMeaning) for code in (*modifiers, kind))
        return DicomSegment(number, str(item.segment_label).strip(), coded)


#: What pydicom and highdicom raise for damaged files.
_UNREADABLE = (
    OSError, InvalidDicomError, ValueError, TypeError, KeyError, IndexError, AttributeError,
    NotImplementedError, RuntimeError, EOFError,
)  # fmt: skip


def _check_length(document: Dataset) -> None:
    """Readers fill missing voxels with zeros without a message.

    Raises:
        ValueError: if there are fewer voxels than the header states.
    """
    native = not document.file_meta.TransferSyntaxUID.is_encapsulated
    if native and len(document.PixelData) < get_expected_length(document):
        raise ValueError("its voxels are incomplete")


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = str(error).strip().split("\n")[0].rstrip(".")
    return InputError(f"{path}: cannot be read as a DICOM Segmentation ({reason})")
