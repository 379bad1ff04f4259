"""Results of any number of scans as tables: a row per ear, a row per measurement, outliers."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from otovox.core.anatomy import LANDMARK_NAMES
from otovox.results.schema import EarResult, ResultFile

if TYPE_CHECKING:
    import pandas as pd

#: Columns that identify the patient and series of a DICOM scan, fields of `InputInfo`.
IDENTITY = ("patient_id", "study_uid", "series_uid")
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
    *IDENTITY,
)
#: Fields of an ear's uncertainty, and how they are listed among its measurements: name, unit,
#: definition.
EXPECTED = {
    "expected_dsc": (
        "expected_dsc", "", "expected Dice coefficient of the segmentation",
    ),
    "expected_landmark_error_mm": (
        "expected_landmark_error", "mm", "expected mean error of the landmarks",
    ),
}  # fmt: skip
#: First columns of an ear's row; those of its measurements follow.
EAR_COLUMNS = (
    "side",
    "volume_mm3",
    "confidence",
    "uncertainty",
    "touches_border",
    *(f"{name}_{axis}_mm" for name in ("center", *LANDMARK_NAMES) for axis in "xyz"),
    *(f"{name}_sd_mm" for name in LANDMARK_NAMES),
    *(f"{name}{end}" for name in EXPECTED for end in ("", "_low", "_high")),
    "warnings",
)
#: Robust z above which a value is an outlier in its cohort. Source: Iglewicz and Hoaglin 1993.
OUTLYING_Z = 3.5
#: With fewer ears the usual variation is unknown: chosen, not measured.
LEAST_EARS = 8


def long_table(results: Mapping[str, ResultFile]) -> "pd.DataFrame":
    """One row per measurement of every ear, its expected quality among them.

    Args:
        results: by the scans' names.

    Returns:
        Columns `LONG`; `low` and `high` bound the interval.

    >>> long_table({}).columns[:5].tolist()
    ['scan', 'side', 'group', 'quantity', 'value']
    """
    import pandas as pd

    return pd.DataFrame(_long_rows(results), columns=list(LONG))


def write_long_table(results: Mapping[str, ResultFile], path: Path) -> None:
    """Write `long_table` as CSV, without loading pandas.

    Args:
        results: by the scans' names.
        path: CSV file.

    Raises:
        OSError: if it cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_long_table({}, Path(folder, "measurements.csv"))
    ...     Path(folder, "measurements.csv").read_text()[:30]
    'scan,side,group,quantity,value'
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(LONG)
        writer.writerows(_long_rows(results))


def _long_rows(results: Mapping[str, ResultFile]) -> list[tuple[object, ...]]:
    return [
        (scan, ear.side.value, *row, *identity(result).values())
        for scan, result in results.items()
        for ear in result.ears
        for row in (*_quality_rows(ear), *_measurement_rows(ear))
    ]


def ear_table(results: Mapping[str, ResultFile]) -> "pd.DataFrame":
    """One row per ear, the columns of `ear_row`, the scan's name first.

    Args:
        results: by the scans' names.

    >>> ear_table({}).columns[:6].tolist()
    ['scan', 'patient_id', 'study_uid', 'series_uid', 'side', 'volume_mm3']
    """
    import pandas as pd

    rows = [
        {"scan": scan} | identity(result) | ear_row(ear)
        for scan, result in results.items()
        for ear in result.ears
    ]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=["scan", *IDENTITY, *EAR_COLUMNS])


def identity(result: ResultFile) -> dict[str, str | None]:
    """Columns `IDENTITY`: patient ID, study and series UID; None where there is none.

    Args:
        result: contents of `result.json`.

    >>> from otovox.results.schema import InputInfo
    >>> identity(ResultFile.model_construct(input=InputInfo.model_construct(patient_id="P7")))
    {'patient_id': 'P7', 'study_uid': None, 'series_uid': None}
    """
    return {name: getattr(result.input, name) for name in IDENTITY}


def ear_row(ear: EarResult) -> dict[str, object]:
    """An ear as one row of a table, with units in the columns' names.

    Args:
        ear: the ear in `result.json`.

    Returns:
        `EAR_COLUMNS`, then every measurement; None where there is no value.
    """
    measured = dict(ear.measurements)
    row: dict[str, object] = {
        "side": ear.side.value,
        "volume_mm3": measured.pop("labyrinth_volume").value,
        "confidence": ear.confidence,
        "uncertainty": ear.uncertainty.mean_voxel_sd,
        "touches_border": "yes" if ear.touches_border else "no",
    }
    points = {"center": ear.center_mm} | {n: ear.landmarks[n].mm for n in LANDMARK_NAMES}
    for name, point in points.items():
        for axis, x in zip("xyz", point or (None,) * 3, strict=True):
            row[f"{name}_{axis}_mm"] = x
    for name in LANDMARK_NAMES:
        row[f"{name}_sd_mm"] = ear.landmarks[name].sd_mm
    for name in EXPECTED:
        expected = getattr(ear.uncertainty, name)
        row[name] = expected and expected.value
        row[f"{name}_low"], row[f"{name}_high"] = (
            (expected.low, expected.high) if expected else (None, None)
        )
    row["warnings"] = "; ".join(ear.warnings)
    return row | {f"{n}_{m.unit}" if m.unit else n: m.value for n, m in measured.items()}


def outliers(table: "pd.DataFrame") -> "pd.DataFrame":
    """Rows of a long table outside their reference range, or far from the rest of the cohort.

    Args:
        table: from `long_table`.

    Returns:
        Those rows with a column `why`.

    >>> import pandas as pd
    >>> values = [7.0, 7.1, 7.2, 7.3, 7.4, 7.5, 7.6, 12.0]
    >>> table = pd.DataFrame({"quantity": "cochlea_b", "value": values, "unusual": ""})
    >>> outliers(table)[["value", "why"]].values.tolist()
    [[12.0, 'outlier within this cohort']]
    """
    import pandas as pd

    measured = table.dropna(subset=["value"])
    outlying = [_outlying(rows) for _, rows in measured.groupby("quantity", sort=False)]
    return pd.concat(outlying) if outlying else measured.assign(why="")


def _outlying(rows: "pd.DataFrame") -> "pd.DataFrame":
    """The outliers among the rows of one quantity."""
    values = rows["value"].to_numpy(dtype=float)
    deviation = np.abs(values - np.median(values))
    # The median absolute deviation of a normal distribution is 0.6745 of its SD.
    spread = float(np.median(deviation)) / 0.6745
    enough = len(values) >= LEAST_EARS and spread > 0
    far = deviation > OUTLYING_Z * spread if enough else np.zeros(len(values), dtype=bool)
    outside = (rows["unusual"] != "").to_numpy()
    why = np.where(
        outside,
        rows["unusual"] + " compared with the reference range",
        "outlier within this cohort",
    )
    return rows.assign(why=why).loc[far | outside]


def _measurement_rows(ear: EarResult) -> Iterator[tuple[object, ...]]:
    for name, cell in ear.measurements.items():
        low, high = cell.interval or (None, None)
        norm = (cell.norm.low, cell.norm.high) if cell.norm else (None, None)
        yield (
            cell.group, name, cell.value, cell.unit, low, high, *norm,
            cell.unusual, cell.withheld, cell.definition,
        )  # fmt: skip


def _quality_rows(ear: EarResult) -> Iterator[tuple[object, ...]]:
    """The expected quality in the columns of a measurement; nothing if it was not estimated."""
    for field, (name, unit, definition) in EXPECTED.items():
        expected = getattr(ear.uncertainty, field)
        if expected is not None:
            value, low, high = expected.value, expected.low, expected.high
            norm = (None, None)
            yield "expected quality", name, value, unit, low, high, *norm, "", "", definition
