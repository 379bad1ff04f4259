"""Confidence falls, and warnings come, when something is wrong."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from examples import ear_of
from otovox.core.anatomy import CANONICAL_MM, Side
from otovox.core.case import Estimate, Quality
from otovox.core.geometry import Pose, rotation_from_vector
from otovox.core.volume import Grid, Scan
from otovox.inference.confidence import (
    GOOD_FIT_MM,
    confidence,
    ear_warnings,
    fit_quality,
    scan_warnings,
)

GRID = Grid.centred((0, 0, 0), (60, 60, 60), spacing_mm=0.5)
SCAN = Scan(np.zeros(GRID.shape, np.float32), GRID)
SD_MM = np.full(3, 0.1)
GOOD_QUALITY = Quality(Estimate(0.95, 0.9, 0.97), Estimate(0.3, 0.1, 0.6), coverage=0.9)
GOOD: dict[str, Any] = {
    "peaks": np.full(7, 0.9),
    "residual_mm": 0.4,
    "volume_mm3": 190.0,
    "agreement": 0.95,
}


def right_ear():
    ear = ear_of(SCAN, Side.RIGHT)
    points = ear.pose.to_lps([CANONICAL_MM[name] for name in ear.landmarks.names])
    landmarks = replace(ear.landmarks, points_mm=points)
    return replace(ear, landmarks=landmarks, quality=GOOD_QUALITY, warnings=())


def warnings_of(ear, grid=GRID, other_mm=4.0, sd_mm=SD_MM):
    other = replace(ear.pose, side=ear.side.other, residual_mm=other_mm)
    found = ear_warnings(ear, grid, other, sd_mm)
    assert all("; check " in sentence for sentence in found)
    return found


def test_all_well_is_one_and_each_fault_lowers_it():
    assert confidence(**GOOD) == pytest.approx(1)
    faults: dict[str, Any] = {
        "peaks": np.full(7, 0.3),
        "residual_mm": 2 * GOOD_FIT_MM,
        "volume_mm3": 40.0,
        "agreement": 0.4,
    }
    for name, value in faults.items():
        assert confidence(**GOOD | {name: value}) < 0.6, name
    assert confidence(**{**GOOD, "volume_mm3": 900.0}) < 0.5
    assert fit_quality(2 * GOOD_FIT_MM) == pytest.approx(np.exp(-1))


def test_a_good_ear_has_no_warnings():
    assert warnings_of(right_ear()) == ()


def test_what_is_wrong_is_reported():
    ear = right_ear()
    (found,) = warnings_of(replace(ear, confidence=0.4, quality=None))
    assert found == "low confidence (0.40) in the right ear; check its outline in the planes"
    (found,) = warnings_of(replace(ear, confidence=0.9, quality=None))
    assert "the quality of the right ear's mask is not estimated" in found
    (found,) = warnings_of(ear, sd_mm=np.array([0.1, 1.4, 0.1]))
    assert "varies by more than 1 mm" in found
    (found,) = warnings_of(replace(ear, pose=replace(ear.pose, residual_mm=0.5)), other_mm=0.6)
    assert "uncertain side (right)" in found
    (found,) = warnings_of(replace(ear, edge_width_mm=1.2))
    assert "blurred over 1.2 mm" in found
    cut = Grid.centred((0, 12, 0), (60, 30, 60), spacing_mm=0.5)
    (found,) = warnings_of(ear, grid=cut)
    assert "the right ear is cut off by the field of view: helicotrema" in found


def test_a_missing_landmark_and_windows_too_close_are_reported():
    missing = ear_of(SCAN, Side.RIGHT)
    assert any("not found in the right ear: round window" in w for w in warnings_of(missing))
    ear = right_ear()
    points = ear.landmarks.points_mm.copy()
    points[2] = points[1] + (0.5, 0, 0)
    close = replace(ear, landmarks=replace(ear.landmarks, points_mm=points))
    assert any("0.50 mm apart" in w for w in warnings_of(close))


def test_a_head_upside_down_is_reported():
    ear = right_ear()
    turned = rotation_from_vector((np.pi, 0, 0)) @ ear.pose.matrix
    pose = Pose(Side.RIGHT, turned, ear.pose.origin_mm, 0.2)
    points = pose.to_lps([CANONICAL_MM[name] for name in ear.landmarks.names])
    ear = replace(ear, pose=pose, landmarks=replace(ear.landmarks, points_mm=points))
    assert any("rotated by 180 degrees" in w for w in warnings_of(ear))


def test_scans_without_ears_with_twins_and_with_coarse_voxels():
    left = replace(ear_of(SCAN, Side.LEFT), center_mm=np.array([70.0, 0, 0]))
    right = replace(ear_of(SCAN, Side.RIGHT), center_mm=np.zeros(3))
    coarse = Scan(np.zeros((9, 9, 9), np.float32), Grid((9, 9, 9), np.eye(4)))
    assert scan_warnings(SCAN, []) == ["no inner ear found"]
    assert scan_warnings(SCAN, [right, left]) == []
    scan = replace(SCAN, warnings=("the header is odd",))
    assert scan_warnings(scan, [right, left]) == ["the header is odd"]
    assert scan_warnings(scan, []) == ["the header is odd", "no inner ear found"]
    assert "two right ears" in scan_warnings(SCAN, [right, replace(left, side=Side.RIGHT)])[0]
    near = replace(left, center_mm=np.array([20.0, 0, 0]))
    assert "20 mm apart" in scan_warnings(SCAN, [right, near])[0]
    assert "1.0 mm are larger" in scan_warnings(coarse, [right])[0]


def test_a_landmark_far_from_its_usual_position_is_reported():
    ear = right_ear()
    points = ear.landmarks.points_mm.copy()
    points[0] += ear.pose.matrix @ (0, 6.0, 0)
    stray = replace(ear, landmarks=replace(ear.landmarks, points_mm=points))
    (found,) = warnings_of(stray)
    assert "the helicotrema of the right ear is 6.0 mm from its usual position" in found


def test_ears_on_the_wrong_sides_of_the_head_are_reported():
    left = replace(ear_of(SCAN, Side.LEFT), center_mm=np.array([-70.0, 0, 0]))
    right = replace(ear_of(SCAN, Side.RIGHT), center_mm=np.zeros(3))
    (found,) = scan_warnings(SCAN, [right, left])
    assert "anatomy and header disagree" in found
