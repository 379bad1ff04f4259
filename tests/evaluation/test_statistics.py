"""Spreads, intervals and tests against numbers computed by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otovox.evaluation.statistics import compare, holm, mean_interval, spread


def test_spread_by_hand() -> None:
    found = spread([0.9, 0.8, 0.7, np.inf, np.nan], folds=["a", "a", "b", "b", "c"])
    assert (found.n, found.folds) == (3, 2)
    assert found.mean == pytest.approx(0.8)
    assert found.sd == pytest.approx(0.1)
    assert (found.median, found.min, found.max) == (0.8, 0.7, 0.9)
    # Means of the folds: 0.85 and 0.7.
    assert found.fold_mean == pytest.approx(0.775)
    assert found.fold_sd == pytest.approx(0.15 / np.sqrt(2))
    assert (found.low, found.high) == pytest.approx((0.7, 0.9))


def test_spread_of_little() -> None:
    nothing, one = spread([]), spread([2.0])
    assert (nothing.n, nothing.folds) == (0, 0)
    assert np.isnan(nothing.mean)
    assert (one.mean, one.median, one.n, one.folds) == (2, 2, 1, 1)
    assert np.isnan([one.sd, one.low, one.high, one.fold_mean, one.fold_sd]).all()


def test_the_interval_of_two_values_is_their_range() -> None:
    """Resamples are (a, a), (a, b), (b, b): a quarter of the means lie at either end."""
    assert mean_interval([1.0, 3.0]) == (1.0, 3.0)


def test_the_interval_nears_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(5, 2, 400)
    low, high = mean_interval(values, seed=3)
    half = 1.96 * values.std() / np.sqrt(400)
    assert low == pytest.approx(values.mean() - half, abs=0.02)
    assert high == pytest.approx(values.mean() + half, abs=0.02)
    assert mean_interval(values, seed=3) == (low, high)
    assert mean_interval(values, seed=4) != (low, high)


def test_doubles_of_a_unit_tell_nothing_new() -> None:
    values = np.random.default_rng(2).normal(0, 1, 40)
    plain = mean_interval(values)
    doubled = mean_interval(np.repeat(values, 2), units=np.repeat(np.arange(40), 2))
    assert doubled == pytest.approx(plain)
    naive = mean_interval(np.repeat(values, 2))
    assert naive[1] - naive[0] < 0.85 * (plain[1] - plain[0])


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, np.nan, 0.9]) == pytest.approx([1.0, np.nan, 1.0], nan_ok=True)
    assert len(holm([])) == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_keeps_the_order_and_lies_below_bonferroni(p: list[float]) -> None:
    found = holm(p)
    assert (found >= np.asarray(p)).all()
    assert (found <= np.minimum(len(p) * np.asarray(p), 1) + 1e-12).all()
    assert (np.diff(found[np.argsort(p)]) >= 0).all()


def test_compare_by_hand() -> None:
    """Six differences of one sign: 2 of 2^6 sign patterns are as extreme, so p is 1/32."""
    first = np.zeros(7)
    second = np.array([1.0, 2, 3, 4, 5, 6, np.inf])
    same = np.arange(7.0)
    up, none, empty = compare({"up": (first, second), "same": (same, same), "empty": ([], [])})
    assert (up.measure, up.n) == ("up", 6)
    assert up.median_difference == 3.5
    assert up.p == pytest.approx(1 / 32)
    assert up.p_holm == pytest.approx(1 / 16)
    assert (none.p, none.p_holm, none.median_difference) == (1, 1, 0)
    assert empty.n == 0
    assert np.isnan([empty.p, empty.p_holm]).all()
