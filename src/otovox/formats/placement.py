"""Where an image file's header says its voxels lie; what it leaves open is never guessed.

Readers fill what a header lacks with an identity matrix and 1 mm, silently, so that left and right
may be swapped. Here each header's own statements are looked at first; what is missing has to be
stated by the user (`Stated`), and what is contradictory is refused.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
from nibabel import imageglobals
from nibabel.analyze import AnalyzeHeader
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from otovox.core.geometry import FloatArray, affine_from, apply_affine
from otovox.errors import ConfigError, InputError
from otovox.formats.detached import METAIMAGE, NRRD, text_header
from otovox.formats.native import alone

#: How far two transforms of a header may put a corner of the volume apart, mm: chosen, above what
#: headers round and far below a voxel.
SAME_MM = 0.1
#: How far voxel sizes that should be the same may differ, as a ratio: chosen.
_SAME_RATIO = 0.01
#: How far a transform may be from perpendicular axes (cosine): chosen, as in `guards`.
_SKEW = 1e-3
#: Least cosine of an axis and the side that its letter names: chosen, below 1/sqrt(3) = 0.577.
_NAMES_AXIS = 0.3

#: Unit vectors in LPS of the letters that name a side of the patient.
_LETTERS = {
    "L": (1, 0, 0), "R": (-1, 0, 0),
    "P": (0, 1, 0), "A": (0, -1, 0),
    "S": (0, 0, 1), "I": (0, 0, -1),
}  # fmt: skip
#: NRRD's spaces whose axes are sides of the patient. Source: teem.sourceforge.net/nrrd/format.html
_PATIENT_SPACES = {
    "right-anterior-superior": "RAS", "ras": "RAS",
    "left-anterior-superior": "LAS", "las": "LAS",
    "left-posterior-superior": "LPS", "lps": "LPS",
}  # fmt: skip
_MILLIMETRES = {"mm", "millimeter", "millimeters", "millimetre", "millimetres"}
#: NIfTI's codes of a transform, the most trustworthy first: the scanner's, aligned to another
#: image, and templates. Source: nifti1.h
_CODES = {1: "scanner", 2: "aligned", 3: "Talairach", 4: "MNI 152", 5: "template"}

STATE_SPACE = (
    "state by --space where x, y and z grow to, such as LPS (left, back, head) or RAS (right, "
    "front, head)"
)
STATE_SPACING = "state the voxel size by --spacing X,Y,Z in mm"


@dataclass(frozen=True)
class Stated:
    """What the user knows of headers that are silent.

    Attributes:
        space: three letters of L or R, P or A, S or I: where x, y and z grow to; may be empty.
        spacing_mm: voxel edges along the file's first, second and third axis; None if not stated.
    """

    space: str = ""
    spacing_mm: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.space and np.abs(np.linalg.det(_axes_of(self.space))) != 1:
            raise ConfigError(f"--space {self.space}: names an axis twice; LPS or RAS are usual")
        edges = self.spacing_mm
        if edges is not None and not (
            len(edges) == 3 and np.all(np.isfinite(edges) & (np.array(edges) > 0))
        ):
            raise ConfigError(
                f"--spacing {edges}: three lengths in mm are needed, such as 0.3,0.3,0.5"
            )


@dataclass(frozen=True)
class Placement:
    """What a header says, or the user in its place.

    Attributes:
        affine: (4, 4) from (i, j, k) to LPS mm.
        warnings: sentences for the user.
    """

    affine: FloatArray
    warnings: tuple[str, ...] = ()


def stated(space: str | None, spacing: str | None) -> Stated:
    """What a user wrote behind `--space` and `--spacing`.

    Raises:
        ConfigError: if it cannot be understood.
    """
    letters = (space or "").strip().upper()
    if letters and not re.fullmatch("[LRPASI]{3}", letters):
        raise ConfigError(
            f"--space {space}: three letters are needed, where x, y and z grow to: LPS or RAS, say"
        )
    if not spacing:
        return Stated(letters)
    try:
        edges = tuple(float(part) for part in re.split(r"[,;x\s]+", spacing.strip()))
    except ValueError:
        edges = ()
    if len(edges) != 3:
        raise ConfigError(
            f"--spacing {spacing}: three lengths in mm are needed, such as 0.3,0.3,0.5"
        )
    return Stated(letters, edges)


def placement_of(path: Path, reader: sitk.ImageFileReader, stated: Stated) -> Placement:
    """Where the voxels of an image file lie.

    Args:
        path: of the header.
        reader: that has read it.
        stated: what the user says in place of a silent header.

    Raises:
        InputError: if header and user leave it open, or contradict themselves or each other.
    """
    name = path.name.lower()
    if name.endswith(NRRD):
        return _nrrd(path, reader, stated)
    if name.endswith(METAIMAGE):
        return _metaimage(path, reader, stated)
    return _nifti(path, reader.GetSize()[:3], stated)


def _axes_of(space: str) -> NDArray[np.int_]:
    """(3, 3) whose columns are where x, y and z of a space grow to, in LPS."""
    return np.array([_LETTERS[letter] for letter in space]).T


def _from_space(path: Path, space: str, linear: FloatArray, origin: FloatArray) -> FloatArray:
    """An affine into LPS from one into a named space."""
    axes = _axes_of(space)
    affine = affine_from(axes @ linear, axes @ origin)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise InputError(f"{path}: its axes or voxel sizes make no sense")
    return affine


def _edges(path: Path, told: FloatArray | None, stated: Stated, lacking: str) -> FloatArray:
    """Voxel edges from header or user, who must not contradict each other."""
    if told is None:
        if stated.spacing_mm is None:
            raise InputError(f"{path}: {lacking}, so its voxel size is not known; {STATE_SPACING}")
        return np.array(stated.spacing_mm)
    if stated.spacing_mm is not None and not _same_sizes(told, np.array(stated.spacing_mm)):
        raise InputError(
            f"{path}: its header says voxels of {_text(told)} mm, --spacing says "
            f"{_text(stated.spacing_mm)} mm; leave out --spacing, or correct the header"
        )
    return told


def _not_needed(stated: Stated) -> list[str]:
    if not stated.space:
        return []
    return [f"--space {stated.space} was not used: the header itself names the patient's sides"]


def _same_sizes(one: FloatArray, other: FloatArray) -> bool:
    with np.errstate(all="ignore"):
        return bool(np.all(np.abs(one / other - 1) <= _SAME_RATIO))


def _text(values: "FloatArray | tuple[float, ...]") -> str:
    return " x ".join(f"{value:.4g}" for value in values)


# ---------------------------------------------------------------- NIfTI and Analyze 7.5


def _nifti(path: Path, size: tuple[int, ...], stated: Stated) -> Placement:
    header, quaternion, rows = _nifti_header(path)
    if not isinstance(header, Nifti1Header) or (quaternion is None and rows is None):
        return _unplaced_nifti(path, header, stated)
    edges = _edges(
        path, np.abs(np.array(header.get_zooms()[:3], float)) * _unit_mm(header), stated, ""
    )
    warnings = _not_needed(stated)
    if quaternion is None or rows is None:
        affine, form = (rows, "sform") if quaternion is None else (quaternion, "qform")
    else:
        affine, form, told = _chosen(path, header, quaternion, rows, size)
        warnings += told
    assert affine is not None
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not _same_sizes(lengths, edges):
        raise InputError(
            f"{path}: its {form} makes voxels of {_text(lengths)} mm, its pixdim of {_text(edges)} "
            "mm, so their size is not known (a registration scales the sform); put the scanner's "
            "transform into the header"
        )
    code = int(header[f"{form}_code"])
    if code > 2:
        warnings.append(
            f"the header's only transform ({form}) is that of an atlas ({_CODES.get(code, code)}): "
            "positions are the atlas's, not the scanner's"
        )
    return Placement(_from_space(path, "RAS", affine[:3, :3], affine[:3, 3]), tuple(warnings))


def _nifti_header(
    path: Path,
) -> tuple[AnalyzeHeader, FloatArray | None, FloatArray | None]:
    """A header with its coded qform and sform, mm and RAS."""
    try:
        with alone(), _silent(), np.errstate(all="ignore"):
            header = nibabel.load(path).header  # pyright: ignore[reportPrivateImportUsage]
            if not isinstance(header, AnalyzeHeader):
                raise TypeError(f"it has a {type(header).__name__}")
            if not isinstance(header, Nifti1Header):
                return header, None, None
            scale = np.diag([*[_unit_mm(header)] * 3, 1.0])
            forms = [form for form, _ in (header.get_qform(True), header.get_sform(True))]
    except Exception as error:  # what nibabel raises on damaged headers has no common base
        raise InputError(f"{path}: its header makes no sense ({_short(error)})") from error
    finite = [form is None or bool(np.isfinite(form).all()) for form in forms]
    if not all(finite):
        raise InputError(f"{path}: its qform or sform holds numbers that are not finite")
    quaternion, rows = (None if form is None else scale @ form for form in forms)
    return header, quaternion, rows


@contextmanager
def _silent() -> Iterator[None]:
    """nibabel logs what it mends in headers; what matters is checked here."""
    kept = imageglobals.logger.level
    imageglobals.logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        imageglobals.logger.setLevel(kept)


def _unit_mm(header: Nifti1Header) -> float:
    """Millimetres of a header's unit of length; unknown is taken for mm, as all readers do."""
    return {"meter": 1000.0, "micron": 0.001}.get(str(header.get_xyzt_units()[0]), 1.0)


def _chosen(
    path: Path,
    header: Nifti1Header,
    quaternion: FloatArray,
    rows: FloatArray,
    size: tuple[int, ...],
) -> tuple[FloatArray, str, list[str]]:
    """The transform that counts of two coded ones, its name, and a warning where they differ."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in size])).reshape(3, -1).T
    apart = np.linalg.norm(apply_affine(quaternion, corners) - apply_affine(rows, corners), axis=1)
    q, s = int(header["qform_code"]), int(header["sform_code"])
    if apart.max() <= SAME_MM:
        # The one whose axes are perpendicular by construction; the sform keeps more digits.
        return rows, "sform" if s <= 2 or q > 2 else "qform", []
    if np.linalg.det(quaternion[:3, :3]) * np.linalg.det(rows[:3, :3]) <= 0:
        raise InputError(
            f"{path}: its qform and sform differ in left and right (one is mirrored), so the side "
            "is not known; keep the right one and set the code of the other to 0"
        )
    far = f"up to {apart.max():.1f} mm apart"
    if min(q, 3) == min(s, 3):
        raise InputError(
            f"{path}: its qform and sform (codes {q} and {s}) put the voxels {far}, and neither is "
            "the scanner's alone; keep the right one and set the code of the other to 0"
        )
    names = [
        f"{form} (code {code}, {_CODES.get(code)})" for form, code in (("qform", q), ("sform", s))
    ]
    kept, left = names if q < s else names[::-1]
    told = (
        f"qform and sform of the header put the voxels {far}: the {kept} was used, not the {left}"
    )
    return (quaternion, "qform", [told]) if q < s else (rows, "sform", [told])


def _unplaced_nifti(path: Path, header: AnalyzeHeader, stated: Stated) -> Placement:
    """A header without any transform: the user says where the axes go."""
    analyze = not isinstance(header, Nifti1Header)
    what = "Analyze 7.5" if analyze else "a NIfTI file with neither qform nor sform"
    if not stated.space:
        raise InputError(f"{path}: is {what}, which does not say which side is left; {STATE_SPACE}")
    scale = 1.0 if analyze else _unit_mm(header)
    told = np.abs(np.array(header.get_zooms()[:3], float)) * scale
    edges = _edges(path, told if (told > 0).all() else None, stated, "has no pixdim")
    warning = f"{what} does not say where the patient is: positions count from the first voxel"
    affine = _from_space(path, stated.space, np.diag(edges), np.zeros(3))
    return Placement(affine, (warning,))


# ---------------------------------------------------------------- NRRD


def _nrrd(path: Path, reader: sitk.ImageFileReader, stated: Stated) -> Placement:
    told = text_header(path)
    space = told.get("space", "")
    patient = _PATIENT_SPACES.get(space.lower().removesuffix("-time"), "")
    if not patient:
        if not stated.space:
            what = f"its space {space!r} names" if space else "its header names no space, and so"
            usual = "left-posterior-superior"
            if "left-handed" in space.lower():
                usual = "left-anterior-superior"
            raise InputError(
                f"{path}: {what} no side of the patient; write the true one into the header, such "
                f"as space: {usual}, or {_state_space(space)}"
            )
        _check_handedness(path, space, stated.space)
    _check_units(path, told)
    linear = _vectors(path, told.get("space directions", ""))
    if linear is not None:
        _edges(path, np.linalg.norm(linear, axis=0), stated, "")
        warnings = _not_needed(stated) if patient else []
    else:
        if not stated.space:
            raise InputError(
                f"{path}: its header has no space directions, so it is not known where its axes "
                f"run; {STATE_SPACE}"
            )
        spacings = _numbers(path, "spacings", told.get("spacings", ""), reader.GetDimension())
        lacking = "its header has neither space directions nor spacings"
        linear, warnings = np.diag(_edges(path, spacings, stated, lacking)), []
        patient = stated.space
    corner = _vectors(path, told.get("space origin", ""), count=1)
    if corner is None:
        warnings.append("the header states no origin: positions count from the first voxel")
    origin = np.zeros(3) if corner is None else corner[:, 0]
    affine = _from_space(path, patient or stated.space, linear, origin)
    return Placement(affine, tuple(warnings))


def why_unreadable(path: Path) -> str:
    """What is wrong with the geometry of a header that the library cannot read; may be empty."""
    if not path.name.lower().endswith(NRRD):
        return ""
    told = text_header(path)
    if told.get("space", "").lower().endswith("-time"):
        return f"its space {told['space']!r} has time as an axis; a space without it is needed"
    vectors = f"{told.get('space directions', '')} {told.get('space origin', '')}"
    counts = {len(vector.split(",")) for vector in re.findall(r"\(([^)]*)\)", vectors)}
    if counts & {4, 5, 6}:
        return "its header's vectors have decimal commas; write points"
    if told.get("space") and "spacings" in told and "space directions" not in told:
        return "its header has a space and spacings; space directions are needed in their place"
    return ""


def _state_space(space: str) -> str:
    if "left-handed" in space.lower():
        return (
            "state by --space where x, y and z grow to, such as LAS (left, front, head) or RPS "
            "(right, back, head)"
        )
    return STATE_SPACE


def _check_handedness(path: Path, space: str, axes: str) -> None:
    """Refuse a stated space that is the mirror image of what the header says."""
    hands = {"3d-right-handed": 1, "3d-left-handed": -1}
    hand = hands.get(space.lower().removesuffix("-time"), 0)
    if hand * np.linalg.det(_axes_of(axes)) < 0:
        other = "RPS or LAS" if hand < 0 else "LPS or RAS"
        raise InputError(
            f"{path}: its space is {space!r}, but --space {axes} is its mirror image; {other} "
            "would fit, or correct the header"
        )


def _check_units(path: Path, told: dict[str, str]) -> None:
    for key in ("space units", "units"):
        units = set(re.findall(r'"([^"]*)"', told.get(key, ""))) - {"", "???"}
        foreign = sorted(unit for unit in units if unit.lower() not in _MILLIMETRES)
        if foreign:
            raise InputError(
                f"{path}: its {key} are {', '.join(foreign)}; mm are needed, convert it"
            )


def _vectors(path: Path, text: str, count: int = 0) -> FloatArray | None:
    """The vectors "(1,0,0) (0,1,0)" of an NRRD header as columns; None where there is none."""
    found = [
        [_number(path, part) for part in vector.split(",")]
        for vector in re.findall(r"\(([^)]*)\)", text)
    ]
    if not found:
        return None
    if len(found) != (count or 3) or {len(vector) for vector in found} != {3}:
        raise InputError(f"{path}: its header's vectors {text!r} are not in three dimensions")
    return np.array(found).T


# ---------------------------------------------------------------- MetaImage


def _metaimage(path: Path, reader: sitk.ImageFileReader, stated: Stated) -> Placement:
    told = text_header(path)
    count = reader.GetDimension()
    units = told.get("distanceunits", "mm")
    if units.lower() not in _MILLIMETRES | {"?", ""}:
        raise InputError(f"{path}: its DistanceUnits are {units}; mm are needed, convert it")
    warnings = []
    spacing = _numbers(path, "ElementSpacing", told.get("elementspacing", ""), count)
    size = _numbers(path, "ElementSize", told.get("elementsize", ""), count)
    if spacing is None and size is not None and stated.spacing_mm is None:
        spacing = size
        warnings.append("the header has no ElementSpacing: its ElementSize was taken for it")
    edges = _edges(path, spacing, stated, "its header has no ElementSpacing")
    matrix = _first(told, ("transformmatrix", "orientation", "rotation"))
    letters = told.get("anatomicalorientation", "").upper()
    letters = letters if re.fullmatch("[LRPASI]{3}", letters) else ""
    linear, space = np.eye(3), stated.space
    if matrix is None:
        if not space:
            only = f" (AnatomicalOrientation {letters} is read in two ways)" if letters else ""
            raise InputError(
                f"{path}: its header has no TransformMatrix, so it is not known where its axes "
                f"run{only}; {STATE_SPACE}"
            )
    else:
        values = _numbers(path, "TransformMatrix", matrix, count * count)
        assert values is not None
        # A row of the file is an axis.
        linear = values.reshape(count, count).T[:3, :3]
        agree = _agreement(letters, linear)
        if space and agree > 0:
            warnings, space = [*warnings, *_not_needed(stated)], ""
        elif not space and letters and not agree:
            raise InputError(
                f"{path}: its AnatomicalOrientation {letters} contradicts its TransformMatrix; "
                "correct one of them, or state by --space what the matrix is in, such as LPS"
            )
        elif not space and agree < 0:
            warnings.append(
                f"AnatomicalOrientation {letters} was read as where the axes run to, as the "
                "TransformMatrix has it"
            )
        space = space or "LPS"
    offset = _first(told, ("offset", "position", "origin"))
    corner = _numbers(path, "Offset", offset or "", count)
    if corner is None:
        warnings.append("the header states no Offset: positions count from the first voxel")
    origin = np.zeros(3) if corner is None else corner[:3]
    return Placement(_from_space(path, space, linear * edges, origin), tuple(warnings))


def _agreement(letters: str, linear: FloatArray) -> int:
    """Whether AnatomicalOrientation fits a matrix: 1 as where the axes come from, as ITK writes it,
    -1 as where they run to, as the format's description has it; else 0."""
    if not letters:
        return 0
    cosines = np.sum(_axes_of(letters) * linear, axis=0)
    if (cosines < -_NAMES_AXIS).all():
        return 1
    return -1 if (cosines > _NAMES_AXIS).all() else 0


# ---------------------------------------------------------------- numbers


def _first(told: dict[str, str], keys: tuple[str, ...]) -> str | None:
    return next((told[key] for key in keys if key in told), None)


def _numbers(path: Path, key: str, text: str, count: int) -> FloatArray | None:
    """The numbers of a key, None where it is absent."""
    parts = text.split()
    if not parts:
        return None
    if len(parts) != count:
        raise InputError(f"{path}: its {key} {text!r} is not {count} numbers")
    values = np.array([_number(path, part, key) for part in parts])
    return values if count > 4 else values[:3]


def _number(path: Path, text: str, key: str = "header") -> float:
    try:
        return float(text)
    except ValueError as error:
        comma = " (a decimal comma; write a point)" if "," in text else ""
        raise InputError(
            f"{path}: its {key} holds {text!r}, which is not a number{comma}"
        ) from error


def _short(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
