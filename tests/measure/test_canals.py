"""Canals: an analytic torus, drawn ears, what turns and mirrors must not change, and refusals."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.geometry import (
    MIRROR,
    FloatArray,
    Pose,
    mean_pose,
    random_rotation,
    rotation_from_vector,
    unit,
)
from otovox.core.landmarks import Landmarks
from otovox.core.segments import STRUCTURES, Part
from otovox.core.volume import Grid
from otovox.measure.canals import Canals, excitation_normal, head_planes, measure_canals
from otovox.measure.parts import is_cochlear, split
from otovox.measure.tori import CANALS, USUAL, Torus, fit_torus, sampler, trace_canal
from otovox.phantom.canal_truth import PARTS, canal_tube, true_parts
from otovox.phantom.canvas import Canvas, occupancy
from otovox.phantom.labyrinth import Labyrinth, draw_labyrinth, paint

Ear = tuple[NDArray[np.float32], Grid, Landmarks, Pose]


@cache
def drawn(seed: int) -> Labyrinth:
    return draw_labyrinth(np.random.default_rng(seed), spread=1.0)


@cache
def ear(seed: int = 1, side: Side = Side.RIGHT, voxel_mm: float = 0.2, turn: int = 0) -> Ear:
    """A drawn ear's mask on a grid along its own axes, or turned against them by a seed."""
    pose = mean_pose(side, (-40.0, 12.0, 30.0) if side is Side.RIGHT else (40.0, 12.0, 30.0))
    directions = pose.matrix
    size = np.array([17.0, 19.2, 19.2])
    if turn:
        directions = random_rotation(np.random.default_rng(turn))
        size = np.full(3, 21.0)
    i, j, k = (int(n) for n in np.ceil(size / voxel_mm))
    middle = pose.to_lps(np.array([0.0, 0.3, 1.0]))
    grid = Grid.centred(middle, (i, j, k), spacing_mm=voxel_mm, directions=directions)
    shape = drawn(seed)
    canvas = Canvas(grid, pose)
    values = occupancy(paint(shape, canvas), canvas.spacing_mm)
    points = Landmarks(shape.landmarks.names, pose.to_lps(shape.landmarks.points_mm))
    return values.astype(np.float32), grid, points.only(LANDMARK_NAMES), pose


@cache
def measured(
    seed: int = 1, side: Side = Side.RIGHT, voxel_mm: float = 0.2, turn: int = 0
) -> Canals:
    return measure_canals(*ear(seed, side, voxel_mm, turn))


def proper(seed: int, name: str) -> FloatArray:
    """A drawn canal's line without the tails that reach into vestibule and crus."""
    return canal_tube(drawn(seed), name).points_mm


def between_deg(first: FloatArray, second: FloatArray) -> float:
    return float(np.degrees(np.arccos(np.clip(first @ second, -1, 1))))


# --- the torus ---------------------------------------------------------------------------------


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_a_circle_in_space_is_found_for_any_place(seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn = random_rotation(rng)
    true = Torus(rng.normal(0, 5, 3), turn[:, 2], float(rng.uniform(1.5, 5)), turn[:, 0])
    points = true.at(np.linspace(-115, 115, 40)) + rng.normal(0, 0.01, (40, 3))
    found = fit_torus(points, true)
    assert found.radius_mm == pytest.approx(true.radius_mm, abs=0.05)
    assert np.linalg.norm(found.center_mm - true.center_mm) < 0.05
    assert between_deg(found.normal, true.normal) < 0.6


def test_a_few_strays_do_not_turn_the_circle() -> None:
    true = USUAL["lateral"]
    points = true.at(np.linspace(-120, 120, 60))
    points[::12] += 1.5 * true.normal
    assert between_deg(fit_torus(points, true).normal, true.normal) < 2.0


def torus_field(
    circle: Torus, tube_mm: float, *, gap_deg: float = 0.0, axes: FloatArray | None = None
) -> Ear:
    """A tube of known radius about a circle, open over 100 degrees towards the vestibule."""
    pose = mean_pose(Side.RIGHT)
    grid = Grid.centred(
        pose.to_lps(circle.center_mm),
        (56, 56, 56),
        spacing_mm=0.2,
        directions=pose.matrix if axes is None else axes,
    )
    ijk = np.moveaxis(np.indices(grid.shape), 0, -1).reshape(-1, 3)
    points = pose.to_canonical(grid.to_mm(ijk))
    moved = points - circle.center_mm
    up = moved @ circle.normal
    out = np.linalg.norm(moved - up[:, None] * circle.normal, axis=1) - circle.radius_mm
    angle = circle.angles_deg(points)
    distance = np.hypot(up, out) - tube_mm
    distance[np.abs(angle) > 125] = 5.0
    distance[np.abs(angle) < gap_deg / 2] = 5.0
    values = occupancy(distance, 0.2).reshape(grid.shape).astype(np.float32)
    return values, grid, Landmarks((), np.empty((0, 3))), pose


@pytest.mark.parametrize("name", CANALS)
def test_an_analytic_torus_is_measured(name: str) -> None:
    usual = USUAL[name]
    tilt = rotation_from_vector(np.radians([3.0, -4.0, 2.0]))
    circle = Torus(
        usual.center_mm + np.array([0.3, -0.2, 0.25]),
        tilt @ usual.normal,
        usual.radius_mm + 0.2,
        tilt @ usual.reference,
    )
    values, grid, _, pose = torus_field(circle, 0.55)
    trace = trace_canal(sampler(values, grid, pose), name)
    assert trace is not None
    assert between_deg(trace.torus.normal, circle.normal) < 0.3
    assert trace.torus.radius_mm == pytest.approx(circle.radius_mm, abs=0.03)
    assert np.linalg.norm(trace.torus.center_mm - circle.center_mm) < 0.05
    assert float(np.median(trace.radius_mm)) == pytest.approx(0.55, abs=0.03)
    assert trace.gap_deg == 0


def test_a_gap_in_the_torus_is_seen() -> None:
    values, grid, _, pose = torus_field(USUAL["lateral"], 0.55, gap_deg=30.0)
    trace = trace_canal(sampler(values, grid, pose), "lateral")
    assert trace is not None
    assert not trace.closed
    assert trace.gap_deg == pytest.approx(30, abs=8)


# --- drawn ears --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [1, 2])
def test_planes_and_circles_of_drawn_ears(seed: int) -> None:
    found, (_, _, _, pose) = measured(seed), ear(seed)
    for name in CANALS:
        canal, line = found.canals[name], drawn(seed).canals[name].points_mm
        true = fit_torus(proper(seed, name), USUAL[name])
        assert between_deg(canal.normal, excitation_normal(name, true.normal, pose)) < 1.5
        assert canal.radius_mm == pytest.approx(true.radius_mm, abs=0.06)
        length = np.linalg.norm(np.diff(proper(seed, name), axis=0), axis=1).sum()
        assert canal.arc_mm == pytest.approx(length, rel=0.05)
        gaps = np.linalg.norm(canal.line_mm[:, None] - pose.to_lps(line)[None], axis=2).min(axis=1)
        assert gaps.mean() < 0.12
        assert canal.closed
        assert not canal.problem
        assert 180 < canal.coverage_deg < 290


def test_every_voxel_has_one_part_and_each_part_its_place() -> None:
    values, grid, landmarks, pose = ear()
    parts = split(values, grid, landmarks, pose)
    assert np.array_equal(parts.labels > 0, values > 0.5)
    assert sum(parts.volumes_mm3.values()) == pytest.approx(
        np.count_nonzero(values > 0.5) * grid.voxel_mm3
    )

    def part_at(canonical_mm: FloatArray) -> int:
        return int(parts.labels[tuple(np.rint(grid.to_ijk(pose.to_lps(canonical_mm))).astype(int))])

    shape = drawn(1)
    assert part_at(np.zeros(3)) == Part.VESTIBULE
    for name in CANALS:
        line = shape.canals[name].points_mm
        assert part_at(line[len(line) // 2]) == Part[name.upper()]
    turns = shape.cochlea.points_mm
    assert {part_at(point) for point in turns[20:-10:15]} == {Part.COCHLEA}
    assert part_at(shape.crus.points_mm[-3]) in (Part.CRUS, Part.ANTERIOR, Part.POSTERIOR)
    assert parts.volumes_mm3[Part.CRUS] > 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_parts_are_as_large_as_drawn(seed: int) -> None:
    _, grid, _, pose = ear(seed)
    true = np.bincount(true_parts(drawn(seed), Canvas(grid, pose)).ravel(), minlength=7)[1:]
    assert tuple(part.name.lower() for part in Part) == PARTS
    for part, voxels in zip(Part, true, strict=True):
        most = 0.2 if part is Part.CRUS else 0.1
        assert measured(seed).volumes_mm3[part] == pytest.approx(voxels * grid.voxel_mm3, rel=most)


def test_a_lacking_canal_leaves_the_others_as_they_are() -> None:
    values, grid, landmarks, pose = ear()
    whole = measured()
    lone = np.where(whole.parts.labels == Part.LATERAL, 0, values)
    found = measure_canals(lone, grid, landmarks, pose)
    assert np.isnan(found.canals["lateral"].arc_mm)
    for name in ("anterior", "posterior"):
        assert between_deg(found.canals[name].normal, whole.canals[name].normal) < 0.5
        assert found.canals[name].arc_mm == pytest.approx(whole.canals[name].arc_mm, rel=0.04)


def test_the_border_of_the_cochlea_lies_at_the_round_window() -> None:
    _, _, landmarks, pose = ear()
    turns = drawn(1).cochlea.points_mm
    assert is_cochlear(turns[8:], landmarks, pose).all()
    assert not is_cochlear(np.zeros((1, 3)), landmarks, pose).any()
    for name in CANALS:
        assert not is_cochlear(proper(1, name), landmarks, pose).any()


def test_the_parts_have_names_of_their_own() -> None:
    assert set(STRUCTURES) == set(Part)
    assert len({structure.name for structure in STRUCTURES.values()}) == 6
    assert len({structure.rgb for structure in STRUCTURES.values()}) == 6


# --- what must not matter ----------------------------------------------------------------------


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=6, deadline=None)
def test_neither_axes_nor_mirror_matter_to_a_torus(turn: int, mirrored: bool) -> None:
    axes = random_rotation(np.random.default_rng(turn))
    axes = axes @ MIRROR if mirrored else axes
    circle = USUAL["posterior"]
    values, grid, _, pose = torus_field(circle, 0.55, axes=axes)
    trace = trace_canal(sampler(values, grid, pose), "posterior")
    assert trace is not None
    assert between_deg(trace.torus.normal, circle.normal) < 0.3
    assert trace.torus.radius_mm == pytest.approx(circle.radius_mm, abs=0.03)


def test_the_grids_axes_do_not_matter() -> None:
    straight, turned = measured(voxel_mm=0.25), measured(voxel_mm=0.25, turn=3)
    for name in CANALS:
        first, second = straight.canals[name], turned.canals[name]
        assert between_deg(first.normal, second.normal) < 1.5
        assert first.radius_mm == pytest.approx(second.radius_mm, abs=0.05)
        assert np.linalg.norm(first.center_mm - second.center_mm) < 0.12
    total = sum(straight.volumes_mm3.values())
    for part in Part:
        assert abs(straight.volumes_mm3[part] - turned.volumes_mm3[part]) < 0.015 * total


def test_a_left_ear_is_a_right_ear_in_the_mirror() -> None:
    right, left = measured(), measured(side=Side.LEFT)
    for name in CANALS:
        first, second = right.canals[name], left.canals[name]
        # A rotation's axis keeps its lateral component in the mirror, and loses the others' sign.
        assert second.normal == pytest.approx(first.normal * [1.0, -1.0, -1.0], abs=1e-6)
        assert second.radius_mm == pytest.approx(first.radius_mm)
    assert left.angles_deg == pytest.approx(right.angles_deg)
    assert left.volumes_mm3 == pytest.approx(right.volumes_mm3)


@pytest.mark.parametrize("voxel_mm", [0.16, 0.3])
def test_the_voxels_size_does_not_matter_much(voxel_mm: float) -> None:
    usual, other = measured(), measured(voxel_mm=voxel_mm)
    for name in CANALS:
        first, second = usual.canals[name], other.canals[name]
        assert between_deg(first.normal, second.normal) < 1.0
        assert first.radius_mm == pytest.approx(second.radius_mm, abs=0.05)
        assert first.lumen_radius_mm == pytest.approx(second.lumen_radius_mm, abs=0.05)
    for part in (Part.COCHLEA, Part.ANTERIOR, Part.POSTERIOR, Part.LATERAL):
        assert usual.volumes_mm3[part] == pytest.approx(other.volumes_mm3[part], rel=0.12)


def test_right_normals_point_where_rotation_excites() -> None:
    found = measured()
    toward = {"anterior": (1, -1, 0), "posterior": (-1, -1, 0), "lateral": (0, 0, -1)}  # LPS
    for name, direction in toward.items():
        assert between_deg(found.canals[name].normal, unit(direction)) < 30
    assert all(75 < angle < 105 for angle in found.angles_deg.values())


# --- both ears ---------------------------------------------------------------------------------


def test_head_planes_of_mirrored_ears() -> None:
    planes = head_planes(measured(), measured(side=Side.LEFT))
    assert planes.axes @ planes.axes.T == pytest.approx(np.eye(3))
    assert planes.axes[0] == pytest.approx([0, -1, 0], abs=0.3)  # forward
    assert planes.axes[2] == pytest.approx([0, 0, 1], abs=0.3)  # up
    for name in CANALS:
        assert planes.sides_deg[name] < 0.01
        assert planes.sides_mm[name] == pytest.approx(0, abs=1e-6)
    # The pair's planes are those of one ear, mirrored at the midline.
    right = measured().canals["anterior"].normal
    partner = measured().canals["posterior"].normal * [1, -1, -1]
    assert planes.pairs_deg["RALP"] == pytest.approx(between_deg(right, -partner))
    assert planes.pairs_deg["LARP"] == pytest.approx(planes.pairs_deg["RALP"])
    assert not planes.problems


def test_sides_are_distinguished() -> None:
    planes = head_planes(measured(1), measured(2, side=Side.LEFT))
    assert max(planes.sides_deg.values()) > 1.0
    with pytest.raises(ValueError, match="right and a left"):
        head_planes(measured(side=Side.LEFT), measured())


# --- failures ----------------------------------------------------------------------------------


def test_an_empty_field_measures_nothing_and_gives_the_reason() -> None:
    values, grid, landmarks, pose = ear()
    found = measure_canals(np.zeros_like(values), grid, landmarks, pose)
    assert all(np.isnan(canal.radius_mm) for canal in found.canals.values())
    assert all(np.isnan(angle) for angle in found.angles_deg.values())
    assert all(np.isnan(volume) for volume in found.volumes_mm3.values())
    assert "no labyrinth" in found.problems[0]
    planes = head_planes(found, measured(side=Side.LEFT))
    assert np.isnan(planes.pairs_deg["RALP"])
    assert planes.problems


def test_a_cochlea_alone_has_no_canals() -> None:
    values, grid, landmarks, pose = ear()
    parts = split(values, grid, landmarks, pose)
    lone = np.where(parts.labels == Part.COCHLEA, values, 0)
    found = measure_canals(lone, grid, landmarks, pose)
    assert [canal.closed for canal in found.canals.values()] == [False] * 3
    assert np.isfinite(found.volumes_mm3[Part.COCHLEA])
    assert np.isnan(found.volumes_mm3[Part.CRUS])
    assert len(found.problems) >= 3


def test_half_a_canal_keeps_its_plane_but_not_its_arc() -> None:
    values, grid, landmarks, pose = ear()
    line = drawn(1).canals["posterior"].points_mm
    at = grid.to_ijk(pose.to_lps(line[len(line) // 2]))
    ijk = np.moveaxis(np.indices(grid.shape), 0, -1)
    hole = np.linalg.norm((ijk - at) * grid.spacing_mm, axis=-1) < 1.2
    found = measure_canals(np.where(hole, 0, values), grid, landmarks, pose)
    canal, whole = found.canals["posterior"], measured().canals["posterior"]
    assert not canal.closed
    assert np.isnan(canal.arc_mm)
    assert "not closed" in canal.problem
    assert between_deg(canal.normal, whole.normal) < 2.0
    assert found.canals["lateral"].closed
