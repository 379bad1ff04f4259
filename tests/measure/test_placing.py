"""The pose of a mask alone, against that of the drawn ear."""

import numpy as np
import pytest

from masks import drawn_ear
from otovox.core.anatomy import Side
from otovox.core.geometry import MIDDLE_MM, distance_mm, rotation_angle_deg
from otovox.measure.placing import mean_surface, place_ear


@pytest.mark.parametrize(
    ("side", "turn_deg"), [(Side.RIGHT, 0.0), (Side.LEFT, 70.0), (Side.RIGHT, 170.0)]
)
def test_a_pose_is_found_in_any_orientation_and_the_true_side_fits_better(
    side: Side, turn_deg: float
) -> None:
    labels, _, pose = drawn_ear(side, seed=3, turn_deg=turn_deg)
    mask = labels.values > 0
    found, other = place_ear(mask, labels.grid, side), place_ear(mask, labels.grid, side.other)
    assert found is not None
    assert other is not None
    assert rotation_angle_deg(found.matrix @ pose.matrix.T) < 6
    assert distance_mm(found.to_lps(MIDDLE_MM), pose.to_lps(MIDDLE_MM)) < 0.8
    assert np.sign(np.linalg.det(found.matrix)) == (1 if side is Side.RIGHT else -1)
    assert found.residual_mm < 0.7 * other.residual_mm


def test_a_crumb_has_no_pose() -> None:
    labels, _, _ = drawn_ear(Side.RIGHT)
    mask = np.zeros(labels.grid.shape, bool)
    assert place_ear(mask, labels.grid, Side.RIGHT) is None
    mask[4, 4, 4] = True
    assert place_ear(mask, labels.grid, Side.RIGHT) is None


def test_the_mean_surface_encloses_the_size_of_an_ear() -> None:
    extent = np.ptp(mean_surface(), axis=0)
    assert np.all((extent > 8) & (extent < 20))
