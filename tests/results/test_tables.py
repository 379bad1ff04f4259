"""Tables of measurements: long, wide, and what stands out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otovox.formats.scans import load_scan
from otovox.measure.measured_scan import measure_scan
from otovox.measure.values import Measurement, Norm
from otovox.results.description import describe
from otovox.results.schema import ResultFile
from otovox.results.tables import LEAST_EARS, LONG, ear_table, long_table, outliers


@pytest.fixture
def result(write_scan: Callable[[Path], Path], predict: Any, tmp_path: Path) -> ResultFile:
    return describe(measure_scan(predict(load_scan(write_scan(tmp_path / "scan.nii.gz")))))


def with_volume(result: ResultFile, volume: Measurement) -> ResultFile:
    """The result with another labyrinth volume in both ears."""
    ears = [
        ear.model_copy(update={"measurements": ear.measurements | {"labyrinth_volume": volume}})
        for ear in result.ears
    ]
    return result.model_copy(update={"ears": ears})


def volume(value: float | None, **more: Any) -> Measurement:
    return Measurement(value=value, unit="mm3", definition="made by hand", **more)


def test_long_has_one_row_per_measurement(result: ResultFile) -> None:
    norm = Norm(low=140, high=265, source="here")
    made = with_volume(result, volume(300.0, interval=[290.0, 310.0], norm=norm))
    table = long_table({"one": made, "two": result})
    assert list(table.columns) == list(LONG)
    per_ear = len(result.ears[0].measurements)
    assert len(table) == 4 * per_ear
    row = table.query("scan == 'one' and side == 'left'").iloc[0].to_dict()
    assert row["quantity"] == "labyrinth_volume"
    found = [row[name] for name in ("value", "low", "high", "norm_low", "norm_high")]
    assert found == [300, 290, 310, 140, 265]
    assert row["unusual"] == "high"


def test_one_row_per_ear_with_units_in_the_names(result: ResultFile) -> None:
    table = ear_table({"one": result})
    assert list(table["side"]) == ["right", "left"]
    assert table["volume_mm3"].tolist() == [200.0, 200.0]
    point = result.ears[0].landmarks["helicotrema"].mm
    assert point is not None
    assert table["helicotrema_x_mm"].tolist()[0] == point[0]
    assert np.isnan(table["round_window_x_mm"].astype(float)).all()


def test_no_ears_make_empty_tables(result: ResultFile) -> None:
    none = result.model_copy(update={"ears": []})
    assert long_table({"one": none}).empty
    assert ear_table({"one": none}).empty
    assert outliers(long_table({"one": none})).empty


def test_outliers_of_cohort_or_reference_range(result: ResultFile) -> None:
    usual = {f"s{n}": with_volume(result, volume(200.0 + n)) for n in range(LEAST_EARS)}
    far = long_table(usual | {"far": with_volume(result, volume(260.0))})
    found = outliers(far)
    assert set(found["scan"]) == {"far"}
    assert set(found["why"]) == {"outlier within this cohort"}
    assert outliers(far.query("scan in ('far', 's1')")).empty
    norm = Norm(low=140, high=250, source="here")
    outside = long_table({"x": with_volume(result, volume(260.0, norm=norm))})
    assert set(outliers(outside)["why"]) == {"high compared with the reference range"}


def test_withheld_values_are_listed_and_never_stand_out(result: ResultFile) -> None:
    table = long_table({"x": with_volume(result, volume(None, withheld="the field cuts the ear"))})
    rows = table.query("quantity == 'labyrinth_volume'")
    assert set(rows["withheld"]) == {"the field cuts the ear"}
    assert rows.dropna(subset=["value"]).empty
    assert "labyrinth_volume" not in set(outliers(table)["quantity"])
