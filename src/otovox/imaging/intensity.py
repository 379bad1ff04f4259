"""Intensity normalisation before the network: relative, never absolute HU (S5, S6)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.cluster import vq
from skimage import filters

from otovox.errors import InputError

#: Fractions at which a crop is clipped. After Stebani et al. 2023, S5, read as fractions.
LOW, HIGH = 0.01, 0.99
#: Voxels sampled from each volume for statistics over many volumes; the same number, so that large
#: volumes do not dominate. Chosen, not measured.
SAMPLE = 200_000
#: Fractions at which histograms are described and matched. Chosen, not measured.
LEVELS = np.linspace(0.005, 0.995, 100)
#: Voxels of a volume used to find tissue. Chosen, not measured.
TISSUE_SAMPLE = 1_000_000
#: Clusters of contrast in the open data sets. Source: Stebani et al. 2023, Figure 1 (S6).
CLUSTERS = 4
#: Cavities up to twice this wide count as tissue, mm: chosen, the vestibule is about 6 mm wide.
CLOSING_MM = 3.0


@dataclass(frozen=True)
class Statistics:
    """Normalisation of a data set, or of one cluster of it.

    Attributes:
        low, high: clipping limits.
        mean, sd: mean and SD of the clipped values.
    """

    low: float
    high: float
    mean: float
    sd: float


@dataclass(frozen=True, eq=False)
class Histogram:
    """The grey values of tissue in volumes of one kind.

    Attributes:
        quantiles: increasing, at `LEVELS`.
        modes: (fluid, bone), the medians of the dark and of the bright tissue.
    """

    quantiles: NDArray[np.float64]
    modes: tuple[float, float]


def intensity_statistics(volumes: Iterable[NDArray[Any]]) -> Statistics:
    """Clipping limits, mean and SD over all voxels of a data set (S5).

    Args:
        volumes: (i, j, k) each, of the training set only; processed one at a time.

    Raises:
        InputError: if there is none.

    Source: Stebani et al. 2023, "on the whole datasets respectively".

    >>> intensity_statistics([np.arange(101.0)])
    Statistics(low=1.0, high=99.0, mean=50.0, sd=29.121119551974576)
    """
    values = _pooled(volumes)
    low, high = np.quantile(values, (LOW, HIGH))
    clipped = np.clip(values, low, high)
    return Statistics(float(low), float(high), float(clipped.mean()), float(clipped.std()))


def standardise(values: NDArray[Any], given: Statistics) -> NDArray[np.float32]:
    """Clip and scale with the statistics of a data set (S5); (i, j, k) float32.

    >>> given = intensity_statistics([np.arange(101.0)])
    >>> standardise(np.array([-500.0, given.mean]), given).round(2).tolist()
    [-1.6799999475479126, 0.0]
    """
    clipped = np.clip(values, given.low, given.high).astype(np.float32)
    return (clipped - np.float32(given.mean)) / np.float32(max(given.sd, 1e-6))


def profile(values: NDArray[Any]) -> NDArray[np.float64]:
    """The quantiles of one volume at `LEVELS`, in the unit of its voxels.

    >>> same = profile(np.full((4, 4, 4), 7.0))
    >>> bool((same == 7).all())
    True
    """
    return np.quantile(sampled(values), LEVELS)


def find_clusters(
    profiles: Sequence[NDArray[Any]], *, count: int = CLUSTERS, seed: int = 0
) -> NDArray[np.intp]:
    """Cluster volumes with similar contrast (S6).

    k-means over the quantiles of the volumes, all in one unit, the best of 50 starts.

    Args:
        profiles: quantiles of each volume, from `profile`.
        count: number of clusters.
        seed: random seed of the starts.

    Returns:
        (n,) cluster of each volume, numbered from the darkest to the brightest.

    Raises:
        InputError: if there are fewer volumes than clusters.

    >>> dark, bright = np.linspace(0, 1, 8), np.linspace(50, 90, 8)
    >>> first, second, third = find_clusters([dark, bright, dark], count=2)
    >>> bool(first == third), bool(first == second)
    (True, False)
    """
    points = np.stack([np.asarray(one, dtype=float) for one in profiles])
    if len(points) < count:
        raise InputError(f"{len(points)} volumes are too few for {count} clusters of contrast")
    points = points / max(float(points.std()), 1e-9)
    middles, _ = vq.kmeans(points, count, iter=50, rng=np.random.default_rng(seed))
    order = np.argsort(middles.mean(axis=1))
    return vq.vq(points, middles[order])[0].astype(np.intp)


def tissue(values: NDArray[Any], spacing_mm: ArrayLike) -> NDArray[np.bool_]:
    """Everything except the air outside: above Otsu's threshold, with inner cavities closed.

    In dried bone the fluid spaces contain air; they are included, unlike the surrounding air.

    Args:
        values: (i, j, k).
        spacing_mm: (3,), or one for all axes.

    Source: Otsu 1979; requirement S6 proposes a dilated tissue mask.

    >>> values = np.full((9, 9, 9), -1000.0)
    >>> values[2:7, 2:7, 2:7] = 50
    >>> int(tissue(values, 1.0).sum())
    125
    """
    if float(values.max()) == float(values.min()):
        return np.ones(values.shape, dtype=bool)
    steps = np.broadcast_to(np.asarray(spacing_mm, dtype=float), 3)
    bright = values > filters.threshold_otsu(sampled(values))
    # Closing by distances, with padding around the volume: air at the border stays outside.
    room = [(int(np.ceil(CLOSING_MM / step)) + 1,) * 2 for step in steps]
    away = np.asarray(ndimage.distance_transform_edt(~np.pad(bright, room), sampling=steps))
    near = away <= CLOSING_MM
    closed = np.asarray(ndimage.distance_transform_edt(near, sampling=steps)) > CLOSING_MM
    return bright | closed[tuple(slice(before, -after) for before, after in room)]


def tissue_threshold(values: NDArray[Any]) -> float:
    """The value above which voxels are tissue and not air, metal left out of account.

    Args:
        values: (i, j, k).

    Source: Otsu 1979, over the values between the 1st and 99th percentile.

    >>> air_and_water = np.repeat([-1000.0, 0.0], 500)
    >>> -1000 <= tissue_threshold(air_and_water) < 0
    True
    """
    sample = sampled(values)
    low, high = np.quantile(sample, (LOW, HIGH))
    return float(filters.threshold_otsu(np.clip(sample, low, high))) if high > low else float(low)


def bone_threshold(values: NDArray[Any]) -> float:
    """The value above which tissue is bone, metal left out of account.

    Args:
        values: (i, j, k).

    Source: Otsu 1979, over the tissue's values between their 1st and 99th percentile.

    >>> values = np.repeat([-1000.0, 0.0, 1500.0], [500, 400, 100])
    >>> 0 <= bone_threshold(values) < 1500
    True
    """
    sample = sampled(values)
    dense = sample[sample > tissue_threshold(sample)]
    return tissue_threshold(dense) if dense.size else float(sample.max())


def tissue_sample(values: NDArray[Any], spacing_mm: ArrayLike) -> NDArray[np.float32]:
    """Evenly spaced samples of a volume's tissue, (n,).

    Args:
        values: (i, j, k).
        spacing_mm: (3,), or one for all axes.

    >>> values = np.full((9, 9, 9), -1000.0)
    >>> values[2:7, 2:7, 2:7] = 50
    >>> len(tissue_sample(values, 1.0))
    125
    """
    step = max(1, int(np.ceil((values.size / TISSUE_SAMPLE) ** (1 / 3))))
    coarse = np.asarray(values[::step, ::step, ::step], dtype=np.float32)
    return coarse[tissue(coarse, np.asarray(spacing_mm) * step)]


def histogram(samples: Sequence[NDArray[Any]]) -> Histogram:
    """The histogram of tissue over volumes of one kind, equally weighted, and its two modes.

    Args:
        samples: tissue samples of each volume, of the training set or of one cluster.

    Raises:
        InputError: if there is none.

    >>> rng = np.random.default_rng(0)
    >>> tissue = np.concatenate([rng.normal(0, 60, 20_000), rng.normal(1500, 200, 40_000)])
    >>> [abs(round(float(mode), -2)) for mode in histogram([tissue]).modes]  # fluid and bone, HU
    [0.0, 1500.0]
    """
    if not samples:
        raise InputError("a histogram needs at least one volume")
    quantiles = np.mean([np.quantile(sample, LEVELS) for sample in samples], axis=0)
    return Histogram(quantiles, _modes(quantiles))


@dataclass(frozen=True, eq=False)
class Matching:
    """An increasing map of grey values: piecewise linear, then a linear map.

    Attributes:
        source, target: (n,) nodes; beyond them the map continues with the mean slope.
        slope, offset: of the linear map that follows.
    """

    source: NDArray[np.float64]
    target: NDArray[np.float64]
    slope: float = 1.0
    offset: float = 0.0

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Map values; float32 of the same shape.

        >>> doubled = Matching(np.array([0.0, 1000.0]), np.array([0.0, 2000.0]))
        >>> doubled.apply(np.array([-100, 500, 1100])).tolist()
        [-200.0, 1000.0, 2200.0]
        """
        mapped = np.interp(values, self.source, self.target)
        steep = np.ptp(self.target) / max(float(np.ptp(self.source)), 1e-6)
        mapped += steep * np.minimum(values - self.source[0], 0)
        mapped += steep * np.maximum(values - self.source[-1], 0)
        return (self.slope * mapped + self.offset).astype(np.float32)


def match(own: Histogram, wanted: Histogram) -> Matching:
    """Match a cluster's grey values to the range of another data set (S6).

    First its quantiles are mapped to the wanted ones, then fluid and bone linearly to the wanted
    modes.

    Args:
        own: histogram of the cluster.
        wanted: histogram of the training set.

    Source: Stebani et al. 2023, "histogram and contrast matching scheme"; their algorithm is in
    the supplement; this one is chosen.

    >>> rng = np.random.default_rng(0)
    >>> tissue = np.concatenate([rng.normal(0, 60, 20_000), rng.normal(1500, 200, 40_000)])
    >>> own, wanted = histogram([tissue / 2]), histogram([tissue])
    >>> np.abs(match(own, wanted).apply(np.array([0.0, 750.0])).round(-2)).tolist()
    [0.0, 1500.0]
    """
    # Duplicate values (a flat region, such as padding) would make the map ambiguous.
    source, first = np.unique(np.maximum.accumulate(own.quantiles), return_index=True)
    pieces = Matching(source, wanted.quantiles[first])
    fluid, bone = pieces.apply(np.array(own.modes)).astype(float)
    if bone - fluid < 1e-6:
        return pieces
    slope = (wanted.modes[1] - wanted.modes[0]) / (bone - fluid)
    return Matching(source, pieces.target, float(slope), float(wanted.modes[0] - slope * fluid))


@dataclass(frozen=True)
class Scaling:
    """Scaling of grey values for a network that was trained on another data set.

    Attributes:
        statistics: statistics of the scan's own set or cluster (S5).
        matching: from the cluster to the training set (S6), both standardised; None to skip.
    """

    statistics: Statistics
    matching: Matching | None = None

    def apply(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Scale values; float32 of the same shape."""
        scaled = standardise(values, self.statistics)
        return scaled if self.matching is None else self.matching.apply(scaled)


def _modes(quantiles: NDArray[Any]) -> tuple[float, float]:
    threshold = filters.threshold_otsu(quantiles) if np.ptp(quantiles) > 0 else np.inf
    bright = quantiles > threshold
    if bright.all() or not bright.any():
        return float(np.median(quantiles)), float(np.median(quantiles))
    return float(np.median(quantiles[~bright])), float(np.median(quantiles[bright]))


def sampled(values: NDArray[Any]) -> NDArray[Any]:
    """At most `SAMPLE` voxels, drawn with a fixed seed.

    >>> len(sampled(np.arange(10)))
    10
    """
    flat = np.asarray(values).reshape(-1)
    if len(flat) <= SAMPLE:
        return flat
    return flat[np.random.default_rng(0).integers(len(flat), size=SAMPLE)]


def _pooled(volumes: Iterable[NDArray[Any]]) -> NDArray[Any]:
    parts = [sampled(one) for one in volumes]
    if not parts:
        raise InputError("statistics need at least one volume")
    return np.concatenate(parts)


def normalise(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Clip at the 1st and 99th percentile, then subtract the mean and divide by the SD.

    Args:
        values: (i, j, k) of any scale; a crop, not a whole head.

    Returns:
        float32 of the same shape, mean 0 and SD 1 (all 0 if the crop is constant).

    >>> values = normalise(np.arange(125.0).reshape(5, 5, 5))
    >>> round(float(values.std()), 3), bool(abs(values.mean()) < 1e-6)
    (1.0, True)
    """
    sample = values[::2, ::2, ::2] if min(values.shape) > 32 else values
    low, high = np.quantile(sample, (LOW, HIGH))
    clipped = np.clip(values, low, high).astype(np.float32)
    centred = clipped - np.float32(clipped.mean())
    return centred / np.float32(max(float(centred.std()), 1e-6))
