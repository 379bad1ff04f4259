"""What `result.json` holds: its schema, and a Prediction told in it."""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from otovox._version import __version__
from otovox.core.anatomy import CANONICAL_MM, Side
from otovox.core.case import DISCLAIMER, EarPrediction, Prediction
from otovox.core.volume import Grid
from otovox.measure.canals import head_planes
from otovox.measure.measurements import EarMeasurements, Measurement, measure_ear
from otovox.measure.parts import STRUCTURES

SCHEMA_VERSION = "1.0"

#: What a result folder may hold; surfaces only of the ears found, DICOM only of DICOM scans.
FILES = {
    "segmentation": "segmentation.nii.gz",
    "uncertainty": "uncertainty.nii.gz",
    "segments": "segmentation.seg.nrrd",
    "labels": "labels.txt",
    "landmarks": "landmarks.mrk.json",
    "overview": "overview.png",
    "labyrinth_right": "labyrinth_right.stl",
    "labyrinth_left": "labyrinth_left.stl",
    "ply_right": "labyrinth_right.ply",
    "ply_left": "labyrinth_left.ply",
    "scene": "labyrinth.glb",
    "parts": "parts.nii.gz",
    "lines": "lines.mrk.json",
    "planes": "planes.mrk.json",
    "dicom_segmentation": "segmentation.dcm",
    "dicom_report": "measurements.dcm",
    "measurements": "measurements.csv",
    "report": "report.html",
}
#: Those that only a scan from a DICOM series has.
DICOM = ("dicom_segmentation", "dicom_report")
RESULT = "result.json"

Triple = Annotated[list[float], Field(min_length=3, max_length=3)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class InputInfo(_Model):
    """The scan: its name, its file's name without the path, and its field."""

    name: str
    file: str | None
    shape: Annotated[list[int], Field(min_length=3, max_length=3)]
    spacing_mm: Triple
    field_mm: Triple


class PoseInfo(_Model):
    """Where the ear lies: map from the canonical right ear to LPS mm, fitted to its landmarks."""

    origin_mm: Triple
    matrix: Annotated[list[Triple], Field(min_length=3, max_length=3)]
    tilt_deg: float
    fit_residual_mm: float


class LandmarkInfo(_Model):
    """A landmark; `inside_field` is told of its expected place where it is absent."""

    mm: Triple | None
    ijk: Triple | None
    sd_mm: float | None
    present: bool
    inside_field: bool


class StructureInfo(_Model):
    """Whether a part of the inner ear is there, and why it is thought not to be."""

    state: Literal["present", "missing", "disorganised", "cut by the field"]
    reason: str


class CanalInfo(_Model):
    """The circle fitted to a canal: LPS mm, its normal signed by what excites the canal."""

    center_mm: Triple
    normal: Triple
    radius_mm: float


class GeometryInfo(_Model):
    """Axes and planes that the measurements rest on, LPS mm; null where not known.

    `cochlear_origin_mm` is the origin of the cochlear coordinates (Verbist et al. 2010): on the
    modiolar axis at the height of the helicotrema; 0 degrees is at the round window.
    """

    modiolar_axis: Triple | None
    cochlear_origin_mm: Triple | None
    canals: dict[str, CanalInfo]


class HeadInfo(_Model):
    """Both ears' canals in one head frame, degrees and mm; null where not known.

    `axes` are its rows X (forward), Y (left), Z (up) in LPS; `pairs_deg` the angles between the
    planes of synergistic canals; `sides_deg` and `sides_mm` what the right ear differs from the
    mirrored left one in normals and radii.
    """

    axes: list[Triple] | None
    pairs_deg: dict[str, float | None]
    sides_deg: dict[str, float | None]
    sides_mm: dict[str, float | None]


class UncertaintyInfo(_Model):
    """Spread over the test-time samples.

    `unusual` says whether the ear is unlike healthy ones; null where the model has no threshold.
    """

    mean_voxel_sd: float | None
    largest_landmark_sd_mm: float | None
    unusual: bool | None = None


class EarResult(_Model):
    """One ear."""

    side: Side
    confidence: float
    center_mm: Triple
    pose: PoseInfo
    landmarks: dict[str, LandmarkInfo]
    measurements: dict[str, Measurement]
    structures: dict[str, StructureInfo]
    geometry: GeometryInfo
    uncertainty: UncertaintyInfo
    touches_border: bool
    warnings: list[str]


class SoftwareInfo(_Model):
    """Program and version."""

    name: str
    version: str


class ProvenanceInfo(_Model):
    """What produced the result, and when; `key` changes with whatever the result depends on."""

    software: SoftwareInfo
    python: str
    models: dict[str, JsonValue]
    settings: dict[str, JsonValue]
    key: str | None = None
    created: str


class ResultFile(_Model):
    """The whole of `result.json`."""

    schema_version: Literal["1.0"]
    disclaimer: str
    coordinate_system: Literal["LPS"]
    input: InputInfo
    ears: list[EarResult]
    head: HeadInfo | None = None
    warnings: list[str]
    provenance: ProvenanceInfo
    files: dict[str, str]


def describe(
    prediction: Prediction, measured: Sequence[EarMeasurements] | None = None
) -> ResultFile:
    """A prediction as `result.json` tells it.

    Args:
        prediction: of one scan.
        measured: what was measured of each of its ears, if that is known already.
    """
    scan, grid = prediction.scan, prediction.scan.grid
    if measured is None:
        measured = [measure_ear(ear, grid) for ear in prediction.ears]
    absent = [side for side in Side if side not in sides_of(prediction)]
    left_out = {f"{kind}_{side}" for kind in ("labyrinth", "ply") for side in absent}
    left_out |= {"scene", *DICOM} if len(absent) == len(Side) else set()
    left_out |= set() if any(known.canals for known in measured) else {"parts", "lines", "planes"}
    left_out |= set() if scan.series else set(DICOM)
    return ResultFile(
        schema_version=SCHEMA_VERSION,
        disclaimer=DISCLAIMER,
        coordinate_system="LPS",
        input=InputInfo(
            name=scan.name,
            file=Path(scan.source).name if scan.source else None,
            shape=list(grid.shape),
            spacing_mm=_rounded(grid.spacing_mm, 5),
            field_mm=_rounded(grid.extent_mm, 3),
        ),
        ears=[_ear(ear, grid, known) for ear, known in zip(prediction.ears, measured, strict=True)],
        head=_head(measured),
        warnings=list(prediction.warnings),
        provenance=ProvenanceInfo(
            software=SoftwareInfo(name="otovox", version=__version__),
            python=platform.python_version(),
            models={name: {"sha256": sha} for name, sha in prediction.provenance.models.items()},
            settings=_plain(prediction.provenance.settings.to_json()),
            key=prediction.provenance.key,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
        files={name: file for name, file in FILES.items() if name not in left_out},
    )


def sides_of(prediction: Prediction) -> list[Side]:
    """Sides that have an ear with voxels of its own."""
    named = dict.fromkeys(ear.side for ear in prediction.ears)
    return [side for side in named if (prediction.labels.values == side.label).any()]


def _ear(ear: EarPrediction, grid: Grid, measured: EarMeasurements) -> EarResult:
    spreads = ear.landmark_sd_mm[np.isfinite(ear.landmark_sd_mm)]
    return EarResult(
        side=ear.side,
        confidence=round(float(ear.confidence), 4),
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
        uncertainty=UncertaintyInfo(
            mean_voxel_sd=_number(ear.uncertainty, 6),
            largest_landmark_sd_mm=_number(spreads.max(), 4) if len(spreads) else None,
            unusual=ear.unusual,
        ),
        touches_border=bool(ear.touches_border),
        warnings=[*ear.warnings, *_doubts(ear, measured)],
    )


def _structures(measured: EarMeasurements) -> dict[str, StructureInfo]:
    known = measured.completeness
    if known is None:
        return {}
    return {
        STRUCTURES[part].name: StructureInfo(state=state.value, reason=known.reasons.get(part, ""))
        for part, state in known.states.items()
    }


def _geometry(measured: EarMeasurements) -> GeometryInfo:
    cochlea, canals = measured.cochlea, measured.canals
    axis = None if cochlea is None or cochlea.axis is None else _rounded(cochlea.axis, 6)
    apex = None if cochlea is None or cochlea.apex_mm is None else _rounded(cochlea.apex_mm, 4)
    found = {} if canals is None else canals.canals
    return GeometryInfo(
        modiolar_axis=axis,
        cochlear_origin_mm=apex,
        canals={
            name: CanalInfo(
                center_mm=_rounded(canal.center_mm, 4),
                normal=_rounded(canal.normal, 6),
                radius_mm=round(canal.radius_mm, 4),
            )
            for name, canal in found.items()
            if np.isfinite([*canal.center_mm, *canal.normal, canal.radius_mm]).all()
        },
    )


def _doubts(ear: EarPrediction, measured: EarMeasurements) -> list[str]:
    """What the measurements say against an ear: parts missing, bridges."""
    known = measured.completeness
    if known is None:
        return []
    doubts = [f"{ear.side} ear: {reason}" for reason in known.reasons.values()]
    if known.bridges:
        doubts.append(f"{ear.side} ear: parts touch that should not, there are too many loops")
    return doubts


def _head(measured: Sequence[EarMeasurements]) -> HeadInfo | None:
    """The head frame of two ears of different sides."""
    canals = {known.canals.side: known.canals for known in measured if known.canals is not None}
    if len(canals) < 2:
        return None
    head = head_planes(canals[Side.RIGHT], canals[Side.LEFT])
    known = bool(np.isfinite(head.axes).all())

    def plain(values: dict[str, float]) -> dict[str, float | None]:
        return {name: _number(value, 4) for name, value in values.items()}

    return HeadInfo(
        axes=[_rounded(row, 6) for row in head.axes] if known else None,
        pairs_deg=plain(head.pairs_deg),
        sides_deg=plain(head.sides_deg),
        sides_mm=plain(head.sides_mm),
    )


def _landmark(ear: EarPrediction, name: str, grid: Grid) -> LandmarkInfo:
    present = ear.landmarks.has(name)
    point = ear.landmarks[name]
    place = point if present else ear.pose.to_lps(np.asarray(CANONICAL_MM.get(name, [np.nan] * 3)))
    return LandmarkInfo(
        mm=_rounded(point, 4) if present else None,
        ijk=_rounded(grid.to_ijk(point), 4) if present else None,
        sd_mm=_number(ear.landmark_sd_mm[ear.landmarks.names.index(name)], 4) if present else None,
        present=present,
        inside_field=bool(grid.contains(place)),
    )


def _rounded(values: ArrayLike, digits: int) -> list[float]:
    # Adding 0 turns -0.0 into 0.0.
    return [float(v) + 0.0 for v in np.round(np.asarray(values, dtype=float), digits)]


def _number(value: float | np.floating, digits: int) -> float | None:
    """Rounded; None where it is not finite, for JSON knows no nan."""
    return round(float(value), digits) + 0.0 if np.isfinite(value) else None


def _plain(value: Any) -> Any:
    """Settings and checksums as JSON can hold them."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset | np.ndarray):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if isinstance(value, bool | int | str | None) else str(value)
