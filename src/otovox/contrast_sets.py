"""Scans of another contrast brought into the training set's range, cluster by cluster (S6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otovox.dataset import Entry
from otovox.errors import ConfigError
from otovox.formats import load_scan
from otovox.intensity import (
    Contrast,
    GreyMap,
    Scaling,
    Steps,
    contrast_clusters,
    contrast_of,
    match,
    scaling_of,
    thinned,
    tissue_sample,
)

#: Columns of a data set's index by which its scans may be grouped.
COLUMNS = ("scanner", "diagnosis", "split")


@dataclass(frozen=True, eq=False)
class Brought:
    """What was done to a set.

    Attributes:
        maps: per case, from its grey values to the training set's.
        groups: per case the name of its cluster.
        before, after: per cluster a sample of its tissue, scaled alone and then matched, too.
    """

    maps: dict[str, GreyMap]
    groups: dict[str, str]
    before: dict[str, NDArray[np.float32]]
    after: dict[str, NDArray[np.float32]]


def own_scaling(dataset: Path, entries: Sequence[Entry], fractions: tuple[float, float]) -> Scaling:
    """A set's scaling by its own statistics.

    Args:
        dataset: folder of the data set.
        entries: its cases.
        fractions: at which to clip.

    Source: Stebani et al. 2023, S5: "computed on the whole datasets respectively".
    """
    samples, sizes = [], []
    for entry in entries:
        values = load_scan(dataset / entry.image).values
        samples.append(thinned(values))
        sizes.append(values.size)
    return scaling_of(samples, sizes=sizes, fractions=fractions)


def bring_into_range(
    dataset: Path,
    entries: Sequence[Entry],
    reference: Contrast,
    *,
    by: str,
    fractions: tuple[float, float],
) -> Brought:
    """Sort a set's scans into clusters; scale each cluster and match it to the training set.

    Args:
        dataset: folder of the data set.
        entries: its cases.
        reference: tissue of the training set, scaled.
        by: a number of clusters to be found, or the column that names them.
        fractions: at which to clip.

    Raises:
        ConfigError: if the clusters cannot be made.

    Source: Stebani et al. 2023, S6; their algorithm is not given (see `intensity`).
    """
    wholes: dict[str, NDArray[np.float32]] = {}
    tissues: dict[str, NDArray[np.float32]] = {}
    sizes: dict[str, int] = {}
    for entry in entries:
        scan = load_scan(dataset / entry.image)
        wholes[entry.case] = thinned(scan.values)
        tissues[entry.case] = tissue_sample(scan.values, scan.grid.spacing_mm)
        sizes[entry.case] = scan.values.size
    groups = _groups(entries, wholes, by)
    maps: dict[str, GreyMap] = {}
    before: dict[str, NDArray[np.float32]] = {}
    after: dict[str, NDArray[np.float32]] = {}
    for group in sorted(set(groups.values())):
        cases = [case for case, name in groups.items() if name == group]
        scaling = scaling_of(
            [wholes[case] for case in cases],
            sizes=[sizes[case] for case in cases],
            fractions=fractions,
        )
        scaled = [scaling.apply(tissues[case]) for case in cases]
        matching = match(contrast_of(scaled), reference)
        maps |= dict.fromkeys(cases, Steps((scaling, matching)))
        before[group] = np.concatenate([thinned(part, 50_000) for part in scaled])
        after[group] = matching.apply(before[group])
    return Brought(maps, groups, before, after)


def _groups(
    entries: Sequence[Entry], samples: dict[str, NDArray[np.float32]], by: str
) -> dict[str, str]:
    """Per case the name of its cluster."""
    if by in COLUMNS:
        return {entry.case: getattr(entry, by) or "unknown" for entry in entries}
    if not by.isdigit():
        raise ConfigError(
            f"clusters by {by!r}: neither a number nor one of the columns {', '.join(COLUMNS)}"
        )
    try:
        found = contrast_clusters([samples[entry.case] for entry in entries], int(by))
    except ValueError as error:
        raise ConfigError(f"{error}; choose fewer") from error
    return {entry.case: f"cluster {n}" for entry, n in zip(entries, found, strict=True)}
