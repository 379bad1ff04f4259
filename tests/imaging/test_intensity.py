"""Normalising: relative, whatever the grey scale."""

import numpy as np
import pytest

from otovox.errors import InputError
from otovox.imaging.intensity import (
    Matching,
    Scaling,
    Statistics,
    find_clusters,
    histogram,
    intensity_statistics,
    match,
    normalise,
    profile,
    standardise,
    tissue,
    tissue_sample,
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


def specimen(seed: int, fluid: float, bone: float, *, air: float = -1000) -> np.ndarray:
    """A ball of bone in air, with a ball of fluid in it."""
    rng = np.random.default_rng(seed)
    away = np.linalg.norm(np.moveaxis(np.indices((40, 40, 40)), 0, -1) - 19.5, axis=-1)
    values = np.where(away < 6, fluid, np.where(away < 17, bone, air))
    return (values + rng.normal(0, 30, values.shape)).astype(np.float32)


def test_statistics_are_those_of_all_voxels():
    first, second = np.arange(100.0).reshape(4, 5, 5), np.arange(100.0, 200.0).reshape(4, 5, 5)
    found = intensity_statistics([first, second])
    assert (found.low, found.high) == pytest.approx((1.99, 197.01))
    clipped = np.clip(np.arange(200.0), 1.99, 197.01)
    assert (found.mean, found.sd) == pytest.approx((clipped.mean(), clipped.std()))
    scaled = standardise(np.array([-1e6, found.mean, found.mean + found.sd, 1e6]), found)
    assert scaled.tolist() == pytest.approx(
        [(found.low - found.mean) / found.sd, 0, 1, (found.high - found.mean) / found.sd], abs=1e-5
    )


def test_large_volumes_do_not_outweigh_others(monkeypatch):
    monkeypatch.setattr("otovox.imaging.intensity.SAMPLE", 1000)
    found = intensity_statistics([np.zeros((50, 50, 50)), np.ones((10, 10, 10))])
    assert found.mean == pytest.approx(0.5)


def test_statistics_of_nothing_are_refused():
    with pytest.raises(InputError, match="at least one volume"):
        intensity_statistics([])


def test_kinds_of_contrast_are_distinguished():
    kinds = [(0, 1500), (400, 1500), (-900, 2500), (0, 600)]
    volumes = [specimen(n, *kinds[n % 4]) for n in range(12)]
    found = find_clusters([profile(one) for one in volumes], count=4)
    groups = {tuple(np.flatnonzero(found == n).tolist()) for n in range(4)}
    assert groups == {tuple(range(kind, 12, 4)) for kind in range(4)}
    assert found.tolist() == find_clusters([profile(one) for one in volumes], seed=5).tolist()
    with pytest.raises(InputError, match="3 volumes"):
        find_clusters([profile(one) for one in volumes[:3]], count=4)


def test_tissue_takes_in_what_bone_encloses():
    away = np.linalg.norm(np.moveaxis(np.indices((40, 40, 40)), 0, -1) - 19.5, axis=-1)
    found = tissue(specimen(0, -950, 2600), 0.4)
    assert found[away < 16].all()
    assert found[away > 19].mean() < 1e-3
    assert tissue(np.full((5, 5, 5), 7.0), 0.4).all()


def test_dried_bone_is_brought_into_the_range_of_frozen_bone():
    """Fluid spaces of dried specimens are air; after matching they are fluid again."""
    frozen = histogram([tissue_sample(specimen(n, 40, 1500), 0.4) for n in range(2)])
    dried = [specimen(n, -950, 2600) for n in range(5, 7)]
    matching = match(histogram([tissue_sample(one, 0.4) for one in dried]), frozen)
    matched = matching.apply(dried[0])
    assert frozen.modes[1] == pytest.approx(1500, abs=30)
    away = np.linalg.norm(np.moveaxis(np.indices((40, 40, 40)), 0, -1) - 19.5, axis=-1)
    assert np.median(matched[(away > 7) & (away < 16)]) == pytest.approx(1500, abs=40)
    own = match(frozen, frozen).apply(specimen(0, 40, 1500))
    np.testing.assert_allclose(own, specimen(0, 40, 1500), atol=1)


def test_matching_undoes_another_scale():
    """The same specimens in another unit give back what they were, beyond the ends, too."""
    volumes = [specimen(n, 40, 1500) for n in range(2)]
    wanted = histogram([tissue_sample(one, 0.4) for one in volumes])
    other = [0.3 * one + 700 for one in volumes]
    matching = match(histogram([tissue_sample(one, 0.4) for one in other]), wanted)
    back = matching.apply(other[1])
    low, high = wanted.quantiles[[0, -1]]
    inside = (volumes[1] > low) & (volumes[1] < high)
    np.testing.assert_allclose(back[inside], volumes[1][inside], atol=2)
    assert back.min() < low - 100


def test_a_flat_cluster_can_be_matched():
    wanted = histogram([tissue_sample(specimen(0, 40, 1500), 0.4)])
    assert np.isfinite(match(histogram([np.full(50, 3.0)]), wanted).apply(np.arange(6.0))).all()
    with pytest.raises(InputError, match="at least one volume"):
        histogram([])


def test_scaling_standardises_then_matches():
    given = intensity_statistics([specimen(0, 40, 1500)])
    plain = Scaling(given).apply(specimen(0, 40, 1500))
    np.testing.assert_array_equal(plain, standardise(specimen(0, 40, 1500), given))
    line = Matching(np.array([-1.0, 1.0]), np.array([-1.0, 1.0]), 2.0, 0.5)
    np.testing.assert_allclose(
        Scaling(given, line).apply(specimen(0, 40, 1500)), 2 * plain + 0.5, atol=1e-5
    )


def test_statistics_hold_plain_numbers():
    assert all(type(value) is float for value in vars(intensity_statistics([VALUES])).values())
    assert Statistics(0, 1, 0.5, 0.0).sd == 0
    assert np.isfinite(standardise(VALUES, Statistics(0, 1, 0.5, 0.0))).all()
