"""Masks measured without a network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from masks import drawn_ear
from otovox.analysis.measuring import measure_into
from otovox.analysis.segmentation import Inputs, measure_labels, measure_segmentation
from otovox.core.anatomy import Side
from otovox.core.volume import LabelMap, Scan
from otovox.dataset.segmentations import SIDELESS
from otovox.errors import InputError, OutputError
from otovox.formats.images import save_label_map
from otovox.formats.markups import write_markups
from otovox.workers import Status

LEFT, POINTS, _ = drawn_ear(Side.LEFT)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A left ear's mask and landmarks."""
    save_label_map(LEFT, tmp_path / "mask.nii.gz")
    write_markups(tmp_path / "points.mrk.json", {Side.LEFT: POINTS})
    return tmp_path / "mask.nii.gz", tmp_path / "points.mrk.json"


@pytest.mark.slow
def test_a_mask_with_landmarks_gives_every_number_and_none_of_the_network(files) -> None:
    result = measure_segmentation(files[0], landmarks=files[1])
    (ear,) = result.ears
    table = ear.measurements
    assert table["labyrinth_volume"].value == pytest.approx(LEFT.volume_mm3(2), rel=1e-3)
    assert 8 < (table["cochlea_a"].value or 0) < 11
    assert 30 < (table["duct_length_lw"].value or 0) < 46
    assert table["completeness_likert"].value == 1
    assert table["anterior_canal_radius"].value
    assert not any(cell.interval for cell in table.values())
    described = result.to_dict()
    assert described["ears"][0]["confidence"] is None
    assert described["provenance"]["settings"] == {"segmentation": "mask.nii.gz"}
    assert "uncertainty" not in described["files"]
    assert "nan" not in repr(result)


@pytest.mark.slow
def test_without_landmarks_their_numbers_are_withheld_with_the_reason(files, tmp_path) -> None:
    outcome = measure_into(Inputs(files[0]), tmp_path / "out")
    assert outcome.status is Status.DONE, outcome.reason
    assert "no landmarks were given" in outcome.reason
    assert outcome.answer is not None
    (ear,) = outcome.answer.ears
    assert ear.measurements["cochlea_a"].withheld.startswith("no helicotrema")
    assert "not given" in ear.measurements["oval_to_round_window"].withheld
    assert ear.measurements["lateral_canal_radius"].value
    assert ear.measurements["completeness_likert"].value == 1
    folder = tmp_path / "out" / "mask"
    assert {path.name for path in folder.iterdir()} == {
        *outcome.answer.files.values(), "result.json",
    }  # fmt: skip
    assert "uncertainty.nii.gz" not in outcome.answer.files.values()
    assert "onfidence" not in (folder / "report.html").read_text("utf-8").split("<script>")[0]
    assert (tmp_path / "out" / "summary.csv").read_text().count("mask") >= 1


def test_a_label_that_contradicts_the_anatomy_is_refused(tmp_path: Path) -> None:
    wrong = LabelMap(np.where(LEFT.values, 1, 0).astype(np.uint8), LEFT.grid)
    save_label_map(wrong, tmp_path / "mask.nii.gz")
    with pytest.raises(InputError, match=r"has the anatomy of a left one.*--labels 1=left"):
        measure_segmentation(tmp_path / "mask.nii.gz")


def test_a_labyrinth_without_a_side_gets_that_of_its_shape(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("otovox.analysis.segmentation.measure_scan", lambda prediction: prediction)
    values = np.where(LEFT.values, SIDELESS, 0).astype(np.uint8)
    scan = Scan(np.zeros(LEFT.grid.shape, np.float32), LEFT.grid)
    result = measure_labels(scan, LabelMap(values, LEFT.grid), {}, source=Path("mask"))
    assert [ear.side for ear in result.measured.ears] == [Side.LEFT]  # pyright: ignore


def test_landmarks_far_off_and_of_no_ear_are_refused(files, tmp_path: Path) -> None:
    far = replace(POINTS, points_mm=POINTS.points_mm + 5.0)
    write_markups(tmp_path / "far.mrk.json", {Side.LEFT: far})
    with pytest.raises(InputError, match=r"lies .* from the left labyrinth"):
        measure_segmentation(files[0], landmarks=tmp_path / "far.mrk.json")
    write_markups(tmp_path / "other.mrk.json", {Side.RIGHT: POINTS})
    with pytest.raises(InputError, match="there is no right labyrinth"):
        measure_segmentation(files[0], landmarks=tmp_path / "other.mrk.json")


def test_results_never_replace_what_is_measured(files, tmp_path: Path) -> None:
    save_label_map(LEFT, tmp_path / "anna" / "mask.nii.gz")
    with pytest.raises(OutputError, match="results would replace"):
        measure_into(Inputs(tmp_path / "anna" / "mask.nii.gz", scan=tmp_path / "anna"), tmp_path)


def test_what_cannot_be_read_is_an_outcome(tmp_path: Path) -> None:
    outcome = measure_into(Inputs(tmp_path / "none.nii.gz"), tmp_path / "out")
    assert outcome.status is Status.REFUSED
    assert "file not found" in outcome.reason
    assert not (tmp_path / "out" / "none").exists()
    assert "refused" in (tmp_path / "out" / "summary.csv").read_text()
