"""The affine of an image file from its header; missing geometry is never guessed.

Readers silently replace missing fields by an identity matrix and 1 mm, which may swap left and
right. Here the header's own fields are checked first. The user must state what is missing
(`Stated`), and contradictions are refused.
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

#: Largest distance between a volume's corners under a header's two transforms, mm: chosen, above
#: header rounding and far below a voxel.
SAME_MM = 0.1
#: Largest relative difference of voxel sizes that should agree: chosen.
_SAME_RATIO = 0.01
#: Largest deviation of a transform's axes from perpendicular (cosine): chosen, as in `guards`.
_SKEW = 1e-3
#: Smallest cosine between an axis and its letter's direction: chosen, below 1/sqrt(3) = 0.577.
_NAMES_AXIS = 0.3

#: Unit vectors in LPS of the letters for anatomical directions.
_LETTERS = {
    "L": (1, 0, 0), "R": (-1, 0, 0),
    "P": (0, 1, 0), "A": (0, -1, 0),
    "S": (0, 0, 1), "I": (0, 0, -1),
}  # fmt: skip
#: NRRD's anatomical spaces. Source: teem.sourceforge.net/nrrd/format.html
_PATIENT_SPACES = {
    "right-anterior-superior": "RAS", "ras": "RAS",
    "left-anterior-superior": "LAS", "las": "LAS",
    "left-posterior-superior": "LPS", "lps": "LPS",
}  # fmt: skip
_MILLIMETRES = {"mm", "millimeter", "millimeters", "millimetre", "millimetres"}
#: NIfTI's transform codes, the most reliable first: scanner, aligned to another image, and
#: templates. Source: nifti1.h
_CODES = {1: "scanner", 2: "aligned", 3: "Talairach", 4: "MNI 152", 5: "template"}

STATE_SPACE = (
    "use --space to state the directions in which x, y and z increase, such as LPS (left, "
    "posterior, superior) or RAS (right, anterior, superior)"
)
STATE_SPACING = "use --spacing X,Y,Z to state the voxel size in mm"


@dataclass(frozen=True)
class Stated:
    """Geometry stated by the user, for headers that lack it.

    Attributes:
        space: directions of x, y and z: a letter each of L or R, P or A, S or I; may be empty.
        spacing_mm: voxel edges along the file's first, second and third axis; None if not stated.
    """

    space: str = ""
    spacing_mm: tuple[float, float, float] | None = None

    def __post_init__(self) -> None:
        if self.space and np.abs(np.linalg.det(_axes_of(self.space))) != 1:
            raise ConfigError(f"--space {self.space}: repeats an axis; LPS and RAS are usual")
        edges = self.spacing_mm
        if edges is not None and not (
            len(edges) == 3 and np.all(np.isfinite(edges) & (np.array(edges) > 0))
        ):
            raise ConfigError(
                f"--spacing {edges}: three lengths in mm are needed, such as 0.3,0.3,0.5"
            )


@dataclass(frozen=True)
class Placement:
    """The geometry from the header, or from the user instead.

    Attributes:
        affine: (4, 4) from (i, j, k) to LPS mm.
        warnings: for the user, as sentences.
    """

    affine: FloatArray
    warnings: tuple[str, ...] = ()


def stated(space: str | None, spacing: str | None) -> Stated:
    """Parse the values of `--space` and `--spacing`; a ConfigError if one is invalid.

    >>> stated("LPS", "0.3,0.3,0.5")
    Stated(space='LPS', spacing_mm=(0.3, 0.3, 0.5))
    """
    letters = (space or "").strip().upper()
    if letters and not re.fullmatch("[LRPASI]{3}", letters):
        raise ConfigError(
            f"--space {space}: three letters are needed, the directions of x, y and z, such as LPS"
        )
    if not spacing:
        return Stated(letters)
    try:
        edges = tuple(float(edge) for edge in re.split(r"[,;x\s]+", spacing.strip()))
    except ValueError:
        edges = ()
    if len(edges) != 3:
        raise ConfigError(
            f"--spacing {spacing}: three lengths in mm are needed, such as 0.3,0.3,0.5"
        )
    return Stated(letters, edges)


def placement_of(path: Path, reader: sitk.ImageFileReader, stated: Stated) -> Placement:
    """The placement of an image file's voxels in the patient.

    Args:
        path: of the header.
        reader: a reader that has read the header.
        stated: geometry from the user, for headers that lack it.

    Raises:
        InputError: if the geometry is incomplete or contradictory.
    """
    name = path.name.lower()
    if name.endswith(NRRD):
        return _nrrd(path, reader, stated)
    if name.endswith(METAIMAGE):
        return _metaimage(path, reader, stated)
    return _nifti(path, reader.GetSize()[:3], stated)


def _axes_of(space: str) -> NDArray[np.int_]:
    """(3, 3) matrix whose columns are the directions of x, y and z of a space, in LPS."""
    return np.array([_LETTERS[letter] for letter in space]).T


def _from_space(path: Path, space: str, linear: FloatArray, origin: FloatArray) -> FloatArray:
    """Convert an affine into a named space to one into LPS."""
    axes = _axes_of(space)
    affine = affine_from(axes @ linear, axes @ origin)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise InputError(f"{path}: its axes or voxel sizes are invalid")
    return affine


def _edges(path: Path, header_edges: FloatArray | None, stated: Stated, lacking: str) -> FloatArray:
    """Voxel edges from the header or the user, which must not contradict each other."""
    if header_edges is None:
        if stated.spacing_mm is None:
            raise InputError(f"{path}: {lacking}, so its voxel size is unknown; {STATE_SPACING}")
        return np.array(stated.spacing_mm)
    if stated.spacing_mm is not None and not _same_sizes(header_edges, np.array(stated.spacing_mm)):
        raise InputError(
            f"{path}: its header states voxels of {_text(header_edges)} mm, but --spacing is "
            f"{_text(stated.spacing_mm)} mm; omit --spacing, or correct the header"
        )
    return header_edges


def _not_needed(stated: Stated) -> list[str]:
    if not stated.space:
        return []
    return [f"--space {stated.space} was not used: the header itself states the orientation"]


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
        affine, form, form_warnings = _chosen(path, header, quaternion, rows, size)
        warnings += form_warnings
    assert affine is not None
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not _same_sizes(lengths, edges):
        raise InputError(
            f"{path}: its {form} gives voxels of {_text(lengths)} mm, but its pixdim "
            f"{_text(edges)} mm, so the voxel size is unknown (a registration scales the sform); "
            "put the scanner's transform into the header"
        )
    code = int(header[f"{form}_code"])
    if code > 2:
        warnings.append(
            f"the header's only transform ({form}) maps to an atlas ({_CODES.get(code, code)}): "
            "positions are in atlas space, not in scanner space"
        )
    return Placement(_from_space(path, "RAS", affine[:3, :3], affine[:3, 3]), tuple(warnings))


def _nifti_header(
    path: Path,
) -> tuple[AnalyzeHeader, FloatArray | None, FloatArray | None]:
    """A header with its qform and sform in mm and RAS; None if their code is 0."""
    try:
        with alone(), _silent(), np.errstate(all="ignore"):
            header = nibabel.load(path).header  # pyright: ignore[reportPrivateImportUsage]
            if not isinstance(header, AnalyzeHeader):
                raise TypeError(f"it has a {type(header).__name__}")
            if not isinstance(header, Nifti1Header):
                return header, None, None
            scale = np.diag([*[_unit_mm(header)] * 3, 1.0])
            forms = [form for form, _ in (header.get_qform(True), header.get_sform(True))]
    except Exception as error:  # nibabel's errors on damaged headers have no common base class
        raise InputError(f"{path}: its header is invalid ({_short(error)})") from error
    finite = [form is None or bool(np.isfinite(form).all()) for form in forms]
    if not all(finite):
        raise InputError(f"{path}: its qform or sform contains NaN or infinite numbers")
    quaternion, rows = (None if form is None else scale @ form for form in forms)
    return header, quaternion, rows


@contextmanager
def _silent() -> Iterator[None]:
    """Silence nibabel's log of header repairs; what matters is checked here."""
    kept = imageglobals.logger.level
    imageglobals.logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        imageglobals.logger.setLevel(kept)


def _unit_mm(header: Nifti1Header) -> float:
    """A header's unit of length in mm; an unknown unit is read as mm, as all readers do."""
    return {"meter": 1000.0, "micron": 0.001}.get(str(header.get_xyzt_units()[0]), 1.0)


def _chosen(
    path: Path,
    header: Nifti1Header,
    quaternion: FloatArray,
    rows: FloatArray,
    size: tuple[int, ...],
) -> tuple[FloatArray, str, list[str]]:
    """Choose between two transforms: the transform, its name, and a warning if they differ."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in size])).reshape(3, -1).T
    apart = np.linalg.norm(apply_affine(quaternion, corners) - apply_affine(rows, corners), axis=1)
    q, s = int(header["qform_code"]), int(header["sform_code"])
    if apart.max() <= SAME_MM:
        # The qform is perpendicular by construction; the sform keeps more digits.
        return rows, "sform" if s <= 2 or q > 2 else "qform", []
    if np.linalg.det(quaternion[:3, :3]) * np.linalg.det(rows[:3, :3]) <= 0:
        raise InputError(
            f"{path}: its qform and sform disagree on left and right (one is mirrored), so the "
            "side is unknown; keep the correct one and set the code of the other to 0"
        )
    far = f"up to {apart.max():.1f} mm apart"
    if min(q, 3) == min(s, 3):
        raise InputError(
            f"{path}: its qform and sform (codes {q} and {s}) place the voxels {far}, and the "
            "codes do not decide; keep the correct one and set the code of the other to 0"
        )
    names = [
        f"{form} (code {code}, {_CODES.get(code)})" for form, code in (("qform", q), ("sform", s))
    ]
    used, unused = names if q < s else names[::-1]
    warning = f"qform and sform of the header place the voxels {far}: used {used}, not {unused}"
    return (quaternion, "qform", [warning]) if q < s else (rows, "sform", [warning])


def _unplaced_nifti(path: Path, header: AnalyzeHeader, stated: Stated) -> Placement:
    """The placement for a header without a transform: the user states the axes."""
    analyze = not isinstance(header, Nifti1Header)
    kind = "Analyze 7.5" if analyze else "a NIfTI file with neither qform nor sform"
    if not stated.space:
        raise InputError(f"{path}: is {kind}, which does not state the orientation; {STATE_SPACE}")
    scale = 1.0 if analyze else _unit_mm(header)
    pixdim = np.abs(np.array(header.get_zooms()[:3], float)) * scale
    edges = _edges(path, pixdim if (pixdim > 0).all() else None, stated, "has no pixdim")
    warning = f"{kind} does not state an origin: positions are relative to the first voxel"
    affine = _from_space(path, stated.space, np.diag(edges), np.zeros(3))
    return Placement(affine, (warning,))


# ---------------------------------------------------------------- NRRD


def _nrrd(path: Path, reader: sitk.ImageFileReader, stated: Stated) -> Placement:
    fields = text_header(path)
    space = fields.get("space", "")
    patient = _PATIENT_SPACES.get(space.lower().removesuffix("-time"), "")
    if not patient:
        if not stated.space:
            problem = "its header has no space, so its orientation is unknown"
            if space:
                problem = f"its space {space!r} does not define the patient's orientation"
            usual = "left-posterior-superior"
            if "left-handed" in space.lower():
                usual = "left-anterior-superior"
            raise InputError(
                f"{path}: {problem}; write the true one into the header, such as space: {usual}, "
                f"or {_state_space(space)}"
            )
        _check_handedness(path, space, stated.space)
    _check_units(path, fields)
    linear = _vectors(path, fields.get("space directions", ""))
    if linear is not None:
        _edges(path, np.linalg.norm(linear, axis=0), stated, "")
        warnings = _not_needed(stated) if patient else []
    else:
        if not stated.space:
            raise InputError(
                f"{path}: its header has no space directions, so its axis directions are unknown; "
                f"{STATE_SPACE}"
            )
        spacings = _numbers(path, "spacings", fields.get("spacings", ""), reader.GetDimension())
        lacking = "its header has neither space directions nor spacings"
        linear, warnings = np.diag(_edges(path, spacings, stated, lacking)), []
        patient = stated.space
    corner = _vectors(path, fields.get("space origin", ""), count=1)
    if corner is None:
        warnings.append("the header states no origin: positions are relative to the first voxel")
    origin = np.zeros(3) if corner is None else corner[:, 0]
    affine = _from_space(path, patient or stated.space, linear, origin)
    return Placement(affine, tuple(warnings))


def why_unreadable(path: Path) -> str:
    """The geometry error in a header that the library cannot read; may be empty."""
    if not path.name.lower().endswith(NRRD):
        return ""
    fields = text_header(path)
    if fields.get("space", "").lower().endswith("-time"):
        return f"its space {fields['space']!r} has a time axis; a space without one is needed"
    vectors = f"{fields.get('space directions', '')} {fields.get('space origin', '')}"
    counts = {len(vector.split(",")) for vector in re.findall(r"\(([^)]*)\)", vectors)}
    if counts & {4, 5, 6}:
        return "the vectors in its header have decimal commas; use decimal points"
    if fields.get("space") and "spacings" in fields and "space directions" not in fields:
        return "its header has a space and spacings; space directions are needed instead"
    return ""


def _state_space(space: str) -> str:
    if "left-handed" in space.lower():
        return (
            "use --space to state the directions in which x, y and z increase, such as LAS (left, "
            "anterior, superior) or RPS (right, posterior, superior)"
        )
    return STATE_SPACE


def _check_handedness(path: Path, space: str, axes: str) -> None:
    """Refuse a stated space that contradicts the handedness of the header."""
    hands = {"3d-right-handed": 1, "3d-left-handed": -1}
    hand = hands.get(space.lower().removesuffix("-time"), 0)
    if hand * np.linalg.det(_axes_of(axes)) < 0:
        other = "RPS or LAS" if hand < 0 else "LPS or RAS"
        raise InputError(
            f"{path}: its space is {space!r}, but --space {axes} is its mirror image; {other} "
            "would match, or correct the header"
        )


def _check_units(path: Path, fields: dict[str, str]) -> None:
    for key in ("space units", "units"):
        units = set(re.findall(r'"([^"]*)"', fields.get(key, ""))) - {"", "???"}
        foreign = sorted(unit for unit in units if unit.lower() not in _MILLIMETRES)
        if foreign:
            raise InputError(f"{path}: its {key} are {', '.join(foreign)}; convert them to mm")


def _vectors(path: Path, text: str, count: int = 0) -> FloatArray | None:
    """The vectors "(1,0,0) (0,1,0)" of an NRRD header as columns; None if there are none."""
    vectors = [
        [_number(path, number) for number in vector.split(",")]
        for vector in re.findall(r"\(([^)]*)\)", text)
    ]
    if not vectors:
        return None
    if len(vectors) != (count or 3) or {len(vector) for vector in vectors} != {3}:
        raise InputError(f"{path}: the vectors {text!r} in its header are not three-dimensional")
    return np.array(vectors).T


# ---------------------------------------------------------------- MetaImage


def _metaimage(path: Path, reader: sitk.ImageFileReader, stated: Stated) -> Placement:
    fields = text_header(path)
    count = reader.GetDimension()
    units = fields.get("distanceunits", "mm")
    if units.lower() not in _MILLIMETRES | {"?", ""}:
        raise InputError(f"{path}: its DistanceUnits are {units}; convert them to mm")
    warnings = []
    spacing = _numbers(path, "ElementSpacing", fields.get("elementspacing", ""), count)
    size = _numbers(path, "ElementSize", fields.get("elementsize", ""), count)
    if spacing is None and size is not None and stated.spacing_mm is None:
        spacing = size
        warnings.append("the header has no ElementSpacing: used its ElementSize instead")
    edges = _edges(path, spacing, stated, "its header has no ElementSpacing")
    matrix = _first(fields, ("transformmatrix", "orientation", "rotation"))
    letters = fields.get("anatomicalorientation", "").upper()
    letters = letters if re.fullmatch("[LRPASI]{3}", letters) else ""
    linear, space = np.eye(3), stated.space
    if matrix is None:
        if not space:
            note = f" (AnatomicalOrientation {letters} is ambiguous)" if letters else ""
            raise InputError(
                f"{path}: its header has no TransformMatrix, so its axis directions are "
                f"unknown{note}; {STATE_SPACE}"
            )
    else:
        values = _numbers(path, "TransformMatrix", matrix, count * count)
        assert values is not None
        # Each row in the file is an axis.
        linear = values.reshape(count, count).T[:3, :3]
        agreement = _agreement(letters, linear)
        if space and agreement > 0:
            warnings, space = [*warnings, *_not_needed(stated)], ""
        elif not space and letters and not agreement:
            raise InputError(
                f"{path}: its AnatomicalOrientation {letters} contradicts its TransformMatrix; "
                "correct one of them, or use --space to state the matrix's space, such as LPS"
            )
        elif not space and agreement < 0:
            warnings.append(
                f"AnatomicalOrientation {letters} was read as the directions in which the axes "
                "increase, consistent with the TransformMatrix"
            )
        space = space or "LPS"
    offset = _first(fields, ("offset", "position", "origin"))
    corner = _numbers(path, "Offset", offset or "", count)
    if corner is None:
        warnings.append("the header states no Offset: positions are relative to the first voxel")
    origin = np.zeros(3) if corner is None else corner[:3]
    return Placement(_from_space(path, space, linear * edges, origin), tuple(warnings))


def _agreement(letters: str, linear: FloatArray) -> int:
    """Whether AnatomicalOrientation matches a matrix: 1 if read as where the axes start (as ITK
    writes it), -1 if read as where they point (as the format's specification says), otherwise 0."""
    if not letters:
        return 0
    cosines = np.sum(_axes_of(letters) * linear, axis=0)
    if (cosines < -_NAMES_AXIS).all():
        return 1
    return -1 if (cosines > _NAMES_AXIS).all() else 0


# ---------------------------------------------------------------- numbers


def _first(fields: dict[str, str], keys: tuple[str, ...]) -> str | None:
    return next((fields[key] for key in keys if key in fields), None)


def _numbers(path: Path, key: str, text: str, count: int) -> FloatArray | None:
    """The numbers of a key; None if it is absent."""
    parts = text.split()
    if not parts:
        return None
    if len(parts) != count:
        raise InputError(f"{path}: its {key} {text!r} is not {count} numbers")
    values = np.array([_number(path, word, key) for word in parts])
    return values if count > 4 else values[:3]


def _number(path: Path, text: str, key: str = "header") -> float:
    try:
        return float(text)
    except ValueError as error:
        comma = " (a decimal comma; use a decimal point)" if "," in text else ""
        raise InputError(
            f"{path}: its {key} contains {text!r}, which is not a number{comma}"
        ) from error


def _short(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".") or type(error).__name__
