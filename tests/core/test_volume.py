"""Grids: indices and millimetres, fields, crops."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otovox.core.geometry import random_rotation
from otovox.core.volume import Grid, LabelMap, Scan

seeds = st.integers(0, 10_000)


def drawn_grid(seed: int) -> Grid:
    rng = np.random.default_rng(seed)
    i, j, k = (int(n) for n in rng.integers(2, 40, 3))
    return Grid.centred(
        rng.normal(0, 80, 3),
        (i, j, k),
        spacing_mm=rng.uniform(0.05, 2, 3),
        directions=random_rotation(rng),
    )


@given(seeds)
def test_indices_and_millimetres_round_trip(seed):
    grid = drawn_grid(seed)
    ijk = np.random.default_rng(seed).uniform(-5, 50, (6, 3))
    np.testing.assert_allclose(grid.to_ijk(grid.to_mm(ijk)), ijk, atol=1e-8)
    np.testing.assert_allclose(grid.directions @ grid.directions.T, np.eye(3), atol=1e-9)
    assert grid.voxel_mm3 == pytest.approx(np.prod(grid.spacing_mm))


@given(seeds)
def test_the_field_ends_at_voxel_borders(seed):
    grid = drawn_grid(seed)
    last = np.asarray(grid.shape) - 1
    inside = [[-0.49] * 3, last + 0.49, last / 2]
    outside = [[-0.51, 0, 0], last + np.array([0, 0.51, 0]), [np.nan, 0, 0]]
    assert grid.contains(grid.to_mm(inside)).all()
    assert not grid.contains(grid.to_mm(outside)).any()


def test_voxels_inside_a_smaller_field_are_those_that_it_shares() -> None:
    grid = Grid.centred((3.0, -2.0, 5.0), (6, 5, 4), spacing_mm=0.5)
    inside = grid.inside(grid.crop((1, 0, 2), (3, 5, 1)))
    assert inside.shape == grid.shape
    assert inside[1:4, :, 2].all()
    assert np.count_nonzero(inside) == 15


def test_an_index_is_a_voxels_centre():
    grid = Grid.centred((0, 0, 0), (3, 5, 1), spacing_mm=(1, 2, 4))
    np.testing.assert_allclose(grid.to_mm((1, 2, 0)), 0)
    np.testing.assert_allclose(grid.to_mm((0, 0, 0)), (-1, -4, 0))
    np.testing.assert_allclose(grid.extent_mm, (3, 10, 4))


def test_a_crop_keeps_its_place():
    grid = drawn_grid(3)
    crop = grid.crop((1, -2, 3), (2, 9, 1))
    np.testing.assert_allclose(crop.to_mm((0, 2, 0)), grid.to_mm((1, 0, 3)))
    assert not crop.same_as(grid)
    assert grid.same_as(Grid(grid.shape, grid.affine + 1e-9))
    moved = grid.affine.copy()
    moved[0, 3] += 0.01
    assert not grid.same_as(Grid(grid.shape, moved))


@pytest.mark.parametrize(
    ("shape", "affine"),
    [((0, 2, 2), np.eye(4)), ((2, 2, 2), np.zeros((4, 4))), ((2, 2, 2), np.full((4, 4), np.nan))],
)
def test_grids_that_are_none_are_refused(shape, affine):
    with pytest.raises(ValueError, match="a grid"):
        Grid(shape, affine)


def test_values_must_fit_the_grid_and_the_grid_does_not_change():
    grid = Grid((2, 3, 4), np.eye(4))
    with pytest.raises(ValueError, match="do not match"):
        Scan(np.zeros((2, 3, 5), np.float32), grid)
    with pytest.raises(ValueError, match="do not match"):
        LabelMap(np.zeros((4, 3, 2), np.uint8), grid)
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 2


def test_volume_of_a_label():
    grid = Grid.centred((0, 0, 0), (4, 4, 4), spacing_mm=0.5)
    values = np.zeros((4, 4, 4), np.uint8)
    values[:2, :2, :2] = 2
    assert LabelMap(values, grid).volume_mm3(2) == pytest.approx(1.0)
    assert LabelMap(values, grid).volume_mm3(1) == 0
