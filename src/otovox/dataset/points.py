"""Reads landmarks in other formats, converted to our names and LPS mm."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from otovox.core.geometry import FloatArray
from otovox.core.volume import Grid
from otovox.errors import InputError
from otovox.formats.markups import read_markups

#: Formats of a landmark file: 3D Slicer Markups; lists of named xyz_position and ijk_position as in
#: the companion data of Stebani et al. (either one is used); text; the description of an ear by
#: Wimmer et al. 2019.
Points = Literal["markups", "companion", "companion-ijk", "table", "wimmer"]

#: From RAS, which some formats use, to LPS mm.
_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])

#: Our landmarks by their names elsewhere, lowercase letters only.
_OURS = {
    "helicotrema": "helicotrema",
    "cochleatop": "helicotrema",
    "apex": "helicotrema",
    "cochleaapex": "helicotrema",
    "ovalwindow": "oval_window",
    "ow": "oval_window",
    "ovalwindowcenter": "oval_window",
    "roundwindow": "round_window",
    "rw": "round_window",
    "a": "helicotrema",
    "roundwindowcenter": "round_window",
}
_NUMBER = r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?"
_LINE = re.compile(
    rf"^\W*([A-Za-z][\w \-]*?)\W+({_NUMBER})[\s,;]+({_NUMBER})[\s,;]+({_NUMBER})\W*$"
)


def read_points(
    path: Path, kind: Points, grid: Grid, *, ijk_mm: float | None = None
) -> dict[str, FloatArray]:
    """Read our landmarks from a file in another format.

    Args:
        path: the file.
        kind: its format.
        grid: of the scan, for points in voxels.
        ijk_mm: edge of those voxels, if not the scan's; both grids start at the same corner.

    Returns:
        Positions (3,) LPS mm by our names; other names are ignored.

    Raises:
        InputError: if the file does not contain points in this format.
    """
    if kind == "markups":
        named = read_markups(path)
    elif kind == "table":
        named = _table(path)
    elif kind == "wimmer":
        named = read_description(path).points_mm
    else:
        named = _companion(path, grid, ijk_mm, voxels=kind == "companion-ijk")
    points = {_our_name(name): np.asarray(point, dtype=float) for name, point in named.items()}
    return {name: point for name, point in points.items() if name}


@dataclass(frozen=True, eq=False)
class Description:
    """The description of an ear by Wimmer et al. 2019.

    Attributes:
        side: "right" or "left".
        points_mm: LPS, by their own names: A apex, OW and RW windows, C basal turn, V vestibule.
    """

    side: str
    points_mm: dict[str, FloatArray]


def read_description(path: Path) -> Description:
    """Read the side and points of a `*_DESC.json`, which stores them in RAS mm.

    Raises:
        InputError: if it is not such a file.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        side = str(content["SIDE"]).lower()
        points = {name: np.asarray(p, dtype=float) for name, p in content["LANDMARKS"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: does not contain SIDE and LANDMARKS") from error
    wrong = [n for n, p in points.items() if p.shape != (3,) or not np.isfinite(p).all()]
    if side not in ("right", "left") or wrong:
        raise InputError(f"{path}: SIDE must be RIGHT or LEFT, LANDMARKS three numbers each")
    return Description(side, {name: point * _RAS_TO_LPS for name, point in points.items()})


def _our_name(name: str) -> str:
    letters = re.sub(r"[^a-z]", "", name.rpartition("/")[2].lower())
    return _OURS.get(letters, "")


def _companion(
    path: Path, grid: Grid, ijk_mm: float | None, *, voxels: bool
) -> dict[str, FloatArray]:
    """Named records with xyz_position (RAS mm) and ijk_position, in a list or by name."""
    try:
        content: Any = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON") from error
    if isinstance(content, dict) and "landmarks" in content:
        content = content["landmarks"]
    records = (
        content.items()
        if isinstance(content, dict)
        else ((record.get("label") or record.get("name") or "", record) for record in content)
    )
    key = "ijk_position" if voxels else "xyz_position"
    points: dict[str, FloatArray] = {}
    for name, record in records:
        if not isinstance(record, dict) or key not in record:
            raise InputError(f"{path}: {name or 'a landmark'} has no {key}")
        position = np.asarray(record[key], dtype=float)
        if voxels:
            scale = 1.0 if ijk_mm is None else ijk_mm / grid.spacing_mm
            position = grid.to_mm(position * scale)
        else:
            position = position * _RAS_TO_LPS
        points[str(name)] = position
    return points


def _table(path: Path) -> dict[str, FloatArray]:
    """Lines with a name and three numbers, LPS mm; other lines are comments."""
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    matches = [match for line in lines if (match := _LINE.match(line.strip()))]
    if not matches:
        raise InputError(f"{path}: has no line with a name and three coordinates")
    return {match[1]: np.array([float(match[n]) for n in (2, 3, 4)]) for match in matches}
