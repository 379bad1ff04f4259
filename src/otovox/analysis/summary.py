"""summary.csv: the table of all ears in a results folder, including refused scans."""

import csv
from collections.abc import Sequence
from pathlib import Path

from otovox.formats.arguments import printable
from otovox.formats.writing import replacing
from otovox.results.schema import ResultFile
from otovox.results.tables import EAR_COLUMNS, IDENTITY, ear_row, identity

#: Columns about the scan, identical in all of its rows.
SCAN_COLUMNS = ("scan", "path", "status", "reason")

#: One row: column to text; a missing column is an empty cell.
Row = dict[str, str]


def rows_of(
    name: str, path: Path, *, status: str, reason: str, result: ResultFile | None
) -> tuple[Row, ...]:
    """The rows of a scan: one per ear, or a single one without an ear.

    Args:
        name, path: name and path of the scan.
        status, reason: outcome of the analysis.
        result: contents of `result.json`; None if the scan was refused.

    >>> (row,) = rows_of("anna", Path("anna.nii"), status="refused", reason="an MR", result=None)
    >>> row["scan"], row["status"]
    ('anna', 'refused')
    """
    scan = {"scan": name, "path": printable(path), "status": status, "reason": printable(reason)}
    if result is not None:
        scan |= {name: _cell(value) for name, value in identity(result).items()}
    ears = result.ears if result else []
    return tuple(
        scan | {column: _cell(value) for column, value in ear_row(ear).items()} for ear in ears
    ) or (scan,)


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def read_summary(path: Path) -> list[Row]:
    """Rows of an earlier run into the same folder; none if otovox did not write the file.

    >>> read_summary(Path("absent", "summary.csv"))
    []
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            ours = tuple(reader.fieldnames or ())[: len(SCAN_COLUMNS)] == SCAN_COLUMNS
            return list(reader) if ours else []
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def write_summary(path: Path, rows: Sequence[Row]) -> None:
    """Write the table atomically.

    Raises:
        OutputError: if it cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_summary(Path(folder, "summary.csv"), [{"scan": "anna", "status": "done"}])
    ...     read_summary(Path(folder, "summary.csv"))[0]["status"]
    'done'
    """
    usual = (*SCAN_COLUMNS, *IDENTITY, *EAR_COLUMNS)
    columns = list(dict.fromkeys((*usual, *(c for r in rows for c in r))))
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def update_summary(path: Path, name: str, rows: Sequence[Row]) -> None:
    """Insert or replace the rows of a scan.

    Args:
        path: of the table; concurrent writers must hold the lock of its folder.
        name: of the scan.
        rows: new rows of the scan.

    Raises:
        OutputError: if it cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "summary.csv")
    ...     for status in ("refused", "done"):
    ...         update_summary(path, "anna", [{"scan": "anna", "status": status}])
    ...     [row["status"] for row in read_summary(path)]
    ['done']
    """
    there: dict[str, list[Row]] = {}
    for row in read_summary(path):
        there.setdefault(row["scan"], []).append(row)
    write_summary(path, [row for scan in (there | {name: rows}).values() for row in scan])
