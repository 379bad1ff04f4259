"""Volumes as stacks of slices: canonical axes, views, grey values."""

import numpy as np
import pytest

from otovox.core.volume import Grid
from otovox.systems.autocasnet.data import (
    grey_statistics,
    resized_grid,
    slice_stack,
    stacked,
    unstack,
)
from systems.ball import TURNED, a_ball


def test_canonical_axes_are_those_of_lps_over_the_whole_field():
    field = Grid.centred((4, -7, 2), (10, 20, 40), spacing_mm=0.5, directions=TURNED)
    grid = resized_grid(field, (16, 24, 8))
    np.testing.assert_allclose(grid.directions, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(grid.center_mm, field.center_mm)
    # The field's axes run along S, L and A.
    np.testing.assert_allclose(grid.extent_mm, (10, 20, 5))


@pytest.mark.parametrize(("view", "axis"), [("sagittal", 0), ("coronal", 1), ("axial", 2)])
def test_slices_are_normal_to_their_views_axis(view, axis):
    image = np.random.default_rng(0).random((4, 5, 6), dtype=np.float32)
    cut = slice_stack(image, [], view)
    assert cut.shape[0] == image.shape[axis]
    np.testing.assert_array_equal(cut[2, 0], image.take(2, axis=axis))
    np.testing.assert_array_equal(unstack(cut[:, 0], view), image)


def test_grey_values_are_normalised_by_the_training_cases_alone(tmp_path):
    cases = [stacked(a_ball(f"{n}", n), (16, 16, 16), tmp_path) for n in range(2)]
    both = np.stack([case.image for case in cases])
    given = grey_statistics(cases)
    assert given.mean == pytest.approx(both.mean(), rel=1e-4)
    assert given.sd == pytest.approx(both.std(), rel=1e-4)
    assert (given.low, given.high) == (both.min(), both.max())
