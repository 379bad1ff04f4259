"""Sliding windows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otovox.core.geometry import cube_turns
from otovox.imaging.windows import (
    Blend,
    batches,
    blend_weights,
    holding,
    padded,
    starts,
    turned,
    windows,
)


@given(st.integers(4, 60), st.integers(1, 20), st.integers(1, 20))
def test_windows_reach_every_voxel_and_none_beyond(size, chunk, stride):
    stride, size = min(stride, chunk), max(size, chunk)
    covered = np.zeros(size, int)
    for start in starts(size, chunk, stride):
        assert 0 <= start <= size - chunk
        covered[start : start + chunk] += 1
    assert covered.min() >= 1


def test_windows_of_a_volume_by_hand():
    assert starts(10, 4, 3) == [0, 3, 6]
    assert starts(4, 4, 3) == [0]
    found = list(windows((5, 4, 4), (4, 4, 4), (2, 2, 2)))
    assert found == [(slice(i, i + 4), slice(0, 4), slice(0, 4)) for i in (0, 1)]
    with pytest.raises(ValueError, match="too short for a window"):
        starts(3, 4, 1)


def test_weights_fall_from_the_middle_alike_on_both_sides():
    weights = blend_weights((9, 5, 7))
    assert weights.max() == weights[4, 2, 3] == pytest.approx(1)
    np.testing.assert_allclose(weights, weights[::-1, ::-1, ::-1])
    assert 0.05 < weights[0, 2, 3] < 0.2


def test_small_volumes_are_filled_up_with_their_border():
    values = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
    filled, front = padded(values, (5, 2, 1))
    assert filled.shape == (5, 2, 2)
    assert front == (1, 0, 0)
    np.testing.assert_array_equal(filled[1:3], values)
    np.testing.assert_array_equal(filled[0], values[0])


@pytest.mark.parametrize("turn", cube_turns("full"), ids=str)
def test_a_turned_chunk_holds_its_voxels_where_the_turn_takes_them(turn):
    values = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    there = turned(values, turn)
    middle, other = (np.array(values.shape[1:]) - 1) / 2, (np.array(there.shape[1:]) - 1) / 2
    for ijk in ((0, 0, 0), (2, 1, 3), (1, 3, 4)):
        i, j, k = np.rint(turn @ (ijk - middle) + other).astype(int)
        np.testing.assert_array_equal(there[:, i, j, k], values[(slice(None), *ijk)])
    np.testing.assert_array_equal(turned(there, turn.T), values)


def test_the_papers_ten_turns_are_quarter_turns_about_the_axes():
    paper = cube_turns("paper")
    assert len(paper) == 10
    assert len(cube_turns("full")) == 24
    assert np.array_equal(paper[0], np.eye(3))
    fixed = [[np.array_equal(turn @ axis, axis) for axis in np.eye(3)] for turn in paper]
    assert np.sum(fixed, axis=0).tolist() == [4, 4, 4]
    assert all(np.linalg.det(turn) == pytest.approx(1) for turn in cube_turns("full"))
    assert len({turn.tobytes() for turn in cube_turns("full")}) == 24


@given(st.integers(0, 1000), st.integers(1, 5))
def test_windows_that_hold_something_are_known(seed, stride):
    labels = np.random.default_rng(seed).random((9, 8, 7)) > 0.995
    chunk, strides = (4, 5, 4), (stride,) * 3
    expected = [bool(labels[window].any()) for window in windows(labels.shape, chunk, strides)]
    assert holding(labels, chunk, strides).tolist() == expected


def test_blended_windows_of_a_volume_give_the_volume():
    volume = np.random.default_rng(0).normal(size=(2, 9, 8, 7)).astype(np.float32)
    chunk = (4, 5, 4)
    blend = Blend(np.zeros_like(volume), np.zeros(volume.shape[1:], np.float32), chunk)
    seen = 0
    for group in batches(windows((9, 8, 7), chunk, (3, 3, 3)), 5):
        assert 1 <= len(group) <= 5
        seen += len(group)
        for window in group:
            blend.add(window, volume[(slice(None), *window)])
    assert seen == len(list(windows((9, 8, 7), chunk, (3, 3, 3))))
    np.testing.assert_allclose(blend.finish(), volume, rtol=1e-5, atol=1e-6)
