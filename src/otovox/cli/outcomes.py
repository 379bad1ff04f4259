"""Outcomes of analyses as they are printed: a progress bar, tables, or JSON."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import typer

from otovox.cli.progress import watched

if TYPE_CHECKING:
    from otovox.analysis.scan import ScanOutcome
    from otovox.results.schema import EarResult


def watched_outcomes(
    outcomes: "Iterable[ScanOutcome]", total: int, *, hidden: bool = False
) -> "list[ScanOutcome]":
    """All outcomes, with a progress bar; failures are printed as they happen."""

    def line_of(outcome: "ScanOutcome") -> str:
        return f"otovox: {outcome.reason}" if outcome.failed else ""

    return watched(outcomes, total, title="Analysing", line_of=line_of, hidden=hidden)


def print_outcomes(
    outcomes: "Sequence[ScanOutcome]", *, as_json: bool = False, quiet: bool = False
) -> None:
    if as_json:
        typer.echo(json.dumps({"scans": [_as_dict(outcome) for outcome in outcomes]}, indent=2))
    elif not quiet:
        _print_tables(outcomes)


def _as_dict(outcome: "ScanOutcome") -> dict[str, Any]:
    """An outcome as JSON, with the scan's whole result.json."""
    result = outcome.answer
    return {
        "scan": outcome.job.name,
        "path": str(outcome.job.path),
        "status": outcome.status.value,
        "reason": outcome.reason,
        "folder": None if result is None else str(outcome.job.folder),
        "result": None if result is None else result.model_dump(mode="json"),
    }


def _print_tables(outcomes: "Sequence[ScanOutcome]") -> None:
    """The findings of a single scan; then one line per scan."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    ears = ears_of(outcomes[0])
    if len(outcomes) == 1 and ears:
        table = Table("", *(f"{ear.side} ear" for ear in ears))
        for title, *cells in _findings(ears):
            table.add_row(title, *cells)
        console.print(table)
    table = Table("scan", "ears", "status", "reason")
    for outcome in outcomes:
        sides = ", ".join(ear.side for ear in ears_of(outcome)) or "none"
        table.add_row(outcome.job.name, sides, outcome.status.value, outcome.reason)
    console.print(table)
    console.print(f"Results: {outcomes[0].job.folder.parent}", soft_wrap=True, highlight=False)


def ears_of(outcome: "ScanOutcome") -> "list[EarResult]":
    return outcome.answer.ears if outcome.answer else []


def _findings(ears: "Sequence[EarResult]") -> Iterator[tuple[str, ...]]:
    """Lines of the table of one scan: a title, then a cell per ear."""
    from otovox.core.anatomy import LANDMARKS
    from otovox.results.findings import number
    from otovox.results.titles import title_of, unit_of

    for name in ("labyrinth_volume", "cochlea_a", "duct_length_lw"):
        cells = [ear.measurements[name] for ear in ears if name in ear.measurements]
        values = ["withheld" if cell.value is None else number(cell.value) for cell in cells]
        if values:
            yield f"{title_of(name)}, {unit_of(cells[0].unit)}", *values
    for structure in LANDMARKS:
        points = [ear.landmarks[structure.name].mm for ear in ears]
        texts = [" ".join(f"{x:.2f}" for x in point) if point else "absent" for point in points]
        yield f"{structure.title}, LPS mm", *texts
    expected = [ear.uncertainty.expected_dsc for ear in ears]
    if any(expected):
        texts = [f"{e.value:.2f} ({e.low:.2f} to {e.high:.2f})" if e else "" for e in expected]
        yield "expected DSC", *texts
    elif all(ear.confidence is not None for ear in ears):
        yield "confidence", *(f"{ear.confidence:.2f}" for ear in ears)
