"""Reliability, ROC and thresholds against numbers computed by hand, and draws with known odds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otovox.core.anatomy import Side
from otovox.core.volume import Grid, LabelMap, Probability
from otovox.evaluation.calibration import (
    alarm_threshold,
    ear_reliability,
    near_labyrinth,
    pooled,
    reliability,
    roc,
)


def test_reliability_by_hand() -> None:
    """Two bins: (0.1, 0.3) with one of two true, (0.6, 0.8, 1.0) with two of three."""
    found = reliability([0.1, 0.3, 0.6, 0.8, 1.0], [0, 1, 1, 0, 1], bins=2)
    assert found.count.tolist() == [2, 3]
    assert found.probability == pytest.approx([0.2, 0.8])
    assert found.frequency == pytest.approx([1 / 2, 2 / 3])
    assert found.expected_error == pytest.approx((2 * 0.3 + 3 * (0.8 - 2 / 3)) / 5)
    assert found.largest_error == pytest.approx(0.3)
    assert found.brier == pytest.approx((0.01 + 0.49 + 0.16 + 0.64 + 0) / 5)


def test_empty_bins_count_nothing() -> None:
    found = reliability([0.95, 0.95], [1, 1], bins=10)
    assert np.isnan(found.frequency[:9]).all()
    assert found.expected_error == pytest.approx(0.05)
    nothing = reliability([], [])
    assert np.isnan([nothing.expected_error, nothing.largest_error, nothing.brier]).all()


def test_honest_probabilities_are_calibrated_and_bold_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(200_000)
    truth = rng.random(p.size) < p
    assert reliability(p, truth).expected_error < 0.005
    bold = np.clip(2 * p - 0.5, 0, 1)
    assert reliability(bold, truth).expected_error > 0.1


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), cut=st.integers(0, 60))
def test_pooled_parts_are_the_whole(seed: int, cut: int) -> None:
    rng = np.random.default_rng(seed)
    p, truth = rng.random(60), rng.random(60) < 0.4
    whole = reliability(p, truth)
    parts = pooled([reliability(p[:cut], truth[:cut]), reliability(p[cut:], truth[cut:])])
    assert parts.count.tolist() == whole.count.tolist()
    assert parts.frequency == pytest.approx(whole.frequency, nan_ok=True)
    assert parts.probability == pytest.approx(whole.probability, nan_ok=True)
    assert parts.brier == pytest.approx(whole.brier)


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="do not match"):
        reliability([0.5], [True, False])
    with pytest.raises(ValueError, match="between 0 and 1"):
        reliability([1.2], [True])
    with pytest.raises(ValueError, match="no reliability curve"):
        pooled([])
    with pytest.raises(ValueError, match="needs scores"):
        roc([1.0], [np.nan])


def test_near_is_measured_in_mm_from_either_mask() -> None:
    truth, claimed = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    truth[4, 4, 1] = claimed[4, 4, 7] = True
    near = near_labyrinth(truth, claimed, spacing_mm=(0.5, 1.0, 1.0), within_mm=1.0)
    assert near[:, 4, 1].tolist() == [False, False, True, True, True, True, True, False, False]
    assert near[4, :, 7].sum() == 3
    assert not near[4, 4, 4]
    empty = np.zeros((2, 2, 2), bool)
    assert not near_labyrinth(empty, empty, spacing_mm=1.0).any()


def test_an_ears_probabilities_against_labels_by_hand() -> None:
    """0.9 claimed for x < 0, true for -2 mm < x < 1 mm, on a grid that starts within the scan."""
    scan = Grid.centred((0, 0, 0), (16, 8, 8), spacing_mm=0.5)
    labels = np.zeros(scan.shape, np.uint8)
    labels[4:10, 2:6, 2:6] = Side.LEFT.label
    grid = scan.crop((2, 0, 0), (20, 8, 8))
    points = grid.to_mm(np.moveaxis(np.indices(grid.shape), 0, -1))
    inside = (points[..., 0] < 0) & (np.abs(points[..., 1:]) < 1).all(axis=-1)
    claimed = Probability(np.where(inside, 0.9, 0.2).astype(np.float32), grid)
    found = ear_reliability(claimed, LabelMap(labels, scan), Side.LEFT)
    high, low = found.count[8:].sum(), found.count[1:3].sum()
    # Claimed are i = 2 to 7, of which 4 to 7 are true; of the rest only i = 8 and 9.
    assert high == 6 * 4 * 4
    assert np.nansum(found.frequency[8:] * found.count[8:]) == 4 * 4 * 4
    assert np.nansum(found.frequency[1:3] * found.count[1:3]) == 2 * 4 * 4
    assert np.nanmax(found.probability) == pytest.approx(0.9, abs=1e-4)
    assert found.count.sum() == high + low
    wrong = ear_reliability(claimed, LabelMap(labels, scan), Side.RIGHT)
    assert np.nanmax(wrong.frequency) == 0
    far = Grid.centred((99, 0, 0), (4, 4, 4), spacing_mm=0.5)
    nothing = Probability(np.zeros(far.shape, np.float32), far)
    assert ear_reliability(nothing, LabelMap(labels, scan), Side.LEFT).count.sum() == 0


def test_roc_by_hand() -> None:
    """Of six pairs the unusual is higher in four, equal in one."""
    found = roc([1, 2, 3], [2, 4])
    assert found.auc == pytest.approx(4.5 / 6)
    assert found.threshold.tolist() == [np.inf, 4, 3, 2, 1]
    assert found.sensitivity == pytest.approx([0, 1 / 2, 1 / 2, 1, 1])
    assert found.false_alarms == pytest.approx([0, 0, 1 / 3, 2 / 3, 1])
    area = np.trapezoid(found.sensitivity, found.false_alarms)
    assert area == pytest.approx(found.auc)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_area_is_that_under_the_curve(seed: int) -> None:
    rng = np.random.default_rng(seed)
    usual, unusual = rng.integers(0, 6, 9), rng.integers(1, 8, 7)
    found = roc(usual, unusual)
    assert np.trapezoid(found.sensitivity, found.false_alarms) == pytest.approx(found.auc)
    assert roc(unusual, usual).auc == pytest.approx(1 - found.auc)


def test_threshold_by_hand() -> None:
    """Of 19 usual ones the largest keeps 5 %; of 18 none does."""
    assert alarm_threshold(np.arange(19)) == 18
    assert alarm_threshold(np.arange(18)) == np.inf
    assert alarm_threshold(np.arange(39)) == 37
    assert alarm_threshold(np.arange(9), false_alarms=0.5) == 4


def test_the_promise_of_the_threshold_holds() -> None:
    rng = np.random.default_rng(5)
    alarms = [
        rng.exponential() > alarm_threshold(rng.exponential(size=40), false_alarms=0.1)
        for _ in range(4000)
    ]
    assert 0.07 < np.mean(alarms) <= 0.11
