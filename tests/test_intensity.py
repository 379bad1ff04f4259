"""Grey values: relative whatever the scale; scaling of sets, clusters, matching (S4-S6)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otovox.intensity import (
    FRACTIONS,
    Contrast,
    Scaling,
    contrast_clusters,
    contrast_of,
    match,
    normalise,
    scaling_of,
    thinned,
    tissue,
)

VALUES = np.random.default_rng(0).normal(300, 500, (20, 21, 22)).astype(np.float32)


def test_mean_and_spread():
    found = normalise(VALUES)
    assert found.mean() == pytest.approx(0, abs=1e-4)
    assert found.std() == pytest.approx(1, abs=1e-4)
    assert found.dtype == np.float32


def test_scale_and_offset_of_the_scanner_do_not_matter():
    np.testing.assert_allclose(normalise(VALUES * 0.07 + 900), normalise(VALUES), atol=1e-3)


def test_metal_does_not_matter():
    metal = VALUES.copy()
    metal[3:5, 3:5, 3:5] = 30_000
    away = np.ones(VALUES.shape, bool)
    away[3:5, 3:5, 3:5] = False
    gap = np.abs(normalise(metal) - normalise(VALUES))[away]
    assert np.median(gap) < 0.02


def test_a_flat_crop_is_zero():
    assert not normalise(np.full((5, 5, 5), 7.0)).any()


def test_scaling_by_hand() -> None:
    scaling = scaling_of([np.arange(0.0, 101.0)], fractions=(0.1, 0.9))
    assert (scaling.low, scaling.high) == (10.0, 90.0)
    assert scaling.mean == pytest.approx(50.0)
    # 10 and 90 stand eleven times each, all between once.
    expected = np.std([10.0] * 11 + list(range(11, 90)) + [90.0] * 11)
    assert scaling.sd == pytest.approx(expected)
    found = scaling.apply(np.array([-500.0, 50.0, 700.0]))
    np.testing.assert_allclose(found, np.array([-40.0, 0.0, 40.0]) / expected, rtol=1e-5)


def test_a_sample_stands_for_its_volume() -> None:
    """A large volume weighs more, even if as many of its voxels are looked at."""
    rng = np.random.default_rng(0)
    small, large = rng.normal(0, 1, 1000), rng.normal(10, 1, 1000)
    even = scaling_of([small, large])
    heavy = scaling_of([small, large], sizes=[1000, 9000])
    assert even.mean == pytest.approx(5, abs=0.2)
    assert heavy.mean == pytest.approx(9, abs=0.2)
    whole = scaling_of([small, *[large] * 9])
    assert heavy.low == pytest.approx(whole.low)
    assert heavy.sd == pytest.approx(whole.sd)


def test_thinning_keeps_the_histogram() -> None:
    values = np.random.default_rng(0).normal(0, 1, (64, 64, 64))
    sample = thinned(values, 20_000)
    assert 10_000 < sample.size <= 21_000
    assert np.quantile(sample, 0.9) == pytest.approx(np.quantile(values, 0.9), abs=0.03)


def test_nothing_has_no_scaling() -> None:
    with pytest.raises(ValueError, match="at least one"):
        scaling_of([])


@settings(deadline=None, max_examples=40)
@given(st.floats(0.01, 100), st.floats(-1e3, 1e3))
def test_scaling_is_free_of_units(factor: float, shift: float) -> None:
    values = np.random.default_rng(0).normal(300, 500, 500)
    plain = scaling_of([values]).apply(values)
    other = factor * values + shift
    np.testing.assert_allclose(scaling_of([other]).apply(other), plain, atol=2e-2)


def test_clusters_are_found_darkest_first() -> None:
    rng = np.random.default_rng(1)
    kinds = [2, 0, 1, 0, 2, 1, 1, 3, 3]
    means, widths = (-800.0, 0.0, 300.0, 1500.0), (50.0, 400.0, 50.0, 200.0)
    samples = [rng.normal(means[n], widths[n], 3000) for n in kinds]
    assert contrast_clusters(samples, 4).tolist() == kinds


def test_clusters_of_one_volume_each() -> None:
    assert contrast_clusters([np.array([5.0, 6.0]), np.array([1.0, 2.0])], 2).tolist() == [1, 0]


def test_too_few_volumes_for_the_clusters() -> None:
    with pytest.raises(ValueError, match="3 clusters"):
        contrast_clusters([np.zeros(5), np.ones(5)], 3)


def test_cavities_are_tissue_and_the_air_outside_is_not() -> None:
    values = np.full((40, 40, 40), -1000.0)
    values[8:32, 8:32, 8:32] = 1500.0
    values[18:22, 18:22, 18:22] = -1000.0  # a dry vestibule, 2 mm wide
    mask = tissue(values, np.full(3, 0.5))
    assert mask[19, 19, 19]
    assert mask[10, 10, 10]
    assert not mask[1, 1, 1]
    assert not mask[2, 20, 20]
    # The same in a field whose border is near the bone: air there is outside all the same.
    near = tissue(values[6:34, 6:34, 6:34], np.full(3, 0.5))
    np.testing.assert_array_equal(near, mask[6:34, 6:34, 6:34])


def sample(fluid: float, bone: float, rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([rng.normal(fluid, 40, 4000), rng.normal(bone, 120, 6000)])


def test_a_dry_bone_comes_into_the_range_of_a_wet_one() -> None:
    rng = np.random.default_rng(0)
    wet = [sample(100, 1800, rng) for _ in range(3)]
    dry = [sample(-900, 2600, rng) for _ in range(3)]
    source, reference = contrast_of(dry), contrast_of(wet)
    assert source.fluid == pytest.approx(-900, abs=25)
    assert reference.bone == pytest.approx(1800, abs=60)
    matching = match(source, reference)
    mapped = [matching.apply(part) for part in dry]
    after = contrast_of(mapped)
    assert after.fluid == pytest.approx(reference.fluid, abs=20)
    assert after.bone == pytest.approx(reference.bone, abs=60)
    away = [np.abs(c.quantiles - reference.quantiles)[5:-5].mean() for c in (source, after)]
    assert away[1] < 0.05 * away[0]


def test_matching_with_itself_changes_nothing() -> None:
    own = contrast_of([sample(0, 1500, np.random.default_rng(0))])
    values = np.linspace(own.quantiles[0], own.quantiles[-1], 50)
    np.testing.assert_allclose(match(own, own).apply(values), values, atol=1.0)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(-2000, 4000), min_size=2, max_size=30))
def test_matching_keeps_the_order(values: list[float]) -> None:
    rng = np.random.default_rng(0)
    source, reference = (contrast_of([sample(f, b, rng)]) for f, b in ((-900, 900), (50, 1700)))
    mapped = match(source, reference).apply(np.sort(values))
    assert np.all(np.diff(mapped) >= -1e-2)


def test_flat_stretches_do_no_harm() -> None:
    """Half of a padded volume is one value."""
    flat = np.concatenate([np.full(60, 0.0), np.linspace(0, 100, 41)])
    source = Contrast(np.sort(flat), 0.0, 80.0)
    reference = Contrast(np.linspace(0, 1, FRACTIONS.size), 0.2, 0.8)
    mapped = match(source, reference).apply(np.array([0.0, 50.0, 80.0, 1000.0]))
    assert np.isfinite(mapped).all()
    assert np.all(np.diff(mapped) > 0)


def test_scaling_of_a_constant_is_zero() -> None:
    assert not Scaling(5, 5, 5, 0).apply(np.full((2, 2, 2), 5.0)).any()
