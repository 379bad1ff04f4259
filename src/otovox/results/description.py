"""A measured scan as the contents of `result.json`."""

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from otovox._version import __version__
from otovox.core.anatomy import CANONICAL_MM, Side
from otovox.core.case import DISCLAIMER, EarPrediction, Estimate, Prediction
from otovox.core.geometry import FloatArray
from otovox.core.segments import STRUCTURES
from otovox.core.volume import Grid, Scan
from otovox.formats.arguments import printable
from otovox.measure.canals import HeadPlanes
from otovox.measure.completeness import State
from otovox.measure.measured_scan import MeasuredScan
from otovox.measure.measurements import EarMeasurements
from otovox.results.schema import (
    DICOM,
    FILES,
    SCHEMA_VERSION,
    CanalInfo,
    EarResult,
    ExpectedInfo,
    GeometryInfo,
    HeadInfo,
    InputInfo,
    LandmarkInfo,
    PoseInfo,
    ProvenanceInfo,
    ResultFile,
    SoftwareInfo,
    StructureInfo,
    UncertaintyInfo,
)

#: What to check where a part of the ear is not present.
_TO_CHECK = {
    State.MISSING: "check whether it is absent, obliterated, or only missed by the outline",
    State.DISORGANISED: "check whether it is malformed, or its outline wrong",
    State.CUT: "check whether the missing part matters",
}


def describe(measured: MeasuredScan) -> ResultFile:
    """The contents of `result.json` for a scan.

    Args:
        measured: the scan's prediction and measurements.

    >>> from otovox.core.volume import LabelMap
    >>> scan = Scan(np.zeros((4, 4, 4)), Grid.centred((0, 0, 0), (4, 4, 4), spacing_mm=2), "anna")
    >>> nothing = LabelMap(np.zeros((4, 4, 4), np.uint8), scan.grid)
    >>> result = describe(MeasuredScan(Prediction(scan, (), nothing, scan.values), ()))
    >>> result.input.name, result.input.field_mm, result.ears
    ('anna', [8.0, 8.0, 8.0], [])
    """
    prediction, scan = measured.prediction, measured.prediction.scan
    ears = zip(prediction.ears, measured.ears, strict=True)
    return ResultFile(
        schema_version=SCHEMA_VERSION,
        disclaimer=DISCLAIMER,
        coordinate_system="LPS",
        input=_input(scan),
        ears=[_ear(ear, scan.grid, numbers) for ear, numbers in ears],
        head=None if measured.head is None else _head(measured.head),
        warnings=list(prediction.warnings),
        provenance=_provenance(prediction),
        files=_files(measured),
    )


def _input(scan: Scan) -> InputInfo:
    return InputInfo(
        name=scan.name,
        file=printable(Path(scan.source).name) if scan.source else None,
        shape=list(scan.grid.shape),
        spacing_mm=_rounded(scan.grid.spacing_mm, 5),
        field_mm=_rounded(scan.grid.extent_mm, 3),
        patient_id=scan.patient_id or None,
        study_uid=scan.study or None,
        series_uid=scan.series or None,
    )


def _provenance(prediction: Prediction) -> ProvenanceInfo:
    provenance = prediction.provenance
    return ProvenanceInfo(
        software=SoftwareInfo(name="otovox", version=__version__),
        python=platform.python_version(),
        models={name: {"sha256": sha256} for name, sha256 in provenance.models.items()},
        settings=_as_json(provenance.settings.to_json()),
        key=provenance.key,
        location=provenance.location,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _files(measured: MeasuredScan) -> dict[str, str]:
    """The files of the results folder that exist for this scan."""
    absent = [side for side in Side if side not in measured.sides]
    omitted = {f"{kind}_{side}" for kind in ("labyrinth", "ply") for side in absent}
    if len(absent) == len(Side):
        omitted |= {"scene", *DICOM}
    if not any(ear.canals for ear in measured.ears):
        omitted |= {"parts", "lines", "planes"}
    if not measured.prediction.by_model:
        omitted.add("uncertainty")
    if not measured.prediction.scan.series:
        omitted |= set(DICOM)
    return {name: file for name, file in FILES.items() if name not in omitted}


def _ear(ear: EarPrediction, grid: Grid, measured: EarMeasurements) -> EarResult:
    return EarResult(
        side=ear.side,
        confidence=_number(ear.confidence, 4),
        center_mm=_rounded(ear.center_mm, 4),
        pose=PoseInfo(
            origin_mm=_rounded(ear.pose.origin_mm, 4),
            matrix=[_rounded(row, 7) for row in ear.pose.matrix],
            tilt_deg=round(ear.pose.tilt_deg, 2),
            fit_residual_mm=round(ear.pose.residual_mm, 4),
        ),
        landmarks={name: _landmark(ear, name, grid) for name in ear.landmarks.names},
        measurements=measured.table,
        structures=_structures(measured),
        geometry=_geometry(measured),
        uncertainty=_uncertainty(ear),
        touches_border=bool(ear.touches_border),
        warnings=[*ear.warnings, *_doubts(ear, measured)],
    )


def _uncertainty(ear: EarPrediction) -> UncertaintyInfo:
    spreads = ear.landmark_sd_mm[np.isfinite(ear.landmark_sd_mm)]
    quality = ear.quality
    return UncertaintyInfo(
        mean_voxel_sd=_number(ear.uncertainty, 6),
        largest_landmark_sd_mm=_number(spreads.max(), 4) if len(spreads) else None,
        unusual=ear.unusual,
        expected_dsc=None if quality is None else _expected(quality.dice, quality.coverage),
        expected_landmark_error_mm=(
            None if quality is None else _expected(quality.landmark_mm, quality.coverage)
        ),
    )


def _expected(estimate: Estimate, coverage: float) -> ExpectedInfo:
    value, low, high = _rounded((estimate.value, estimate.low, estimate.high), 4)
    return ExpectedInfo(value=value, low=low, high=high, coverage=coverage)


def _structures(measured: EarMeasurements) -> dict[str, StructureInfo]:
    completeness = measured.completeness
    if completeness is None:
        return {}
    return {
        STRUCTURES[part].name: StructureInfo(
            state=state.value, reason=completeness.reasons.get(part, "")
        )
        for part, state in completeness.states.items()
    }


def _geometry(measured: EarMeasurements) -> GeometryInfo:
    cochlea, canals = measured.cochlea, measured.canals
    circles = {} if canals is None else canals.canals
    return GeometryInfo(
        modiolar_axis=None if cochlea is None else _vector(cochlea.axis, 6),
        cochlear_origin_mm=None if cochlea is None else _vector(cochlea.apex_mm, 4),
        canals={
            name: CanalInfo(
                center_mm=_rounded(canal.center_mm, 4),
                normal=_rounded(canal.normal, 6),
                radius_mm=round(canal.radius_mm, 4),
            )
            for name, canal in circles.items()
            if np.isfinite([*canal.center_mm, *canal.normal, canal.radius_mm]).all()
        },
    )


def _doubts(ear: EarPrediction, measured: EarMeasurements) -> list[str]:
    """Warnings derived from the measurements: missing parts, parts that touch."""
    completeness = measured.completeness
    if completeness is None:
        return []
    doubts = [
        f"{ear.side} ear: {reason}; {_TO_CHECK[completeness.states[part]]}"
        for part, reason in completeness.reasons.items()
    ]
    if completeness.bridges:
        doubts.append(
            f"{ear.side} ear: parts of the labyrinth that should be separate touch each other; "
            "check the outline where they touch"
        )
    return doubts


def _head(head: HeadPlanes) -> HeadInfo:
    """The head frame of two ears of different sides."""
    finite = bool(np.isfinite(head.axes).all())

    def numbers(values: dict[str, float]) -> dict[str, float | None]:
        return {name: _number(value, 4) for name, value in values.items()}

    return HeadInfo(
        axes=[_rounded(row, 6) for row in head.axes] if finite else None,
        pairs_deg=numbers(head.pairs_deg),
        sides_deg=numbers(head.sides_deg),
        sides_mm=numbers(head.sides_mm),
    )


def _landmark(ear: EarPrediction, name: str, grid: Grid) -> LandmarkInfo:
    present = ear.landmarks.has(name)
    point = ear.landmarks[name]
    expected = ear.pose.to_lps(np.asarray(CANONICAL_MM.get(name, [np.nan] * 3)))
    return LandmarkInfo(
        mm=_rounded(point, 4) if present else None,
        ijk=_rounded(grid.to_ijk(point), 4) if present else None,
        sd_mm=_number(ear.landmark_sd_mm[ear.landmarks.names.index(name)], 4) if present else None,
        present=present,
        inside_field=bool(grid.contains(point if present else expected)),
    )


def _rounded(values: ArrayLike, digits: int) -> list[float]:
    # Adding 0 turns -0.0 into 0.0.
    return [float(v) + 0.0 for v in np.round(np.asarray(values, dtype=float), digits)]


def _vector(values: FloatArray | None, digits: int) -> list[float] | None:
    return None if values is None else _rounded(values, digits)


def _number(value: float | np.floating, digits: int) -> float | None:
    """Rounded; None if not finite, because JSON has no nan."""
    return round(float(value), digits) + 0.0 if np.isfinite(value) else None


def _as_json(value: Any) -> Any:
    """Settings and checksums as JSON types."""
    if isinstance(value, dict):
        return {str(key): _as_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return [_as_json(item) for item in value]
    if isinstance(value, np.generic):
        return _as_json(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if isinstance(value, bool | int | str | None) else str(value)
