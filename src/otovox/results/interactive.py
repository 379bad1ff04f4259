"""The interactive 3D model of a page: each ear's surface and landmarks, drawn by plotly.js.

The page holds its part for three dimensions alone (`plotly-gl3d.min.js.gz`, version 4.1.1, MIT
licence, from https://www.npmjs.com/package/plotly.js-gl3d-dist-min), packed, and unpacks it itself.
"""

import base64
import gzip
import json
from functools import cache
from importlib import resources
from typing import Any

import numpy as np

from otovox.core.anatomy import LABYRINTH, LANDMARKS, Structure
from otovox.core.case import EarPrediction
from otovox.measure.measured_scan import MeasuredScan, Surface

LIBRARY = "plotly-gl3d.min.js.gz"
#: Height of the model on the page, pixels; the gap between two ears, share of its width: chosen.
_HEIGHT, _GAP = 520, 0.1
#: Decimals of the surfaces' points, mm: chosen, a twentieth of the network's voxels.
_DECIMALS = 2
#: Of gzip: chosen, half the time of the highest for 1 % more.
_LEVEL = 6


def model_figure(measured: MeasuredScan) -> str:
    """Surfaces and landmarks as plotly.js takes them, JSON, gzip in base64; empty without an ear.

    Args:
        measured: one scan.

    >>> from types import SimpleNamespace as Some
    >>> model_figure(Some(prediction=Some(ears=())))
    ''
    """
    ears = measured.prediction.ears
    if not ears:
        return ""
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {
        "margin": {"l": 0, "r": 0, "t": 30, "b": 0},
        "height": _HEIGHT,
        "legend": {"orientation": "h"},
        "annotations": [],
    }
    width = (1 - _GAP * (len(ears) - 1)) / len(ears)
    for number, (ear, surface) in enumerate(zip(ears, measured.surfaces, strict=True)):
        scene, left = f"scene{number + 1 if number else ''}", number * (width + _GAP)
        layout[scene] = _scene(left, width)
        layout["annotations"].append(_title(f"{ear.side.value} ear", left + width / 2))
        data += [_labyrinth(ear, surface, scene), *_landmarks(ear, scene, legend=number == 0)]
    text = json.dumps({"data": data, "layout": layout}, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("utf-8"), _LEVEL, mtime=0)).decode("ascii")


@cache
def packed_library() -> str:
    """plotly.js for three dimensions, gzip in base64, to be embedded in a page.

    >>> b"plotly.js" in gzip.decompress(base64.b64decode(packed_library()))[:100]
    True
    """
    data = resources.files("otovox.results").joinpath("scripts", LIBRARY).read_bytes()
    return base64.b64encode(data).decode("ascii")


def css_colour(structure: Structure) -> str:
    """A structure's colour as CSS.

    >>> from otovox.core.anatomy import Side
    >>> from otovox.core.segments import LABYRINTH
    >>> css_colour(LABYRINTH[Side.LEFT])
    'rgb(86, 180, 233)'
    """
    return "rgb({}, {}, {})".format(*structure.rgb)


def _scene(left: float, width: float) -> dict[str, Any]:
    hidden = {"visible": False}
    return {
        "domain": {"x": [left, left + width], "y": [0, 1]},
        "aspectmode": "data",
        "xaxis": hidden,
        "yaxis": hidden,
        "zaxis": hidden,
        # From the front, a little from above; LPS y points to the back.
        "camera": {"eye": {"x": 0.3, "y": -1.6, "z": 0.5}, "up": {"x": 0, "y": 0, "z": 1}},
    }


def _title(text: str, middle: float) -> dict[str, Any]:
    return {
        "text": text, "x": middle, "y": 1, "xref": "paper", "yref": "paper", "showarrow": False,
        "xanchor": "center", "yanchor": "bottom", "font": {"size": 16},
    }  # fmt: skip


def _labyrinth(ear: EarPrediction, surface: Surface, scene: str) -> dict[str, Any]:
    points, faces = surface
    columns = zip("xyzijk", (*np.round(points, _DECIMALS).T, *faces.T), strict=True)
    return {
        "type": "mesh3d", "scene": scene, "name": f"{ear.side.value} labyrinth",
        "color": css_colour(LABYRINTH[ear.side]), "opacity": 0.55, "hoverinfo": "name",
        "lighting": {"ambient": 0.5, "diffuse": 0.8, "specular": 0.1},
        **{name: column.tolist() for name, column in columns},
    }  # fmt: skip


def _landmarks(ear: EarPrediction, scene: str, *, legend: bool) -> list[dict[str, Any]]:
    marks = []
    for landmark in LANDMARKS:
        if not ear.landmarks.has(landmark.name):
            continue
        x, y, z = ([float(value)] for value in ear.landmarks[landmark.name])
        marks.append(
            {
                "type": "scatter3d", "scene": scene, "mode": "markers", "name": landmark.title,
                "marker": {"size": 6, "color": css_colour(landmark)},
                "legendgroup": landmark.name, "showlegend": legend, "x": x, "y": y, "z": z,
            }
        )  # fmt: skip
    return marks
