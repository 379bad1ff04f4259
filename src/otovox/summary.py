"""summary.csv: one tidy row per ear of every scan in a result folder, refused scans included."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from otovox.anatomy import LANDMARK_NAMES
from otovox.case import EarPrediction
from otovox.formats.writing import replacing

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


def scan_row(name: str, path: Path, *, status: str, reason: str) -> Row:
    """The row of a scan without an ear, and what the rows of its ears begin with."""
    return dict.fromkeys(COLUMNS, "") | {
        "scan": name,
        "path": str(path),
        "status": status,
        "reason": reason,
    }


def ear_columns(ear: EarPrediction) -> Row:
    """What one ear adds to its scan's row; an absent landmark leaves its cells empty."""
    fields = {
        "side": ear.side.value,
        "volume_mm3": f"{ear.volume_mm3:.2f}",
        "confidence": f"{ear.confidence:.3f}",
        "uncertainty": f"{ear.uncertainty:.5f}",
        "touches_border": "yes" if ear.touches_border else "no",
    }
    points = {"center": ear.center_mm}
    points |= {name: ear.landmarks[name] for name in LANDMARK_NAMES if ear.landmarks.has(name)}
    for name, point in points.items():
        fields |= {f"{name}_{axis}_mm": f"{x:.3f}" for axis, x in zip("xyz", point, strict=True)}
    for name, spread in zip(ear.landmarks.names, ear.landmark_sd_mm, strict=True):
        if f"{name}_sd_mm" in COLUMNS and np.isfinite(spread):
            fields[f"{name}_sd_mm"] = f"{spread:.3f}"
    return fields


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
