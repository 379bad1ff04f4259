"""Lengths of the duct: test vectors of the published formulas, arcs known by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otovox.measure.duct import (
    FORMULAS,
    Duct,
    duct_along,
    eca_basal_turn_mm,
    escude_angle_deg,
    escude_lw_mm,
)

A, B = 9.23, 6.52
VECTORS = {
    "escude_lw_360": 22.465,
    "escude_lw_900": 38.083,
    "alexiades_oc": 34.397,
    "koch_oc": 33.347,
    "koch_lw": 40.618,
    "erixon_lw": 40.868,
    "eca_basal_turn_lw": 21.848,
    "eca_lw": 37.540,
    "eca_oc": 32.398,
    # By hand: 4.16 * 9.23 - 2.7, 3.65 * 8.23, 3.65 * 8.53.
    "alexiades_i": 35.697,
    "alexiades_oc_720": 30.040,
    "alexiades_i_720": 31.135,
}


def test_every_formula_gives_its_test_vector() -> None:
    found = {formula.name: formula.length_mm(A, B) for formula in FORMULAS}
    assert found == {name: pytest.approx(value, abs=6e-4) for name, value in VECTORS.items()}


def test_formulas_name_their_path() -> None:
    paths = {formula.name: formula.route for formula in FORMULAS}
    assert {name for name, path in paths.items() if path == "OC"} == {
        "alexiades_oc", "alexiades_oc_720", "koch_oc", "eca_oc",
    }  # fmt: skip
    assert paths["alexiades_i"] == "electrode"
    assert paths["koch_lw"] == "LW"


def test_the_elliptic_basal_turn_of_a_circle() -> None:
    # With A = B = 1: 1.18 + 2.69 - sqrt(0.72).
    assert eca_basal_turn_mm(1, 1) == pytest.approx(3.021472, abs=1e-6)


@given(st.floats(7, 11), st.floats(0, 1000))
def test_escude_and_its_inverse(a_mm: float, angle: float) -> None:
    assert escude_angle_deg(a_mm, escude_lw_mm(a_mm, angle)) == pytest.approx(angle, abs=1e-6)


def test_length_of_a_helix() -> None:
    theta = np.arange(0.0, 721.0, 7.5)
    duct = duct_along(theta, np.full_like(theta, 3.0), theta / 360 * 2.0)
    # One turn: sqrt((2 pi 3)^2 + 2^2).
    assert duct.length_at_mm(360) == pytest.approx(np.hypot(6 * np.pi, 2.0), rel=1e-4)
    assert duct.total_mm == pytest.approx(2 * np.hypot(6 * np.pi, 2.0), rel=1e-4)


@given(st.floats(0, 900))
def test_angle_to_length_and_back(angle: float) -> None:
    theta = np.arange(0.0, 901.0, 7.5)
    duct = duct_along(theta, 5 * np.exp(-theta / 600), -3 + theta / 300)
    assert duct.angle_at_deg(duct.length_at_mm(angle)) == pytest.approx(angle, abs=0.05)


def test_nothing_is_defined_outside_the_duct() -> None:
    duct = Duct(np.array([0.0, 90.0]), np.array([0.0, 8.0]))
    assert np.isnan(duct.length_at_mm([-1.0, 91.0])).all()
    assert np.isnan(duct.angle_at_deg([-1.0, 8.1])).all()


@pytest.mark.parametrize("lengths", [[0.0], [0.0, 0.0], [1.0, 0.5]])
def test_a_duct_that_does_not_rise_is_refused(lengths: list[float]) -> None:
    with pytest.raises(ValueError, match="duct"):
        Duct(90 * np.arange(len(lengths), dtype=float), np.array(lengths))
