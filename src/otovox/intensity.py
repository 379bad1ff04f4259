"""Intensities before the network: relative, never absolute Hounsfield units (S4-S7).

`normalise` looks at one crop alone. The paper's way looks at a whole set: `Scaling` has the set's
limits, mean and SD; scans with another contrast are sorted into clusters by their histograms
(`contrast_clusters`), and each cluster is brought into the training set's range (`match`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.cluster.vq import kmeans2
from skimage.filters import threshold_otsu

from otovox.geometry import FloatArray

#: Fractions at which a crop is clipped. After Stebani et al. 2023, S5, read as fractions.
LOW, HIGH = 0.01, 0.99
#: Voxels taken of a volume for its statistics: chosen; quantiles are then sure to 0.1 %.
SAMPLE = 1_000_000
#: Fractions at which a histogram is described: chosen, every percent.
FRACTIONS = np.linspace(0.0, 1.0, 101)
#: Cavities up to twice this wide count as tissue, mm: chosen, the vestibule is some 6 mm wide.
CLOSING_MM = 3.0


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


class GreyMap(Protocol):
    """Anything that maps grey values one by one."""

    def apply(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Map values; float32 of the same shape."""
        ...


@dataclass(frozen=True)
class Steps:
    """Maps that follow one another."""

    maps: tuple[GreyMap, ...]

    def apply(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Map values; float32 of the same shape."""
        mapped = np.asarray(values, dtype=np.float32)
        for one in self.maps:
            mapped = one.apply(mapped)
        return mapped


@dataclass(frozen=True)
class Scaling:
    """One set's limits for clipping, and mean and SD of its clipped values.

    Source: Stebani et al. 2023, S5: computed on the whole set.
    """

    low: float
    high: float
    mean: float
    sd: float

    def apply(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Clip, subtract the mean, divide by the SD; float32 of the same shape."""
        clipped = np.clip(values, self.low, self.high).astype(np.float32, copy=False)
        return (clipped - np.float32(self.mean)) / np.float32(max(self.sd, 1e-6))


def thinned(values: NDArray, voxels: int = SAMPLE) -> NDArray[np.float32]:
    """About so many voxels of a volume, evenly spread, as float32 (n,)."""
    # An odd step does not run along with the rows of a volume of even size.
    step = max(1, values.size // voxels) | 1
    return values.ravel()[::step].astype(np.float32)


def scaling_of(
    samples: Sequence[NDArray[np.floating]],
    *,
    sizes: Sequence[int] | None = None,
    fractions: tuple[float, float] = (LOW, HIGH),
) -> Scaling:
    """A set's scaling, all its voxels counted alike.

    Args:
        samples: voxels of each volume, such as `thinned` gives them. Of the training cases alone:
            whatever validates or tests must not be seen here.
        sizes: voxels of each volume, for which its sample stands; by default the samples' own.
        fractions: at which to clip.

    Source: Stebani et al. 2023, S5; read as fractions 0.01 and 0.99.
    """
    if not samples:
        raise ValueError("a scaling needs at least one volume")
    pooled = np.concatenate([np.ravel(part) for part in samples]).astype(np.float64)
    counts = [part.size for part in samples]
    shares = [size / n for size, n in zip(sizes or counts, counts, strict=True)]
    weights = np.repeat(shares, counts)
    low, high = np.quantile(pooled, fractions, weights=weights, method="inverted_cdf")
    clipped = np.clip(pooled, low, high)
    mean = np.average(clipped, weights=weights)
    sd = np.sqrt(np.average((clipped - mean) ** 2, weights=weights))
    return Scaling(float(low), float(high), float(mean), float(sd))


def contrast_clusters(
    samples: Sequence[NDArray[np.floating]], count: int, *, seed: int = 0
) -> NDArray[np.int64]:
    """Sort volumes into clusters of like contrast.

    k-means over the histograms' quantile functions: the distance of two is the Wasserstein
    distance of the histograms. Twenty starts, the tightest is taken (chosen, not measured).

    Args:
        samples: voxels of each volume.
        count: of clusters; the paper sees 4 in W, O and G.
        seed: of the starts.

    Returns:
        (n,) cluster of each volume, 0 to `count` - 1, the darkest first.

    Raises:
        ValueError: if there are fewer volumes than clusters.

    Source: Stebani et al. 2023, S6 and Figure 1; their algorithm is not given (chosen).
    """
    if not 1 <= count <= len(samples):
        raise ValueError(f"{len(samples)} volumes cannot be sorted into {count} clusters")
    # Without the last percent at either end, where metal and padding lie.
    features = np.stack([np.quantile(part, FRACTIONS[1:-1]) for part in samples])
    rng = np.random.default_rng(seed)
    best: tuple[float, NDArray[np.int64]] | None = None
    for _ in range(20):
        centres, labels = kmeans2(features, count, minit="++", rng=rng, missing="warn")
        spread = float(((features - centres[labels]) ** 2).sum())
        if len(set(labels.tolist())) == count and (best is None or spread < best[0]):
            best = spread, labels.astype(np.int64)
    if best is None:
        raise ValueError(f"the volumes' contrast does not part into {count} clusters")
    means = [features[best[1] == n].mean() for n in range(count)]
    return np.argsort(np.argsort(means))[best[1]]


def tissue(values: NDArray[np.floating], spacing_mm: FloatArray) -> NDArray[np.bool_]:
    """What is no air outside: brighter than Otsu's threshold, cavities within closed.

    In dried bone the fluid spaces hold air: they count, the air around the specimen does not.

    Args:
        values: (i, j, k).
        spacing_mm: (3,).

    Source: Otsu 1979; requirement S6 names a dilated mask of the tissue.
    """
    if float(values.max()) == float(values.min()):
        return np.ones(values.shape, bool)
    bright = values > threshold_otsu(thinned(values))
    # Closing by distances, with room for it around the field: air at the border stays outside.
    room = [(int(np.ceil(CLOSING_MM / step)) + 1,) * 2 for step in spacing_mm]
    far = ~np.pad(bright, room)
    near = np.asarray(ndimage.distance_transform_edt(far, sampling=spacing_mm)) <= CLOSING_MM
    closed = np.asarray(ndimage.distance_transform_edt(near, sampling=spacing_mm)) > CLOSING_MM
    inner = tuple(slice(before, -after) for before, after in room)
    return bright | closed[inner]


def tissue_sample(values: NDArray[np.floating], spacing_mm: FloatArray) -> NDArray[np.float32]:
    """Evenly spread voxels of a volume's tissue, (n,).

    Args:
        values: (i, j, k).
        spacing_mm: (3,).
    """
    step = max(1, int(np.ceil((values.size / SAMPLE) ** (1 / 3))))
    coarse = np.asarray(values[::step, ::step, ::step], dtype=np.float32)
    return coarse[tissue(coarse, np.asarray(spacing_mm) * step)]


@dataclass(frozen=True, eq=False)
class Contrast:
    """How a set's tissue looks.

    Attributes:
        quantiles: (101,) grey values at `FRACTIONS`.
        fluid, bone: the commonest values of the darker and the brighter part.
    """

    quantiles: FloatArray
    fluid: float
    bone: float


def contrast_of(samples: Sequence[NDArray[np.floating]]) -> Contrast:
    """The contrast of a set or cluster.

    Args:
        samples: voxels of each volume's tissue; every volume counts alike.
    """
    quantiles = np.mean([np.quantile(part, FRACTIONS) for part in samples], axis=0)
    # Evenly spread over the fractions, so that a large volume does not outweigh a small one.
    pooled = np.interp(np.linspace(0, 1, 20_001), FRACTIONS, quantiles)
    parting = threshold_otsu(pooled) if np.ptp(pooled) > 0 else pooled[0]
    dark, bright = pooled[pooled <= parting], pooled[pooled > parting]
    return Contrast(quantiles, _mode(dark), _mode(bright if bright.size else dark))


@dataclass(frozen=True, eq=False)
class Matching:
    """A rising map of grey values: straight pieces, then a line.

    Attributes:
        source, target: (n,) ends of the pieces; beyond them the slope is the mean slope's.
        slope, offset: of the line that follows.
    """

    source: FloatArray
    target: FloatArray
    slope: float = 1.0
    offset: float = 0.0

    def apply(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """Map values; float32 of the same shape."""
        mapped = np.interp(values, self.source, self.target)
        steep = np.ptp(self.target) / max(float(np.ptp(self.source)), 1e-6)
        mapped += steep * (np.minimum(values - self.source[0], 0))
        mapped += steep * (np.maximum(values - self.source[-1], 0))
        return (self.slope * mapped + self.offset).astype(np.float32)


def match(source: Contrast, reference: Contrast) -> Matching:
    """Bring a cluster into the reference's range: its histogram, then its fluid and bone.

    Args:
        source: contrast of the cluster.
        reference: contrast of the training set.

    Source: Stebani et al. 2023, S6: histogram and contrast matching; how is not given (chosen).
    """
    # Doubled values (a flat stretch, such as padding) would make the map ambiguous.
    ends, first = np.unique(source.quantiles, return_index=True)
    histogram = Matching(ends, np.maximum.accumulate(reference.quantiles[first]))
    fluid, bone = histogram.apply(np.array([source.fluid, source.bone])).astype(float)
    if bone - fluid < 1e-6 or reference.bone - reference.fluid < 1e-6:
        return histogram
    slope = (reference.bone - reference.fluid) / (bone - fluid)
    offset = reference.fluid - slope * fluid
    return Matching(histogram.source, histogram.target, float(slope), float(offset))


def _mode(values: NDArray[np.floating]) -> float:
    """The commonest value: middle of the narrowest interval that holds half of them."""
    ordered = np.sort(values)
    half = max(1, ordered.size // 2)
    widths = ordered[half:] - ordered[: ordered.size - half]
    if not widths.size:
        return float(ordered.mean())
    start = int(np.argmin(widths))
    return float(ordered[start] + ordered[start + half]) / 2
