"""Calibration of probabilities, and separation of unusual from usual ears by a score.

This module works on arrays and is independent of any network.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, special, stats

from otovox.core.anatomy import Side
from otovox.core.geometry import FloatArray
from otovox.core.volume import LabelMap, Probability
from otovox.imaging.metrics import Mask
from otovox.imaging.resample import corners, resample

#: Bins of a reliability curve. Source: Guo et al. 2017 use 15; chosen 10, for fewer voxels.
BINS = 10
#: Probabilities are kept this far from 0 and 1 while their logits are interpolated: chosen.
_LEAST = 1e-4
#: Logit outside the working grid; voxels there are excluded afterwards.
_OUTSIDE = -9.0
#: Maximum distance from the labyrinth of evaluated voxels, mm: chosen, its own half width. Distant
#: bone is easy, and would make any model appear well calibrated.
NEAR_MM = 1.5


@dataclass(frozen=True, eq=False)
class Reliability:
    """Predicted probabilities against observed frequencies, in bins of equal width over 0 to 1.

    Attributes:
        count: (b,) voxels per bin.
        probability: (b,) their mean probability; nan in an empty bin.
        frequency: (b,) fraction of labyrinth voxels; nan in an empty bin.
        brier: mean squared difference between probability and ground truth.
    """

    count: NDArray[np.int64]
    probability: FloatArray
    frequency: FloatArray
    brier: float

    @property
    def expected_error(self) -> float:
        """Expected calibration error: mean gap of the bins, weighted by their voxels.

        Source: Guo et al. 2017, equation 3.

        >>> curve = reliability([0.9, 0.9, 0.2, 0.2], [True, False, False, False])
        >>> round(curve.expected_error, 2)  # gaps of 0.4 and 0.2, two voxels each
        0.3
        """
        total = self.count.sum()
        gaps = np.nan_to_num(np.abs(self.probability - self.frequency))
        return float((gaps * self.count).sum() / total) if total else float("nan")

    @property
    def largest_error(self) -> float:
        """Maximum calibration error: gap of the worst bin. Source: Guo et al. 2017, equation 5.

        >>> curve = reliability([0.9, 0.9, 0.2, 0.2], [True, False, False, False])
        >>> round(curve.largest_error, 2)
        0.4
        """
        filled = self.count > 0
        gaps = np.abs(self.probability - self.frequency)[filled]
        return float(gaps.max()) if filled.any() else float("nan")


def reliability(probability: ArrayLike, truth: ArrayLike, *, bins: int = BINS) -> Reliability:
    """The reliability curve of some voxels.

    Args:
        probability: (n,) 0 to 1.
        truth: (n,) boolean.
        bins: number of bins.

    Raises:
        ValueError: if the sizes differ, or a probability is outside 0 to 1.

    >>> curve = reliability([0.9, 0.9, 0.9, 0.9], [True, True, True, False])
    >>> round(curve.expected_error, 2)
    0.15
    """
    claimed = np.asarray(probability, dtype=float).ravel()
    true = np.asarray(truth, dtype=bool).ravel()
    if claimed.shape != true.shape:
        raise ValueError(f"{claimed.size} probabilities do not match {true.size} true values")
    if claimed.size and not (claimed.min() >= 0 and claimed.max() <= 1):
        raise ValueError("probabilities must lie between 0 and 1")
    which = np.minimum((claimed * bins).astype(int), bins - 1)
    count = np.bincount(which, minlength=bins)
    sums = np.bincount(which, claimed, bins), np.bincount(which, true, bins)
    brier = float(np.mean((claimed - true) ** 2)) if claimed.size else float("nan")
    return Reliability(count, _over(sums[0], count), _over(sums[1], count), brier)


def pooled(curves: Sequence[Reliability]) -> Reliability:
    """One curve over the voxels of several, all with the same bins.

    Raises:
        ValueError: if there is none.

    >>> one = reliability([0.9, 0.9], [True, True])
    >>> other = reliability([0.9, 0.9], [True, False])
    >>> both = pooled([one, other])
    >>> int(both.count.sum()), both.frequency[-1].item()
    (4, 0.75)
    """
    if not curves:
        raise ValueError("there is no reliability curve to pool")
    count = np.sum([curve.count for curve in curves], axis=0)
    claimed = np.sum([np.nan_to_num(curve.probability) * curve.count for curve in curves], axis=0)
    true = np.sum([np.nan_to_num(curve.frequency) * curve.count for curve in curves], axis=0)
    voxels = [int(curve.count.sum()) for curve in curves]
    parts = [n * curve.brier for n, curve in zip(voxels, curves, strict=True) if n]
    brier = float(sum(parts) / sum(voxels)) if sum(voxels) else float("nan")
    return Reliability(count, _over(claimed, count), _over(true, count), brier)


def near_labyrinth(
    truth: Mask, claimed: Mask, *, spacing_mm: ArrayLike, within_mm: float = NEAR_MM
) -> Mask:
    """Voxels within a distance of the true or predicted labyrinth, including both.

    Args:
        truth, claimed: (i, j, k).
        spacing_mm: (3,) or one number.
        within_mm: the distance.

    >>> truth = np.zeros((1, 1, 9), dtype=bool)
    >>> truth[..., 4] = True
    >>> near_labyrinth(truth, truth, spacing_mm=1.0, within_mm=1.5).astype(int).ravel().tolist()
    [0, 0, 0, 1, 1, 1, 0, 0, 0]
    """
    either = truth | claimed
    if not either.any():
        return either
    sampling = np.broadcast_to(np.asarray(spacing_mm, dtype=float), 3)
    return np.asarray(ndimage.distance_transform_edt(~either, sampling=sampling)) <= within_mm


def ear_reliability(claimed: Probability, truth: LabelMap, side: Side) -> Reliability:
    """Calibration of one ear's probabilities, over the scan's voxels near its labyrinth.

    The probability is resampled to the scan's own grid, where the ground truth is defined, like the
    label map: by its logits.

    Args:
        claimed: predicted probability on a working grid; voxels outside that grid are excluded.
        truth: labels on the scan's grid.
        side: the true side.

    >>> from otovox.core.volume import Grid
    >>> grid = Grid.centred((0, 0, 0), (6, 6, 6), spacing_mm=0.4)
    >>> truth = LabelMap(np.full(grid.shape, Side.LEFT.label, np.uint8), grid)
    >>> claimed = Probability(np.full(grid.shape, 0.7, np.float32), grid)
    >>> round(ear_reliability(claimed, truth, Side.LEFT).expected_error, 2)  # all are labyrinth
    0.3
    """
    ijk = truth.grid.to_ijk(corners(claimed.grid))
    start = np.clip(np.ceil(ijk.min(axis=0)), 0, truth.grid.shape).astype(int)
    stop = np.clip(np.floor(ijk.max(axis=0)) + 1, start, truth.grid.shape).astype(int)
    if not (stop > start).all():
        return reliability([], [])
    i, j, k = (int(n) for n in stop - start)
    grid = truth.grid.crop(start, (i, j, k))
    p = np.clip(claimed.values, _LEAST, 1 - _LEAST)
    seen = special.expit(resample(special.logit(p), claimed.grid, grid, outside=_OUTSIDE))
    window = tuple(slice(low, high) for low, high in zip(start, stop, strict=True))
    true = truth.values[window] == side.label
    near = near_labyrinth(true, seen > 0.5, spacing_mm=grid.spacing_mm)
    ijk = np.argwhere(near)
    within = claimed.grid.contains(grid.to_mm(ijk)) if len(ijk) else np.zeros(0, dtype=bool)
    chosen = tuple(ijk[within].T)
    return reliability(seen[chosen], true[chosen])


@dataclass(frozen=True, eq=False)
class Roc:
    """ROC curve of a score for unusual ears: every threshold at which a decision changes.

    Attributes:
        threshold: (n,) decreasing from infinity; a score at or above it counts as unusual.
        sensitivity: (n,) fraction of unusual ears flagged, increasing from 0 to 1.
        false_alarms: (n,) fraction of usual ears flagged, increasing from 0 to 1.
        auc: area under the curve: probability that an unusual ear scores above a usual one.
    """

    threshold: FloatArray
    sensitivity: FloatArray
    false_alarms: FloatArray
    auc: float


def roc(usual: ArrayLike, unusual: ArrayLike) -> Roc:
    """The receiver operating characteristic of a score that is higher in unusual ears.

    Args:
        usual, unusual: (n,) and (m,) scores; infinite scores are allowed, nan are ignored.

    Raises:
        ValueError: if either is empty.

    Source: Hanley and McNeil 1982: the area is Mann and Whitney's statistic over n m.

    >>> curve = roc(usual=[0.1, 0.2, 0.3], unusual=[0.25, 0.5])
    >>> round(curve.auc, 3)
    0.833
    """
    low, high = (_known(scores) for scores in (usual, unusual))
    if not (len(low) and len(high)):
        raise ValueError("a ROC curve needs scores of usual and of unusual ears")
    threshold = np.unique(np.concatenate([low, high]))[::-1]
    above = [
        1 - np.searchsorted(np.sort(scores), threshold, side="left") / len(scores)
        for scores in (high, low)
    ]
    statistic = stats.mannwhitneyu(high, low, method="asymptotic").statistic
    return Roc(
        threshold=np.append(np.inf, threshold),
        sensitivity=np.append(0.0, above[0]),
        false_alarms=np.append(0.0, above[1]),
        auc=float(statistic / (len(low) * len(high))),
    )


def alarm_threshold(usual: ArrayLike, *, false_alarms: float = 0.05) -> float:
    """The threshold above which a new score is unusual, determined from usual ears only.

    A new usual ear exceeds it with at most the given probability, for any distribution of scores;
    this requires at least 1 / `false_alarms` - 1 scores.

    Args:
        usual: (n,) scores of the calibration set.
        false_alarms: probability that a usual ear is flagged.

    Returns:
        A score; infinite if there are too few scores for this guarantee.

    Source: split conformal prediction, Angelopoulos and Bates 2021, equation 1.

    >>> alarm_threshold([1.0, 2.0, 3.0, 4.0], false_alarms=0.2)
    4.0
    """
    scores = np.sort(_known(usual))
    rank = int(np.ceil((len(scores) + 1) * (1 - false_alarms) - 1e-9))
    return float(scores[rank - 1]) if 0 < rank <= len(scores) else float("inf")


def _known(scores: ArrayLike) -> FloatArray:
    values = np.asarray(scores, dtype=float)
    return values[~np.isnan(values)]


def _over(sums: NDArray, count: NDArray) -> FloatArray:
    return np.where(count > 0, sums / np.maximum(count, 1), np.nan)
