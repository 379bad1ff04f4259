"""Resampling: any axis order, flip or oblique grid gives the same values at the same places."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otovox.core.geometry import random_rotation
from otovox.core.volume import Grid
from otovox.imaging.resample import resample, voxel_means

SLOPE = np.array([1.0, -2.0, 0.5])
CUBE = [
    np.eye(3)[:, list(order)] * np.array(signs)
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3))
]


def places(grid: Grid) -> np.ndarray:
    return grid.to_mm(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))


def ramp(grid: Grid) -> np.ndarray:
    return (places(grid) @ SLOPE).astype(np.float32)


def source_grid(directions: np.ndarray) -> Grid:
    return Grid.centred((1, 2, 3), (40, 44, 36), spacing_mm=(0.7, 0.6, 0.8), directions=directions)


@pytest.mark.parametrize("directions", CUBE, ids=lambda d: str(d.astype(int).tolist()))
def test_all_48_axis_orders_and_flips_agree(directions: np.ndarray) -> None:
    source = source_grid(directions)
    target = Grid.centred((1, 2, 3), (9, 8, 7), spacing_mm=0.9)
    found = resample(ramp(source), source, target, antialias=False)
    np.testing.assert_allclose(found, ramp(target), atol=1e-3)


def test_the_layout_in_memory_changes_no_value() -> None:
    source = source_grid(np.eye(3))
    target = Grid.centred((2, 1, 4), (9, 8, 7), spacing_mm=0.9)
    values = np.random.default_rng(0).normal(size=source.shape).astype(np.float32)
    plain = resample(values, source, target)
    natural = resample(values, source, target, first_fastest=True)
    assert plain.flags.c_contiguous
    assert natural.flags.f_contiguous
    np.testing.assert_allclose(natural, plain, atol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.3, 1.1, 2.6]))
def test_a_ramp_is_exact_between_oblique_grids(seed: int, spacing_mm: float) -> None:
    rng = np.random.default_rng(seed)
    source = source_grid(random_rotation(rng))
    size = 4 if spacing_mm > 1 else 9
    target = Grid.centred(
        (1, 2, 3), (size, size, size), spacing_mm=spacing_mm, directions=random_rotation(rng)
    )
    np.testing.assert_allclose(resample(ramp(source), source, target), ramp(target), atol=0.02)


def test_a_small_target_sees_only_its_part_of_the_source() -> None:
    rng = np.random.default_rng(0)
    source = source_grid(np.eye(3))
    values = rng.standard_normal(source.shape).astype(np.float32)
    large = Grid.centred((1, 2, 3), (31, 31, 31), spacing_mm=0.6)
    small = large.crop((12, 12, 12), (6, 6, 6))
    whole = resample(values, source, large, antialias=False)
    part = resample(values, source, small, antialias=False)
    np.testing.assert_allclose(part, whole[12:18, 12:18, 12:18], atol=1e-5)


def test_coarser_voxels_average_the_noise() -> None:
    source = Grid.centred((0, 0, 0), (80, 80, 80), spacing_mm=0.1)
    noise = np.random.default_rng(0).standard_normal(source.shape).astype(np.float32)
    target = Grid.centred((0, 0, 0), (8, 8, 8), spacing_mm=0.8)
    smooth = resample(noise, source, target)
    rough = resample(noise, source, target, antialias=False)
    assert smooth.std() < 0.2 < rough.std()


def test_nearest_keeps_label_values() -> None:
    source = source_grid(np.eye(3))
    labels = np.random.default_rng(0).integers(0, 3, source.shape).astype(np.uint8)
    target = Grid.centred((1, 2, 3), (6, 6, 6), spacing_mm=2.9)
    assert set(np.unique(resample(labels, source, target, order="nearest"))) <= {0.0, 1.0, 2.0}


def test_outside_is_the_border_or_a_value() -> None:
    source = source_grid(np.eye(3))
    values = np.full(source.shape, 7.0, dtype=np.float32)
    target = Grid.centred((1, 2, 60), (3, 3, 3), spacing_mm=1.0)
    assert np.all(resample(values, source, target, outside="edge") == 7)
    assert np.all(resample(values, source, target, outside=-5.0) == -5)


def test_a_coarse_voxel_whose_mean_is_positive_is_mostly_inside() -> None:
    fine = Grid.centred((0, 0, 0), (60, 60, 60), spacing_mm=0.1)
    depth_mm = 2.0 - np.linalg.norm(places(fine), axis=-1)  # a ball
    coarse = Grid.centred((0.1, 0.2, 0.3), (5, 5, 5), spacing_mm=1)
    share = voxel_means(depth_mm > 0, fine, coarse, outside=0.0)
    mask = voxel_means(depth_mm, fine, coarse, outside=-2.0) > 0
    blurred = resample(depth_mm, fine, coarse, outside=-2.0) > 0
    assert np.count_nonzero(mask != (share >= 0.5)) <= 1
    # A blur that reaches beyond the voxel shrinks what is convex.
    assert np.count_nonzero(blurred) < np.count_nonzero(mask)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.4, 1.1, 2.6]))
def test_the_means_of_a_ramp_are_its_values_at_the_voxels(seed: int, spacing_mm: float) -> None:
    rng = np.random.default_rng(seed)
    source = source_grid(random_rotation(rng))
    target = Grid.centred(
        (1, 2, 3), (4, 3, 2), spacing_mm=spacing_mm, directions=random_rotation(rng)
    )
    means = voxel_means(ramp(source), source, target, outside=0.0)
    np.testing.assert_allclose(means, ramp(target), atol=2e-3)
