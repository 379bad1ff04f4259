"""What a reader of the report has to know and to check, in plain words."""

from collections.abc import Iterator
from dataclasses import dataclass

from otovox.core.anatomy import Side
from otovox.measure.values import Measurement
from otovox.results.schema import EarResult, ExpectedInfo, ResultFile
from otovox.results.titles import title_of, unit_of

#: The measurements that fit on a printed page beside the pictures: chosen.
KEY_QUANTITIES = (
    "labyrinth_volume",
    "cochlea_a",
    "cochlea_b",
    "cochlea_height",
    "cochlea_turns",
    "duct_length_lw",
    "oval_to_round_window",
    "vestibule_volume",
    "anterior_canal_radius",
    "posterior_canal_radius",
    "lateral_canal_radius",
)
#: Where a warning divides into what was found and what to check.
_DIVIDER = "; check "
#: What to check where a warning does not state it: those about a scan come from its header.
_CHECK_SCAN = "position, size and side of the ears in the planes"
_CHECK_EAR = "the outline in the planes"
_CHECK_RANGE = "the outline there; if it is right, the anatomy is unusual"
_NO_EAR = "no inner ear found"
_CHECK_NO_EAR = "whether the scan contains a temporal bone, in voxels of at most 1 mm"


@dataclass(frozen=True)
class ReportFinding:
    """One finding that a person should check.

    Attributes:
        side: the ear; None for the scan as a whole.
        statement: what was observed.
        check: what to check.
    """

    side: Side | None
    statement: str
    check: str


@dataclass(frozen=True)
class Row:
    """One line of the summary: its title, the cell of each ear, and the usual range."""

    title: str
    cells: tuple[str, ...]
    usual: str = ""
    unusual: tuple[str, ...] = ()


def findings(result: ResultFile) -> list[ReportFinding]:
    """All findings of a scan: those about the scan first, then ear by ear.

    Args:
        result: contents of `result.json`.

    >>> warned = {"warnings": ["the edge is blurred; check the outline"], "measurements": {}}
    >>> ear = EarResult.model_construct(side=Side.LEFT, **warned)
    >>> listed = findings(ResultFile.model_construct(ears=[ear], warnings=[]))
    >>> [(one.side.value, one.statement, one.check) for one in listed]
    [('left', 'the edge is blurred', 'the outline')]
    """
    listed = [_divided(None, text, _CHECK_SCAN) for text in result.warnings if text != _NO_EAR]
    if not result.ears:
        return [*listed, ReportFinding(None, _NO_EAR, _CHECK_NO_EAR)]
    for ear in result.ears:
        listed += [_divided(ear.side, text, _CHECK_EAR) for text in ear.warnings]
        listed += _outside(ear)
    return listed


def _divided(side: Side | None, text: str, otherwise: str) -> ReportFinding:
    statement, _, check = text.removeprefix(f"{side} ear: ").partition(_DIVIDER)
    return ReportFinding(side, statement, check or otherwise)


def _outside(ear: EarResult) -> Iterator[ReportFinding]:
    """One finding for all values outside their usual ranges."""
    outside = [
        f"{title_of(name)} {with_unit(cell)} ({usual_text(cell)})"
        for name, cell in ear.measurements.items()
        if cell.unusual
    ]
    if outside:
        yield ReportFinding(
            ear.side, f"outside the usual range: {', '.join(outside)}", _CHECK_RANGE
        )


def verdict(ear: EarResult) -> str:
    """What was found of an ear, in one sentence without the full stop.

    >>> from otovox.results.schema import LandmarkInfo
    >>> here, absent = (LandmarkInfo.model_construct(present=known) for known in (True, False))
    >>> landmarks = {"helicotrema": here, "oval_window": absent}
    >>> verdict(EarResult.model_construct(landmarks=landmarks, structures={}))
    'labyrinth outlined; 1 of 2 landmarks located (not oval window)'
    """
    missing = [name.replace("_", " ") for name, point in ear.landmarks.items() if not point.present]
    count = len(ear.landmarks) - len(missing)
    marks = f"{count} of {len(ear.landmarks)} landmarks located"
    if missing:
        marks += f" (not {', '.join(missing)})"
    absent = [name for name, part in ear.structures.items() if part.state != "present"]
    parts = f"; not complete: {', '.join(absent)}" if absent else ""
    if ear.structures and not absent:
        parts = "; cochlea, vestibule and three canals are present"
    return f"labyrinth outlined; {marks}{parts}"


def key_rows(result: ResultFile) -> list[Row]:
    """The most important measurements of all ears, and the quality to be expected.

    >>> from otovox.results.schema import UncertaintyInfo
    >>> values = {"cochlea_a": Measurement(value=9.1, unit="mm", definition="")}
    >>> rest = {"uncertainty": UncertaintyInfo.model_construct(), "confidence": 0.9}
    >>> ear = EarResult.model_construct(measurements=values, **rest)
    >>> [(row.title, row.cells) for row in key_rows(ResultFile.model_construct(ears=[ear]))]
    [('A value (basal turn diameter), mm', ('9.1',)), ('confidence (0 to 1)', ('0.90',))]
    """
    rows = [_quantity(name, result.ears) for name in KEY_QUANTITIES]
    rows += [
        Row(
            "expected agreement with an expert's outline (DSC)",
            tuple(_expected(ear.uncertainty.expected_dsc) for ear in result.ears),
        ),
        Row(
            "expected error of the landmarks, mm",
            tuple(_expected(ear.uncertainty.expected_landmark_error_mm) for ear in result.ears),
        ),
    ]
    if not any(ear.uncertainty.expected_dsc for ear in result.ears):
        values = [ear.confidence for ear in result.ears]
        shown = tuple("" if value is None else f"{value:.2f}" for value in values)
        rows.append(Row("confidence (0 to 1)", shown))
    return [row for row in rows if any(row.cells)]


def _quantity(name: str, ears: list[EarResult]) -> Row:
    cells = [ear.measurements.get(name) for ear in ears]
    measured = [cell for cell in cells if cell is not None]
    if not measured or all(cell.value is None for cell in measured):
        return Row(title_of(name), ("",) * len(cells))
    unit = unit_of(measured[0].unit)
    return Row(
        f"{title_of(name)}, {unit}" if unit else title_of(name),
        tuple(number(c.value) if c and c.value is not None else "withheld" for c in cells),
        usual_text(measured[0]).removeprefix("usual "),
        tuple(cell.unusual if cell else "" for cell in cells),
    )


def _expected(info: ExpectedInfo | None) -> str:
    return "" if info is None else f"{info.value:.2f} ({info.low:.2f} to {info.high:.2f})"


def with_unit(cell: Measurement) -> str:
    """A value with its unit; empty if it was withheld.

    >>> with_unit(Measurement(value=78.26, unit="mm3", definition="of the labyrinth"))
    '78.3 mm³'
    """
    if cell.value is None:
        return ""
    gap = "" if cell.unit == "deg" else " "
    return f"{number(cell.value)}{gap}{unit_of(cell.unit)}".strip()


def usual_text(cell: Measurement) -> str:
    """The usual range in words; empty if none was published.

    >>> from otovox.measure.values import Norm
    >>> norm = Norm(low=8.5, high=10.0, source="")
    >>> usual_text(Measurement(value=9.1, unit="mm", definition="", norm=norm))
    'usual 8.5 to 10'
    """
    if cell.norm is None:
        return ""
    if cell.norm.low == cell.norm.high:
        return f"usual {number(cell.norm.low)}"
    return f"usual {number(cell.norm.low)} to {number(cell.norm.high)}"


def number(value: float) -> str:
    """A value with three significant digits, or all digits of its integer part.

    >>> number(1234.4), number(0.0661)
    ('1234', '0.0661')
    """
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
