"""Label maps as a DICOM RT Structure Set, for radiotherapy planning.

Source: DICOM PS3.3 A.19, C.8.8.5, C.8.8.6 and C.8.8.8; common attributes through highdicom. A
contour within another one is a hole, as planning systems read nested contours.
"""

from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

from otovox._version import __version__
from otovox.core.segments import LABYRINTHS, PARTS, PRIVATE_SCHEME, Segment, present
from otovox.core.volume import LabelMap, Scan
from otovox.errors import OutputError
from otovox.formats.caveats import Caveats
from otovox.formats.dicom_seg import MANUFACTURER, RESEARCH, complete, identify_scheme, save_dicom
from otovox.formats.dicom_source import SourceImages, source_images

#: Number of our series next to the source's: chosen, high enough to be unused.
_SERIES = 9603
#: SOP class of a study as it is referred to (retired, but required by C.8.8.5: PS3.4, B.5).
_STUDY = "1.2.840.10008.3.1.2.3.1"
#: Longest description of a structure, characters (DICOM PS3.5, representation ST).
_LONGEST_TEXT = 1024


def write_rtstruct(
    path: Path,
    labels: LabelMap,
    scan: Scan,
    *,
    parts: LabelMap | None = None,
    caveats: Caveats | None = None,
) -> None:
    """Write the labyrinths and their parts as closed contours in the planes of the images.

    Args:
        path: file to write.
        labels: on the scan's grid; label values are `Side.label`.
        scan: read from a DICOM series that still exists.
        parts: values of `core.segments.PARTS`, on the same grid.
        caveats: written with each structure.

    Raises:
        InputError: if the scan is not from a DICOM series, or its headers lack required attributes.
        OutputError: if it cannot be written, or contains no labyrinth.
    """
    import highdicom as hd
    from highdicom.base import SOPClass

    masks = [(segment, labels) for segment in present(LABYRINTHS, labels.values)]
    if not masks:
        raise OutputError(f"{path}: cannot be written (no labyrinth was found)")
    if parts is not None:
        masks += [(segment, parts) for segment in present(PARTS, parts.values)]
    images, caveats, now = source_images(scan), caveats or Caveats(), datetime.now()
    source = images.headers[0]
    with complete(scan):
        structures = SOPClass(
            study_instance_uid=source.StudyInstanceUID,
            series_instance_uid=hd.UID(),
            series_number=_SERIES,
            sop_instance_uid=hd.UID(),
            sop_class_uid=RTStructureSetStorage,
            instance_number=1,
            modality="RTSTRUCT",
            manufacturer=MANUFACTURER,
            manufacturer_model_name=MANUFACTURER,
            software_versions=__version__,
            transfer_syntax_uid=ExplicitVRLittleEndian,
            specific_character_set="ISO_IR 192",
            series_description=f"otovox: bony labyrinths. {RESEARCH}",
        )
        structures.copy_patient_and_study_information(source)
        structures.StructureSetLabel = "LABYRINTH"
        structures.StructureSetDescription = RESEARCH
        structures.StructureSetDate, structures.StructureSetTime = now.date(), now.time()
        structures.ApprovalStatus = "UNAPPROVED"
        structures.ReferencedFrameOfReferenceSequence = [_frame_of_reference(images)]
        numbered = list(enumerate(masks, start=1))
        frame = str(source.FrameOfReferenceUID)
        structures.StructureSetROISequence = [
            _structure(number, segment, frame, caveats) for number, (segment, _) in numbered
        ]
        structures.ROIContourSequence = [
            _contours(number, segment, map_, images) for number, (segment, map_) in numbered
        ]
        structures.RTROIObservationsSequence = [
            _observation(number, segment) for number, (segment, _) in numbered
        ]
        if any(segment.code[0] == PRIVATE_SCHEME for segment, _ in masks):
            identify_scheme(structures)
    save_dicom(path, structures)


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _frame_of_reference(images: SourceImages) -> Dataset:
    """The images that the contours lie on, by study and series (C.8.8.5.1)."""
    source = images.headers[0]
    series = _item(
        SeriesInstanceUID=source.SeriesInstanceUID,
        ContourImageSequence=[
            _item(
                ReferencedSOPClassUID=header.SOPClassUID,
                ReferencedSOPInstanceUID=header.SOPInstanceUID,
            )
            for header in images.headers
        ],
    )
    study = _item(
        ReferencedSOPClassUID=_STUDY,
        ReferencedSOPInstanceUID=source.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _item(FrameOfReferenceUID=source.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _structure(number: int, segment: Segment, frame: str, caveats: Caveats) -> Dataset:
    return _item(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=frame,
        ROIName=segment.structure.title,
        ROIDescription=" ".join(caveats.of_ear(segment.side))[:_LONGEST_TEXT],
        ROIGenerationAlgorithm="AUTOMATIC",
    )


def _observation(number: int, segment: Segment) -> Dataset:
    scheme, value = segment.code
    code = _item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=segment.meaning)
    return _item(
        ObservationNumber=number,
        ReferencedROINumber=number,
        RTROIIdentificationCodeSequence=[code],
        RTROIInterpretedType="ORGAN",
        ROIInterpreter="",
    )


def _contours(number: int, segment: Segment, labels: LabelMap, images: SourceImages) -> Dataset:
    """The contours of a structure, between the centres of voxels inside and outside of it."""
    from skimage.measure import find_contours

    contours = []
    for k in np.flatnonzero((labels.values == segment.value).any(axis=(0, 1))):
        plane = np.pad(labels.values[:, :, k] == segment.value, 1)
        for line in find_contours(plane.astype(float), 0.5):
            ijk = np.column_stack([line[:-1] - 1, np.full(len(line) - 1, float(k))])
            points = labels.grid.to_mm(ijk)
            contours.append(
                _item(
                    ContourImageSequence=[_image(images, int(k))],
                    ContourGeometricType="CLOSED_PLANAR",
                    NumberOfContourPoints=len(points),
                    ContourData=[f"{value:.3f}" for value in points.ravel()],
                )
            )
    return _item(
        ReferencedROINumber=number,
        ROIDisplayColor=list(segment.structure.rgb),
        ContourSequence=contours,
    )


def _image(images: SourceImages, k: int) -> Dataset:
    """Reference to the image, or frame, of a plane."""
    header = images.headers[0 if images.frames is not None else k]
    reference = _item(
        ReferencedSOPClassUID=header.SOPClassUID, ReferencedSOPInstanceUID=header.SOPInstanceUID
    )
    if images.frames is not None:
        reference.ReferencedFrameNumber = int(images.frames[k]) + 1
    return reference
