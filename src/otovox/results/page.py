"""One self-contained HTML page per scan, readable offline, findings first."""

import base64
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from otovox.core.anatomy import LABYRINTH
from otovox.core.case import Prediction
from otovox.measure.measured_scan import MeasuredScan
from otovox.measure.values import Measurement, Norm
from otovox.results.interactive import css_colour, model_figure, packed_library
from otovox.results.overview import Pictures, draw_pictures
from otovox.results.panels import TOP_SPREAD
from otovox.results.schema import EarResult, ExpectedInfo, ResultFile
from otovox.results.titles import title_of, unit_of

#: Measurements in the sentence at the top of the page, and their names there.
_KEY_FIGURES = {
    "labyrinth_volume": "Labyrinth",
    "cochlea_a": "A value",
    "cochlea_b": "B value",
    "duct_length_lw": "cochlear duct length (lateral wall)",
    "cochlea_turns": "cochlear turns",
}


@dataclass(frozen=True)
class Line:
    """One measurement of both ears.

    Attributes:
        title: title of the measurement.
        definition: its definition.
        unit: its printed unit.
        norm: its reference range; None if unpublished.
        cells: the measurement for each ear of the result, or None.
    """

    title: str
    definition: str
    unit: str
    norm: Norm | None
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
        verdicts=[verdict(ear) for ear in result.ears],
        keys=[key_figures(ear) for ear in result.ears],
        qualities=[quality_sentence(ear) for ear in result.ears],
        groups=groups(result),
        pictures=_pictures(measured.prediction, pictures),
        top=TOP_SPREAD,
        model=model_figure(measured),
        library=packed_library() if result.ears else "",
    )
    path.write_text(text, "utf-8")


def verdict(ear: EarResult) -> str:
    """An ear in one sentence, without the full stop."""
    missing = [name.replace("_", " ") for name, point in ear.landmarks.items() if not point.present]
    outside = [title_of(name) for name, cell in ear.measurements.items() if cell.unusual]
    state = f"outside the reference range: {', '.join(outside)}" if outside else "nothing unusual"
    if ear.warnings:
        state = "please review"
    absent = f"; not found: {', '.join(missing)}" if missing else ""
    located = len(ear.landmarks) - len(missing)
    return (
        f"labyrinth segmented, {located} of {len(ear.landmarks)} landmarks located, {state}{absent}"
    )


def key_figures(ear: EarResult) -> str:
    """The most important figures as a sentence; empty if there are none."""
    cells = [(name, ear.measurements.get(key)) for key, name in _KEY_FIGURES.items()]
    figures = [
        f"{name} {number(cell.value)} {unit_of(cell.unit)}".strip()
        for name, cell in cells
        if cell is not None and cell.value is not None
    ]
    return f"{', '.join(figures)}." if figures else ""


def quality_sentence(ear: EarResult) -> str:
    """The quality to be expected of an ear, or its confidence; empty if no model made its mask."""
    dsc, error = ear.uncertainty.expected_dsc, ear.uncertainty.expected_landmark_error_mm
    if ear.confidence is None:
        return ""
    if dsc is None or error is None:
        return f"Confidence {ear.confidence:.2f}."
    return (
        f"Expected quality: DSC {dsc.value:.2f} ({_interval(dsc)}), landmark error "
        f"{error.value:.2f} mm ({_interval(error)})."
    )


def _interval(expected: ExpectedInfo) -> str:
    return f"{expected.coverage:.0%} interval {expected.low:.2f} to {expected.high:.2f}"


def groups(result: ResultFile) -> dict[str, list[Line]]:
    """The measurements by group, in their original order."""
    lines: dict[str, list[Line]] = {}
    names = dict.fromkeys(name for ear in result.ears for name in ear.measurements)
    for name in names:
        cells = tuple(ear.measurements.get(name) for ear in result.ears)
        first = next(cell for cell in cells if cell)
        line = Line(title_of(name), first.definition, unit_of(first.unit), first.norm, cells)
        lines.setdefault(first.group, []).append(line)
    return lines


def number(value: float) -> str:
    """A value with three significant digits, or all digits of its integer part.

    >>> number(1234.4), number(0.0661)
    ('1234', '0.0661')
    """
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _pictures(prediction: Prediction, drawn: Pictures | None) -> list[dict[str, str]]:
    """Per ear its planes, without and with the uncertainty, as data URLs."""
    if not prediction.ears:
        return []
    drawn = drawn or draw_pictures(prediction)
    return [
        {
            "side": ear.side.value,
            "planes": _data_url(plain),
            "uncertainty": _data_url(spread) if spread else "",
        }
        for ear, plain, spread in zip(prediction.ears, drawn.planes, drawn.uncertainty, strict=True)
    ]


def _data_url(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")


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
    functions: dict[str, Any] = {
        "number": number,
        "title_of": title_of,
        "unit_of": unit_of,
        "colour": lambda side: css_colour(LABYRINTH[side]),
    }
    environment.globals.update(functions)
    return environment.get_template(name)
