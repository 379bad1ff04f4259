"""Completeness: known shapes, drawn ears with what they lack, cut fields; norms and their gate."""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.geometry import Pose, mean_pose
from otovox.core.landmarks import Landmarks
from otovox.core.segments import Part
from otovox.core.volume import Grid
from otovox.measure.completeness import (
    LEVELS,
    Betti,
    Completeness,
    State,
    betti_numbers,
    score_completeness,
)
from otovox.measure.norms import CUT_OFFS, NORMS, windows_problem
from otovox.phantom.canvas import Canvas, occupancy
from otovox.phantom.disease import malformed
from otovox.phantom.labyrinth import draw_labyrinth, paint

Ear = tuple[NDArray[np.float32], Grid, Landmarks, Pose]


@cache
def ear(diagnosis: str = "healthy", seed: int = 100, side: Side = Side.RIGHT) -> Ear:
    rng = np.random.default_rng(seed)
    shape = malformed(draw_labyrinth(rng, spread=1.0), diagnosis, rng)
    pose = mean_pose(side)
    middle = pose.to_lps(np.array([0.0, 0.3, 1.0]))
    grid = Grid.centred(middle, (85, 96, 96), spacing_mm=0.2, directions=pose.matrix)
    canvas = Canvas(grid, pose)
    values = occupancy(paint(shape, canvas), canvas.spacing_mm).astype(np.float32)
    points = Landmarks(shape.landmarks.names, pose.to_lps(shape.landmarks.points_mm))
    return values, grid, points.only(LANDMARK_NAMES), pose


@cache
def scored(diagnosis: str = "healthy", seed: int = 100, side: Side = Side.RIGHT) -> Completeness:
    return score_completeness(*ear(diagnosis, seed, side))


def canonical(grid: Grid, pose: Pose) -> NDArray[np.float64]:
    ijk = np.moveaxis(np.indices(grid.shape), 0, -1).reshape(-1, 3)
    return pose.to_canonical(grid.to_mm(ijk)).reshape(*grid.shape, 3)


# --- topology ----------------------------------------------------------------------------------


def ring(size: int = 21) -> NDArray[np.bool_]:
    i, j, k = np.indices((size, size, 7)) - np.array([size // 2, size // 2, 3])[:, None, None, None]
    return np.hypot(np.hypot(i, j) - 6, k) < 2.2


def test_betti_numbers_of_known_shapes() -> None:
    cube = np.ones((5, 5, 5), dtype=bool)
    assert betti_numbers(cube) == Betti(1, 0, 0)
    hollow = cube.copy()
    hollow[2, 2, 2] = False
    assert betti_numbers(hollow) == Betti(1, 0, 1)
    assert betti_numbers(ring()) == Betti(1, 1, 0)
    two = np.concatenate([ring(), np.zeros((3, 21, 7), bool), ring()])
    assert betti_numbers(two) == Betti(2, 2, 0)
    eight = np.concatenate([ring()[:17], ring()[4:]])
    assert betti_numbers(eight) == Betti(1, 2, 0)
    assert betti_numbers(np.zeros((3, 3, 3), bool)) == Betti(0, 0, 0)


def test_voxels_that_touch_at_a_corner_are_one_piece() -> None:
    mask = np.zeros((2, 2, 2), dtype=bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True
    assert betti_numbers(mask).pieces == 1


# --- drawn ears --------------------------------------------------------------------------------


@pytest.mark.parametrize("side", list(Side))
def test_a_healthy_ear_is_complete(side: Side) -> None:
    found = scored(side=side)
    assert found.likert == 1
    assert found.betti == Betti(1, 3, 0)
    assert set(found.loops_by_level) == set(LEVELS)
    assert found.missing == () == found.cut
    assert set(found.states.values()) == {State.PRESENT}
    assert not found.bridges
    assert not found.reasons


def test_an_absent_lateral_canal_is_named() -> None:
    found = scored("absent_lateral_canal")
    assert found.likert == 2
    assert found.missing == ("lateral_canal",)
    assert found.betti.loops == 2
    assert "lateral canal" in found.reasons[Part.LATERAL]


@pytest.mark.parametrize("diagnosis", ["hypoplasia", "incomplete_partition"])
def test_a_malformed_cochlea_counts(diagnosis: str) -> None:
    found = scored(diagnosis)
    assert found.states[Part.COCHLEA] is State.DISORGANISED
    assert found.missing == ("cochlea",)
    assert found.likert == 2


def test_a_common_cavity_scores_worst() -> None:
    found = scored("common_cavity", seed=101)  # this one lacks a canal, too
    assert found.likert == 4
    assert {"cochlea", "vestibule"} <= set(found.missing)


@pytest.mark.parametrize("name", ["anterior", "posterior", "lateral"])
def test_a_hole_in_a_canal_opens_its_loop(name: str) -> None:
    values, grid, landmarks, pose = ear()
    rng = np.random.default_rng(100)
    line = draw_labyrinth(rng, spread=1.0).canals[name].points_mm
    hole = np.linalg.norm(canonical(grid, pose) - line[len(line) // 2], axis=-1) < 1.2
    found = score_completeness(np.where(hole, 0, values), grid, landmarks, pose)
    assert found.missing == (f"{name}_canal",)
    assert "not closed" in found.reasons[Part[name.upper()]]
    assert found.betti.loops == 2
    assert found.likert == 2


def test_a_canal_that_only_low_levels_close_is_reported() -> None:
    values, grid, landmarks, pose = ear()
    line = draw_labyrinth(np.random.default_rng(100), spread=1.0).canals["lateral"].points_mm
    thin = np.linalg.norm(canonical(grid, pose) - line[len(line) // 2], axis=-1) < 0.8
    found = score_completeness(np.where(thin, 0.45 * values, values), grid, landmarks, pose)
    assert "only at 2 of 5" in found.reasons[Part.LATERAL]
    assert any("depends on the probability level" in text for text in found.problems)


def test_a_cut_canal_is_cut_not_missing() -> None:
    values, grid, landmarks, pose = ear()
    field = canonical(grid, pose)[..., 2] < 6.0
    found = score_completeness(values * field, grid, landmarks, pose, field=field)
    assert found.states[Part.ANTERIOR] is State.CUT
    assert found.cut == ("anterior_canal",)
    assert found.missing == ()
    assert found.likert == 1
    # The same mask in a field of view that contains everything: there the canal's loop is missing.
    assert score_completeness(values * field, grid, landmarks, pose).missing == ("anterior_canal",)


def test_the_grids_own_border_is_a_field_too() -> None:
    values, grid, landmarks, pose = ear()
    k = round(float(grid.to_ijk(pose.to_lps(np.array([0.0, 0.0, 6.0])))[2]))
    crop = grid.crop((0, 0, 0), (85, 96, k))
    found = score_completeness(values[:, :, :k], crop, landmarks, pose)
    assert found.cut == ("anterior_canal",)


def test_an_empty_field_lacks_everything() -> None:
    values, grid, landmarks, pose = ear()
    found = score_completeness(np.zeros_like(values), grid, landmarks, pose)
    assert found.likert == 4
    assert len(found.missing) == 5
    assert found.reasons[Part.COCHLEA] == "voxels of the cochlea: 0 mm3"


def test_a_bridge_between_canals_is_flagged() -> None:
    values, grid, landmarks, pose = ear()
    points = canonical(grid, pose)
    shape = draw_labyrinth(np.random.default_rng(100), spread=1.0)
    first, second = (shape.canals[name].points_mm for name in ("posterior", "lateral"))
    ends = first[len(first) // 2], second[len(second) // 2]
    way = ends[1] - ends[0]
    along = np.clip((points - ends[0]) @ way / (way @ way), 0, 1)
    rod = np.linalg.norm(points - ends[0] - along[..., None] * way, axis=-1) < 0.3
    found = score_completeness(np.where(rod, 1, values), grid, landmarks, pose)
    assert found.bridges
    assert found.betti.loops > 3
    assert any("separate parts touch" in text for text in found.problems)


# --- norms -------------------------------------------------------------------------------------


def test_every_norm_has_a_range_and_a_source() -> None:
    for norm in (*NORMS.values(), *CUT_OFFS.values()):
        assert norm.low is not None or norm.high is not None
        if norm.low is not None and norm.high is not None:
            assert norm.low < norm.high
        assert norm.source
        assert norm.unit in ("mm", "mm3", "deg", "")
    assert all(norm.cut_off for norm in CUT_OFFS.values())
    assert not any(norm.cut_off for norm in NORMS.values())


def test_ranges_tell_low_and_high() -> None:
    radius = NORMS["lateral_canal_radius"]
    assert (radius.low, radius.high) == pytest.approx((2.3, 2.9))
    assert radius.side_of_range(2.2) == "low"
    assert radius.side_of_range(3.0) == "high"
    assert radius.side_of_range(2.6) == "" == radius.side_of_range(float("nan"))
    assert CUT_OFFS["lateral_canal_island"].side_of_range(2.5) == "low"
    assert CUT_OFFS["vestibular_aqueduct_midpoint"].side_of_range(0.2) == ""


@pytest.mark.parametrize(("gap_mm", "fine"), [(1.7, False), (2.3, True), (3.7, True), (4, False)])
def test_windows_gate_the_landmarks(gap_mm: float, fine: bool) -> None:
    points = np.array([[0.0, 0.0, 0.0], [0.0, gap_mm, 0.0]])
    found = windows_problem(Landmarks(("oval_window", "round_window"), points))
    assert (found == "") is fine
    assert fine or f"{gap_mm:.2f} mm apart" in found


def test_absent_windows_are_not_blamed() -> None:
    points = np.array([[0.0, 0.0, 0.0], [np.nan, 0.0, 0.0]])
    assert windows_problem(Landmarks(("oval_window", "round_window"), points)) == ""
