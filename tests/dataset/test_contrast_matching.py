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
KINDS = {"dried": (-900.0, 1500.0), "fixed": (300.0, 3000.0)}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Bone with a vestibule within, in air; four scans of two preparations."""
    start_dataset(tmp_path / "w", name="w", source="made")
    for number, kind in enumerate(("dried", "fixed", "dried", "fixed")):
        fluid, bone = KINDS[kind]
        values = np.random.default_rng(number).normal(0, 30, GRID.shape)
        values[:] += -1000
        values[3:21, 3:21, 3:21] += bone + 1000
        values[9:14, 9:14, 9:14] += fluid - bone
        labels = np.zeros(GRID.shape, np.uint8)
        labels[9:14, 9:14, 9:14] = Side.RIGHT.label
        case = Case(
            Scan(values.astype(np.float32), GRID, f"w-{number}"), LabelMap(labels, GRID), {}
        )
        add_case(tmp_path / "w", case, Entry(case.scan.name, f"p-{number}", scanner=kind))
    return tmp_path / "w"


@pytest.fixture
def reference() -> Histogram:
    rng = np.random.default_rng(9)
    parts = [rng.normal(0.5, 0.05, 130), rng.normal(2.0, 0.05, 5700)]
    return histogram([np.concatenate(parts)])


@pytest.mark.parametrize("by", ["2", "scanner"])
def test_found_or_named_clusters_come_into_range(
    dataset: Path, reference: Histogram, by: str
) -> None:
    entries = read_index(dataset)
    found = bring_into_range(dataset, entries, reference, by=by)
    assert found.groups["w-0"] == found.groups["w-2"]
    assert found.groups["w-1"] == found.groups["w-3"]
    assert len(set(found.groups.values())) == len(found.before) == 2
    for number, kind in enumerate(("dried", "fixed")):
        bone = found.scalings[f"w-{number}"].apply(np.array([KINDS[kind][1]]))
        assert bone[0] == pytest.approx(2.0, abs=0.1)
    for group, values in found.after.items():
        gap = [abs(np.median(v) - 2.0) for v in (found.before[group], values)]
        assert gap[1] < 0.05
        assert gap[1] < gap[0]


def test_names_of_found_clusters_go_from_dark_to_bright(
    dataset: Path, reference: Histogram
) -> None:
    found = bring_into_range(dataset, read_index(dataset), reference, by="2")
    assert found.groups == {
        "w-0": "cluster 1",
        "w-1": "cluster 2",
        "w-2": "cluster 1",
        "w-3": "cluster 2",
    }


def test_clusters_that_cannot_be(dataset: Path, reference: Histogram) -> None:
    entries = read_index(dataset)
    with pytest.raises(ConfigError, match="scanner"):
        bring_into_range(dataset, entries, reference, by="colour")
    with pytest.raises(InputError, match="4 volumes"):
        bring_into_range(dataset, entries, reference, by="5")


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
