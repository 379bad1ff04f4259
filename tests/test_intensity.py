"""Normalising: relative, whatever the grey scale."""

import numpy as np
import pytest

from otovox.intensity import normalise

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
