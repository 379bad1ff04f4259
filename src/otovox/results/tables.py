"""Measurements of any number of scans as pandas tables, long and wide, and what is unusual."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from otovox.results.schema import EarResult, ResultFile

LONG = (
    "scan",
    "side",
    "group",
    "quantity",
    "value",
    "unit",
    "low",
    "high",
    "norm_low",
    "norm_high",
    "unusual",
    "withheld",
    "definition",
)
#: Robust z beyond which a value stands out in its own cohort. Source: Iglewicz and Hoaglin 1993.
OUTLYING_Z = 3.5
#: Fewer ears tell nothing about the usual spread: chosen, not measured.
LEAST_EARS = 8


def long_table(results: Mapping[str, ResultFile]) -> pd.DataFrame:
    """One row per measurement of every ear.

    Args:
        results: by the scans' names.

    Returns:
        Columns `LONG`; `low` and `high` bound the 95 % interval.
    """
    rows = [
        (scan, ear.side.value, *row)
        for scan, result in results.items()
        for ear in result.ears
        for row in _rows(ear)
    ]
    return pd.DataFrame(rows, columns=list(LONG))


def wide_table(results: Mapping[str, ResultFile]) -> pd.DataFrame:
    """One row per ear: landmarks, confidence, and every measurement's value, units in the names.

    Args:
        results: by the scans' names.
    """
    return pd.DataFrame([
        _ear_row(scan, ear) for scan, result in results.items() for ear in result.ears
    ])  # fmt: skip


def outliers(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of a long table that lie outside the norm, or far from their own cohort.

    Args:
        table: from `long_table`.

    Returns:
        Those rows with a column `why`.
    """
    known = table.dropna(subset=["value"])
    parts = [_outstanding(part) for _, part in known.groupby("quantity", sort=False)]
    return pd.concat(parts) if parts else known.assign(why="")


def _outstanding(part: pd.DataFrame) -> pd.DataFrame:
    """Of the rows of one quantity those that stand out."""
    values = part["value"].to_numpy(dtype=float)
    away = np.abs(values - np.median(values))
    # The median absolute deviation of a normal distribution is 0.6745 of its SD.
    spread = float(np.median(away)) / 0.6745
    enough = len(values) >= LEAST_EARS and spread > 0
    far = away > OUTLYING_Z * spread if enough else np.zeros(len(values), dtype=bool)
    outside = (part["unusual"] != "").to_numpy()
    why = np.where(outside, part["unusual"] + " against the norm", "far from this cohort")
    return part.assign(why=why).loc[far | outside]


def _rows(ear: EarResult) -> list[tuple[object, ...]]:
    rows = []
    for name, found in ear.measurements.items():
        low, high = found.interval or (None, None)
        norm = (found.norm.low, found.norm.high) if found.norm else (None, None)
        told = (found.unusual, found.withheld, found.definition)
        rows.append((found.group, name, found.value, found.unit, low, high, *norm, *told))
    return rows


def _ear_row(scan: str, ear: EarResult) -> dict[str, object]:
    row: dict[str, object] = {
        "scan": scan,
        "side": ear.side.value,
        "confidence": ear.confidence,
        "warnings": "; ".join(ear.warnings),
    }
    for name, landmark in ear.landmarks.items():
        for axis, x in zip("xyz", landmark.mm or (None,) * 3, strict=True):
            row[f"{name}_{axis}_mm"] = x
    for name, found in ear.measurements.items():
        row[f"{name}_{found.unit}" if found.unit else name] = found.value
    return row
