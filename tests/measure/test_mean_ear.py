"""The mean ear: its lines, its place in an ear that is it, moved, and what absence leaves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otovox.core.anatomy import CANONICAL_MM
from otovox.core.geometry import FloatArray, random_rotation, rotation_from_vector
from otovox.core.landmarks import Landmarks
from otovox.measure._courses import _drawn_in  # pyright: ignore[reportPrivateUsage]
from otovox.measure.mean_ear import (
    STEP_MM,
    Similarity,
    along_mm,
    fit_similarity,
    mean_canal,
    mean_crus,
    nearest_on,
    place_mean_ear,
    resampled,
)
from otovox.measure.tori import CANALS, USUAL, CanalTrace

NONE = Landmarks((), np.empty((0, 3)))
NAMES = tuple(CANONICAL_MM)


def trace_of(points: FloatArray, name: str) -> CanalTrace:
    angle = np.arange(len(points), dtype=float)
    return CanalTrace(USUAL[name], angle, points, np.full(len(points), 0.5), True, 0.0)


def moved_by(seed: int) -> Similarity:
    rng = np.random.default_rng(seed)
    turn = rotation_from_vector(np.radians(rng.normal(0, 4, 3)))
    return Similarity(float(rng.uniform(0.93, 1.07)), turn, rng.normal(0, 0.3, 3))


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_a_similarity_is_found_again(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true = Similarity(float(rng.uniform(0.5, 2)), random_rotation(rng), rng.normal(0, 5, 3))
    points = rng.normal(0, 3, (8, 3))
    found = fit_similarity(points, true(points), rng.uniform(0.5, 2, 8))
    assert found(points) == pytest.approx(true(points), abs=1e-6)
    assert found.scale == pytest.approx(true.scale)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("lacking", ["", "lateral", "posterior"])
def test_ends_are_placed_from_the_middles_of_the_canals(seed: int, lacking: str) -> None:
    true = moved_by(seed)
    traces: dict[str, CanalTrace | None] = {
        name: trace_of(true(mean_canal(name).points_mm[6:-6]), name) for name in CANALS
    }
    if lacking:
        traces[lacking] = None
    marks = Landmarks(NAMES, true(np.array(list(CANONICAL_MM.values()))))
    found = place_mean_ear(traces, marks)
    for name in CANALS:
        ends = mean_canal(name).points_mm[[0, -1]]
        # The landmarks' means are those of other ears than the canals' in part.
        assert np.linalg.norm(found(ends) - true(ends), axis=1).max() < 0.15


def test_nothing_found_leaves_the_mean_ear_where_it_is() -> None:
    found = place_mean_ear(dict.fromkeys(CANALS), NONE)
    assert found.scale == 1
    assert found.rotation == pytest.approx(np.eye(3))


def test_the_helicotrema_places_no_canal() -> None:
    traces: dict[str, CanalTrace | None] = {
        name: trace_of(mean_canal(name).points_mm, name) for name in CANALS
    }
    far = Landmarks(("helicotrema",), np.array([[8.0, 9.0, 1.0]]))
    assert place_mean_ear(traces, far).scale == place_mean_ear(traces, NONE).scale


def test_lines_have_equal_steps_and_lie_where_measured() -> None:
    for line in (*map(mean_canal, CANALS), mean_crus()):
        steps = np.diff(along_mm(line.points_mm))
        assert steps == pytest.approx(STEP_MM, rel=0.1)
        assert (line.radius_mm > 0.3).all()
    # Arc lengths of the 72 labyrinths, mean +- SD.
    for name, (mean, sd) in zip(CANALS, ((13.4, 0.9), (15.4, 1.0), (11.7, 0.8)), strict=True):
        assert abs(along_mm(mean_canal(name).points_mm)[-1] - mean) < sd


def test_beyond_its_ends_a_curve_has_no_nearest_point() -> None:
    curve = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    found = nearest_on(np.array([[-1.0, 0, 0], [0.7, 1, 0], [3, 0, 0]]), curve)
    assert np.isnan(found[[0, 2]]).all()
    assert found[1] == pytest.approx([0.7, 0, 0], abs=0.01)
    assert resampled(curve, count=5)[:, 0] == pytest.approx([0, 0.5, 1, 1.5, 2])


def test_coinciding_points_of_a_line_stay_finite():
    line = np.array([[0.0, 0, 0], [0.0, 0, 0], [0.0, 0, 0], [1.0, 0, 0]])
    points, area = _drawn_in(lambda at: np.ones(at.shape[:-1]), line, 0.5)
    assert np.isfinite(points).all()
    assert np.isfinite(area).all()
