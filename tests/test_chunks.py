"""Sliding windows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otovox.chunks import blend_weights, padded, piece, slabs, starts, windows


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


def counted(volume: np.ndarray, batch_size: int):
    """Windows run as they are, next to their number in a second channel; the sizes of batches."""
    sizes = []

    def run(images):
        sizes.append(len(images))
        return np.concatenate([images, np.full_like(images, 7.0)], axis=1)

    found = slabs(volume, run, chunk=(8, 6, 4), stride=(5, 4, 3), batch_size=batch_size)
    return list(found), sizes


@pytest.mark.parametrize("shape", [(8, 6, 4), (19, 13, 11), (13, 6, 9)])
@pytest.mark.parametrize("batch_size", [1, 4])
def test_slabs_give_every_row_once_and_blend_to_what_was_there(shape, batch_size):
    volume = np.random.default_rng(0).random(shape, dtype=np.float32)
    found, sizes = counted(volume, batch_size=batch_size)
    rows = np.concatenate([np.arange(part.start, part.stop) for part, _ in found])
    assert rows.tolist() == list(range(shape[0]))
    whole = np.concatenate([values for _, values in found], axis=1)
    np.testing.assert_allclose(whole[0], volume, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(whole[1], 7.0, rtol=1e-4)
    assert max(sizes) <= batch_size
    assert sum(sizes) == len(list(windows(shape, (8, 6, 4), (5, 4, 3))))


def test_slabs_blend_as_all_windows_at_once_do():
    volume = np.random.default_rng(0).random((21, 13, 11), dtype=np.float32)
    chunk, stride = (8, 6, 4), (5, 4, 3)

    def place(images):  # what a window says depends on where in it a voxel lies
        return images * np.linspace(0, 1, chunk[0], dtype=np.float32)[:, None, None]

    total, weight = np.zeros(volume.shape, np.float32), np.zeros(volume.shape, np.float32)
    for window in windows(volume.shape, chunk, stride):
        total[window] += blend_weights(chunk) * place(volume[window][None, None])[0, 0]
        weight[window] += blend_weights(chunk)
    parts = [values[0] for _, values in slabs(volume, place, chunk=chunk, stride=stride)]
    np.testing.assert_allclose(np.concatenate(parts), total / weight, rtol=1e-4, atol=1e-6)


def test_pieces_reach_beyond_the_borders():
    volume = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    inner = piece(volume, (0, 1, 1), (2, 2, 3), edge=True)
    np.testing.assert_array_equal(inner, volume[:, 1:, 1:])
    outer = piece(volume, (-1, 0, 2), (4, 3, 4), edge=True)
    assert outer.shape == (4, 3, 4)
    np.testing.assert_array_equal(outer[0], outer[1])
    np.testing.assert_array_equal(outer[1, :, 2], outer[1, :, 1])
    assert not piece(volume, (-1, 0, 0), (1 + 2, 3, 4), edge=False)[0].any()
