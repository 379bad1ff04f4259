"""Matches the contrast of scans to the training set, cluster by cluster (S5, S6)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otovox.dataset.layout import Entry
from otovox.errors import ConfigError
from otovox.formats.scans import load_scan
from otovox.imaging.intensity import (
    Histogram,
    Scaling,
    find_clusters,
    histogram,
    intensity_statistics,
    match,
    profile,
    sampled,
    standardise,
    tissue_sample,
)

#: Columns of a data set's index that scans can be grouped by.
COLUMNS = ("scanner", "diagnosis", "split")
#: Number of scans whose samples are cached in memory, about 5 MB each: chosen.
SCANS_KEPT = 128


@dataclass(frozen=True, eq=False)
class Brought:
    """The intensity scaling of scans.

    Attributes:
        scalings: per image file, from its grey values to the training set's.
        groups: the cluster name of each image file.
        before, after: a tissue sample of each cluster, standardised only and also matched.
    """

    scalings: dict[Path, Scaling]
    groups: dict[Path, str]
    before: dict[str, NDArray[np.float32]]
    after: dict[str, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class _Samples:
    """Samples of a scan's voxels: the whole scan, and its tissue."""

    whole: NDArray
    tissue: NDArray[np.float32]


def own_scaling(dataset: Path, entries: Sequence[Entry]) -> Scaling:
    """A set's scaling by its own statistics, without matching.

    Args:
        dataset: folder of the data set.
        entries: its cases.

    Source: Stebani et al. 2023, S5: "computed on the whole datasets respectively".
    """
    return Scaling(intensity_statistics(_samples(dataset / entry.image).whole for entry in entries))


def bring_into_range(scans: Mapping[Path, Entry], target: Histogram, *, by: str) -> Brought:
    """Cluster scans, standardise each cluster and match it to the training set.

    Args:
        scans: image files of all matched data sets together, with their entries.
        target: standardised tissue of the training set.
        by: the number of clusters, or the column that defines them.

    Raises:
        ConfigError: if the clusters cannot be formed.

    Source: Stebani et al. 2023, Figure 1: "Processing for the open-source datasets was performed
    on the four identifiable clusters separately" (S6): W, O and G are clustered together. Their
    algorithm is not given (see `intensity`).
    """
    samples = {path: _samples(path) for path in scans}
    groups = _groups(scans, {path: profile(one.whole) for path, one in samples.items()}, by)
    brought = Brought({}, groups, {}, {})
    for group in sorted(set(groups.values())):
        members = [path for path in samples if groups[path] == group]
        given = intensity_statistics(samples[path].whole for path in members)
        tissues = [standardise(samples[path].tissue, given) for path in members]
        matching = match(histogram(tissues), target)
        brought.scalings.update(dict.fromkeys(members, Scaling(given, matching)))
        brought.before[group] = np.concatenate(tissues)
        brought.after[group] = matching.apply(brought.before[group])
    return brought


def _samples(path: Path) -> _Samples:
    """The samples of a scan on disk, cached until it changes because every fold needs them."""
    return _read(path, path.stat().st_mtime_ns if path.exists() else 0)


@lru_cache(maxsize=SCANS_KEPT)
def _read(path: Path, _changed_ns: int) -> _Samples:
    scan = load_scan(path)
    return _Samples(sampled(scan.values), tissue_sample(scan.values, scan.grid.spacing_mm))


def _groups(
    scans: Mapping[Path, Entry], profiles: Mapping[Path, NDArray], by: str
) -> dict[Path, str]:
    """The cluster name of each image file."""
    if by in COLUMNS:
        return {path: getattr(entry, by) or "unknown" for path, entry in scans.items()}
    if not by.isdigit() or by == "0":
        raise ConfigError(
            f"clusters by {by!r}: a number or one of the columns {', '.join(COLUMNS)} is needed"
        )
    numbers = find_clusters([profiles[path] for path in scans], count=int(by))
    return {path: f"cluster {n + 1}" for path, n in zip(scans, numbers, strict=True)}
