"""The schema of `result.json`, and the names of the other files."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from otovox.core.anatomy import Side
from otovox.errors import InputError, OutputError
from otovox.measure.values import Measurement

#: The minor number is raised when a field is added, the major one when a field changes its meaning.
SCHEMA_VERSION = "1.2"

#: Possible files of a results folder; surfaces only of detected ears, DICOM only for DICOM scans.
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
    "dicom_structures": "structures.dcm",
    "measurements": "measurements.csv",
    "report": "report.html",
}
#: Files that exist only for scans from a DICOM series.
DICOM = ("dicom_segmentation", "dicom_report", "dicom_structures")
RESULT = "result.json"

Triple = Annotated[list[float], Field(min_length=3, max_length=3)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class InputInfo(_Model):
    """The scan: its name, its file name without the path, and its field of view.

    Patient ID, study and series UID are those of a DICOM scan that was not analysed with
    `--anonymous`; new in 1.2.
    """

    name: str
    file: str | None
    shape: Annotated[list[int], Field(min_length=3, max_length=3)]
    spacing_mm: Triple
    field_mm: Triple
    patient_id: str | None = None
    study_uid: str | None = None
    series_uid: str | None = None


class PoseInfo(_Model):
    """Pose of the ear: map from the canonical right ear to LPS mm, fitted to its landmarks."""

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
    """The circle fitted to a canal: LPS mm, its normal signed by the excitatory direction."""

    center_mm: Triple
    normal: Triple
    radius_mm: float


class GeometryInfo(_Model):
    """Axes and planes underlying the measurements, LPS mm; null where undetermined.

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
    """An estimate made without ground truth; for the fraction `coverage` of ears the true value is
    between `low` and `high`."""

    value: float
    low: float
    high: float
    coverage: float


class UncertaintyInfo(_Model):
    """Spread over the test-time samples, and the expected quality.

    `unusual` is true if the ear is unlike healthy ones; null if the model has no threshold.
    `expected_dsc` is the expected Dice coefficient of the mask against an expert's,
    `expected_landmark_error_mm` the expected mean distance of the landmarks from an expert's; null
    if the model has no estimator. Both are new in 1.1.
    """

    mean_voxel_sd: float | None
    largest_landmark_sd_mm: float | None
    unusual: bool | None = None
    expected_dsc: ExpectedInfo | None = None
    expected_landmark_error_mm: ExpectedInfo | None = None


class EarResult(_Model):
    """One ear; its confidence is null where a mask was measured that no model made."""

    side: Side
    confidence: float | None
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
    """What produced the result, and when; `key` changes with everything that affects the result.

    `location` is a checksum of the scan's location and distinguishes scans with the same name; new
    in 1.2.
    """

    software: SoftwareInfo
    python: str
    models: dict[str, JsonValue]
    settings: dict[str, JsonValue]
    key: str | None = None
    location: str | None = None
    created: str


class ResultFile(_Model):
    """The contents of `result.json`."""

    schema_version: Literal["1.0", "1.1", "1.2"]
    disclaimer: str
    coordinate_system: Literal["LPS"]
    input: InputInfo
    ears: list[EarResult]
    head: HeadInfo | None = None
    warnings: list[str]
    provenance: ProvenanceInfo
    files: dict[str, str]


def read_result(path: Path) -> ResultFile:
    """Read a result.json.

    Raises:
        InputError: if it is missing, damaged or of another schema.
    """
    try:
        return ResultFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "file"
        raise InputError(
            f"{path}: is not a result.json of schema {SCHEMA_VERSION} ({place}: {first['msg']})"
        ) from error


def check_same_scan(folder: Path, location: str | None) -> None:
    """Refuse to replace the results of another scan with the same name.

    Args:
        folder: a results folder, which may not exist.
        location: checksum of the location of the scan to be written; None if not known.

    Raises:
        OutputError: if the folder contains the results of a scan from another location.
    """
    try:
        present = read_result(folder / RESULT).provenance.location
    except InputError:
        return
    if None not in (present, location) and present != location:
        raise OutputError(
            f"{folder}: contains the results of another scan with this name, from another "
            "location; choose another --output, or remove them"
        )
