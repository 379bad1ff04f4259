"""Label maps as DICOM Segmentation objects that refer to the scan's own series.

Source: DICOM PS3.3 A.51 and C.8.20; written through highdicom (Bridge et al. 2022). Codes as in
`anatomy.py`.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydicom.dataset import Dataset

from otovox._version import __version__
from otovox.core.anatomy import LABYRINTH, Side, Structure
from otovox.core.volume import LabelMap, Scan
from otovox.errors import InputError, OutputError
from otovox.formats.caveats import Caveats
from otovox.formats.dicom_source import source_images
from otovox.formats.writing import replacing

# highdicom is slow to import, and most scans are not DICOM series.
if TYPE_CHECKING:
    from highdicom.sr import CodedConcept

MANUFACTURER = "otovox"
#: Series numbers of our results: chosen, high enough to be unused.
SEG_SERIES, SR_SERIES = 9601, 9602
#: Added to descriptions, which hold at most 64 characters (DICOM PS3.5, representation LO).
RESEARCH = "Research use only"
#: Longest description of a segment, characters (DICOM PS3.5, representation ST).
_LONGEST_TEXT = 1024
#: SNOMED CT: right and left.
_LATERALITY = {Side.RIGHT: ("24028007", "Right"), Side.LEFT: ("7771000", "Left")}


def write_dicom_seg(
    path: Path, labels: LabelMap, scan: Scan, *, caveats: Caveats | None = None
) -> Dataset:
    """Write the labyrinths as binary DICOM segments, one per labelled side.

    Args:
        path: file to write.
        labels: on the scan's grid; label values are `Side.label`.
        scan: read from a DICOM series that still exists.
        caveats: written with each segment.

    Returns:
        The object written, for a report to refer to.

    Raises:
        InputError: if the scan is not from a DICOM series, or its headers lack required attributes.
        OutputError: if it cannot be written, or contains no labyrinth.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    sides = [side for side in Side if (labels.values == side.label).any()]
    if not sides:
        raise OutputError(f"{path}: cannot be written (no labyrinth was found)")
    images = source_images(scan)
    caveats = caveats or Caveats()
    algorithm = hd.AlgorithmIdentificationSequence(
        name=MANUFACTURER,
        version=__version__,
        family=codes.DCM.ArtificialIntelligence,
        source=MANUFACTURER,
        parameters={f"{name} sha256": value for name, value in caveats.models.items()} or None,
    )
    segments = []
    for number, side in enumerate(sides, start=1):
        segment = hd.seg.SegmentDescription(
            segment_number=number,
            segment_label=LABYRINTH[side].title,
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=concept(LABYRINTH[side], "Bony labyrinth"),
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=hd.UID(),
            tracking_id=f"{side}/labyrinth",
            display_color=hd.color.CIELabColor.from_rgb(*LABYRINTH[side].rgb),
        )
        segment.SegmentDescription = " ".join(caveats.of_ear(side))[:_LONGEST_TEXT]
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [laterality(side)]
        segments.append(segment)
    masks = np.stack([labels.values == side.label for side in sides], axis=-1).transpose(2, 1, 0, 3)
    if images.frames is not None:  # a multi-frame image has its own frame order
        masks = masks[np.argsort(images.frames)]
    with complete(scan):
        segmentation = hd.seg.Segmentation(
            source_images=images.headers,
            pixel_array=masks.astype(np.uint8),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=segments,
            series_instance_uid=hd.UID(),
            series_number=SEG_SERIES,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MANUFACTURER,
            software_versions=__version__,
            device_serial_number=__version__,
            content_label="LABYRINTH",
            content_description=RESEARCH,
            series_description=f"otovox: bony labyrinths. {RESEARCH}",
        )
    save_dicom(path, segmentation)
    return segmentation


@contextmanager
def complete(scan: Scan) -> Iterator[None]:
    """Report missing header attributes as an InputError, and silence pydicom's warnings.

    Raises:
        InputError: if an attribute is missing or invalid.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise InputError(
            f"{scan.source}: its headers are not sufficient for DICOM results ({reason})"
        ) from error


def save_dicom(path: Path, dataset: Dataset) -> None:
    """Write a DICOM file with its preamble.

    Raises:
        OutputError: if it cannot be written.
    """
    with replacing(path) as beside, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.save_as(beside, enforce_file_format=True)


def concept(structure: Structure, meaning: str) -> "CodedConcept":
    """A structure's code: SNOMED CT if it has one, otherwise FMA."""
    from highdicom.sr import CodedConcept

    if structure.sct:
        return CodedConcept(structure.sct, "SCT", meaning)
    return CodedConcept(structure.fma, "FMA", meaning)


def laterality(side: Side) -> "CodedConcept":
    """The SNOMED CT code of a side."""
    from highdicom.sr import CodedConcept

    value, meaning = _LATERALITY[side]
    return CodedConcept(value, "SCT", meaning)
