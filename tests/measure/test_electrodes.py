"""Electrode arrays: the table, one's own table, and where arrays come to lie."""

from pathlib import Path

import numpy as np
import pytest

from otovox.errors import InputError
from otovox.measure.duct import duct_along
from otovox.measure.electrodes import predict_insertions, read_electrodes
from otovox.measure.frequency import ganglion_hz, greenwood_hz

THETA = np.arange(0.0, 901.0, 7.5)
FLAT = np.zeros_like(THETA)
WALL = duct_along(THETA, np.full_like(THETA, 2.5), FLAT)
INSIDE = duct_along(THETA, np.full_like(THETA, 2.0), FLAT)


def test_the_shipped_table() -> None:
    table = {electrode.array: electrode for electrode in read_electrodes()}
    assert table["FLEX28"].lw_range_mm == (36.2, 40.1)
    assert table["FLEX28"].length_mm == 28
    assert table["CI622"].default_angle_deg == 450
    assert table["CI622"].length_mm is None
    assert all(electrode.source for electrode in table.values())


def test_arrays_in_a_circular_duct() -> None:
    found = {i.array: i for i in predict_insertions(read_electrodes(), INSIDE, WALL)}
    flex = found["FLEX20"]
    angle = np.degrees(20 / 2.0)  # 20 mm along a circle of 2 mm
    assert flex.from_length
    assert flex.angle_deg == pytest.approx(angle, rel=1e-3)
    assert flex.coverage == pytest.approx(angle / 900, rel=1e-3)
    assert flex.tip_ganglion_hz == pytest.approx(float(ganglion_hz(angle)), rel=1e-2)
    assert flex.tip_corti_hz == pytest.approx(float(greenwood_hz(1 - angle / 900)), rel=1e-2)
    assert flex.suits is None
    # 39.3 mm of wall: within FLEX28's range, too long for FLEX24's.
    assert found["FLEX28"].suits is True
    assert found["FLEX24"].suits is False
    assert not found["CI622"].from_length
    assert found["CI622"].angle_deg == 450


def test_an_array_longer_than_the_duct_has_no_angle() -> None:
    short = duct_along(THETA[:30], np.full(30, 2.0), np.zeros(30))
    found = {i.array: i for i in predict_insertions(read_electrodes(), short, short)}
    assert np.isnan(found["FLEX28"].angle_deg)
    assert np.isnan(found["FLEX28"].tip_ganglion_hz)


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "arrays.csv"
    head = "array,length_mm,default_angle_deg,lw_low_mm,lw_high_mm,source\n"
    path.write_text(head + "Mine,21.5,,30,,here\n", "utf-8")
    (mine,) = read_electrodes(path)
    assert (mine.array, mine.length_mm, mine.lw_range_mm) == ("Mine", 21.5, None)
    path.write_text(head + "Mine,long,,,,here\n", "utf-8")
    with pytest.raises(InputError, match=r"line 2.*length_mm.*'long'"):
        read_electrodes(path)
    path.write_text("array,length\nMine,3\n", "utf-8")
    with pytest.raises(InputError, match="lacks the columns length_mm"):
        read_electrodes(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_electrodes(tmp_path / "none.csv")
