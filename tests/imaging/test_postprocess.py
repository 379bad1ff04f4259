"""Smoothing and Otsu's threshold remove specks, keep a ball, and find nothing in nothing."""

import numpy as np
import pytest

from otovox.imaging.metrics import dice
from otovox.imaging.postprocess import smooth_otsu

SHAPE = (40, 44, 36)


@pytest.fixture
def ball():
    away = np.linalg.norm(np.moveaxis(np.indices(SHAPE), 0, -1) - (18, 20, 17), axis=-1)
    return away < 11


def test_a_ball_stays_where_it_is(ball):
    found = smooth_otsu(ball.astype(float))
    assert found.dtype == bool
    assert dice(found, ball) > 0.95


@pytest.mark.parametrize("height", [1.0, 0.3])
def test_specks_go_and_holes_close_for_any_height(ball, height):
    noisy = ball.copy()
    noisy[18, 20, 17] = False
    noisy[36:38, 40:42, 2:4] = True
    found = smooth_otsu(height * noisy)
    assert found[18, 20, 17]
    assert not found[34:, 38:].any()


def test_by_hand_without_smoothing():
    # Two heights: the threshold lies between them.
    values = np.array([0.1, 0.12, 0.8, 0.82]).reshape(1, 1, 4)
    assert smooth_otsu(values, sd_voxels=0).ravel().tolist() == [False, False, True, True]


@pytest.mark.parametrize("value", [0.0, 0.7])
def test_a_flat_map_holds_nothing(value):
    assert not smooth_otsu(np.full(SHAPE, value)).any()
