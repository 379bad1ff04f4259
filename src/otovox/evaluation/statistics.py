"""Spreads over instances and folds, bootstrap intervals of means, paired tests."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from otovox.core.geometry import FloatArray

#: Bootstrap resamples: chosen; the limits then vary by about 2 % of the interval's width.
RESAMPLES = 5000


@dataclass(frozen=True)
class Spread:
    """One measure over many instances; `n` counts the finite ones.

    Attributes:
        mean, sd, median, min, max: over instances; the SD with n - 1, nan for a single one.
        n: number of instances with a finite value.
        low, high: 95 % bootstrap interval of the mean, resampled by unit; nan with one unit.
        fold_mean, fold_sd: mean and SD over the folds' means; nan with fewer than two folds.
        folds: number of folds.
    """

    mean: float
    sd: float
    median: float
    min: float
    max: float
    n: int
    low: float
    high: float
    fold_mean: float
    fold_sd: float
    folds: int


_NOTHING = Spread(np.nan, np.nan, np.nan, np.nan, np.nan, 0, np.nan, np.nan, np.nan, np.nan, 0)


def spread(
    values: ArrayLike,
    *,
    folds: ArrayLike | None = None,
    units: ArrayLike | None = None,
    seed: int = 0,
) -> Spread:
    """Describe one measure.

    Args:
        values: (n,) one per instance.
        folds: (n,) fold of each instance; a single fold by default.
        units: (n,) independent unit, such as the patient: instances of the same unit (two ears,
            one case in several folds) are resampled together. By default every instance is one.
        seed: random seed of the bootstrap.

    Source: Stebani et al. 2023 mention the SD over folds (Performance evaluation), while medians in
    Tables 3 and 4 suggest instances: both are given.

    >>> ears = spread([0.8, 0.9, 1.0])
    >>> round(ears.mean, 2), round(ears.sd, 2)
    (0.9, 0.1)
    """
    every = np.asarray(values, dtype=float)
    fine = np.isfinite(every)
    finite = every[fine]
    nothing = float("nan")
    if not len(finite):
        return _NOTHING
    names = np.zeros(len(finite)) if folds is None else np.asarray(folds)[fine]
    means = np.array([finite[names == name].mean() for name in np.unique(names)])
    several = len(means) > 1
    whose = None if units is None else np.asarray(units)[fine]
    low, high = mean_interval(finite, units=whose, seed=seed)
    return Spread(
        mean=float(finite.mean()),
        sd=float(finite.std(ddof=1)) if len(finite) > 1 else nothing,
        median=float(np.median(finite)),
        min=float(finite.min()),
        max=float(finite.max()),
        n=len(finite),
        low=low,
        high=high,
        fold_mean=float(means.mean()) if several else nothing,
        fold_sd=float(means.std(ddof=1)) if several else nothing,
        folds=len(means),
    )


def mean_interval(
    values: ArrayLike,
    *,
    units: ArrayLike | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean, resampled by unit.

    Args:
        values: (n,) finite.
        units: (n,) independent unit of each value; by default every value is one.
        level: coverage of the interval.
        resamples: number of resamples.
        seed: the same seed gives the same interval.

    Returns:
        Lower and upper limit; nan with fewer than two units.

    Source: Efron and Tibshirani 1993, chapter 13, through scipy.

    >>> low, high = mean_interval([0.8, 0.8, 0.8, 0.8])
    >>> round(low, 3), round(high, 3)
    (0.8, 0.8)
    """
    every = np.asarray(values, dtype=float)
    names = np.arange(len(every)) if units is None else np.asarray(units)
    _, inverse = np.unique(names, return_inverse=True)
    sums, counts = np.bincount(inverse, every), np.bincount(inverse)
    if len(counts) < 2:
        return float("nan"), float("nan")
    interval = stats.bootstrap(
        (sums, counts),
        _pooled_mean,
        paired=True,
        vectorized=True,
        n_resamples=resamples,
        batch=1000,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class Comparison:
    """A paired comparison of one measure.

    Attributes:
        measure: its name.
        n: number of pairs with two finite values.
        median_difference: median of second minus first.
        p: two-sided, Wilcoxon's signed-rank test; 1 if no pair differs, nan without a pair.
        p_holm: corrected for the number of measures compared together.
    """

    measure: str
    n: int
    median_difference: float
    p: float
    p_holm: float


def compare(pairs: Mapping[str, tuple[ArrayLike, ArrayLike]]) -> list[Comparison]:
    """Compare two systems on the same instances, several measures at once.

    Args:
        pairs: measure to its values (n,) of the first and of the second system, in one order.

    Returns:
        One comparison per measure, in the given order.

    Source: Wilcoxon 1945, through scipy; Holm 1979.

    >>> one, other = [0.9, 0.91, 0.95, 0.9, 0.93, 0.97], [0.8, 0.82, 0.85, 0.79, 0.81, 0.85]
    >>> (row,) = compare({"dice": (one, other)})
    >>> round(row.median_difference, 3), round(row.p, 3)
    (-0.105, 0.031)
    """
    rows: list[tuple[str, int, float, float]] = []
    for measure, (first, second) in pairs.items():
        one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
        paired = np.isfinite(one) & np.isfinite(other)
        away = other[paired] - one[paired]
        median = float(np.median(away)) if len(away) else float("nan")
        rows.append((measure, len(away), median, _signed_rank(away)))
    corrected = holm([row[3] for row in rows])
    return [Comparison(*row, p_holm=float(p)) for row, p in zip(rows, corrected, strict=True)]


def holm(p: ArrayLike) -> FloatArray:
    """Holm's step-down correction; nan counts as no test.

    Args:
        p: (n,) values of tests corrected together.

    Returns:
        (n,) corrected, in the same order.

    Source: Holm 1979: the k-th smallest of n is multiplied by n - k + 1, made monotonic, at most 1.

    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    raw = np.asarray(p, dtype=float)
    corrected = np.full(len(raw), np.nan)
    order = np.argsort(raw)[: np.count_nonzero(np.isfinite(raw))]
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(raw[order] * factors), 1.0)
    return corrected


def _signed_rank(differences: FloatArray) -> float:
    if not len(differences):
        return float("nan")
    if not differences.any():
        return 1.0
    _, p = stats.wilcoxon(differences)
    return float(p)  # pyright: ignore[reportArgumentType]


def _pooled_mean(sums: FloatArray, counts: FloatArray, axis: int = -1) -> FloatArray:
    return sums.sum(axis=axis) / counts.sum(axis=axis)
