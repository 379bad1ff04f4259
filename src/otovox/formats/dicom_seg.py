"""Label maps as DICOM Segmentation objects that refer to the scan's own series.

Source: DICOM PS3.3 A.51 and C.8.20; written through highdicom (Bridge et al. 2022). Codes as in
`anatomy.py`.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.dataset import Dataset

from otovox._version import __version__
from otovox.core.anatomy import Side, Structure
from otovox.core.segments import LABYRINTHS, PARTS, PRIVATE_SCHEME, Segment, present
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
    path: Path,
    labels: LabelMap,
    scan: Scan,
    *,
    parts: LabelMap | None = None,
    caveats: Caveats | None = None,
) -> Dataset:
    """Write the labyrinths and their parts as binary DICOM segments.

    Args:
        path: file to write.
        labels: on the scan's grid; label values are `Side.label`.
        scan: read from a DICOM series that still exists.
        parts: values of `core.segments.PARTS`, on the same grid.
        caveats: written with each segment.

    Returns:
        The object written, for a report to refer to.

    Raises:
        InputError: if the scan is not from a DICOM series, or its headers lack required attributes.
        OutputError: if it cannot be written, or contains no labyrinth.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    masks = [(segment, labels) for segment in present(LABYRINTHS, labels.values)]
    if not masks:
        raise OutputError(f"{path}: cannot be written (no labyrinth was found)")
    if parts is not None:
        masks += [(segment, parts) for segment in present(PARTS, parts.values)]
    images = source_images(scan)
    caveats = caveats or Caveats()
    algorithm = hd.AlgorithmIdentificationSequence(
        name=MANUFACTURER,
        version=__version__,
        family=codes.DCM.ArtificialIntelligence,
        source=MANUFACTURER,
        parameters={f"{name} sha256": value for name, value in caveats.models.items()} or None,
    )
    segments = [
        _described(number, segment, algorithm, caveats)
        for number, (segment, _) in enumerate(masks, start=1)
    ]
    headers, planes = images.headers, np.arange(labels.grid.shape[2])
    if images.frames is not None:  # a multi-frame image has its own frame order
        planes = np.argsort(images.frames)
    else:  # only images that show a labyrinth, to save memory
        planes = np.flatnonzero(labels.values.any(axis=(0, 1)))
        headers = [headers[k] for k in planes]
    pixels = np.stack(
        [(map_.values[:, :, planes] == segment.value).T for segment, map_ in masks], axis=-1
    )
    with complete(scan):
        segmentation = hd.seg.Segmentation(
            source_images=headers,
            pixel_array=pixels.astype(np.uint8),
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
    if any(segment.code[0] == PRIVATE_SCHEME for segment, _ in masks):
        identify_scheme(segmentation)
    save_dicom(path, segmentation)
    return segmentation


def _described(number: int, segment: Segment, algorithm: Any, caveats: Caveats) -> Any:
    """The description of a segment: name, codes, colour and caveats of its ear."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    scheme, value = segment.code
    kinds = hd.seg.SegmentAlgorithmTypeValues
    name = segment.structure.name.removeprefix(f"{segment.side}_")
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=segment.structure.title,
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=hd.sr.CodedConcept(value, scheme, segment.meaning),
        algorithm_type=kinds.AUTOMATIC if caveats.by_model else kinds.MANUAL,
        algorithm_identification=algorithm if caveats.by_model else None,
        tracking_uid=hd.UID(),
        tracking_id=f"{segment.side}/{name}",
        display_color=hd.color.CIELabColor.from_rgb(*segment.structure.rgb),
    )
    description.SegmentDescription = " ".join(caveats.of_ear(segment.side))[:_LONGEST_TEXT]
    kind = description.SegmentedPropertyTypeCodeSequence[0]
    kind.SegmentedPropertyTypeModifierCodeSequence = [laterality(segment.side)]
    return description


def identify_scheme(document: Dataset) -> None:
    """State what the private coding scheme of a document is (DICOM PS3.3, C.12.1.1.1).

    Args:
        document: to which the identification is added.
    """
    scheme = Dataset()
    scheme.CodingSchemeDesignator = PRIVATE_SCHEME
    scheme.CodingSchemeName = "otovox: structures and quantities of the inner ear"
    scheme.CodingSchemeVersion = __version__
    scheme.CodingSchemeResponsibleOrganization = MANUFACTURER
    present = document.get("CodingSchemeIdentificationSequence", ())
    document.CodingSchemeIdentificationSequence = [*present, scheme]


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
    """A structure's code: SNOMED CT if it has one, otherwise FMA.

    >>> from otovox.core.segments import LABYRINTH
    >>> concept(LABYRINTH[Side.LEFT], "Bony labyrinth").scheme_designator
    'SCT'
    """
    from highdicom.sr import CodedConcept

    if structure.sct:
        return CodedConcept(structure.sct, "SCT", meaning)
    return CodedConcept(structure.fma, "FMA", meaning)


def laterality(side: Side) -> "CodedConcept":
    """The SNOMED CT code of a side.

    >>> laterality(Side.LEFT).meaning
    'Left'
    """
    from highdicom.sr import CodedConcept

    value, meaning = _LATERALITY[side]
    return CodedConcept(value, "SCT", meaning)
