import numpy as np
import pytest

from otovox.core.anatomy import CANONICAL_MM, Side
from otovox.core.geometry import Pose, random_rotation
from otovox.inference.confidence import CLEAR_SIDE, GOOD_FIT_MM
from otovox.inference.poses import ROBUST_LANDMARKS, fit_sides

NAMES = tuple(CANONICAL_MM)
MIRROR = np.diag([-1.0, 1.0, 1.0])


def ear_in(side, rng):
    """Pose and landmarks of an ear with 0.3 mm of noise."""
    turn = random_rotation(rng)
    pose = Pose(side, turn if side is Side.RIGHT else turn @ MIRROR, rng.uniform(-50, 50, 3))
    points_mm = pose.to_lps(list(CANONICAL_MM.values())) + rng.normal(0, 0.3, (len(NAMES), 3))
    return pose, points_mm


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("stray", range(len(NAMES)))
def test_one_stray_landmark_changes_neither_side_nor_pose(side, stray):
    rng = np.random.default_rng(stray)
    for _ in range(20):
        pose, points_mm = ear_in(side, rng)
        away = rng.standard_normal(3)
        points_mm[stray] += 10 * away / np.linalg.norm(away)
        poses = fit_sides(NAMES, points_mm)
        assert poses is not None
        better, worse = poses
        assert better.side is side
        assert CLEAR_SIDE * better.residual_mm < worse.residual_mm
        assert np.abs(better.to_lps([[0, 0, 0]]) - pose.origin_mm).max() < 1.5


def test_too_few_landmarks_give_no_pose_or_a_plain_fit():
    _, points_mm = ear_in(Side.RIGHT, np.random.default_rng(0))
    points_mm[0] += 10
    points_mm[ROBUST_LANDMARKS - 1 :] = np.nan
    poses = fit_sides(NAMES, points_mm)
    assert poses is not None
    assert poses[0].residual_mm > GOOD_FIT_MM
    points_mm[3:] = np.nan
    assert fit_sides(NAMES, points_mm) is None
