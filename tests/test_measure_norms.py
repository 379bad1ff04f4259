"""Norms: ranges by hand, sources named, the windows' gate."""

import numpy as np
import pytest

from otovox.anatomy import CANALS, Part
from otovox.landmarks import Landmarks
from otovox.measure.norms import CUT_OFFS, NORMS, side_of_norm, windows_problem


def test_ranges_by_hand() -> None:
    norm = NORMS["anterior_posterior_angle"]
    assert (norm.low, norm.high) == (86.0, 102.0)
    assert "Della Santina" in norm.source
    assert (NORMS["lateral_canal_radius"].low, NORMS["lateral_canal_radius"].high) == (2.3, 2.9)
    assert CUT_OFFS["cochlear_canal"].low == 1.4


def test_every_norm_has_a_range_a_unit_and_a_source() -> None:
    for norm in (*NORMS.values(), *CUT_OFFS.values()):
        assert norm.low < norm.high
        assert norm.unit in ("mm", "mm3", "deg")
        assert norm.source
        assert norm.definition


def test_every_part_and_canal_has_its_norms() -> None:
    assert {f"{part}_volume" for part in Part} <= set(NORMS)
    for quantity in ("radius", "length", "arc", "out_of_plane"):
        assert {f"{part}_{quantity}" for part in CANALS} <= set(NORMS)


@pytest.mark.parametrize(
    ("name", "value", "side"),
    [
        ("cochlear_height", 4.0, "low"),
        ("cochlear_height", 9.0, ""),
        ("vestibular_aqueduct_midpoint", 1.5, "high"),
        ("cochlea_volume", 30.0, "low"),
        ("cochlea_volume", 73.0, ""),
        ("cochlea_volume", float("nan"), ""),
    ],
)
def test_sides(name: str, value: float, side: str) -> None:
    assert side_of_norm(name, value) == side


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(KeyError):
        side_of_norm("length_of_the_nose", 1.0)


@pytest.mark.parametrize(("apart_mm", "told"), [(2.9, False), (2.0, True), (4.5, True)])
def test_windows(apart_mm: float, told: bool) -> None:
    points = np.array([[0.0, 0, 0], [0, apart_mm, 0]])
    problem = windows_problem(Landmarks(("oval_window", "round_window"), points))
    assert bool(problem) == told
    if told:
        assert f"{apart_mm:.1f} mm" in problem


def test_absent_windows_have_no_problem() -> None:
    points = np.array([[0.0, 0, 0], [np.nan, np.nan, np.nan]])
    assert windows_problem(Landmarks(("oval_window", "round_window"), points)) == ""
    assert windows_problem(Landmarks((), np.zeros((0, 3)))) == ""
