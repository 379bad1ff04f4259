"""Tables beside the published ones; the published figures themselves, and their arithmetic."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.errors import InputError
from otovox.evaluation.runs import scores_table
from otovox.evaluation.scores import EarScore
from otovox.evaluation.stebani_tables import (
    NOTE,
    OURS,
    SETS,
    THEIRS,
    figure_3_table,
    paper_table,
    published,
    read_scores,
    statistics_table,
    write_paper_table,
)


def score(case: str, dice: float, hd_mm: float, *, found: bool = True) -> EarScore:
    errors = dict.fromkeys(LANDMARK_NAMES, 0.198)
    return EarScore(
        case, Side.RIGHT, found, found, dice, dice / (2 - dice), 1.0, 1.0, 1.0, 1.0, 1.0, 1.0,
        hd_mm, hd_mm, hd_mm / 10, hd_mm / 10, errors, 0.198, 0, 1, 200.0, 200.0, 0.9, 0.01, 1e-3,
    )  # fmt: skip


@pytest.fixture
def table() -> pd.DataFrame:
    """Two folds of two clinical cases, one of them lost once, and a set that nobody published."""
    lost = score("b", 0.0, np.inf, found=False)
    rows = [
        scores_table([score("a", 0.9, 0.99), score("b", 0.8, 1.98)]).assign(fold="fold-0"),
        scores_table([score("a", 0.8, 0.99), lost]).assign(fold="fold-1"),
    ]
    clinical = pd.concat(rows).assign(set="fpvct-clinical")
    other = scores_table([score("c", 0.7, 3.96)]).assign(fold="fold-0", set="another")
    made = pd.concat([other, clinical], ignore_index=True)
    return made.assign(patient=made["case"])


def test_table_3_by_hand(table: pd.DataFrame) -> None:
    found = paper_table(table, 3)
    assert found["set"].tolist() == ["fpvct-clinical", "B", "another"]
    assert found["from"].tolist() == [OURS, THEIRS, OURS]
    ours, theirs, _ = found.to_dict("records")
    assert (ours["ears"], ours["found"]) == (4, 3)
    assert ours["DSC mean"] == pytest.approx(2.5 / 4)
    assert ours["DSC SD"] == pytest.approx(np.std([0.9, 0.8, 0.8, 0], ddof=1))
    assert ours["DSC SD folds"] == pytest.approx(np.std([0.85, 0.4], ddof=1))
    assert ours["DSC MD"] == pytest.approx(0.8)
    # 10, 20 and 10 voxels; the lost ear has none.
    assert ours["HD mean"] == pytest.approx(40 / 3)
    assert ours["⟨HD⟩ MD"] == pytest.approx(1.0)
    assert theirs["DSC mean"] == 0.94
    assert (theirs["HD mean"], theirs["HD SD"], theirs["HD MD"]) == (9.7, 19, 9.1)
    assert np.isnan(theirs["DSC SD folds"])


def test_table_4_by_hand(table: pd.DataFrame) -> None:
    ours, theirs, _ = paper_table(table, 4).to_dict("records")
    assert ours["helicotrema mean"] == pytest.approx(2.0)
    assert (theirs["average mean"], theirs["round window MD"]) == (5.2, 4.1)


def test_statistics_by_hand(table: pd.DataFrame) -> None:
    rows = statistics_table(table).to_dict("records")
    found = {(row["set"], row["measure"]): row for row in rows}
    row = found["fpvct-clinical", "hd_voxels"]
    assert (row["n"], row["folds"], row["min"], row["max"]) == (3, 2, 10, 20)
    assert row["fold_mean"] == pytest.approx(12.5)
    assert row["low"] <= row["mean"] <= row["high"]
    assert len(found) == len(rows)
    assert statistics_table(pd.DataFrame()).empty


def test_figure_3_by_hand(table: pd.DataFrame) -> None:
    """Each fold's means over sets, then over folds; a system without landmarks has no such row."""
    wide = pd.concat([table, *(table.assign(set=name, dice=0.5) for name in "WOG")])
    single = table.assign(landmark_mean_voxels=np.inf, set="A")
    rows = figure_3_table({"multi-task": wide, "single-task": single}).to_dict("records")
    found = {(row["system"], row["set"], row["measure"]): row for row in rows}
    assert set(found) == {
        ("multi-task", "B", "dice"),
        ("multi-task", "test average", "dice"),
        ("multi-task", "B", "landmark_mean_voxels"),
        ("multi-task", "test average", "landmark_mean_voxels"),
        ("single-task", "validation", "dice"),
    }
    clinical, average = (
        found["multi-task", "B", "dice"],
        found["multi-task", "test average", "dice"],
    )
    assert clinical["mean"] == pytest.approx((0.85 + 0.4) / 2)
    assert average["mean"] == pytest.approx(((0.85 + 1.5) / 4 + (0.4 + 1.5) / 4) / 2)
    assert average["sd"] == pytest.approx(np.std([0.5875, 0.475], ddof=1))
    assert (clinical["published"], average["published"]) == (0.93, 0.90)
    assert found["single-task", "validation", "dice"]["published"] == 0.96


def test_an_average_over_few_sets_reports_it(table: pd.DataFrame) -> None:
    rows = figure_3_table({"multi-task": table}).to_dict("records")
    assert [row["set"] for row in rows][:2] == ["B", "test average (B)"]
    assert np.isnan(rows[1]["published"])


def test_written_and_read_back(table: pd.DataFrame, tmp_path: Path) -> None:
    write_paper_table(paper_table(table, 3), tmp_path / "table-3.csv")
    kept = pd.read_csv(tmp_path / "table-3.csv")
    assert kept.to_dict("records")[0]["DSC mean"] == pytest.approx(0.625)
    lines = (tmp_path / "table-3.md").read_text("utf-8").splitlines()
    cells = [cell.strip() for cell in lines[2].split("|")[1:-1]]
    assert cells[:7] == ["fpvct-clinical", OURS, "4", "3", "0.62", "0.42 (0.32)", "0.80"]
    assert lines[3].split("|")[1:8] == [
        " B ",
        f" {THEIRS} ",
        "  ",
        "  ",
        " 0.94 ",
        " 0.01 ",
        " 0.95 ",
    ]
    assert lines[-1] == NOTE
    table.to_csv(tmp_path / "scores.csv", index=False)
    again = paper_table(read_scores(tmp_path / "scores.csv"), 3)
    pd.testing.assert_frame_equal(again, paper_table(table, 3))
    with pytest.raises(InputError, match="is not a table of scores"):
        read_scores(tmp_path / "table-3.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_scores(tmp_path / "gone.csv")


def test_published_figures_hang_together() -> None:
    """Transcription errors would break what is related: Dice and IoU, the average of landmarks."""
    known = published()
    assert not known.duplicated(["where", "system", "set", "measure"]).any()
    gold = known[(known["system"] == "gold") & known["where"].str.startswith("Table")]
    means = gold.pivot(index="set", columns="measure", values="mean").loc[list(SETS)]
    # Printed with two digits, and means of ratios.
    assert (means["iou"] - means["dice"] / (2 - means["dice"])).abs().max() < 0.015
    points = means[["helicotrema_voxels", "oval_window_voxels", "round_window_voxels"]]
    assert (points.mean(axis=1) - means["landmark_mean_voxels"]).abs().max() < 0.1
    assert means["dice"].tolist() == [0.97, 0.94, 0.94, 0.89, 0.91]
    assert means["hd_voxels"].tolist() == [6.4, 9.7, 12, 56, 8.8]
    assert gold.shape[0] == 5 * 9
    cascades = known[known["where"] == "Hussain Table 1"]
    means = cascades.pivot(index="system", columns="measure", values="mean")
    assert means.shape == (6, 8)
    away = np.asarray((means["recall"] + means["specificity"]) / 2 - means["auc"])
    assert np.abs(away).max() < 0.006
    # A mean of ratios lies below the ratio of the means.
    above = np.asarray(means["iou"] - means["dice"] / (2 - means["dice"]))
    assert above.min() >= 0
    assert above.max() < 0.025
    for row in known.to_dict("records"):
        if row["where"].startswith("Table"):
            assert np.isfinite([row["mean"], row["sd"], row["median"]]).all()
