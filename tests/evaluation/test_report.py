"""`otovox evaluate` from end to end on a tiny data set, with errors known."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from otovox.cli import app as cli
from otovox.core.case import Prediction
from otovox.dataset.layout import read_index, write_index
from otovox.evaluation.error_pictures import Panel
from otovox.evaluation.report import compare_systems, evaluate


def otovox_command(*arguments: object) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(autouse=True)
def panels(monkeypatch: pytest.MonkeyPatch) -> list[Panel]:
    """Figure 4 has tests of its own; here its panels are kept instead of drawn."""
    kept: list[Panel] = []

    def draw(panels: list[Panel], path: Path) -> None:
        kept.extend(panels)
        path.write_bytes(b"png")

    monkeypatch.setattr("otovox.evaluation.report.error_picture", draw)
    return kept


def test_everything_is_written(
    tiny_results: tuple[Path, Prediction],
    tiny_dataset: Path,
    tmp_path: Path,
    panels: list[Panel],
) -> None:
    run, output = tiny_results[0], tmp_path / "scores"
    for fold in ("fold-0", "fold-1"):
        (run / fold / "validation.csv").write_text("iteration,dsc\n750,0.5\n1500,0.7\n")
    code, out, err = otovox_command("evaluate", run, "--data", tiny_dataset, "-o", output)
    assert (code, err) == (0, "")
    assert "3 ears scored, 3 detected" in out
    assert "fpvct-clinical, otosclerosis: DSC 0.800, landmarks 0.99 mm, n 1" in out
    assert "1 cases have no results: three" in out
    assert {path.name for path in output.iterdir()} == {
        "ears.csv", "statistics.csv", "table-3.csv", "table-3.md", "table-4.csv", "table-4.md",
        "errors.png", "uncertainty.png", "uncertainty.csv", "uncertainty-labyrinth.png",
        "learning-curves.png", "dsc-by-subgroup.csv", "likert.md",
    }  # fmt: skip
    ears = pd.read_csv(output / "ears.csv")
    assert ears["dice"].to_numpy() == pytest.approx([0.8] * 3)
    statistics = pd.read_csv(output / "statistics.csv").to_dict("records")
    (row,) = (r for r in statistics if (r["set"], r["measure"]) == ("fpvct-clinical", "dice"))
    assert (row["n"], row["folds"]) == (2, 2)
    assert "| B | Stebani et al. 2023 |" in (output / "table-3.md").read_text("utf-8")
    assert [panel.title for panel in panels] == [
        "fpvct-clinical: DSC 0.80 (mean 0.80)",
        "fpvct-clinical, otosclerosis: DSC 0.80 (mean 0.80)",
    ]
    assert (panels[0].predicted.sum(), panels[0].truth.sum()) == (64, 96)


def test_systems_side_by_side(
    tiny_results: tuple[Path, Prediction], tiny_dataset: Path, tmp_path: Path
) -> None:
    run = tiny_results[0]
    evaluate([run / "fold-0"], [tiny_dataset], tmp_path / "first")
    other = tmp_path / "first" / "ears.csv"
    output = tmp_path / "second"
    code, out, _ = otovox_command(
        "evaluate", run / "fold-1", "--data", tiny_dataset, "-o", output,
        "--name", "multi-task", "--beside", f"single-task={other}",
    )  # fmt: skip
    assert code == 0
    assert "figure-3.png" in out
    rows = pd.read_csv(output / "figure-3.csv").to_dict("records")
    (bar,) = (
        r for r in rows
        if (r["system"], r["set"], r["measure"]) == ("single-task", "B", "dice")
    )  # fmt: skip
    assert (bar["mean"], bar["published"]) == (pytest.approx(0.8), 0.93)
    tests = pd.read_csv(output / "comparison.csv").to_dict("records")
    assert (tests[0]["measure"], tests[0]["n"], tests[0]["p"]) == ("dice", 1, 1)
    assert (tests[0]["first"], tests[0]["second"]) == ("multi-task", "single-task")


def test_training_cases_are_reported_and_can_be_left_out(
    tiny_results: tuple[Path, Prediction], tiny_dataset: Path, tmp_path: Path
) -> None:
    splits = {"one": "train", "two": "test", "three": "test"}
    entries = [replace(e, split=splits[e.case]) for e in read_index(tiny_dataset)]
    write_index(tiny_dataset, entries)
    output = tmp_path / "scores"
    _, out, _ = otovox_command("evaluate", tiny_results[0], "-d", tiny_dataset, "-o", output)
    assert "2 of these ears are in the data set's training split" in out
    _, out, _ = otovox_command(
        "evaluate", tiny_results[0], "-d", tiny_dataset, "-o", output, "--split", "test"
    )
    assert "1 ears scored" in out
    assert "training split" not in out
    assert pd.read_csv(output / "ears.csv")["case"].tolist() == ["two"]
    code, _, err = otovox_command(
        "evaluate", tiny_results[0], "-d", tiny_dataset, "-o", output, "--split", "validation"
    )
    assert code == 2
    assert "no labelled case of the split validation" in err


def test_systems_are_compared_on_common_ears_folds_averaged() -> None:
    def scores(offset: float, cases: range, folds: int) -> pd.DataFrame:
        rows: list[dict[str, Any]] = [
            {"case": f"c{n}", "side": "left", "dice": 0.8 + offset + 0.01 * n + 0.001 * fold}
            for n in cases
            for fold in range(folds)
        ]
        zero = ("hd_mm", "assd_mm", "helicotrema_mm", "oval_window_mm", "round_window_mm")
        return pd.DataFrame(rows).assign(**dict.fromkeys(zero, np.inf))

    found = compare_systems(scores(0, range(7), 2), scores(0.05, range(1, 9), 1))
    row, *others = found.to_dict("records")
    assert (row["measure"], row["n"]) == ("dice", 6)
    assert row["median_difference"] == pytest.approx(0.05 - 0.0005)
    assert row["p"] == pytest.approx(1 / 32)
    assert [other["n"] for other in others] == [0] * 5


def test_what_cannot_be_scored_is_refused(
    tiny_results: tuple[Path, Prediction], tiny_dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    namesake = tmp_path / "other" / tiny_dataset.name
    for arguments, words in (
        ([tmp_path / "empty", "-d", tiny_dataset], "no labelled case has results in empty"),
        ([tmp_path / "gone", "-d", tiny_dataset], "is not a results folder"),
        ([tiny_results[0], "-d", tmp_path], "is not an otovox data set"),
        ([tiny_results[0], "-d", tiny_dataset, "-d", namesake], "with the same folder name"),
        ([tiny_results[0], "-d", tiny_dataset, "--beside", "x"], "needs a name and a file"),
        ([tiny_results[0], "-d", tiny_dataset, "--beside", "x=y.csv"], "cannot be read"),
    ):
        code, _, err = otovox_command("evaluate", *arguments, "-o", tmp_path / "out")
        assert code == 2
        assert words in err
