"""One self-contained HTML page per scan, to be read without a network: findings first."""

import base64
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from otovox.core.anatomy import LABYRINTH, LANDMARKS, Structure
from otovox.core.case import EarPrediction, Prediction
from otovox.imaging.surfaces import ear_surface
from otovox.measure.measurements import Measurement
from otovox.measure.quantities import Norm
from otovox.results.overview import TOP_SPREAD, planes_picture
from otovox.results.schema import EarResult, ResultFile

#: Told at the top of the page: measurement and how it is called there.
_KEYS = {
    "labyrinth_volume": "Labyrinth",
    "cochlea_a": "A",
    "cochlea_b": "B",
    "duct_length_lw": "duct length along the lateral wall",
    "cochlea_turns": "turns",
}


@dataclass(frozen=True)
class Line:
    """One measurement of both ears.

    Attributes:
        title: what was measured.
        definition: of it.
        unit: of it.
        norm: what is usual; None where nothing is known.
        cells: per ear in the result, the measurement or None.
    """

    title: str
    definition: str
    unit: str
    norm: Norm | None
    cells: tuple[Measurement | None, ...]


def write_page(prediction: Prediction, result: ResultFile, path: Path) -> None:
    """Write the page of a scan.

    Args:
        prediction: of the scan.
        result: what `result.json` tells of it.
        path: HTML file.

    Raises:
        OSError: if it cannot be written.
    """
    pictures = [
        {
            "side": ear.side.value,
            "planes": _inline(planes_picture(prediction, ear, uncertainty=False)),
            "uncertainty": _inline(planes_picture(prediction, ear, uncertainty=True)),
        }
        for ear in prediction.ears
    ]
    text = template("scan.html").render(
        result=result,
        verdicts=[verdict(ear) for ear in result.ears],
        keys=[key_figures(ear) for ear in result.ears],
        groups=groups(result),
        pictures=pictures,
        top=TOP_SPREAD,
        model=_model(prediction) if prediction.ears else "",
        script=plotly_script() if prediction.ears else "",
    )
    path.write_text(text, "utf-8")


def verdict(ear: EarResult) -> str:
    """An ear in one sentence."""
    missing = [name.replace("_", " ") for name, point in ear.landmarks.items() if not point.present]
    outside = [_title(name) for name, found in ear.measurements.items() if found.unusual]
    trust = f"outside the usual range: {', '.join(outside)}" if outside else "nothing unusual"
    if ear.warnings:
        trust = "to be reviewed"
    absent = f"; not found: {', '.join(missing)}" if missing else ""
    return f"labyrinth and {3 - len(missing)} of 3 landmarks found, {trust}{absent}"


def key_figures(ear: EarResult) -> str:
    """The numbers that most readers came for, as sentences; empty if there is none."""
    known = [(name, ear.measurements.get(key)) for key, name in _KEYS.items()]
    told = [
        f"{name} {number(found.value)} {found.unit.replace('mm3', 'mm³')}".strip()
        for name, found in known
        if found is not None and found.value is not None
    ]
    return f"{', '.join(told)}." if told else ""


def groups(result: ResultFile) -> dict[str, list[Line]]:
    """The measurements by group, in the order in which they were made."""
    found: dict[str, list[Line]] = {}
    names = dict.fromkeys(name for ear in result.ears for name in ear.measurements)
    for name in names:
        cells = tuple(ear.measurements.get(name) for ear in result.ears)
        first = next(cell for cell in cells if cell)
        line = Line(_title(name), first.definition, first.unit, first.norm, cells)
        found.setdefault(first.group, []).append(line)
    return found


def _title(name: str) -> str:
    return name.replace("_", " ")


def number(value: float) -> str:
    """A value with three digits that count, or all of a whole number's."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _model(prediction: Prediction) -> str:
    """The turning surfaces and landmarks as a plotly element, without plotly itself."""
    from plotly.subplots import make_subplots

    titles = [f"{ear.side.value} ear" for ear in prediction.ears]
    count = len(titles)
    figure = make_subplots(1, count, specs=[[{"type": "scene"}] * count], subplot_titles=titles)
    for column, ear in enumerate(prediction.ears, start=1):
        _add_ear(figure, prediction, ear, column)
    hidden = {"visible": False}
    figure.update_scenes(
        aspectmode="data",
        xaxis=hidden,
        yaxis=hidden,
        zaxis=hidden,
        # From the front, a little from above; LPS y points to the back.
        camera={"eye": {"x": 0.3, "y": -1.6, "z": 0.5}, "up": {"x": 0, "y": 0, "z": 1}},
    )
    figure.update_layout(
        margin={"l": 0, "r": 0, "t": 30, "b": 0}, height=520, legend={"orientation": "h"}
    )
    return figure.to_html(
        full_html=False, include_plotlyjs=False, div_id="model", config={"displaylogo": False}
    )


def _add_ear(figure: Any, prediction: Prediction, ear: EarPrediction, column: int) -> None:
    import plotly.graph_objects as go

    structure = LABYRINTH[ear.side]
    points, faces = ear_surface(ear, prediction.labels)
    x, y, z = points.astype(np.float32).T
    i, j, k = faces.astype(np.int32).T
    figure.add_trace(
        go.Mesh3d(
            x=x, y=y, z=z, i=i, j=j, k=k, color=_css(structure), opacity=0.55,
            name=f"{ear.side.value} labyrinth", hoverinfo="name",
            lighting={"ambient": 0.5, "diffuse": 0.8, "specular": 0.1},
        ),
        1, column,
    )  # fmt: skip
    for landmark in LANDMARKS:
        if ear.landmarks.has(landmark.name):
            point = ear.landmarks[landmark.name]
            figure.add_trace(
                go.Scatter3d(
                    x=point[:1], y=point[1:2], z=point[2:], mode="markers",
                    marker={"size": 6, "color": _css(landmark)}, name=landmark.title,
                    legendgroup=landmark.name, showlegend=column == 1,
                ),
                1, column,
            )  # fmt: skip


def _css(structure: Structure) -> str:
    return "rgb({}, {}, {})".format(*structure.rgb)


def _inline(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


@cache
def plotly_script() -> str:
    """plotly.js, to be put into a page."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


@cache
def template(name: str) -> Any:
    """One of the pages in `templates/`."""
    environment = Environment(
        loader=PackageLoader("otovox.results"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    functions: dict[str, Any] = {"number": number, "colour": lambda side: _css(LABYRINTH[side])}
    environment.globals.update(functions)
    return environment.get_template(name)
