"""Landmarks and measurements as a DICOM Structured Report after TID 1500.

Source: DICOM PS3.16, TID 1500 (report), 1410 (a point), 1411 (a segment), 1501 (measurements).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes as known
from pydicom.uid import generate_uid

from otovox import __version__
from otovox.anatomy import LANDMARKS, Side
from otovox.errors import OutputError
from otovox.formats import dicom_codes as codes
from otovox.formats.dicom_seg import MANUFACTURER, SR_SERIES, WrittenSegments
from otovox.formats.writing import replacing
from otovox.landmarks import Landmarks

#: Measurement groups that a TID 1500 report may hold.
Group = (
    hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations
    | hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations
    | hd.sr.MeasurementsAndQualitativeEvaluations
)

_STRUCTURES = {structure.name: structure for structure in LANDMARKS}


@dataclass(frozen=True)
class Quantity:
    """A measured value.

    Attributes:
        key: short name, such as `labyrinth_volume`.
        value: in `unit`.
        unit: mm, mm3, deg, Hz, or empty.
        norm: lowest and highest usual value with their source; None where unknown.
    """

    key: str
    value: float
    unit: str
    norm: tuple[float, float, str] | None = None


@dataclass(frozen=True)
class EarFindings:
    """What is reported of one ear.

    Attributes:
        side: of the ear.
        landmarks: LPS mm; those that are absent are left out.
        quantities: measured values; withheld ones are left out by the caller.
    """

    side: Side
    landmarks: Landmarks
    quantities: tuple[Quantity, ...]


def write_dicom_sr(
    path: Path,
    ears: Sequence[EarFindings],
    sources: Sequence[Dataset],
    *,
    segments: WrittenSegments | None = None,
) -> None:
    """Write landmarks as SCOORD3D points and measurements as a Comprehensive 3D SR.

    Args:
        path: file to write.
        ears: one or two.
        sources: headers of the series' slices, see `source_headers`.
        segments: the segmentation that the volumes were measured in.

    Raises:
        OutputError: if there is no ear, the headers do not suffice, or it cannot be written.
    """
    if not ears:
        raise OutputError(f"{path}: cannot be written (there is no ear)")
    try:
        groups = [group for ear in ears for group in _groups(ear, sources[0], segments)]
        report = hd.sr.MeasurementReport(
            observation_context=_observer(),
            procedure_reported=known.LN.CTUnspecifiedBodyRegion,
            imaging_measurements=groups,
            title=known.DCM.ImagingMeasurementReport,
        )
        document = hd.sr.Comprehensive3DSR(
            evidence=[*sources, *([segments.dataset] if segments else [])],
            content=report,
            series_instance_uid=hd.UID(),
            series_number=SR_SERIES,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            is_complete=True,
            series_description="otovox measurements, research use only",
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise OutputError(f"{path}: cannot be written (the series' headers: {error})") from error
    with replacing(path) as beside:
        document.save_as(beside)


def _observer() -> hd.sr.ObservationContext:
    """The program as the device that observed."""
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        # The same for every report of a version.
        uid=generate_uid(entropy_srcs=["otovox", __version__]),
        name="otovox",
        manufacturer_name=MANUFACTURER,
        model_name=f"otovox {__version__}",
    )
    return hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(
            observer_type=known.DCM.Device, observer_identifying_attributes=device
        )
    )


def _groups(ear: EarFindings, source: Dataset, segments: WrittenSegments | None) -> Iterator[Group]:
    """Measurement groups of one ear: its labyrinth, then each landmark."""
    site = hd.sr.FindingSite(
        anatomic_location=codes.INNER_EAR, laterality=codes.LATERALITY[ear.side]
    )
    algorithm = hd.sr.AlgorithmIdentification(name="otovox", version=__version__)
    shared = {"algorithm_id": algorithm, "finding_sites": [site]}
    whole = shared | {
        "tracking_identifier": _tracking(f"{ear.side} labyrinth"),
        "finding_type": codes.labyrinth_code(),
        "measurements": [_measurement(quantity) for quantity in ear.quantities],
    }
    if segments is not None and ear.side in segments.numbers:
        yield hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=hd.sr.ReferencedSegment(
                sop_class_uid=str(segments.dataset.SOPClassUID),
                sop_instance_uid=str(segments.dataset.SOPInstanceUID),
                segment_number=segments.numbers[ear.side],
                source_series=hd.sr.SourceSeriesForSegmentation(str(source.SeriesInstanceUID)),
            ),
            **whole,
        )
    elif ear.quantities:
        yield hd.sr.MeasurementsAndQualitativeEvaluations(**whole)
    for name in ear.landmarks.names:
        if name in _STRUCTURES and ear.landmarks.has(name):
            yield hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
                tracking_identifier=_tracking(f"{ear.side}/{name}"),
                finding_type=codes.code_of(_STRUCTURES[name]),
                referenced_region=hd.sr.ImageRegion3D(
                    graphic_type=hd.sr.GraphicTypeValues3D.POINT,
                    graphic_data=np.asarray(ear.landmarks[name], dtype=float)[None],
                    frame_of_reference_uid=str(source.FrameOfReferenceUID),
                ),
                geometric_purpose=known.DCM.Center,
                **shared,
            )


def _tracking(name: str) -> hd.sr.TrackingIdentifier:
    return hd.sr.TrackingIdentifier(uid=hd.UID(), identifier=name)


def _measurement(quantity: Quantity) -> hd.sr.Measurement:
    unit = codes.UNITS[quantity.unit]
    properties = None
    if quantity.norm is not None:
        *limits, source = quantity.norm
        names = (known.SCT.NormalRangeLowerLimit, known.SCT.NormalRangeUpperLimit)
        values = [
            hd.sr.NumContentItem(
                name=name,
                value=limit,
                unit=unit,
                relationship_type=hd.sr.RelationshipTypeValues.HAS_PROPERTIES,
            )
            for name, limit in zip(names, limits, strict=True)
        ]
        properties = hd.sr.MeasurementProperties(
            normal_range_properties=hd.sr.NormalRangeProperties(values, authority=source)
        )
    return hd.sr.Measurement(
        name=codes.quantity_code(quantity.key),
        value=quantity.value,
        unit=unit,
        properties=properties,
    )
