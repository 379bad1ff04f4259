"""Bare label maps of other programs, scored by hand."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from otovox.cli import app as cli
from otovox.core.anatomy import Side
from otovox.core.case import Case
from otovox.core.geometry import affine_from
from otovox.core.volume import Grid, LabelMap, Scan
from otovox.dataset.layout import Entry, add_case, load_case, read_index, start_dataset
from otovox.errors import InputError
from otovox.evaluation.label_maps import LabelMaps
from otovox.evaluation.runs import folds_of, score_runs
from otovox.formats.images import save_label_map

GRID = Grid((24, 22, 20), affine_from(np.eye(3) * 0.5, np.zeros(3)))
BOTH = Grid((60, 22, 20), affine_from(np.eye(3) * 1.0, np.zeros(3)))
ONE = LabelMaps({"1": "labyrinth"})


def box(value: int = 1, grid: Grid = GRID) -> LabelMap:
    """64 of the 96 true voxels of the tiny data set: DSC 0.8, recall 2/3."""
    values = np.zeros(grid.shape, np.uint8)
    values[10:14, 8:12, 6:10] = value
    return LabelMap(values, grid)


def evaluated(folder: Path, data: Path, output: Path, *options: str) -> tuple[int, str, str]:
    arguments = ["evaluate", "--predictions", folder, "--data", data, "-o", output, *options]
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_flat_files_are_scored_like_results(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "otovox.evaluation.report.error_picture", lambda _, to: to.write_bytes(b"png")
    )
    folder, output = tmp_path / "nnunet", tmp_path / "scores"
    save_label_map(box(7), folder / "one.nii.gz")
    save_label_map(box(7), folder / "two_0000.nrrd")
    (folder / "plans.json").write_text("{}")
    code, out, err = evaluated(folder, tiny_dataset, output, "--labels", "right=7,left=8")
    assert (code, err) == (0, "")
    assert "2 ears scored, 2 detected" in out
    assert "1 cases have no results: three" in out
    assert "fpvct-clinical: DSC 0.800, n 1" in out
    ears = pd.read_csv(output / "ears.csv").set_index("case")
    assert ears["dice"].tolist() == pytest.approx([0.8, 0.8])
    assert ears["recall"].tolist() == pytest.approx([2 / 3] * 2)
    assert ears["hd_mm"].tolist() == pytest.approx([1.0] * 2)
    assert ears["side_right"].tolist() == [True, True]
    for name in ("landmark_mean_mm", "confidence", "volume_uncertainty"):
        assert np.isnan(ears[name].to_numpy(dtype=float)).all()
    assert (output / "table-3.md").is_file()
    assert (output / "errors.png").is_file()


def test_an_empty_label_map_counts_as_not_detected(tiny_dataset: Path, tmp_path: Path) -> None:
    save_label_map(box(0), tmp_path / "flat" / "one.nii.gz")
    table, _ = score_runs(folds_of([tmp_path / "flat"]), tiny_dataset, maps=ONE)
    assert (table["found"].item(), table["dice"].item()) == (False, 0.0)


def test_folders_with_a_mask_per_structure(tiny_dataset: Path, tmp_path: Path) -> None:
    for place in ("one", "two/segmentations"):
        save_label_map(box(1), tmp_path / "total" / place / "inner_ear_right.nii.gz")
        save_label_map(box(0), tmp_path / "total" / place / "inner_ear_left.nii.gz")
        save_label_map(box(1), tmp_path / "total" / place / "skull.nii.gz")
    table, missing = score_runs(folds_of([tmp_path / "total"]), tiny_dataset, maps=LabelMaps())
    assert table["dice"].tolist() == pytest.approx([0.8, 0.8])
    assert missing == ["three"]


def test_nnunets_folds_and_names_are_understood(tiny_dataset: Path, tmp_path: Path) -> None:
    for fold, case in (("fold_0", "one"), ("fold_1", "two")):
        place = tmp_path / "trainer" / fold / "validation"
        save_label_map(box(1), place / f"{case}.nii.gz")
        names = {"labels": {"background": 0, "labyrinth": 1}}
        (place / "dataset.json").write_text(json.dumps(names))
    folds = folds_of([tmp_path / "trainer"])
    table, _ = score_runs(folds, tiny_dataset, maps=LabelMaps())
    assert table[["case", "fold"]].to_numpy().tolist() == [["one", "fold_0"], ["two", "fold_1"]]
    assert table["dice"].tolist() == pytest.approx([0.8, 0.8])


def test_one_label_for_both_ears_is_divided_by_position(tmp_path: Path) -> None:
    values = np.zeros(BOTH.shape, np.uint8)
    values[2:6, 8:12, 8:12], values[50:54, 8:12, 8:12] = Side.RIGHT.label, Side.LEFT.label
    start_dataset(tmp_path / "data", name="heads", source="made")
    noise = np.random.default_rng(0).normal(0, 100, BOTH.shape).astype(np.float32)
    scan = Scan(noise, BOTH, "head")
    entry = add_case(tmp_path / "data", Case(scan, LabelMap(values, BOTH), {}), Entry("head", "a"))
    found = np.zeros(BOTH.shape, np.uint8)
    found[2:6, 8:12, 8:10], found[50:54, 8:12, 8:12] = 1, 1
    save_label_map(LabelMap(found, BOTH), tmp_path / "flat" / "head.nii.gz")
    table, _ = score_runs(folds_of([tmp_path / "flat"]), tmp_path / "data", maps=ONE)
    assert table["side"].tolist() == ["right", "left"]
    assert table["dice"].tolist() == pytest.approx([2 / 3, 1.0])
    case = load_case(tmp_path / "data", entry)
    prediction = ONE.load(tmp_path / "flat" / "head.nii.gz", case, entry)
    assert [ear.side for ear in prediction.ears] == [Side.RIGHT, Side.LEFT]


def test_what_cannot_be_scored_is_refused(tiny_dataset: Path, tmp_path: Path) -> None:
    flat, output = tmp_path / "flat", tmp_path / "scores"
    save_label_map(box(1), flat / "other.nii.gz")
    code, _, err = evaluated(flat, tiny_dataset, output, "--labels", "labyrinth=1")
    assert code == 2
    assert "no labelled case has results in flat; label maps there: other" in err
    save_label_map(box(2), flat / "one.nii.gz")
    assert "state it with --labels right=1,left=2" in evaluated(flat, tiny_dataset, output)[2]
    label_3 = evaluated(flat, tiny_dataset, output, "--labels", "labyrinth=1")[2]
    assert "its label 2 has no known meaning" in label_3
    moved = Grid(GRID.shape, affine_from(np.eye(3) * 0.5, np.ones(3)))
    save_label_map(box(1, moved), flat / "one.nii.gz")
    code, _, err = evaluated(flat, tiny_dataset, output, "--labels", "labyrinth=1")
    assert (code, err.count("\n")) == (2, 1)
    assert "its grid differs from that of the scan one" in err
    save_label_map(box(1), flat / "one.nrrd")
    twice = evaluated(flat, tiny_dataset, output, "--labels", "labyrinth=1")[2]
    assert "are both for the case one" in twice
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "either RESULTS of otovox or --predictions"),
        (["--predictions", "."], "either RESULTS of otovox or --predictions"),
        (["--labels", "right=1"], "--labels explains"),
    ],
)
def test_the_two_kinds_of_input_are_not_mixed(
    options: list[str], reason: str, tiny_dataset: Path, tmp_path: Path
) -> None:
    results = [] if reason.startswith("either") and not options else [str(tmp_path)]
    arguments = ["evaluate", *results, *options, "-d", str(tiny_dataset), "-o", str(tmp_path / "o")]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 2
    assert reason in result.stderr


def test_names_with_and_without_the_channel(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b_0000.nii.gz", "c.seg.nrrd"):
        save_label_map(box(1), tmp_path / name)
    found = {case: ONE.find(tmp_path, case) for case in ("a", "a_0000", "b", "b_0000", "c", "d")}
    assert {case: path and path.name for case, path in found.items()} == {
        "a": "a.nii.gz", "a_0000": "a.nii.gz", "b": "b_0000.nii.gz", "b_0000": "b_0000.nii.gz",
        "c": "c.seg.nrrd", "d": None,
    }  # fmt: skip


def test_a_stated_side_that_differs_from_the_truth_is_a_wrong_side(
    tiny_dataset: Path, tmp_path: Path
) -> None:
    save_label_map(box(1), tmp_path / "flat" / "one.nii.gz")
    entry = next(entry for entry in read_index(tiny_dataset) if entry.case == "one")
    case = load_case(tiny_dataset, entry)
    wrong = LabelMaps({"1": "left"}).load(tmp_path / "flat" / "one.nii.gz", case, entry)
    assert [ear.side for ear in wrong.ears] == [Side.LEFT]
    save_label_map(box(2), tmp_path / "flat" / "one.nii.gz")
    with pytest.raises(InputError, match="do not fit the ears of one"):
        LabelMaps().load(tmp_path / "flat" / "one.nii.gz", case, entry)
