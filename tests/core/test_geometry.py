"""Affines, rotations, the pose of an ear."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otovox.core.anatomy import CANONICAL_MM, Side
from otovox.core.geometry import (
    MIRROR,
    Pose,
    affine_from,
    apply_affine,
    fit_pose,
    mean_pose,
    random_rotation,
    rotation_angle_deg,
    rotation_from_vector,
    unit,
)

NAMES = tuple(CANONICAL_MM)
POINTS_MM = np.asarray(list(CANONICAL_MM.values()))
seeds = st.integers(0, 10_000)


def drawn_pose(seed: int, side: Side) -> Pose:
    rng = np.random.default_rng(seed)
    matrix = random_rotation(rng)
    return Pose(side, matrix if side is Side.RIGHT else MIRROR @ matrix, rng.normal(0, 50, 3))


@given(seeds)
def test_an_affine_and_its_inverse(seed):
    rng = np.random.default_rng(seed)
    affine = affine_from(random_rotation(rng) * rng.uniform(0.1, 2, 3), rng.normal(0, 99, 3))
    points = rng.normal(0, 50, (5, 3))
    back = apply_affine(np.linalg.inv(affine), apply_affine(affine, points))
    np.testing.assert_allclose(back, points, atol=1e-8)


@given(seeds, st.floats(0.01, 3.1))
def test_a_rotation_vector_gives_axis_and_angle(seed, angle):
    axis = unit(np.random.default_rng(seed).normal(size=3))
    rotation = rotation_from_vector(axis * angle)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(rotation @ axis, axis, atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert rotation_angle_deg(rotation) == pytest.approx(np.degrees(angle), abs=1e-4)


def test_a_quarter_turn_about_z():
    turned = rotation_from_vector((0, 0, np.pi / 2)) @ [1, 0, 0]
    np.testing.assert_allclose(turned, [0, 1, 0], atol=1e-12)


@given(seeds, st.sampled_from(Side))
def test_a_pose_is_found_again_and_with_it_the_side(seed, side):
    pose = drawn_pose(seed, side)
    found = pose.to_lps(POINTS_MM)
    np.testing.assert_allclose(pose.to_canonical(found), POINTS_MM, atol=1e-9)
    right, wrong = fit_pose(NAMES, found, side), fit_pose(NAMES, found, side.other)
    np.testing.assert_allclose(right.matrix, pose.matrix, atol=1e-9)
    np.testing.assert_allclose(right.origin_mm, pose.origin_mm, atol=1e-8)
    assert right.residual_mm < 1e-8
    # The whole point: no rigid motion turns a right ear into a left one.
    assert wrong.residual_mm > 1.0
    assert np.linalg.det(wrong.matrix) == pytest.approx(-np.linalg.det(right.matrix))


def test_a_pose_needs_three_points_and_ignores_missing_ones():
    points = POINTS_MM.copy()
    points[:2] = np.nan
    assert fit_pose(NAMES, points, Side.RIGHT).residual_mm < 1e-8
    points[:4] = np.nan
    assert fit_pose(NAMES, points, Side.RIGHT).residual_mm < 1e-8
    points[:5] = np.nan
    with pytest.raises(ValueError, match="2 landmarks are not enough"):
        fit_pose(NAMES, points, Side.RIGHT)


def test_mean_poses_are_mirror_images_without_tilt():
    right, left = mean_pose(Side.RIGHT), mean_pose(Side.LEFT)
    np.testing.assert_allclose(MIRROR @ right.matrix, left.matrix)
    assert np.linalg.det(right.matrix) == pytest.approx(1)
    assert right.tilt_deg == pytest.approx(0, abs=1e-4)
    nod = rotation_from_vector((np.radians(30), 0, 0))
    assert Pose(Side.LEFT, nod @ left.matrix, np.zeros(3)).tilt_deg == pytest.approx(30)
