"""Labels are identified by name; names without a side are refused, swapped sides detected."""

import json
from pathlib import Path

import numpy as np
import pytest

from otovox.core.case import Case
from otovox.core.volume import Grid, LabelMap, Scan
from otovox.dataset.checks import check_dataset
from otovox.dataset.importers import Imported, import_release, load_recipe
from otovox.dataset.label_names import meaning_of, read_meanings, read_names
from otovox.dataset.layout import Entry, add_case, load_case, read_index, start_dataset
from otovox.errors import ConfigError, InputError
from otovox.formats.images import save_label_map, save_volume

GRID = Grid.centred((0, 0, 0), (120, 20, 20), spacing_mm=0.8)
#: First voxels along x of the two ears: x grows to the patient's left.
RIGHT, LEFT = slice(5, 12), slice(108, 115)


def masks(**where: int) -> np.ndarray:
    """Labels in boxes: on the right, on the left, and beside the right one."""
    values = np.zeros(GRID.shape, np.uint8)
    for place, box in (("right", RIGHT), ("left", LEFT), ("beside", slice(13, 20))):
        values[box, 5:14, 5:14] = where.get(place, 0)
    return values


def nnunet(folder: Path, labels: object, values: np.ndarray) -> Path:
    scan = np.random.default_rng(0).normal(0, 99, GRID.shape).astype(np.float32)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    save_volume(scan, GRID, folder / "imagesTr" / "ear_1_0000.nii.gz")
    save_label_map(LabelMap(values, GRID), folder / "labelsTr" / "ear_1.nii.gz")
    if labels is not None:
        (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    return folder


def imported(raw: Path, side: str = "", *labels: str) -> Imported:
    sides = {"*": side} if side else {}
    (one,) = import_release(
        load_recipe("nnunet"),
        raw,
        raw.parent / "set",
        sides=sides,
        meanings=read_meanings(labels),
    )
    return one


def x_by_label(folder: Path) -> dict[int, int]:
    """Sign of x of each label's middle."""
    (entry,) = read_index(folder)
    labels = load_case(folder, entry).labels
    values = np.unique(labels.values[labels.values > 0])
    return {
        int(v): int(np.sign(GRID.to_mm(np.argwhere(labels.values == v).mean(axis=0))[0]))
        for v in values
    }


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "left": 1, "right": 2},
        {"background": 0, "Left inner ear": 1, "labyrinth_R": 2},
        {"0": "background", "1": "LeftLabyrinth", "2": "bony labyrinth, right"},
    ],
)
def test_sides_are_read_from_names(tmp_path: Path, labels: object) -> None:
    one = imported(nnunet(tmp_path / "raw", labels, masks(left=1, right=2)))
    assert one.entry is not None
    assert one.entry.side == "both"
    assert x_by_label(tmp_path / "set") == {1: -1, 2: 1}


def test_parts_are_not_taken_for_sides(tmp_path: Path) -> None:
    labels = {"background": 0, "cochlea": 1, "vestibule": 2}
    raw = nnunet(tmp_path / "raw", labels, masks(right=1, beside=2))
    for side in ("", "right"):
        one = imported(raw, side)
        assert one.entry is None
        assert "cochlea, vestibule have no known meaning" in one.lacking[0]
        assert "--labels" in one.lacking[0]
    one = imported(raw, "right", "cochlea=labyrinth", "Vestibule=labyrinth")
    assert one.entry is not None
    assert one.entry.side == "right"
    assert x_by_label(tmp_path / "set") == {1: -1}


def test_labels_without_names_need_a_side_or_meanings(tmp_path: Path) -> None:
    raw = nnunet(tmp_path / "raw", None, masks(left=1, right=2))
    one = imported(raw)
    assert "labels 1, 2 have no known meaning" in one.lacking[0]
    one = imported(raw, "", "1=left", "2=right")
    assert one.entry is not None
    assert x_by_label(tmp_path / "set") == {1: -1, 2: 1}


def test_the_side_that_is_given_is_obeyed(tmp_path: Path) -> None:
    raw = nnunet(tmp_path / "raw", None, masks(right=1, beside=2))
    one = imported(raw, "left")
    assert one.entry is not None
    assert one.entry.side == "left"
    assert set(x_by_label(tmp_path / "set")) == {2}


def test_a_side_against_the_names_is_refused(tmp_path: Path) -> None:
    raw = nnunet(tmp_path / "raw", {"left": 1, "right": 2}, masks(left=1, right=2))
    assert (
        "label left is left, but the scan is listed as a right ear"
        in imported(raw, "right").lacking[0]
    )


def test_names_against_positions_are_refused(tmp_path: Path) -> None:
    raw = nnunet(tmp_path / "raw", {"left": 2, "right": 1}, masks(left=1, right=2))
    assert "are the labels swapped?" in imported(raw).lacking[0]


def test_ignored_and_background_labels_are_left_out(tmp_path: Path) -> None:
    raw = nnunet(tmp_path / "raw", {"labyrinth": 3, "ignore": 4}, masks(right=3, beside=4))
    one = imported(raw, "right")
    assert one.entry is not None
    (entry,) = read_index(tmp_path / "set")
    assert np.count_nonzero(load_case(tmp_path / "set", entry).labels.values) == 7 * 9 * 9


def test_regions_and_damaged_tables_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"labels": {"whole": [1, 2], "left": [2]}}))
    with pytest.raises(InputError, match="regions"):
        read_names(path)
    path.write_text("{")
    with pytest.raises(InputError, match="JSON"):
        read_names(path)
    path.write_text("[]")
    assert read_names(path) == {}


def test_names_say_what_they_say() -> None:
    for name in ("left", "L", "left_labyrinth", "Inner ear (L)", "LeftLabyrinth", "innerear_left"):
        assert meaning_of(name) == "left"
    for name in ("labyrinth", "inner_ear", "Bony labyrinth"):
        assert meaning_of(name) == "labyrinth"
    for name in ("cochlea", "left cochlea", "left right labyrinth", "", "class 1"):
        assert meaning_of(name) is None
    for option in ("left", "left=", "=left", "left=up"):
        with pytest.raises(ConfigError, match="NAME=MEANING"):
            read_meanings([option])


@pytest.mark.parametrize(
    ("values", "text", "serious"),
    [
        (masks(right=2, left=1), "are the labels swapped", True),
        (masks(right=1, beside=2), "parts of one ear", True),
        (masks(right=2), "x = -", False),
        (masks(right=1, left=2), "", False),
    ],
)
def test_check_compares_sides_with_places(
    tmp_path: Path, values: np.ndarray, text: str, serious: bool
) -> None:
    start_dataset(tmp_path, name="x", source="made")
    scan = Scan(np.random.default_rng(0).normal(0, 9, GRID.shape).astype(np.float32), GRID, "a")
    add_case(tmp_path, Case(scan, LabelMap(values, GRID), {}), Entry("a", "p"))
    found = [f for f in check_dataset(tmp_path) if "labyrinth" in f.text and "mm3" not in f.text]
    assert [f.serious for f in found if text in f.text] == ([serious] if text else [])
    assert bool(found) == bool(text)


def test_values_may_follow_their_meaning_and_several_may_be_listed() -> None:
    assert read_meanings(["right=1,left=2"]) == {"1": "right", "2": "left"}
    assert read_meanings(["labyrinth=1"]) == {"1": "labyrinth"}
    assert read_meanings(["Ear, inner=left"]) == {"ear, inner": "left"}
    with pytest.raises(ConfigError, match="1 has two meanings"):
        read_meanings(["right=1", "left=1"])
