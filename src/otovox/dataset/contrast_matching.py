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
    """The intensity scaling of a set's scans.

    Attributes:
        scalings: per case, from its grey values to the training set's.
        groups: the cluster name of each case.
        before, after: a tissue sample of each cluster, standardised only and also matched.
    """

    scalings: dict[str, Scaling]
    groups: dict[str, str]
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


def bring_into_range(
    dataset: Path, entries: Sequence[Entry], target: Histogram, *, by: str
) -> Brought:
    """Cluster a set's scans, standardise each cluster and match it to the training set.

    Args:
        dataset: folder of the data set.
        entries: its cases.
        target: standardised tissue of the training set.
        by: the number of clusters, or the column that defines them.

    Raises:
        ConfigError: if the clusters cannot be formed.

    Source: Stebani et al. 2023, S6; their algorithm is not given (see `intensity`).
    """
    samples = {entry.case: _samples(dataset / entry.image) for entry in entries}
    groups = _groups(entries, {case: profile(one.whole) for case, one in samples.items()}, by)
    brought = Brought({}, groups, {}, {})
    for group in sorted(set(groups.values())):
        members = [case for case in samples if groups[case] == group]
        given = intensity_statistics(samples[case].whole for case in members)
        tissues = [standardise(samples[case].tissue, given) for case in members]
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


def _groups(entries: Sequence[Entry], profiles: Mapping[str, NDArray], by: str) -> dict[str, str]:
    """The cluster name of each case."""
    if by in COLUMNS:
        return {entry.case: getattr(entry, by) or "unknown" for entry in entries}
    if not by.isdigit() or by == "0":
        raise ConfigError(
            f"clusters by {by!r}: a number or one of the columns {', '.join(COLUMNS)} is needed"
        )
    numbers = find_clusters([profiles[entry.case] for entry in entries], count=int(by))
    return {entry.case: f"cluster {n + 1}" for entry, n in zip(entries, numbers, strict=True)}
