"""What `result.json` holds: its schema, and a Prediction told in it."""

import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from otovox import __version__
from otovox.anatomy import CANONICAL_MM, Side
from otovox.case import EarPrediction, Prediction
from otovox.volume import Grid

SCHEMA_VERSION = "1.0"
DISCLAIMER = "Research use only. Not a medical device."

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
    "dicom_segmentation": "segmentation.dcm",
    "dicom_report": "measurements.dcm",
    "measurements": "measurements.csv",
    "report": "report.html",
}
#: Those that only a scan from a DICOM series has.
DICOM = ("dicom_segmentation", "dicom_report")
RESULT = "result.json"

#: Distances between landmarks: name, ends, definition.
DISTANCES = (
    ("helicotrema_to_oval_window", "helicotrema", "oval_window"),
    ("helicotrema_to_round_window", "helicotrema", "round_window"),
    ("oval_to_round_window", "oval_window", "round_window"),
)

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


class Norm(_Model):
    """What is usual in healthy ears, and where that was published."""

    low: float
    high: float
    source: str


class Measurement(_Model):
    """A value with its unit and definition; null where it cannot be measured, with the reason.

    `interval` holds 95 of 100 values if the scan's test-time samples are what it varies by.
    """

    value: float | None
    unit: Literal["mm", "mm3", "deg", "Hz", ""]
    definition: str
    group: str = "labyrinth"
    interval: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    norm: Norm | None = None
    withheld: str = ""

    @property
    def unusual(self) -> Literal["", "low", "high"]:
        """Whether the value lies outside the norm, and on which side."""
        if self.value is None or self.norm is None:
            return ""
        if self.value < self.norm.low:
            return "low"
        return "high" if self.value > self.norm.high else ""


class UncertaintyInfo(_Model):
    """Spread over the test-time samples."""

    mean_voxel_sd: float | None
    largest_landmark_sd_mm: float | None


class EarResult(_Model):
    """One ear."""

    side: Side
    confidence: float
    center_mm: Triple
    pose: PoseInfo
    landmarks: dict[str, LandmarkInfo]
    measurements: dict[str, Measurement]
    uncertainty: UncertaintyInfo
    touches_border: bool
    warnings: list[str]


class SoftwareInfo(_Model):
    """Program and version."""

    name: str
    version: str


class Provenance(_Model):
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
    warnings: list[str]
    provenance: Provenance
    files: dict[str, str]


def describe(prediction: Prediction) -> ResultFile:
    """A prediction as `result.json` tells it."""
    scan, grid = prediction.scan, prediction.scan.grid
    absent = [side for side in Side if side not in sides_of(prediction)]
    left_out = {f"{kind}_{side}" for kind in ("labyrinth", "ply") for side in absent}
    left_out |= {"scene", *DICOM} if len(absent) == len(Side) else set()
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
        ears=[_ear(ear, grid) for ear in prediction.ears],
        warnings=list(prediction.warnings),
        provenance=Provenance(
            software=SoftwareInfo(name="otovox", version=__version__),
            python=platform.python_version(),
            models=_plain(prediction.provenance.get("models", {})),
            settings=_plain(prediction.provenance.get("settings", {})),
            key=prediction.provenance.get("key"),
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
        files={name: file for name, file in FILES.items() if name not in left_out},
    )


def sides_of(prediction: Prediction) -> list[Side]:
    """Sides that have an ear with voxels of its own."""
    named = dict.fromkeys(ear.side for ear in prediction.ears)
    return [side for side in named if (prediction.labels.values == side.label).any()]


def _ear(ear: EarPrediction, grid: Grid) -> EarResult:
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
        measurements=_measurements(ear),
        uncertainty=UncertaintyInfo(
            mean_voxel_sd=_number(ear.uncertainty, 6),
            largest_landmark_sd_mm=_number(spreads.max(), 4) if len(spreads) else None,
        ),
        touches_border=bool(ear.touches_border),
        warnings=list(ear.warnings),
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


def _measurements(ear: EarPrediction) -> dict[str, Measurement]:
    found = {
        "labyrinth_volume": Measurement(
            value=_number(ear.volume_mm3, 3),
            unit="mm3",
            definition="volume of the voxels labelled as this labyrinth in segmentation.nii.gz",
        )
    }
    for key, first, second in DISTANCES:
        known = ear.landmarks.has(first) and ear.landmarks.has(second)
        ends = f"{first.replace('_', ' ')} and {second.replace('_', ' ')}"
        found[key] = Measurement(
            value=_number(ear.landmarks.distance_mm(first, second), 4) if known else None,
            unit="mm",
            definition=f"straight distance between the landmarks {ends}",
        )
    return found


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
