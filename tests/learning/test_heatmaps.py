"""Heatmaps: what is drawn is found again."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from otovox.learning.heatmaps import draw_heatmaps
from otovox.learning.peaks import decode

SHAPE = (20, 24, 28)
INSIDE = st.tuples(*(st.floats(3, size - 4) for size in SHAPE))


@settings(max_examples=40, deadline=None)
@given(INSIDE, st.floats(1.5, 5))
def test_decoding_is_exact_to_a_tenth_of_a_voxel(point, spread):
    drawn = draw_heatmaps(torch.tensor([[point]]), SHAPE, spread_voxels=spread, amplitude=40.0)
    found, peaks = decode(drawn[0].numpy())
    assert np.abs(found[0] - point).max() < 0.1
    assert 0 < peaks[0] <= 40.0


def test_plain_decoding_takes_the_highest_voxel():
    drawn = draw_heatmaps(
        torch.tensor([[[5.3, 6.6, 7.0]]]), SHAPE, spread_voxels=3.0, amplitude=1.0
    )
    assert decode(drawn[0].numpy(), subvoxel=False)[0].tolist() == [[5.0, 7.0, 7.0]]


def test_a_peak_at_the_border_stays_in_the_field():
    drawn = draw_heatmaps(
        torch.tensor([[[-2.0, 10.0, 27.4]]]), SHAPE, spread_voxels=3.0, amplitude=1.0
    )
    found, _ = decode(drawn[0].numpy())
    assert found[0] == pytest.approx([-1.0, 10.0, 27.4], abs=1.01)
    assert np.isfinite(found).all()


def test_absent_landmarks_draw_nothing():
    points = torch.full((2, 3, 3), torch.nan)
    points[0, 0] = torch.tensor([4.0, 5.0, 6.0])
    drawn = draw_heatmaps(points, SHAPE, spread_voxels=2.0, amplitude=7.0)
    assert drawn.shape == (2, 3, *SHAPE)
    assert drawn[0, 0, 4, 5, 6] == pytest.approx(7.0)
    assert drawn[0, 1:].abs().sum() == 0
    assert drawn[1].abs().sum() == 0


def test_values_are_the_gaussian_of_the_formula():
    drawn = draw_heatmaps(
        torch.tensor([[[5.0, 6.0, 7.0]]]), SHAPE, spread_voxels=2.0, amplitude=3.0
    )
    assert drawn[0, 0, 7, 6, 8] == pytest.approx(3.0 * np.exp(-(4 + 1) / 8), rel=1e-5)


def test_a_coarser_level_shows_the_same_place():
    point = torch.tensor([[[9.5, 11.5, 13.5]]])
    coarse = draw_heatmaps(point, SHAPE, spread_voxels=4.0, amplitude=1.0, factor=2)
    assert coarse.shape[2:] == (10, 12, 14)
    found = (decode(coarse[0].numpy())[0] + 0.5) * 2 - 0.5
    assert found[0] == pytest.approx([9.5, 11.5, 13.5], abs=0.05)


def test_an_empty_map_has_no_peak():
    assert decode(np.zeros((1, 4, 4, 4)))[1].tolist() == [0.0]
