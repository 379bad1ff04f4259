"""The schema of `result.json`, and the names of the files beside it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from otovox.core.anatomy import Side
from otovox.measure.measurements import Measurement

#: The minor number is raised when a field is added, the major one when a field changes its meaning.
SCHEMA_VERSION = "1.2"

#: What a result folder may hold; surfaces of the detected ears, DICOM of DICOM scans alone.
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
    """A landmark; if it is absent, `inside_field` refers to its expected position."""

    mm: Triple | None
    ijk: Triple | None
    sd_mm: float | None
    present: bool
    inside_field: bool


class StructureInfo(_Model):
    """State of one part of the inner ear, and the reason if it is not present."""

    state: Literal["present", "missing", "disorganised", "cut by the field"]
    reason: str


class CanalInfo(_Model):
    """The circle fitted to a canal: LPS mm, its normal signed by what excites the canal."""

    center_mm: Triple
    normal: Triple
    radius_mm: float


class GeometryInfo(_Model):
    """Axes and planes that the measurements rest on, LPS mm; null where undetermined.

    `cochlear_origin_mm` is the origin of the cochlear coordinates (Verbist et al. 2010): on the
    modiolar axis at the height of the helicotrema; 0 degrees is at the round window.
    """

    modiolar_axis: Triple | None
    cochlear_origin_mm: Triple | None
    canals: dict[str, CanalInfo]


class HeadInfo(_Model):
    """Both ears' canals in one head frame, degrees and mm; null where undetermined.

    `axes` are its rows X (forward), Y (left), Z (up) in LPS; `pairs_deg` the angles between the
    planes of synergistic canals; `sides_deg` and `sides_mm` the differences between the right ear
    and the mirrored left one, in normals and radii.
    """

    axes: list[Triple] | None
    pairs_deg: dict[str, float | None]
    sides_deg: dict[str, float | None]
    sides_mm: dict[str, float | None]


class ExpectedInfo(_Model):
    """An estimate made without ground truth; the true value lies between `low` and `high` in the
    share `coverage` of ears."""

    value: float
    low: float
    high: float
    coverage: float


class UncertaintyInfo(_Model):
    """Spread over the test-time samples, and the quality that may be expected.

    `unusual` says whether the ear is unlike healthy ones; null where the model has no threshold.
    `expected_dsc` is the Dice coefficient that the mask is expected to reach against an expert's,
    `expected_landmark_error_mm` the mean distance of its landmarks from an expert's; null where
    the model has no estimator. Both are new in 1.1.
    """

    mean_voxel_sd: float | None
    largest_landmark_sd_mm: float | None
    unusual: bool | None = None
    expected_dsc: ExpectedInfo | None = None
    expected_landmark_error_mm: ExpectedInfo | None = None


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
    """What produced the result, and when; `key` changes with whatever the result depends on.

    `location` is a checksum of where the scan lay, which tells scans of one name from each other;
    new in 1.2.
    """

    software: SoftwareInfo
    python: str
    models: dict[str, JsonValue]
    settings: dict[str, JsonValue]
    key: str | None = None
    location: str | None = None
    created: str


class ResultFile(_Model):
    """The whole of `result.json`."""

    schema_version: Literal["1.0", "1.1", "1.2"]
    disclaimer: str
    coordinate_system: Literal["LPS"]
    input: InputInfo
    ears: list[EarResult]
    head: HeadInfo | None = None
    warnings: list[str]
    provenance: ProvenanceInfo
    files: dict[str, str]
