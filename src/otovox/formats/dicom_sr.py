"""Measurements and landmarks as a DICOM structured report (TID 1500) with 3D points.

Source: DICOM PS3.16 TID 1500 (report), 1410 (a point), 1411 (a segment), 1501 (measurements);
written through highdicom (Bridge et al. 2022). Measurements without a DICOM code are coded
under 99OTOVOX.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from otovox._version import __version__
from otovox.core.anatomy import LABYRINTH, LANDMARKS, Side
from otovox.core.landmarks import Landmarks
from otovox.core.segments import PRIVATE_SCHEME
from otovox.core.volume import Scan
from otovox.errors import OutputError
from otovox.formats.caveats import Caveats
from otovox.formats.dicom_seg import (
    MANUFACTURER,
    RESEARCH,
    SR_SERIES,
    complete,
    concept,
    identify_scheme,
    laterality,
    save_dicom,
)
from otovox.formats.dicom_source import source_headers

#: Standard DICOM and SNOMED CT codes of measurements, by our names.
_STANDARD = {"labyrinth_volume": ("118565006", "SCT", "Volume")}
#: UCUM codes of our units.
_UCUM = {
    "mm": ("mm", "millimeter"),
    "mm3": ("mm3", "cubic millimeter"),
    "deg": ("deg", "degree"),
    "Hz": ("Hz", "hertz"),
    "": ("1", "no units"),
}
#: Longest value and meaning of a code, characters (DICOM PS3.5, representations SH and LO).
_SHORT, _LONGEST = 16, 64


@dataclass(frozen=True)
class CodedQuantity:
    """A measured value.

    Attributes:
        name: its key in `result.json`.
        value: in `unit`.
        unit: mm, mm3, deg, Hz, or empty.
        norm: lower and upper limit of normal, and their source; None if unknown.
    """

    name: str
    value: float
    unit: str
    norm: tuple[float, float, str] | None = None


def write_dicom_sr(
    path: Path,
    scan: Scan,
    *,
    landmarks: Mapping[Side, Landmarks],
    quantities: Mapping[Side, Sequence[CodedQuantity]],
    segmentation: Dataset | None = None,
    caveats: Caveats | None = None,
) -> None:
    """Write landmarks and measurements as a TID 1500 report, one measurement group each.

    Args:
        path: file to write.
        scan: read from a DICOM series that still exists.
        landmarks: LPS mm; absent and unreported landmarks are omitted.
        quantities: per ear.
        segmentation: returned by `write_dicom_seg`; the report then refers to its segments.
        caveats: confidences become measurements, sentences comments, models parameters.

    Raises:
        InputError: if the scan is not from a DICOM series, or its headers lack required attributes.
        OutputError: if it cannot be written, or there is nothing to report.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    headers = source_headers(scan)
    caveats = caveats or Caveats()
    algorithm = hd.sr.AlgorithmIdentification(
        MANUFACTURER,
        __version__,
        [f"{name} sha256={value}" for name, value in caveats.models.items()] or None,
    )
    groups: list[Any] = []
    for side in Side:
        measured = list(quantities.get(side, ()))
        if side in caveats.confidence:
            measured.append(CodedQuantity("confidence", caveats.confidence[side], ""))
        if measured:
            segment = _segment(side, segmentation, scan.series)
            groups.append(_measured(side, measured, segment, algorithm))
        if side in landmarks:
            frame = str(headers[0].FrameOfReferenceUID)
            groups += _placed(side, landmarks[side], frame, algorithm)
    if not groups:
        raise OutputError(f"{path}: cannot be written (there is nothing to report)")
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        # The same in every report of a version.
        uid=generate_uid(entropy_srcs=[MANUFACTURER, __version__]),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=__version__,
    )
    observer = hd.sr.ObserverContext(codes.DCM.Device, device)
    with complete(scan):
        report = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=observer),
            procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
            imaging_measurements=groups,
        )
        _comment(report, caveats.of_scan())
        document = hd.sr.Comprehensive3DSR(
            evidence=headers if segmentation is None else [*headers, segmentation],
            content=report,
            series_instance_uid=hd.UID(),
            series_number=SR_SERIES,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            series_description=f"otovox: inner ear measurements. {RESEARCH}",
        )
        identify_scheme(document)
    save_dicom(path, document)


def _comment(report: Any, sentences: Sequence[str]) -> None:
    """Add comments to the root of a report."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    for sentence in sentences:
        text = hd.sr.TextContentItem(
            codes.DCM.Comment, sentence, relationship_type=hd.sr.RelationshipTypeValues.CONTAINS
        )
        report[0].ContentSequence.append(text)


def _measured(side: Side, quantities: Sequence[CodedQuantity], segment: Any, algorithm: Any) -> Any:
    """All measurements of an ear, grouped with its segment if there is one."""
    import highdicom as hd

    labyrinth = concept(LABYRINTH[side], "Bony labyrinth")
    content: dict[str, Any] = {
        "tracking_identifier": hd.sr.TrackingIdentifier(hd.UID(), f"{side}/labyrinth"),
        "finding_type": labyrinth,
        "algorithm_id": algorithm,
        "finding_sites": [hd.sr.FindingSite(labyrinth, laterality(side))],
        "measurements": [_measurement(quantity) for quantity in quantities],
    }
    if segment is None:
        return hd.sr.MeasurementsAndQualitativeEvaluations(**content)
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=segment, **content
    )


def _segment(side: Side, segmentation: Dataset | None, series: str) -> Any:
    """A reference to the segment of a side; None if there is none."""
    import highdicom as hd

    if segmentation is None:
        return None
    for segment in segmentation.SegmentSequence:
        if segment.TrackingID == f"{side}/labyrinth":
            return hd.sr.ReferencedSegment(
                sop_class_uid=str(segmentation.SOPClassUID),
                sop_instance_uid=str(segmentation.SOPInstanceUID),
                segment_number=int(segment.SegmentNumber),
                source_series=hd.sr.SourceSeriesForSegmentation(series),
            )
    return None


def _measurement(quantity: CodedQuantity) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    value, meaning = _UCUM[quantity.unit]
    unit = hd.sr.CodedConcept(value, "UCUM", meaning)
    properties = None
    if quantity.norm is not None:
        low, high, source = quantity.norm
        limits = [
            hd.sr.NumContentItem(
                name, limit, unit, relationship_type=hd.sr.RelationshipTypeValues.HAS_PROPERTIES
            )
            for name, limit in (
                (codes.SCT.NormalRangeLowerLimit, low),
                (codes.SCT.NormalRangeUpperLimit, high),
            )
        ]
        normal = hd.sr.NormalRangeProperties(limits, authority=source)
        properties = hd.sr.MeasurementProperties(normal_range_properties=normal)
    name = hd.sr.CodedConcept(*_STANDARD.get(quantity.name, private_code(quantity.name)))
    return hd.sr.Measurement(name, quantity.value, unit, properties=properties)


def private_code(name: str) -> tuple[str, str, str]:
    """Our private code of a measurement: value, scheme, meaning.

    A value has at most 16 characters, as most readers expect (highdicom 0.28 cannot read segment
    references next to longer ones). Longer names are truncated and a checksum keeps them unique.
    The meaning holds the full name.

    >>> private_code("labyrinth_volume")
    ('labyrinth_volume', '99OTOVOX', 'labyrinth volume')
    """
    cut = f"{name[:9]}-{sha256(name.encode()).hexdigest()[:6]}"
    meaning = name.replace("_", " ")[:_LONGEST]
    return (name if len(name) <= _SHORT else cut, PRIVATE_SCHEME, meaning)


def _placed(side: Side, landmarks: Landmarks, frame: str, algorithm: Any) -> list[Any]:
    """One group per landmark that is present, with its point in patient coordinates."""
    import highdicom as hd

    return [
        hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=hd.sr.TrackingIdentifier(hd.UID(), f"{side}/{structure.name}"),
            referenced_region=hd.sr.ImageRegion3D(
                graphic_type=hd.sr.GraphicTypeValues3D.POINT,
                graphic_data=np.asarray(landmarks[structure.name], dtype=float)[None],
                frame_of_reference_uid=frame,
            ),
            finding_type=concept(structure, structure.title),
            algorithm_id=algorithm,
            finding_sites=[
                hd.sr.FindingSite(concept(structure, structure.title), laterality(side))
            ],
        )
        for structure in LANDMARKS
        if landmarks.has(structure.name)
    ]
