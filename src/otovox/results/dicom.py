"""The DICOM objects of a result: segmentation and structured report of a DICOM scan."""

from collections.abc import Mapping
from pathlib import Path

from otovox.core.anatomy import Side
from otovox.core.case import Prediction
from otovox.core.landmarks import Landmarks
from otovox.core.volume import LabelMap
from otovox.errors import InputError
from otovox.formats.caveats import Caveats
from otovox.formats.dicom_rtstruct import write_rtstruct
from otovox.formats.dicom_seg import write_dicom_seg
from otovox.formats.dicom_sr import CodedQuantity, write_dicom_sr
from otovox.measure.values import Measurement
from otovox.results.schema import DICOM, FILES, ResultFile


def with_dicom(
    prediction: Prediction,
    result: ResultFile,
    landmarks: Mapping[Side, Landmarks],
    folder: Path,
    *,
    parts: LabelMap | None = None,
) -> ResultFile:
    """Write the DICOM objects listed in a result.

    Args:
        prediction: prediction for the scan.
        result: future contents of `result.json`.
        landmarks: per side, LPS mm.
        folder: the results folder.
        parts: values of `core.segments.PARTS` on the scan's grid.

    Returns:
        The result; without DICOM objects but with a warning if the scan's headers do not allow
        them.
    """
    if not set(DICOM) <= set(result.files):
        return result
    quantities = {
        ear.side: [
            CodedQuantity(name, cell.value, cell.unit, _norm(cell))
            for name, cell in ear.measurements.items()
            if cell.value is not None
        ]
        for ear in result.ears
    }
    scan, caveats = prediction.scan, _caveats(result)
    try:
        path = folder / FILES["dicom_segmentation"]
        written = write_dicom_seg(path, prediction.labels, scan, parts=parts, caveats=caveats)
        write_dicom_sr(
            folder / FILES["dicom_report"],
            scan,
            landmarks=dict(landmarks),
            quantities=quantities,
            segmentation=written,
            caveats=caveats,
        )
        structures = folder / FILES["dicom_structures"]
        write_rtstruct(structures, prediction.labels, scan, parts=parts, caveats=caveats)
    except InputError as error:
        for name in DICOM:
            (folder / FILES[name]).unlink(missing_ok=True)
        files = {name: file for name, file in result.files.items() if name not in DICOM}
        # The result may be passed on: it names the scan, not a path of this machine.
        reason = str(error).replace(scan.source, scan.name) if scan.source else str(error)
        warnings = [*result.warnings, f"no DICOM results: {reason}"]
        return result.model_copy(update={"files": files, "warnings": warnings})
    return result


def _caveats(result: ResultFile) -> Caveats:
    """Information that must accompany files passed on without `result.json`."""
    return Caveats(
        warnings=result.warnings,
        confidence={ear.side: ear.confidence for ear in result.ears if ear.confidence is not None},
        ear_warnings={ear.side: ear.warnings for ear in result.ears},
        models={
            name: str(facts["sha256"])
            for name, facts in result.provenance.models.items()
            if isinstance(facts, dict) and "sha256" in facts
        },
        by_model="segmentation" not in result.provenance.settings,
    )


def _norm(measurement: Measurement) -> tuple[float, float, str] | None:
    norm = measurement.norm
    return None if norm is None else (norm.low, norm.high, norm.source)
