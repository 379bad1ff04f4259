"""Intensities before the network: relative, never absolute Hounsfield units (S5, S6)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.cluster import vq
from skimage import filters

from otovox.errors import InputError

#: Fractions at which a crop is clipped. After Stebani et al. 2023, S5, read as fractions.
LOW, HIGH = 0.01, 0.99
#: Voxels drawn of every volume for statistics over many, the same number of each, so that large
#: volumes do not outweigh others. Chosen, not measured.
SAMPLE = 200_000
#: Fractions at which histograms are described and matched. Chosen, not measured.
LEVELS = np.linspace(0.005, 0.995, 100)
#: Clusters of contrast in the open data sets. Source: Stebani et al. 2023, Figure 1 (S6).
CLUSTERS = 4
#: Voxels by which the mask of tissue is widened, so that it takes in what bone encloses. Chosen.
TISSUE_MARGIN = 3


@dataclass(frozen=True)
class Statistics:
    """How one data set, or one cluster of it, is normalised.

    Attributes:
        low, high: limits at which values are clipped.
        mean, sd: of the clipped values.
    """

    low: float
    high: float
    mean: float
    sd: float


@dataclass(frozen=True, eq=False)
class Histogram:
    """The grey values of tissue in volumes of one kind.

    Attributes:
        quantiles: at `LEVELS`, increasing.
        modes: (fluid, bone), the medians of the dark and of the bright tissue.
    """

    quantiles: NDArray[np.float64]
    modes: tuple[float, float]


def statistics(volumes: Iterable[NDArray]) -> Statistics:
    """Clipping limits, mean and SD over all voxels of a data set (S5).

    Args:
        volumes: (i, j, k) each, of the training set alone; taken one after the other.

    Raises:
        InputError: if there is none.

    Source: Stebani et al. 2023, "on the whole datasets respectively".
    """
    values = _pooled(volumes)
    low, high = np.quantile(values, (LOW, HIGH))
    clipped = np.clip(values, low, high)
    return Statistics(float(low), float(high), float(clipped.mean()), float(clipped.std()))


def standardise(values: NDArray, given: Statistics) -> NDArray[np.float32]:
    """Clip and scale by statistics of a data set (S5); (i, j, k) float32."""
    clipped = np.clip(values, given.low, given.high).astype(np.float32)
    return (clipped - np.float32(given.mean)) / np.float32(max(given.sd, 1e-6))


def profile(values: NDArray) -> NDArray[np.float64]:
    """The quantiles of one volume at `LEVELS`: its histogram, in the unit of its voxels."""
    return np.quantile(_sampled(values), LEVELS)


def find_clusters(
    profiles: Sequence[NDArray], *, count: int = CLUSTERS, seed: int = 0
) -> NDArray[np.intp]:
    """Which volumes have a like contrast (S6).

    k-means over the quantiles of the volumes, all in one unit, the best of 50 starts.

    Args:
        profiles: of each volume, as from `profile`.
        count: of clusters.
        seed: of the starts.

    Returns:
        (n,) cluster of each volume, numbered from the darkest to the brightest.

    Raises:
        InputError: if there are fewer volumes than clusters.
    """
    points = np.stack([np.asarray(one, dtype=float) for one in profiles])
    if len(points) < count:
        raise InputError(f"{len(points)} volumes cannot make {count} clusters of contrast")
    points = points / max(float(points.std()), 1e-9)
    middles, _ = vq.kmeans(points, count, iter=50, rng=np.random.default_rng(seed))
    order = np.argsort(middles.mean(axis=1))
    return vq.vq(points, middles[order])[0].astype(np.intp)


def histogram(volumes: Iterable[NDArray]) -> Histogram:
    """The histogram of tissue over volumes of one kind, and its two modes.

    Args:
        volumes: (i, j, k) each; the training set, or one cluster.

    Raises:
        InputError: if there is no volume.
    """
    values = _pooled(one[tissue(one)] for one in volumes)
    return Histogram(np.quantile(values, LEVELS), _modes(values))


def tissue(values: NDArray) -> NDArray[np.bool_]:
    """Mask of bone and what it encloses: brighter than Otsu's threshold, then widened."""
    bright = values > filters.threshold_otsu(_sampled(values))
    return np.asarray(ndimage.binary_dilation(bright, iterations=TISSUE_MARGIN), dtype=bool)


def match(values: NDArray, own: Histogram, wanted: Histogram) -> NDArray[np.float32]:
    """Bring a volume's grey values into the range of another data set (S6).

    First its quantiles onto the wanted ones, then fluid and bone onto the wanted modes by a line.

    Args:
        values: (i, j, k).
        own: histogram of its cluster.
        wanted: histogram of the training set.

    Returns:
        (i, j, k) float32, in the unit of `wanted`.

    Source: Stebani et al. 2023, "histogram and contrast matching scheme"; the algorithm is in
    their supplement, this one is chosen.
    """
    rising = np.maximum.accumulate(own.quantiles)
    levels, first = np.unique(rising, return_index=True)
    targets = wanted.quantiles[first]
    fluid, bone = np.interp(own.modes, levels, targets)
    matched = np.interp(values, levels, targets)
    if bone - fluid < 1e-9:
        return matched.astype(np.float32)
    slope = (wanted.modes[1] - wanted.modes[0]) / (bone - fluid)
    return (wanted.modes[0] + slope * (matched - fluid)).astype(np.float32)


def _modes(values: NDArray) -> tuple[float, float]:
    threshold = filters.threshold_otsu(values)
    bright = values > threshold
    return float(np.median(values[~bright])), float(np.median(values[bright]))


def _sampled(values: NDArray) -> NDArray:
    """At most `SAMPLE` voxels, drawn with a fixed seed."""
    flat = np.asarray(values).reshape(-1)
    if len(flat) <= SAMPLE:
        return flat
    return flat[np.random.default_rng(0).integers(len(flat), size=SAMPLE)]


def _pooled(volumes: Iterable[NDArray]) -> NDArray:
    parts = [_sampled(one) for one in volumes]
    if not parts:
        raise InputError("there is no volume to take statistics from")
    return np.concatenate(parts)


def normalise(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Clip at the 1st and 99th percentile, then subtract the mean and divide by the SD.

    Args:
        values: (i, j, k) of any scale; a crop, not a whole head.

    Returns:
        float32 of the same shape, mean 0 and SD 1 (all 0 where the crop is flat).
    """
    sample = values[::2, ::2, ::2] if min(values.shape) > 32 else values
    low, high = np.quantile(sample, (LOW, HIGH))
    clipped = np.clip(values, low, high).astype(np.float32)
    centred = clipped - np.float32(clipped.mean())
    return centred / np.float32(max(float(centred.std()), 1e-6))
