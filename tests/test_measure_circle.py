"""Circles in space: known ones found again, whatever turns them, with and without outliers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otovox.geometry import random_rotation
from otovox.measure.circle import fit_circle


def arc(span_deg: float, *, radius_mm: float = 3.0) -> np.ndarray:
    angle = np.radians(np.linspace(0, span_deg, 50))
    return radius_mm * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(120, 340), st.floats(1.5, 4.5))
def test_an_arc_anywhere_is_found(seed: int, span_deg: float, radius_mm: float) -> None:
    rng = np.random.default_rng(seed)
    turn, shift = random_rotation(rng), rng.normal(0, 30, 3)
    circle = fit_circle(arc(span_deg, radius_mm=radius_mm) @ turn.T + shift)
    assert circle.radius_mm == pytest.approx(radius_mm, abs=1e-5)
    assert circle.centre_mm == pytest.approx(shift, abs=1e-5)
    assert abs(circle.normal @ turn[:, 2]) == pytest.approx(1, abs=1e-9)


def test_outliers_count_little() -> None:
    points = arc(240)
    points[:4] += [0, 0, 1.5]
    tilt = np.degrees(np.arccos(abs(fit_circle(points).normal[2])))
    plain = np.linalg.svd(points - points.mean(axis=0))[2][2]
    assert tilt < 0.75 * np.degrees(np.arccos(abs(plain[2])))


def test_residuals_by_hand() -> None:
    circle = fit_circle(arc(300))
    height, radial = circle.residuals_mm(np.array([[0.0, 4.0, 0.5]]))
    assert abs(height[0]) == pytest.approx(0.5, abs=1e-6)
    assert radial[0] == pytest.approx(1.0, abs=1e-6)
    turned = circle.angles_deg(np.array([[0.0, 3.0, 0.0]]), np.array([3.0, 0.0, 0.0]))
    assert abs(turned[0]) == pytest.approx(90, abs=1e-4)


def test_what_is_no_circle_is_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        fit_circle(np.eye(3))
    with pytest.raises(ValueError, match="line"):
        fit_circle(np.outer(np.arange(9.0), [1, 2, 3]))
