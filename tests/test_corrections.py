"""Corrected results come back as training cases, or are refused in one sentence."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from otovox.anatomy import CANONICAL_MM, LANDMARK_NAMES, Side
from otovox.cli_dataset import app
from otovox.corrections import add_corrections, read_correction
from otovox.dataset import Entry, load_case, read_index, start_dataset, write_index
from otovox.errors import InputError
from otovox.formats import (
    read_segments,
    save_label_map,
    save_volume,
    write_markups,
    write_segments,
)
from otovox.geometry import mean_pose
from otovox.landmarks import Landmarks
from otovox.result import describe
from otovox.volume import Grid, LabelMap, Scan

GRID = Grid.centred((10, -20, 30), (40, 40, 40), spacing_mm=0.5)
POINTS = mean_pose(Side.RIGHT, GRID.center_mm).to_lps(list(CANONICAL_MM.values()))


def right(points=POINTS, names=tuple(CANONICAL_MM)) -> dict[Side, Landmarks]:
    return {Side.RIGHT: Landmarks(names, points)}


def truth() -> LabelMap:
    """Balls around the landmarks of a mean right ear."""
    places = GRID.to_mm(np.moveaxis(np.indices(GRID.shape), 0, -1))
    near = [np.linalg.norm(places - point, axis=-1) < 2 for point in POINTS]
    return LabelMap(np.where(np.any(near, axis=0), 1, 0).astype(np.uint8), GRID)


@pytest.fixture
def folder(tmp_path: Path, predict) -> Path:
    """A result folder beside its scan, nothing edited yet."""
    values = np.random.default_rng(0).normal(0, 100, GRID.shape).astype(np.float32)
    (tmp_path / "scans").mkdir()
    save_volume(values, GRID, tmp_path / "scans" / "head.nii.gz")
    scan = Scan(values, GRID, "head", "head.nii.gz")
    made = predict(scan, (Side.RIGHT,))
    labels = truth()
    ear = replace(made.ears[0], volume_mm3=labels.volume_mm3(1))
    path = tmp_path / "results" / "head"
    path.mkdir(parents=True)
    save_label_map(labels, path / "segmentation.nii.gz")
    write_segments(path / "segmentation.seg.nrrd", labels)
    write_markups(path / "landmarks.mrk.json", {Side.RIGHT: ear.landmarks})
    told = describe(replace(made, ears=(ear,), labels=labels))
    (path / "result.json").write_text(told.model_dump_json())
    return path


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    start_dataset(tmp_path / "set", name="x", source="x")
    return tmp_path / "set"


def test_a_cropped_segmentation_of_slicer_becomes_a_case(folder: Path, dataset: Path) -> None:
    more = truth().values
    more[20:22, 20:22, 20:22] = 1
    # Cropped as 3D Slicer does.
    part, crop = more[5:35, 4:36, 6:37], GRID.crop((5, 4, 6), (30, 32, 31))
    write_segments(folder / "segmentation.seg.nrrd", LabelMap(part, crop))
    lost = np.count_nonzero(more) - np.count_nonzero(part)
    (one,) = add_corrections(dataset, [folder], scans=folder.parents[1] / "scans")
    (entry,) = read_index(dataset)
    assert (entry.case, entry.split, entry.side) == ("head", "train", "right")
    again = load_case(dataset, entry)
    assert np.count_nonzero(again.labels.values) == np.count_nonzero(more) - lost
    assert np.array_equal(again.labels.values[5:35, 4:36, 6:37], part)
    grown = np.count_nonzero(part) / np.count_nonzero(truth().values) - 1
    assert one.changes == (f"right labyrinth: volume changed by {100 * grown:+.1f} %",)


def test_moved_points_are_told(folder: Path, dataset: Path) -> None:
    points = POINTS[:2] + np.array([[0, 0, 0.5], [0, 0, 0]])
    write_markups(folder / "landmarks.mrk.json", right(points, tuple(CANONICAL_MM)[:2]))
    scans = str(folder.parents[1] / "scans")
    told = CliRunner().invoke(app, ["add-corrections", str(dataset), str(folder), "--scans", scans])
    assert told.exit_code == 0, told.output
    assert "right/helicotrema: moved by 0.50 mm" in told.output
    assert "right/oval_window" not in told.output
    assert LANDMARK_NAMES[0] == "helicotrema"
    case = load_case(dataset, read_index(dataset)[0])
    np.testing.assert_allclose(case.landmarks[Side.RIGHT].points_mm, points, atol=1e-3)


def far(folder: Path) -> None:
    points = POINTS.copy()
    points[0] += (0, 0, -9)
    write_markups(folder / "landmarks.mrk.json", right(points))


def mirrored(folder: Path) -> None:
    write_markups(
        folder / "landmarks.mrk.json", {Side.LEFT: Landmarks(tuple(CANONICAL_MM), POINTS)}
    )
    save_label_map(LabelMap(truth().values * 2, GRID), folder / "segmentation.nii.gz")


def both(folder: Path) -> None:
    write_segments(folder / "segmentation.seg.nrrd", LabelMap(truth().values * 2, GRID))
    empty(folder)


def empty(folder: Path) -> None:
    save_label_map(LabelMap(np.zeros(GRID.shape, np.uint8), GRID), folder / "segmentation.nii.gz")


def shifted(folder: Path) -> None:
    (folder / "segmentation.seg.nrrd").unlink()
    moved = Grid.centred(GRID.center_mm + 0.2, GRID.shape, spacing_mm=0.5)
    save_label_map(LabelMap(truth().values, moved), folder / "segmentation.nii.gz")


def renamed(folder: Path) -> None:
    told = json.loads((folder / "result.json").read_text())
    told["input"] |= {"name": "other", "file": "other.nii.gz"}
    (folder / "result.json").write_text(json.dumps(told))


BAD = {
    "mm from its labyrinth": far,
    "are those of a right ear": mirrored,
    "not clear which was corrected": both,
    "segmentation is empty": empty,
    "another grid": shifted,
    "no scan is called other": renamed,
}


@pytest.mark.parametrize("sentence", BAD)
def test_what_cannot_be_used_is_refused_and_nothing_added(
    folder: Path, dataset: Path, sentence: str
) -> None:
    BAD[sentence](folder)
    scans = str(folder.parents[1] / "scans")
    told = CliRunner().invoke(app, ["add-corrections", str(dataset), str(folder), "--scans", scans])
    assert told.exit_code == 2
    assert sentence in told.output.replace("\n", " ")
    assert read_index(dataset) == []
    assert {path.name for path in dataset.iterdir()} == {"dataset.json", "cases.csv"}


def test_a_case_of_the_test_set_stays_there(folder: Path, dataset: Path) -> None:
    write_index(dataset, [Entry("head", "p", split="test", image="images/head.nii.gz")])
    with pytest.raises(InputError, match="belongs to test"):
        add_corrections(dataset, [folder], scans=folder.parents[1] / "scans")


def test_unedited_results_have_no_changes(folder: Path) -> None:
    correction = read_correction(folder, folder.parents[1] / "scans")
    assert correction.changes == ()
    segments = read_segments(folder / "segmentation.seg.nrrd")
    assert np.array_equal(correction.case.labels.values, segments.values)
