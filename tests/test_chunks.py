"""Sliding windows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otovox.chunks import blend_weights, padded, starts, windows


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
    with pytest.raises(ValueError, match="holds no window"):
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
