"""Landmarks as 3D Slicer Markups (JSON, schema 1.0.3), in LPS."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from otovox.anatomy import LANDMARKS, Side
from otovox.errors import InputError
from otovox.formats.writing import replacing
from otovox.geometry import FloatArray
from otovox.landmarks import Landmarks

_SCHEMA = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/"
    "Schema/markups-schema-v1.0.3.json#"
)
_NAMES = {"LPS": 1.0, "RAS": -1.0, "0": -1.0, "1": 1.0}


def write_markups(path: Path, landmarks: Mapping[Side, Landmarks]) -> None:
    """Write the landmarks of each side as `right/helicotrema` and so on.

    Args:
        path: file to write.
        landmarks: LPS mm; an absent landmark is written as undefined.

    Raises:
        OutputError: if it cannot be written.
    """
    titles = {structure.name: structure.title for structure in LANDMARKS}
    points = [
        _point(f"{side}/{name}", titles.get(name, name), landmarks[side][name])
        for side in Side
        if side in landmarks
        for name in landmarks[side].names
    ]
    content = {
        "@schema": _SCHEMA,
        "markups": [
            {
                "type": "Fiducial",
                "coordinateSystem": "LPS",
                "coordinateUnits": "mm",
                "locked": False,
                "labelFormat": "%N-%d",
                "controlPoints": points,
                "measurements": [],
                "display": {
                    "visibility": True,
                    "opacity": 1.0,
                    "color": [c / 255 for c in LANDMARKS[0].rgb],
                    "selectedColor": [c / 255 for c in LANDMARKS[0].rgb],
                    "propertiesLabelVisibility": False,
                    "pointLabelsVisibility": True,
                    "textScale": 3.0,
                    "glyphType": "Sphere3D",
                    "glyphScale": 1.0,
                    "useGlyphScale": False,
                    "glyphSize": 1.0,
                },
            }
        ],
    }
    with replacing(path) as beside:
        beside.write_text(json.dumps(content, indent=2) + "\n", "utf-8")


def read_markups(path: Path) -> dict[str, FloatArray]:
    """Points of a Markups file, LPS mm by label; nan where undefined.

    Raises:
        InputError: if it is none, or does not say its coordinate system.
    """
    try:
        content = json.loads(path.read_text("utf-8"))
        lists = content["markups"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read as 3D Slicer Markups") from error
    points: dict[str, FloatArray] = {}
    for markups in lists:
        system = str(markups.get("coordinateSystem", ""))
        if system not in _NAMES:
            raise InputError(f"{path}: does not say whether its coordinates are LPS or RAS")
        signs = np.array([_NAMES[system], _NAMES[system], 1.0])
        for point in markups.get("controlPoints", []):
            known = point.get("positionStatus", "defined") == "defined"
            place = point.get("position") if known else [np.nan] * 3
            points[str(point["label"])] = np.asarray(place, dtype=float) * signs
    return points


def _point(label: str, title: str, point_mm: FloatArray) -> dict[str, Any]:
    known = bool(np.isfinite(point_mm).all())
    return {
        "id": label,
        "label": label,
        "description": title,
        "associatedNodeID": "",
        "position": [float(v) for v in point_mm] if known else [0.0, 0.0, 0.0],
        "orientation": [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0],
        "selected": True,
        "locked": False,
        "visibility": known,
        "positionStatus": "defined" if known else "undefined",
    }
