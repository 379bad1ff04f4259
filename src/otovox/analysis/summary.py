"""summary.csv: one tidy row per ear of every scan in a result folder, refused scans included."""

import csv
from collections.abc import Sequence
from pathlib import Path

from otovox.core.anatomy import LANDMARK_NAMES
from otovox.formats.writing import replacing
from otovox.results.schema import EarResult, ResultFile

COLUMNS = (
    "scan",
    "path",
    "status",
    "reason",
    "side",
    "volume_mm3",
    "confidence",
    "uncertainty",
    "touches_border",
    *(f"{name}_{axis}_mm" for name in ("center", *LANDMARK_NAMES) for axis in "xyz"),
    *(f"{name}_sd_mm" for name in LANDMARK_NAMES),
)

#: One line: column to text, empty where there is nothing to say.
Row = dict[str, str]


def rows_of(
    name: str, path: Path, status: str, reason: str, *, result: ResultFile | None
) -> tuple[Row, ...]:
    """The rows of a scan: one per ear, or a single one without an ear.

    Args:
        name, path: of the scan.
        status, reason: how it went.
        result: what was found; None if the scan was refused.
    """
    row = dict.fromkeys(COLUMNS, "")
    row |= {"scan": name, "path": str(path), "status": status, "reason": reason}
    ears = result.ears if result else []
    return tuple(row | _ear_columns(ear) for ear in ears) or (row,)


def _ear_columns(ear: EarResult) -> Row:
    """What one ear adds to its scan's row; an absent landmark leaves its cells empty."""
    fields = {
        "side": ear.side.value,
        "volume_mm3": _cell(ear.measurements["labyrinth_volume"].value, 2),
        "confidence": _cell(ear.confidence, 3),
        "uncertainty": _cell(ear.uncertainty.mean_voxel_sd, 5),
        "touches_border": "yes" if ear.touches_border else "no",
    }
    points = {"center": ear.center_mm} | {name: ear.landmarks[name].mm for name in LANDMARK_NAMES}
    for name, point in points.items():
        for axis, x in zip("xyz", point or (None,) * 3, strict=True):
            fields[f"{name}_{axis}_mm"] = _cell(x, 3)
    for name in LANDMARK_NAMES:
        fields[f"{name}_sd_mm"] = _cell(ear.landmarks[name].sd_mm, 3)
    return fields


def _cell(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def read_summary(path: Path) -> list[Row]:
    """Rows of an earlier run into the same folder; none if the file is not one of ours."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            return list(reader) if tuple(reader.fieldnames or ()) == COLUMNS else []
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def write_summary(path: Path, rows: Sequence[Row]) -> None:
    """Write the table; whoever reads it meanwhile finds the old one or the new one, never half.

    Raises:
        OutputError: if it cannot be written.
    """
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
