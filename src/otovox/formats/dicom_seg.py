"""Labyrinths as a DICOM Segmentation that refers to the series it was made from.

Source: DICOM PS3.3, A.51, written by highdicom (Bridge et al. 2022, 10.1007/s10278-022-00683-y).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset

from otovox import __version__
from otovox.anatomy import LABYRINTH, Side
from otovox.errors import OutputError
from otovox.formats import dicom_codes as codes
from otovox.formats.writing import replacing
from otovox.volume import LabelMap

#: Numbers of our series in the study: chosen, high, so that a scanner's series stay before them.
SEG_SERIES, SR_SERIES = 9001, 9002
MANUFACTURER = "otovox"


@dataclass(frozen=True, eq=False)
class WrittenSegments:
    """What a report needs to point to segments.

    Attributes:
        dataset: the segmentation as it was written.
        numbers: of each side's segment.
    """

    dataset: Dataset
    numbers: dict[Side, int]


def write_dicom_seg(path: Path, labels: LabelMap, sources: Sequence[Dataset]) -> WrittenSegments:
    """Write a label map as a binary DICOM Segmentation, a segment per side that has voxels.

    Frames without a voxel are left out, as DICOM allows.

    Args:
        path: file to write.
        labels: label values are `Side.label`, on the grid of the series.
        sources: headers of the series' slices in the order of the k axis, see `source_headers`.

    Returns:
        What a report needs to point to its segments.

    Raises:
        OutputError: if no side has voxels, the headers do not suffice, or it cannot be written.
    """
    sides = [side for side in Side if (labels.values == side.label).any()]
    if not sides:
        raise OutputError(f"{path}: cannot be written (there is no voxel of a labyrinth)")
    numbers = {side: number for number, side in enumerate(sides, start=1)}
    # DICOM wants frames (k), rows (j) and columns (i), and segments counted from 1 without gaps.
    frames = np.zeros(labels.grid.shape[::-1], np.uint8)
    values = labels.values.T
    for side, number in numbers.items():
        frames[values == side.label] = number
    try:
        segmentation = hd.seg.Segmentation(
            source_images=list(sources),
            pixel_array=frames,
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_description(side, number) for side, number in numbers.items()],
            series_instance_uid=hd.UID(),
            series_number=SEG_SERIES,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            manufacturer_model_name="otovox",
            software_versions=__version__,
            device_serial_number="none",
            content_label="LABYRINTH",
            content_description="Bony labyrinth, research use only",
            series_description="otovox labyrinth segmentation",
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise OutputError(f"{path}: cannot be written (the series' headers: {error})") from error
    with replacing(path) as beside:
        segmentation.save_as(beside)
    return WrittenSegments(segmentation, numbers)


def _description(side: Side, number: int) -> hd.seg.SegmentDescription:
    structure = LABYRINTH[side]
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=structure.title,
        segmented_property_category=codes.ANATOMICAL_STRUCTURE,
        segmented_property_type=codes.labyrinth_code(),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="otovox", family=codes.ARTIFICIAL_INTELLIGENCE, version=__version__
        ),
        tracking_uid=hd.UID(),
        tracking_id=structure.name,
        anatomic_regions=[codes.TEMPORAL_BONE],
        display_color=hd.color.CIELabColor.from_rgb(*structure.rgb),
    )
    # The side is a modifier of the type (PS3.3, table 10-7); highdicom has no argument for it.
    kind = description.SegmentedPropertyTypeCodeSequence[0]
    laterality = hd.sr.CodedConcept.from_code(codes.LATERALITY[side])
    kind.SegmentedPropertyTypeModifierCodeSequence = [laterality]
    return description
