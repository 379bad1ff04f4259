"""Named points."""

import numpy as np
import pytest

from otovox.core.geometry import affine_from
from otovox.core.landmarks import Landmarks

POINTS = Landmarks(("a", "b", "c"), np.array([[0.0, 0, 0], [3, 4, 0], [np.nan] * 3]))


def test_points_by_name():
    np.testing.assert_array_equal(POINTS["b"], [3, 4, 0])
    assert [POINTS.has(name) for name in ("a", "c", "d")] == [True, False, False]
    assert POINTS.only(("b", "a")).names == ("b", "a")
    assert POINTS.distance_mm("a", "b") == 5
    assert np.isnan(POINTS.distance_mm("a", "c"))


def test_points_move_together_and_absent_ones_stay_absent():
    moved = POINTS.moved(affine_from(2 * np.eye(3), (1, 0, 0)))
    np.testing.assert_allclose(moved["b"], [7, 8, 0])
    assert moved.distance_mm("a", "b") == 10
    assert not moved.has("c")


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="do not match"):
        Landmarks(("a",), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="twice"):
        Landmarks(("a", "a"), np.zeros((2, 3)))
    with pytest.raises(ValueError, match="read-only"):
        POINTS.points_mm[0] = 1
