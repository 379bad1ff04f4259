"""Sets of another contrast: sorted, scaled and matched to the training set's range (S5, S6)."""

from pathlib import Path

import numpy as np
import pytest

from otovox.core.anatomy import Side
from otovox.core.case import Case
from otovox.core.geometry import affine_from
from otovox.core.volume import Grid, LabelMap, Scan
from otovox.dataset.contrast_matching import bring_into_range, own_scaling
from otovox.dataset.layout import Entry, add_case, read_index, start_dataset
from otovox.errors import ConfigError, InputError
from otovox.formats.images import save_volume
from otovox.formats.scans import load_scan
from otovox.imaging.intensity import Histogram, histogram

GRID = Grid((24, 24, 24), affine_from(np.eye(3), np.zeros(3)))
#: Fluid and bone of two preparations and of the training set, grey values and SDs.
KINDS = {
    "dried": (-900.0, 1500.0),
    "fixed": (300.0, 3000.0),
    "Thiel": (1200.0, 2200.0),
    "resin": (900.0, 5000.0),
}


def scans_of(*folders: Path) -> dict[Path, Entry]:
    return {folder / entry.image: entry for folder in folders for entry in read_index(folder)}


def by_case(groups: dict[Path, str], scans: dict[Path, Entry]) -> dict[str, str]:
    return {scans[path].case: group for path, group in groups.items()}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Four scans of two preparations."""
    return made(tmp_path / "w", ("dried", "fixed", "dried", "fixed"))


def made(folder: Path, kinds: tuple[str, ...]) -> Path:
    """A data set of bone with a vestibule within, in air."""
    name = folder.name
    start_dataset(folder, name=name, source="made")
    for number, kind in enumerate(kinds):
        fluid, bone = KINDS[kind]
        values = np.random.default_rng(number).normal(0, 30, GRID.shape)
        values[:] += -1000
        values[3:21, 3:21, 3:21] += bone + 1000
        values[9:14, 9:14, 9:14] += fluid - bone
        labels = np.zeros(GRID.shape, np.uint8)
        labels[9:14, 9:14, 9:14] = Side.RIGHT.label
        case = Case(
            Scan(values.astype(np.float32), GRID, f"{name}-{number}"), LabelMap(labels, GRID), {}
        )
        add_case(folder, case, Entry(case.scan.name, f"p-{number}", scanner=kind))
    return folder


@pytest.fixture
def reference() -> Histogram:
    rng = np.random.default_rng(9)
    parts = [rng.normal(0.5, 0.05, 130), rng.normal(2.0, 0.05, 5700)]
    return histogram([np.concatenate(parts)])


@pytest.mark.parametrize("by", ["2", "scanner"])
def test_found_or_named_clusters_come_into_range(
    dataset: Path, reference: Histogram, by: str
) -> None:
    scans = scans_of(dataset)
    found = bring_into_range(scans, reference, by=by)
    groups = by_case(found.groups, scans)
    assert groups["w-0"] == groups["w-2"]
    assert groups["w-1"] == groups["w-3"]
    assert len(set(found.groups.values())) == len(found.before) == 2
    for path, entry in scans.items():
        bone = found.scalings[path].apply(np.array([KINDS[entry.scanner][1]]))
        assert bone[0] == pytest.approx(2.0, abs=0.1)
    for group, values in found.after.items():
        gap = [abs(np.median(v) - 2.0) for v in (found.before[group], values)]
        assert gap[1] < 0.05
        assert gap[1] < gap[0]


def test_names_of_found_clusters_go_from_dark_to_bright(
    dataset: Path, reference: Histogram
) -> None:
    scans = scans_of(dataset)
    found = bring_into_range(scans, reference, by="2")
    assert by_case(found.groups, scans) == {
        "w-0": "cluster 1",
        "w-1": "cluster 2",
        "w-2": "cluster 1",
        "w-3": "cluster 2",
    }


def test_four_clusters_are_formed_over_all_sets_together(
    tmp_path: Path, reference: Histogram
) -> None:
    """As over W, O and G in Figure 1 of Stebani et al. 2023 (S6): each preparation is a cluster.

    W has two preparations, the seven like volumes of O stay together, and the dried ones of W and G
    form one cluster.
    """
    w = made(tmp_path / "w", ("fixed", "Thiel", "fixed", "dried"))
    o, g = made(tmp_path / "o", ("resin",) * 7), made(tmp_path / "g", ("dried",) * 2)
    scans = scans_of(w, o, g)
    found = bring_into_range(scans, reference, by="4")
    kinds = {path: entry.scanner for path, entry in scans.items()}
    assert len(set(found.groups.values())) == 4
    assert len({(kinds[path], group) for path, group in found.groups.items()}) == 4


def test_clusters_that_cannot_be(dataset: Path, reference: Histogram) -> None:
    scans = scans_of(dataset)
    with pytest.raises(ConfigError, match="scanner"):
        bring_into_range(scans, reference, by="colour")
    with pytest.raises(InputError, match="4 volumes"):
        bring_into_range(scans, reference, by="5")


def test_a_set_has_its_own_scaling(dataset: Path) -> None:
    scaling = own_scaling(dataset, read_index(dataset))
    assert scaling.statistics.low < -900
    assert scaling.statistics.high == pytest.approx(3000, abs=100)


def test_a_scan_that_changes_is_read_again(dataset: Path) -> None:
    entry = read_index(dataset)[0]
    before = own_scaling(dataset, [entry]).statistics.high
    scan = load_scan(dataset / entry.image)
    save_volume(scan.values + 5000, scan.grid, dataset / entry.image)
    assert own_scaling(dataset, [entry]).statistics.high == pytest.approx(before + 5000, abs=1)
