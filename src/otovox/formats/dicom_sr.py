"""Measurements and landmarks as a DICOM structured report, TID 1500, with points in space.

Source: DICOM PS3.16 TID 1500, 1410 and 1501; written through highdicom (Bridge et al. 2022).
Measurements that DICOM has no code for are coded by their names under 99OTOVOX.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from otovox import __version__
from otovox.anatomy import LABYRINTH, LANDMARKS, Side
from otovox.errors import InputError, OutputError
from otovox.formats.dicom import source_headers
from otovox.formats.dicom_seg import (
    MANUFACTURER,
    SR_SERIES,
    complete,
    concept,
    laterality,
    save_dicom,
)
from otovox.landmarks import Landmarks
from otovox.volume import Scan

PRIVATE_SCHEME = "99OTOVOX"
#: Codes of measurements that DICOM and SNOMED CT know, by our names.
_KNOWN = {"labyrinth_volume": ("118565006", "SCT", "Volume")}
#: UCUM codes of our units.
_UCUM = {
    "mm": ("mm", "millimeter"),
    "mm3": ("mm3", "cubic millimeter"),
    "deg": ("deg", "degree"),
    "Hz": ("Hz", "hertz"),
    "": ("1", "no units"),
}
#: Longest meaning of a code, characters (DICOM PS3.5, value representation LO).
_LONGEST = 64


@dataclass(frozen=True)
class Quantity:
    """A measured value: its name as in `result.json`, its value, and its unit."""

    name: str
    value: float
    unit: str


def write_dicom_sr(
    path: Path,
    scan: Scan,
    *,
    landmarks: Mapping[Side, Landmarks],
    quantities: Mapping[Side, Sequence[Quantity]],
) -> None:
    """Write landmarks and measurements as a TID 1500 report, a measurement group for each.

    Args:
        path: file to write.
        scan: read from a DICOM series that is still there.
        landmarks: LPS mm; those that are absent, or are no reported landmarks, are left out.
        quantities: per ear.

    Raises:
        InputError: if the scan came from no DICOM series, or its headers lack what DICOM demands.
        OutputError: if it cannot be written, or there is nothing to report.
    """
    import highdicom as hd
    from pydicom.sr.codedict import codes

    headers = source_headers(scan)
    frame = headers[0].get("FrameOfReferenceUID")
    if not frame:
        raise InputError(f"{scan.source}: its headers name no frame of reference for points")
    groups: list[Any] = []
    for side in Side:
        told = quantities.get(side, ())
        if told:
            groups.append(_measured(side, told))
        if side in landmarks:
            groups += _placed(side, landmarks[side], str(frame))
    if not groups:
        raise OutputError(f"{path}: cannot be written (there is nothing to report)")
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=hd.UID(), name=MANUFACTURER, manufacturer_name=MANUFACTURER, model_name=__version__
    )
    observer = hd.sr.ObserverContext(codes.DCM.Device, device)
    with complete(scan):
        report = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=observer),
            procedure_reported=hd.sr.CodedConcept("60911003", "SCT", "Temporal bone"),
            imaging_measurements=groups,
        )
        document = hd.sr.Comprehensive3DSR(
            evidence=headers,
            content=report,
            series_instance_uid=hd.UID(),
            series_number=SR_SERIES,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            series_description="otovox: inner ear measurements",
        )
    save_dicom(path, document)


def _measured(side: Side, quantities: Sequence[Quantity]) -> Any:
    """All measurements of an ear."""
    import highdicom as hd

    measurements = []
    for quantity in quantities:
        meaning = quantity.name.replace("_", " ")[:_LONGEST]
        name = _KNOWN.get(quantity.name, (quantity.name, PRIVATE_SCHEME, meaning))
        unit, unit_meaning = _UCUM[quantity.unit]
        measurements.append(
            hd.sr.Measurement(
                name=hd.sr.CodedConcept(*name),
                value=quantity.value,
                unit=hd.sr.CodedConcept(unit, "UCUM", unit_meaning),
            )
        )
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(hd.UID(), f"{side}/labyrinth"),
        finding_type=concept(LABYRINTH[side], "Bony labyrinth"),
        finding_sites=[
            hd.sr.FindingSite(concept(LABYRINTH[side], "Bony labyrinth"), laterality(side))
        ],
        measurements=measurements,
    )


def _placed(side: Side, landmarks: Landmarks, frame: str) -> list[Any]:
    """A group per landmark that is there, with its point in the patient's coordinates."""
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
            finding_sites=[
                hd.sr.FindingSite(concept(structure, structure.title), laterality(side))
            ],
        )
        for structure in LANDMARKS
        if landmarks.has(structure.name)
    ]
