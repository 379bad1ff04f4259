"""Landmarks, curves and planes as 3D Slicer Markups (JSON, schema 1.0.3), in LPS mm."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from otovox.core.anatomy import LANDMARKS, POSE_NAMES, Side
from otovox.core.geometry import FloatArray, affine_from, unit
from otovox.core.landmarks import Landmarks
from otovox.errors import InputError
from otovox.formats.writing import replacing

Colour = tuple[int, int, int]

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/"
    "Schema/markups-schema-v1.0.3.json#"
)
#: Sign of x and y in LPS per coordinate system; 3D Slicer 4 wrote numbers instead of names.
_SIGNS = {"LPS": 1.0, "RAS": -1.0, "0": -1.0, "1": 1.0}
_UNITS_MM = {"mm": 1.0, "um": 1e-3}
_SIDES = {"right": Side.RIGHT, "r": Side.RIGHT, "left": Side.LEFT, "l": Side.LEFT}
_TITLES = {structure.name: structure.title for structure in LANDMARKS}
_LANDMARKS = {frozenset(name.split("_")): name for name in (*_TITLES, *POSE_NAMES)}
#: Colour of the landmark list: 3D Slicer has one colour per list.
_POINTS_RGB = LANDMARKS[0].rgb


@dataclass(frozen=True, eq=False)
class Curve:
    """A named curve through points, (n, 3) LPS mm, with its colour (RGB, 0-255)."""

    name: str
    points_mm: FloatArray
    rgb: Colour
    closed: bool = False


@dataclass(frozen=True, eq=False)
class Plane:
    """A named square: (3,) centre and (3,) normal in LPS mm, edge length, colour (RGB, 0-255)."""

    name: str
    center_mm: FloatArray
    normal: FloatArray
    edge_mm: float
    rgb: Colour


def write_markups(path: Path, landmarks: Mapping[Side, Landmarks]) -> None:
    """Write the landmarks of each side as `right/helicotrema` and so on.

    Args:
        path: file to write.
        landmarks: LPS mm; an absent landmark is written as undefined.

    Raises:
        OutputError: if it cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> points = Landmarks(("helicotrema",), np.array([[1.0, 2.0, 3.0]]))
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "landmarks.mrk.json")
    ...     write_markups(path, {Side.LEFT: points})
    ...     {label: point.tolist() for label, point in read_markups(path).items()}
    {'left/helicotrema': [1.0, 2.0, 3.0]}
    """
    points = [
        _point(f"{side}/{name}", landmarks[side][name], _TITLES.get(name, name))
        for side in Side
        if side in landmarks
        for name in landmarks[side].names
    ]
    _write(path, [_markup("Fiducial", points, _POINTS_RGB)])


def write_curves(path: Path, curves: list[Curve]) -> None:
    """Write centrelines and other curves; 3D Slicer loads each as a separate curve.

    Args:
        path: file to write.
        curves: of at least two points each.

    Raises:
        OutputError: if it cannot be written.
    """
    markups = []
    for curve in curves:
        points = [_point(str(number + 1), point) for number, point in enumerate(curve.points_mm)]
        kind = "ClosedCurve" if curve.closed else "Curve"
        markups.append(_markup(kind, points, curve.rgb, name=curve.name, labelled=False))
    # Indented output takes ten times as long, which matters for this many points only.
    _write(path, markups, indent=None)


def write_planes(path: Path, planes: list[Plane]) -> None:
    """Write planes by centre and normal; 3D Slicer loads each as a separate plane.

    Args:
        path: file to write.
        planes: with normals of any nonzero length.

    Raises:
        OutputError: if it cannot be written.
    """
    markups = []
    for plane in planes:
        axes, half = _axes(plane.normal), plane.edge_mm / 2
        fields = {
            "planeType": "pointNormal",
            "sizeMode": "absolute",
            "center": _plain(plane.center_mm),
            "normal": _plain(axes[:, 2]),
            "size": [plane.edge_mm, plane.edge_mm, 0.0],
            "planeBounds": [-half, half, -half, half],
            "orientation": _plain(axes.ravel()),
            "baseToNode": _plain(affine_from(axes, plane.center_mm).ravel()),
            "objectToBase": _plain(np.eye(4).ravel()),
        }
        point = _point("1", plane.center_mm)
        markup = _markup("Plane", [point], plane.rgb, name=plane.name, labelled=False)
        markups.append(markup | fields)
    _write(path, markups)


def read_markups(path: Path) -> dict[str, FloatArray]:
    """The points of a Markups file by label, LPS mm; NaN where undefined.

    Raises:
        InputError: if it is not a Markups file, lacks a coordinate system, or repeats a label.
    """
    try:
        lists = [dict(markup) for markup in json.loads(path.read_text("utf-8"))["markups"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as 3D Slicer Markups") from error
    points: dict[str, FloatArray] = {}
    for markup in lists:
        system, unit = (
            str(markup.get("coordinateSystem", "")),
            markup.get("coordinateUnits", "mm"),
        )
        unit = unit[0] if isinstance(unit, list) and unit else unit
        if system not in _SIGNS:
            raise InputError(f"{path}: does not state whether its coordinates are LPS or RAS")
        if unit not in _UNITS_MM:
            raise InputError(f"{path}: its coordinates are in {unit}; mm are needed")
        scale = np.array([_SIGNS[system], _SIGNS[system], 1.0]) * _UNITS_MM[unit]
        for point in markup.get("controlPoints") or []:
            try:
                label, place = str(point["label"]), _place(point)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise InputError(f"{path}: has a point without a label or position") from error
            if label in points:
                raise InputError(f"{path}: has two points with the label {label!r}")
            points[label] = place * scale
    return points


def read_landmarks(path: Path) -> dict[Side, Landmarks]:
    """The landmarks of a Markups file per side, as written here or renamed in 3D Slicer.

    Args:
        path: labels such as `right/helicotrema`, "Left oval window" or "R_round-window".

    Returns:
        LPS mm; NaN where undefined.

    Raises:
        InputError: if it cannot be read, or a label is duplicated or not a landmark of one side.

    >>> from tempfile import TemporaryDirectory
    >>> points = Landmarks(("helicotrema",), np.array([[1.0, 2.0, 3.0]]))
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "landmarks.mrk.json")
    ...     write_markups(path, {Side.LEFT: points})
    ...     read_landmarks(path)[Side.LEFT]["helicotrema"].tolist()
    [1.0, 2.0, 3.0]
    """
    sides: dict[Side, dict[str, FloatArray]] = {}
    for label, point_mm in read_markups(path).items():
        words = re.findall(r"[a-z]+|[0-9]+", label.lower())
        label_sides = [_SIDES[word] for word in words if word in _SIDES]
        name = _LANDMARKS.get(frozenset(word for word in words if word not in _SIDES))
        if len(label_sides) != 1 or name is None:
            if np.isnan(point_mm).any():
                continue
            raise InputError(
                f"{path}: its point {label!r} is not a landmark with a side; name it like "
                "right/helicotrema, left/oval_window or right/round_window, or delete it"
            )
        points = sides.setdefault(label_sides[0], {})
        if name in points:
            raise InputError(f"{path}: has two points for {label_sides[0]}/{name}")
        points[name] = point_mm
    return {
        side: Landmarks(tuple(points), np.stack(list(points.values())))
        for side, points in sides.items()
    }


def _place(point: Mapping[str, Any]) -> FloatArray:
    """(3,) position as in the file; NaN if never placed, or skipped."""
    if point.get("positionStatus", "defined") != "defined":
        return np.full(3, np.nan)
    place = np.asarray(point["position"], dtype=float)
    if place.shape != (3,) or not np.isfinite(place).all():
        raise ValueError("a position needs three numbers")
    return place


def _write(path: Path, markups: list[dict[str, Any]], *, indent: int | None = 2) -> None:
    content = {"@schema": _SCHEMA, "markups": markups}
    with replacing(path) as beside:
        beside.write_text(json.dumps(content, indent=indent) + "\n", "utf-8")


def _markup(
    kind: str,
    points: list[dict[str, Any]],
    rgb: Colour,
    *,
    name: str = "",
    labelled: bool = True,
) -> dict[str, Any]:
    colour = [channel / 255 for channel in rgb]
    return {
        "type": kind,
        **({"name": name} if name else {}),
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "labelFormat": "%N-%d",
        "controlPoints": points,
        "measurements": [],
        "display": {
            "visibility": True,
            "opacity": 1.0,
            "color": colour,
            "selectedColor": colour,
            "propertiesLabelVisibility": not labelled,
            "pointLabelsVisibility": labelled,
            "textScale": 3.0,
            "glyphType": "Sphere3D",
            "glyphScale": 1.0,
            "useGlyphScale": False,
            "glyphSize": 1.0 if labelled else 0.2,
        },
    }


def _point(label: str, point_mm: FloatArray, title: str = "") -> dict[str, Any]:
    defined = bool(np.isfinite(point_mm).all())
    return {
        "id": label,
        "label": label,
        "description": title,
        "associatedNodeID": "",
        "position": _plain(point_mm) if defined else [0.0, 0.0, 0.0],
        "orientation": [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0],
        "selected": True,
        "locked": False,
        "visibility": defined,
        "positionStatus": "defined" if defined else "undefined",
    }


def _axes(normal: FloatArray) -> FloatArray:
    """(3, 3) right-handed axes as columns, the last along the normal."""
    z = unit(normal)
    # Perpendicular to the axis least aligned with the normal, so never parallel to it.
    x = unit(np.cross(np.eye(3)[np.argmin(np.abs(z))], z))
    return np.stack([x, np.cross(z, x), z], axis=1)


def _plain(values: ArrayLike) -> list[float]:
    return [float(v) for v in np.asarray(values)]
