"""Betti numbers of known shapes; complete, malformed and cut ears told apart."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from drawn_ears import Ear, ear
from otovox.anatomy import CANALS, Part
from otovox.landmarks import Landmarks
from otovox.measure.canals import measure_canals
from otovox.measure.completeness import (
    LEVELS,
    Betti,
    Completeness,
    State,
    betti_numbers,
    score_completeness,
)
from otovox.volume import Grid

COARSE = (0.25, 0.25, 0.25)
AXES = np.moveaxis(np.indices((40, 40, 40)), 0, -1) - 19.5


def ball(radius: float, at: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    return np.linalg.norm(AXES - at, axis=-1) < radius


def ring(radius: float, tube: float, at: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    x, y, z = np.moveaxis(AXES - at, -1, 0)
    return np.hypot(np.hypot(x, y) - radius, z) < tube


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (np.zeros((5, 5, 5), bool), Betti(0, 0, 0)),
        (np.ones((5, 5, 5), bool), Betti(1, 0, 0)),
        (ball(10), Betti(1, 0, 0)),
        (ball(12) & ~ball(6), Betti(1, 0, 1)),
        (ring(11, 3), Betti(1, 1, 0)),
        (ring(6, 2, (-10, 0, 0)) | ring(6, 2, (10, 0, 0)), Betti(2, 2, 0)),
        (ring(8, 2.5, (-8, 0, 0)) | ring(8, 2.5, (8, 0, 0)), Betti(1, 2, 0)),
        (ball(5, (-12, 0, 0)) | ball(5, (12, 0, 0)), Betti(2, 0, 0)),
        (ring(12, 4) & ~ring(12, 2), Betti(1, 2, 1)),
    ],
)
def test_known_shapes(mask: np.ndarray, expected: Betti) -> None:
    assert betti_numbers(mask) == expected


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.05, 0.6))
def test_two_masks_far_apart_add_up(seed: int, density: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.random((6, 7, 5)) < density for _ in range(2))
    one, other = betti_numbers(a), betti_numbers(b)
    both = betti_numbers(np.concatenate([a, np.zeros((2, 7, 5), bool), b]))
    assert both == Betti(
        one.pieces + other.pieces, one.loops + other.loops, one.cavities + other.cavities
    )


def judged(drawn: Ear, values: np.ndarray | None = None, field: Grid | None = None) -> Completeness:
    found = drawn.values if values is None else values
    return score_completeness(found, drawn.grid, drawn.landmarks, drawn.pose, field=field)


def test_a_usual_ear_is_complete() -> None:
    found = judged(ear(1, voxel_mm=COARSE))
    assert found.score == 1
    assert set(found.states.values()) == {State.PRESENT}
    assert found.loops == dict.fromkeys(LEVELS, 3)
    assert not found.bridges
    assert not found.doubtful
    assert not found.problems


def test_an_absent_canal_is_missing() -> None:
    found = judged(ear(3, diagnosis="absent_lateral_canal", voxel_mm=COARSE))
    assert found.score == 2
    assert found.those(State.MISSING) == (Part.LATERAL,)
    assert "lateral canal" in found.reasons[Part.LATERAL]
    assert set(found.loops.values()) == {2}


@pytest.mark.parametrize("part", CANALS)
def test_a_canal_with_a_plug_is_not_closed(part: Part) -> None:
    drawn = ear(1, voxel_mm=COARSE)
    line = measure_canals(drawn.values, drawn.grid, drawn.landmarks, drawn.pose).canals[part]
    station = line.centreline_mm[len(line.centreline_mm) // 3]
    points = drawn.grid.to_mm(np.moveaxis(np.indices(drawn.grid.shape), 0, -1))
    plugged = np.where(np.linalg.norm(points - station, axis=-1) < 1.2, 0.0, drawn.values)
    found = judged(drawn, plugged)
    assert found.those(State.MISSING) == (part,)
    assert "canal" in found.reasons[part]
    assert found.score == 2


def test_a_cochlea_alone() -> None:
    drawn = ear(2, voxel_mm=COARSE)
    parts = measure_canals(drawn.values, drawn.grid, drawn.landmarks, drawn.pose).parts
    found = judged(drawn, (parts == Part.COCHLEA.label).astype(np.float32))
    assert found.score == 4
    assert set(found.those(State.MISSING)) == {Part.VESTIBULE, *CANALS}


def test_an_ear_without_cochlea() -> None:
    drawn = ear(2, voxel_mm=COARSE)
    parts = measure_canals(drawn.values, drawn.grid, drawn.landmarks, drawn.pose).parts
    found = judged(drawn, (drawn.mask & (parts != Part.COCHLEA.label)).astype(np.float32))
    assert found.those(State.MISSING) == (Part.COCHLEA,)
    assert found.reasons[Part.COCHLEA].endswith("mm3")


def test_no_helicotrema_means_a_disorganised_cochlea() -> None:
    drawn = ear(2, voxel_mm=COARSE)
    points = drawn.landmarks.points_mm.copy()
    points[drawn.landmarks.names.index("helicotrema")] = np.nan
    landmarks = Landmarks(drawn.landmarks.names, points)
    found = score_completeness(drawn.values, drawn.grid, landmarks, drawn.pose)
    assert found.those(State.DISORGANISED) == (Part.COCHLEA,)
    assert found.reasons[Part.COCHLEA] == "the cochlea has no helicotrema"


def test_a_canal_outside_the_field_is_cut_not_missing() -> None:
    drawn = ear(2, voxel_mm=COARSE)
    top = drawn.pose.to_lps(drawn.shape.landmarks["anterior_arc"][None])[0, 2] - 1.0
    count = int((top - drawn.grid.affine[2, 3]) / COARSE[2])
    seen = drawn.values.copy()
    seen[:, :, count:] = 0
    i, j, _ = drawn.grid.shape
    found = judged(drawn, seen, Grid((i, j, count), drawn.grid.affine))
    assert found.score == 1
    assert found.those(State.CUT) == (Part.ANTERIOR,)
    assert "outside the field" in found.reasons[Part.ANTERIOR]
    assert found.problems


def test_a_bridge_is_flagged_and_hides_nothing() -> None:
    drawn = ear(1, voxel_mm=COARSE)
    canals = measure_canals(drawn.values, drawn.grid, drawn.landmarks, drawn.pose).canals
    line = canals[Part.ANTERIOR].centreline_mm
    a, b = line[len(line) // 5], line[4 * len(line) // 5]
    way = a + np.linspace(0, 1, 200)[:, None] * (b - a)
    bridge = np.ones(drawn.grid.shape, dtype=bool)
    bridge[tuple(np.rint(drawn.grid.to_ijk(way)).astype(int).T)] = False
    bridged = drawn.mask | (np.asarray(ndimage.distance_transform_edt(bridge)) < 1.9)
    found = judged(drawn, bridged.astype(np.float32))
    assert found.bridges
    assert found.score == 1
    assert any("bridge" in problem for problem in found.problems)


def test_faint_canals_are_doubtful() -> None:
    drawn = ear(1, voxel_mm=COARSE)
    parts = measure_canals(drawn.values, drawn.grid, drawn.landmarks, drawn.pose).parts
    faint = np.where(parts == Part.LATERAL.label, 0.65 * drawn.values, drawn.values)
    found = judged(drawn, faint)
    assert found.doubtful == (Part.LATERAL,)


def test_nothing_is_not_judged() -> None:
    drawn = ear(2, voxel_mm=COARSE)
    found = judged(drawn, np.zeros(drawn.grid.shape, np.float32))
    assert found.score is None
    assert found.problems == ("there is no labyrinth to judge",)
