"""Predicted insertion depth of electrode arrays in a traced cochlea, and the frequency at the tip.

The arrays are listed in `electrodes.csv`, which can be replaced by a custom table. Research use
only: a prediction from geometry, not advice on implants.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from otovox.errors import InputError
from otovox.measure.duct import Duct
from otovox.measure.frequency import ganglion_hz, greenwood_hz

#: Distance of an array's centre from the lateral wall, mm. Source: Alexiades' "(i)" path, about
#: 0.35 mm inside the wall.
INSIDE_WALL_MM = 0.35
_COLUMNS = ("array", "length_mm", "default_angle_deg", "lw_low_mm", "lw_high_mm", "source")


@dataclass(frozen=True)
class Electrode:
    """An electrode array; None where the table has no value.

    Attributes:
        array: its name.
        length_mm: from the round window to its tip, fully inserted.
        default_angle_deg: usual insertion angle.
        lw_range_mm: intended range of lateral wall lengths.
        source: source of these figures.
    """

    array: str
    length_mm: float | None
    default_angle_deg: float | None
    lw_range_mm: tuple[float, float] | None
    source: str


@dataclass(frozen=True)
class Insertion:
    """An array in a cochlea; nan if it cannot be determined.

    Attributes:
        array: its name.
        angle_deg: predicted insertion angle from its length; the default one without a length.
        from_length: whether the angle comes from the length.
        coverage: insertion angle divided by the duct's total angle.
        tip_ganglion_hz: spiral ganglion frequency at the tip; nan beyond 720 degrees.
        tip_corti_hz: Greenwood frequency at the tip, by its position along the traced wall.
        suits: whether the wall's length is in the intended range; None without a range.
    """

    array: str
    angle_deg: float
    from_length: bool
    coverage: float
    tip_ganglion_hz: float
    tip_corti_hz: float
    suits: bool | None


def read_electrodes(path: Path | None = None) -> tuple[Electrode, ...]:
    """Read the table of arrays.

    Args:
        path: CSV file with the columns of `electrodes.csv`, which is the default.

    Raises:
        InputError: if it cannot be read, lacks a column or contains invalid numbers.

    >>> max(electrode.length_mm or 0.0 for electrode in read_electrodes())
    28.0
    """
    if path is None:
        return _published()
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the electrode table {path} cannot be read: {error}") from error
    return _table(text, str(path))


@cache
def _published() -> tuple[Electrode, ...]:
    """The included table, read once."""
    text = (files("otovox.measure") / "electrodes.csv").read_text("utf-8-sig")
    return _table(text, "electrodes.csv")


def _table(text: str, name: str) -> tuple[Electrode, ...]:
    reader = csv.DictReader(text.splitlines())
    missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise InputError(f"the electrode table {name} lacks the columns {', '.join(missing)}")
    return tuple(_electrode(row, name, reader.line_num) for row in reader)


def predict_insertions(
    electrodes: tuple[Electrode, ...], path: Duct, wall: Duct
) -> tuple[Insertion, ...]:
    """Predict the insertion of every array in one cochlea.

    Args:
        electrodes: the table.
        path: path of an array, `INSIDE_WALL_MM` inside the wall.
        wall: the lateral wall; both from the round window to the apex.
    """
    return tuple(_insertion(electrode, path, wall) for electrode in electrodes)


def _insertion(electrode: Electrode, path: Duct, wall: Duct) -> Insertion:
    angle = np.nan
    if electrode.length_mm is not None:
        angle = float(path.angle_at_deg(electrode.length_mm))
    elif electrode.default_angle_deg is not None:
        angle = min(electrode.default_angle_deg, float(path.angle_deg[-1]))
    passed = float(wall.length_at_mm(angle)) / wall.total_mm
    suits = None
    if electrode.lw_range_mm is not None:
        low, high = electrode.lw_range_mm
        suits = low <= wall.total_mm <= high
    return Insertion(
        array=electrode.array,
        angle_deg=angle,
        from_length=electrode.length_mm is not None,
        coverage=angle / float(wall.angle_deg[-1]),
        tip_ganglion_hz=float(ganglion_hz(angle)),
        tip_corti_hz=float(greenwood_hz(1 - passed)),
        suits=suits,
    )


def _electrode(row: dict[str, str], name: str, line: int) -> Electrode:
    def number(column: str) -> float | None:
        text = (row[column] or "").strip()
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = np.nan
        if not (np.isfinite(value) and value > 0):
            raise InputError(
                f"line {line} of the electrode table {name}: {column} must be a positive number, "
                f"not {text!r}"
            )
        return value

    low, high = number("lw_low_mm"), number("lw_high_mm")
    return Electrode(
        array=(row["array"] or "").strip(),
        length_mm=number("length_mm"),
        default_angle_deg=number("default_angle_deg"),
        lw_range_mm=(low, high) if low is not None and high is not None else None,
        source=(row["source"] or "").strip(),
    )
