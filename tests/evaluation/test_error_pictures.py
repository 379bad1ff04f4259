"""Errors of known place have their colour there; the ear nearest the mean is chosen."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.geometry import mean_pose
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid
from otovox.evaluation.error_pictures import (
    LANDMARK,
    MISSED,
    RIGHT,
    WRONG,
    Panel,
    error_picture,
    nearest_the_mean,
    on_white,
    rendered,
)

GRID = Grid.centred((0, 0, 0), (40, 40, 40), spacing_mm=0.25)
COLOURS = (RIGHT, WRONG, MISSED)
NOWHERE = Landmarks(LANDMARK_NAMES, np.full((3, 3), np.nan))


def panel(found: np.ndarray, truth: np.ndarray, landmarks: Landmarks = NOWHERE) -> Panel:
    pose = mean_pose(Side.RIGHT)
    return Panel("a ball", found, truth, GRID, landmarks, Side.RIGHT, pose.matrix)


def ball(offset_mm: float = 0.0, radius_mm: float = 3.0) -> np.ndarray:
    points = GRID.to_mm(np.moveaxis(np.indices(GRID.shape), 0, -1))
    return np.linalg.norm(points - [0, 0, offset_mm], axis=-1) < radius_mm


def colour(picture: np.ndarray, up: float) -> np.ndarray:
    """Hue of the picture's middle column, `up` of the way from the bottom; shading left out."""
    rgb = picture[int((1 - up) * (len(picture) - 1)), picture.shape[1] // 2, :3]
    return rgb / rgb.max()


def test_a_ball_cut_twice_by_its_colours() -> None:
    """Its lower part was not found, its upper part is not true."""
    z = GRID.to_mm(np.moveaxis(np.indices(GRID.shape), 0, -1))[..., 2]
    picture = rendered(panel(ball() & (z > -1), ball() & (z < 1)))
    for up, rgb in ((0.78, WRONG), (0.2, MISSED), (0.45, RIGHT)):
        gap = {c: np.abs(colour(picture, up) - np.array(c) / max(c)).sum() for c in COLOURS}
        assert min(gap, key=lambda c: gap[c]) == rgb, up


def test_agreement_is_green_all_over() -> None:
    picture = rendered(panel(ball(), ball()))
    seen = picture[picture[..., 3] > 0.9]
    assert (seen[:, 1] > seen[:, 0]).mean() > 0.99


def test_landmarks_are_blue_balls_of_ten_voxels() -> None:
    points = np.full((3, 3), np.nan)
    points[0] = mean_pose(Side.RIGHT).origin_mm + np.array([-4.0, -2.5, 1.65])
    plain = rendered(panel(ball(), ball()))
    marked = rendered(panel(ball(), ball(), Landmarks(LANDMARK_NAMES, points)))
    blue = (np.abs(marked - plain).sum(axis=-1) > 0.05).sum()
    width_mm = 6 + 2 * 1.5
    area_mm2 = blue * (width_mm / len(marked)) ** 2
    assert area_mm2 == pytest.approx(np.pi * 0.99**2, rel=0.1)
    assert LANDMARK[2] > LANDMARK[0]


def test_nothing_is_a_clear_pixel() -> None:
    empty = np.zeros(GRID.shape, bool)
    assert rendered(panel(empty, empty)).tolist() == [[[0, 0, 0, 0]]]
    assert on_white(rendered(panel(empty, empty))).tolist() == [[[1, 1, 1]]]


@pytest.mark.slow
def test_the_picture_is_written(tmp_path: Path) -> None:
    error_picture([panel(ball(1.0), ball())] * 3, tmp_path / "errors.png")
    picture = imread(tmp_path / "errors.png")[..., :3]
    assert picture.shape[:2] == (1480, 1280)
    assert 0.5 < picture.mean() < 0.97


def test_the_ear_nearest_the_mean_is_chosen() -> None:
    table = pd.DataFrame(
        {
            "set": ["B", "B", "B", "O"],
            "case": ["a", "b", "c", "d"],
            "dice": [0.0, 0.5, 0.9, 0.7],
            "found": [False, True, True, True],
        }
    )
    chosen = nearest_the_mean(table)
    assert (chosen["B"]["case"], chosen["O"]["case"]) == ("b", "d")
    assert chosen["B"]["mean_dice"] == pytest.approx(1.4 / 3)
