"""The cochlea measured: phantoms against their drawn truth, invariance, and what is withheld."""

from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.geometry import FloatArray, Pose, fit_pose, mean_pose, random_rotation, unit
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid
from otovox.measure.cochlea import Cochlea, measure_cochlea
from otovox.measure.duct import FORMULAS
from otovox.measure.frame import cochlear_frame
from otovox.phantom.canvas import Canvas, occupancy
from otovox.phantom.disease import malformed
from otovox.phantom.labyrinth import draw_labyrinth, paint
from otovox.phantom.truth import CochleaTruth, cochlea_truth

HERE = Pose(Side.RIGHT, np.eye(3), np.zeros(3))
#: Field around a canonical cochlea and the vestibule, mm.
MIDDLE_MM, FIELD_MM = np.array([1.2, 3.5, -2.5]), np.array([13.0, 15.0, 13.0])


class Ear(NamedTuple):
    values: NDArray[np.float32]
    grid: Grid
    landmarks: Landmarks
    truth: CochleaTruth


@cache
def ear(
    seed: int = 5, spacing_mm: float = 0.2, diagnosis: str = "healthy", fake: bool = False
) -> Ear:
    """A drawn ear in the canonical frame; `fake` puts windows and apex where there are none."""
    rng = np.random.default_rng([77, seed])
    shape = malformed(draw_labyrinth(rng, spread=1.0), diagnosis, rng)
    i, j, k = (int(n) for n in np.ceil(FIELD_MM / spacing_mm))
    grid = Grid.centred(MIDDLE_MM, (i, j, k), spacing_mm=spacing_mm)
    values = occupancy(paint(shape, Canvas(grid, HERE)), spacing_mm).astype(np.float32)
    usual = draw_labyrinth(np.random.default_rng(0), spread=0.0).landmarks
    points = shape.landmarks.points_mm
    if fake:
        points = np.where(np.isfinite(points), points, usual.points_mm)
    return Ear(values, grid, Landmarks(usual.names, points), cochlea_truth(shape))


def measured(found: Ear, pose: Pose = HERE, field: Grid | None = None) -> Cochlea:
    """The ear put where `pose` says, and measured there."""
    matrix = pose.matrix @ found.grid.affine[:3, :3]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = matrix, pose.to_lps(found.grid.affine[:3, 3])
    points = Landmarks(found.landmarks.names, pose.to_lps(found.landmarks.points_mm))
    grid = Grid(found.grid.shape, affine)
    return measure_cochlea(found.values, grid, points.only(LANDMARK_NAMES), pose, field=field)


@cache
def plain() -> Cochlea:
    """The usual ear, measured as it is."""
    return measured(ear())


def apart_deg(first: FloatArray, second: FloatArray) -> float:
    return float(np.degrees(np.arccos(np.clip(first @ second, -1, 1))))


@pytest.mark.parametrize("seed", [5, 6])
def test_a_phantom_measures_what_was_drawn(seed: int) -> None:
    found, truth = measured(ear(seed)), ear(seed).truth
    assert not found.problems
    assert found.axis is not None
    assert found.wall is not None
    assert found.centre is not None
    assert apart_deg(found.axis, truth.axis) < 6
    assert found.a_mm == pytest.approx(truth.a_round_window_mm, abs=0.2)
    assert found.a_wall_mm == pytest.approx(truth.a_mm, abs=0.2)
    assert found.b_mm == pytest.approx(truth.b_mm, abs=0.2)
    assert found.b_to_a == found.b_mm / found.a_mm
    assert found.height_mm == pytest.approx(truth.height_mm, abs=0.5)
    assert found.turns == pytest.approx(truth.turns, abs=0.15)
    assert found.wall.total_mm == pytest.approx(truth.length_mm, rel=0.03)
    assert found.wall.length_at_mm(720) == pytest.approx(truth.length_2_turns_mm, rel=0.02)
    assert found.centre.total_mm == pytest.approx(truth.centre_length_mm, rel=0.06)
    assert 1.7 < found.lumen_diameter_mm < 2.4
    assert set(found.formulas) == {formula.name for formula in FORMULAS}
    assert all(insertion.array for insertion in found.insertions)


def test_the_wall_lies_where_it_was_drawn() -> None:
    found, truth = plain(), ear().truth
    assert found.wall_mm is not None
    inner = truth.wall_mm[(truth.theta_deg > 10) & (truth.theta_deg < 700)]
    # Distance to the polyline's points, 0.7 mm apart at most: beside them, not along.
    gaps = np.linalg.norm(inner[:, None] - found.wall_mm[None], axis=2).min(axis=1)
    assert np.median(gaps) < 0.2
    assert gaps.max() < 0.5


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(list(Side)))
def test_the_same_for_any_pose_and_side(seed: int, side: Side) -> None:
    rng = np.random.default_rng(seed)
    turned = random_rotation(rng) @ mean_pose(side).matrix
    pose = Pose(side, turned, rng.uniform(-60, 60, 3))
    here, there = plain(), measured(ear(), pose)
    assert here.wall is not None
    assert there.wall is not None
    assert here.axis is not None
    assert there.axis is not None
    assert there.axis == pytest.approx(pose.matrix @ here.axis, abs=1e-3)
    for name in ("a_mm", "a_wall_mm", "b_mm", "height_mm", "turns", "lumen_diameter_mm"):
        assert getattr(there, name) == pytest.approx(getattr(here, name), abs=0.03), name
    assert there.wall.total_mm == pytest.approx(here.wall.total_mm, rel=0.005)


def test_nearly_the_same_for_any_voxel() -> None:
    fine, coarse = plain(), measured(ear(spacing_mm=0.3))
    assert fine.wall is not None
    assert coarse.wall is not None
    assert coarse.a_mm == pytest.approx(fine.a_mm, abs=0.1)
    assert coarse.b_mm == pytest.approx(fine.b_mm, abs=0.1)
    assert coarse.wall.total_mm == pytest.approx(fine.wall.total_mm, rel=0.04)


def test_masks_and_array_axes_do_not_matter() -> None:
    drawn = ear()
    mask = measured(drawn._replace(values=(drawn.values >= 0.5).astype(np.float32)))
    assert mask.a_mm == pytest.approx(plain().a_mm, abs=0.1)
    order = (2, 0, 1)
    affine = drawn.grid.affine.copy()
    affine[:, :3] = affine[:, list(order)]
    i, j, k = (drawn.grid.shape[axis] for axis in order)
    grid = Grid((i, j, k), affine)
    moved = measured(drawn._replace(values=drawn.values.transpose(order), grid=grid))
    assert moved.a_mm == pytest.approx(plain().a_mm, abs=5e-3)


def test_landmarks_that_are_a_little_off() -> None:
    drawn = ear()
    shift = np.random.default_rng(1).normal(0, 0.3, drawn.landmarks.points_mm.shape)
    moved = Landmarks(drawn.landmarks.names, drawn.landmarks.points_mm + shift)
    pose = fit_pose(moved.names, moved.points_mm, Side.RIGHT)
    found = measure_cochlea(drawn.values, drawn.grid, moved.only(LANDMARK_NAMES), pose)
    assert found.wall is not None
    assert found.a_mm == pytest.approx(drawn.truth.a_round_window_mm, abs=0.6)
    assert found.wall.total_mm == pytest.approx(drawn.truth.length_mm, rel=0.05)


def withheld(found: Cochlea) -> None:
    """Nothing is claimed of the duct, and a reason is given."""
    assert len(found.problems) == 1
    assert found.wall is None
    assert np.isnan(found.turns)
    assert not found.insertions


def test_an_empty_field() -> None:
    drawn = ear()
    found = measured(drawn._replace(values=np.zeros_like(drawn.values)))
    withheld(found)
    assert "empty" in found.problems[0]


@pytest.mark.parametrize("name", ["helicotrema", "round_window"])
def test_a_landmark_that_is_missing(name: str) -> None:
    drawn = ear()
    points = drawn.landmarks.points_mm.copy()
    points[drawn.landmarks.names.index(name)] = np.nan
    found = measured(drawn._replace(landmarks=Landmarks(drawn.landmarks.names, points)))
    withheld(found)
    assert name.replace("_", " ") in found.problems[0]
    assert np.isnan(found.a_mm)
    # The axis alone needs no round window.
    assert (found.axis is None) == (name == "helicotrema")


def test_a_field_that_cuts_the_cochlea() -> None:
    drawn = ear()
    values, (i, j, k) = drawn.values.copy(), drawn.grid.shape
    cut = j - 19
    values[:, cut:] = 0
    scan = drawn.grid.crop((0, 0, 0), (i, cut, k))
    found = measured(drawn._replace(values=values), field=scan)
    withheld(found)
    assert np.isnan(found.a_mm)


@pytest.mark.parametrize("fake", [False, True], ids=["missing landmarks", "invented landmarks"])
@pytest.mark.parametrize("diagnosis", ["incomplete_partition", "common_cavity"])
def test_malformed_cochleae(diagnosis: str, fake: bool) -> None:
    found = measured(ear(3, 0.25, diagnosis, fake))
    withheld(found)
    if diagnosis == "common_cavity" or not fake:
        assert np.isnan(found.a_mm)


def test_a_short_cochlea_has_no_a_value() -> None:
    found = measured(ear(3, 0.25, "hypoplasia"))
    withheld(found)
    assert np.isnan(found.a_mm)
    assert not found.formulas


def test_a_ball_is_no_cochlea() -> None:
    drawn = ear()
    i, j, k = np.indices(drawn.grid.shape)
    points = drawn.grid.to_mm(np.stack([i, j, k], axis=-1))
    ball = np.linalg.norm(points - [2.0, 4.5, -2.7], axis=-1) < 3.4
    withheld(measured(drawn._replace(values=ball.astype(np.float32))))


def test_the_frame_counts_from_the_round_window_to_the_apex() -> None:
    frame = cochlear_frame(
        np.array([0.0, 0.0, 1.0]),
        np.array([1.0, 1.0, -9.0]),
        np.array([1.2, 1.0, 2.0]),
        np.array([5.0, 1.0, -1.0]),
    )
    assert frame.origin_mm == pytest.approx([1, 1, 2])
    theta, radius, height = frame.from_canonical(np.array([[5.0, 1.0, -1.0], [1.0, 3.0, 2.5]]))
    assert theta == pytest.approx([0, 90])
    assert radius == pytest.approx([4, 2])
    assert height == pytest.approx([-3, 0.5])
    back = frame.to_canonical(theta, radius, height)
    assert back == pytest.approx(np.array([[5.0, 1.0, -1.0], [1.0, 3.0, 2.5]]))
    assert frame.zero == pytest.approx(unit([1, 0, 0]))
