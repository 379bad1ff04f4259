"""One self-contained HTML page per scan, readable offline, findings first."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from otovox.core.anatomy import LABYRINTH
from otovox.core.case import Prediction
from otovox.measure.measured_scan import MeasuredScan
from otovox.measure.values import Measurement
from otovox.results.findings import findings, key_rows, number, usual_text, verdict
from otovox.results.interactive import css_colour, model_figure, packed_library
from otovox.results.overview import PLANES, Pictures, draw_pictures
from otovox.results.panels import TOP_SPREAD
from otovox.results.schema import ResultFile
from otovox.results.titles import pair_title, title_of, unit_of


@dataclass(frozen=True)
class Line:
    """One measurement of both ears.

    Attributes:
        title: title of the measurement.
        definition: its definition.
        unit: its printed unit.
        usual: its usual range in words, and its source; empty if unpublished.
        cells: the measurement for each ear of the result, or None.
    """

    title: str
    definition: str
    unit: str
    usual: str
    cells: tuple[Measurement | None, ...]


def write_page(
    measured: MeasuredScan, result: ResultFile, path: Path, pictures: Pictures | None = None
) -> None:
    """Write the page of a scan.

    Args:
        measured: the scan's prediction and measurements.
        result: contents of `result.json`.
        path: HTML file.
        pictures: of the scan; None to draw them here.

    Raises:
        OSError: if it cannot be written.
    """
    text = template("scan.html").render(
        result=result,
        findings=findings(result),
        verdicts=[verdict(ear) for ear in result.ears],
        rows=key_rows(result),
        groups=groups(result),
        pictures=_pictures(measured.prediction, pictures),
        top=TOP_SPREAD,
        model=model_figure(measured),
        library=packed_library() if result.ears else "",
    )
    path.write_text(text, "utf-8")


def groups(result: ResultFile) -> dict[str, list[Line]]:
    """The measurements by group, in their original order.

    >>> from otovox.results.schema import EarResult
    >>> cell = Measurement(value=9.1, unit="mm", definition="", group="cochlea")
    >>> ear = EarResult.model_construct(measurements={"cochlea_b_to_a": cell})
    >>> [line.title for line in groups(ResultFile.model_construct(ears=[ear]))["cochlea"]]
    ['B/A ratio']
    """
    lines: dict[str, list[Line]] = {}
    names = dict.fromkeys(name for ear in result.ears for name in ear.measurements)
    for name in names:
        cells = tuple(ear.measurements.get(name) for ear in result.ears)
        first = next(cell for cell in cells if cell)
        source = f"{usual_text(first)} ({first.norm.source})" if first.norm else ""
        line = Line(title_of(name), first.definition, unit_of(first.unit), source, cells)
        lines.setdefault(first.group, []).append(line)
    return lines


def _pictures(prediction: Prediction, drawn: Pictures | None) -> list[dict[str, Any]]:
    """Per ear its rendering and its planes, without and with the uncertainty, as data URLs."""
    if not prediction.ears:
        return []
    drawn = drawn or draw_pictures(prediction)
    return [
        {
            "side": ear.side.value,
            "rendering": _data_url(ear_pictures.rendering) if ear_pictures.rendering else "",
            "planes": _titled(ear_pictures.planes),
            "uncertainty": _titled(ear_pictures.uncertainty),
        }
        for ear, ear_pictures in zip(prediction.ears, drawn.ears, strict=True)
    ]


def _titled(planes: Sequence[bytes]) -> list[tuple[str, str]]:
    return [(title, _data_url(jpeg)) for title, jpeg in zip(PLANES, planes, strict=False)]


def _data_url(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


@cache
def template(name: str) -> Any:
    """One of the pages in `templates/`.

    >>> template("scan.html").name
    'scan.html'
    """
    environment = Environment(
        loader=PackageLoader("otovox.results"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    functions: dict[str, Any] = {
        "number": number,
        "title_of": title_of,
        "unit_of": unit_of,
        "pair_title": pair_title,
        "usual_text": usual_text,
        "colour": lambda side: css_colour(LABYRINTH[side]),
    }
    environment.globals.update(functions)
    environment.filters["upper_first"] = _upper_first
    return environment.get_template(name)


def _upper_first(text: str) -> str:
    return text[:1].upper() + text[1:]
