"""Likert scores of readers, against scores known by hand (L10)."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from otovox.cli import app as cli
from otovox.core.case import Prediction
from otovox.errors import InputError
from otovox.evaluation.lim_tables import likert_table
from otovox.evaluation.readers import agreement_table, few_ears, readers_of, with_readers

DICE = np.array([0.95, 0.9, 0.91, 0.8, 0.85, 0.6])


@pytest.fixture
def table() -> pd.DataFrame:
    cases = [f"c{number}" for number in range(6)]
    likert = [1.0, 1, 2, 3, 2, 4]
    return pd.DataFrame({"case": cases, "side": "left", "dice": DICE, "likert": likert})


def written(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def two_readers(path: Path) -> Path:
    a = [f"c{n},left,{score},A" for n, score in enumerate([1, 1, 2, 3, 2, 4])]
    b = [f"c{n},left,{score},B" for n, score in enumerate([4, 3, 3, 2, 2, 1])]
    return written(path, "\n".join(["case,side,likert,reader", *a, *b]))


def test_readers_are_correlated_with_dsc_computed_score_and_each_other(
    table: pd.DataFrame, tmp_path: Path
) -> None:
    scored = with_readers(table, two_readers(tmp_path / "r.csv"))
    assert readers_of(scored) == ["A", "B"]
    rows = {
        (row["reader"], row["compared with"]): row
        for row in agreement_table(scored).to_dict("records")
    }
    wanted = stats.spearmanr(DICE, [1, 1, 2, 3, 2, 4])
    a = rows["A", "DSC"]
    assert (a["ears"], a["spearman"]) == (6, pytest.approx(wanted[0]))
    assert a["p"] == pytest.approx(wanted[1])
    assert a["low"] < a["spearman"] < a["high"]
    assert np.isnan(a["equal"])
    assert rows["A", "computed score"]["spearman"] == pytest.approx(1)
    assert rows["A", "computed score"]["equal"] == 1
    assert rows["B", "DSC"]["spearman"] > 0
    assert rows["A", "reader B"]["equal"] == pytest.approx(1 / 6)
    notes = few_ears(agreement_table(scored))
    assert notes[0].startswith("the correlation of reader A with DSC rests on 6 ears; at least 40")
    levels = likert_table(scored).set_index("from")
    assert levels.at["otovox, reader B", "DSC 4"] == pytest.approx(0.95)


def test_forty_ears_are_enough() -> None:
    dice = np.linspace(0.5, 0.9, 40)
    ears = pd.DataFrame({"dice": dice, "likert": 1.0, "likert, reader A": [1.0, 2.0] * 20})
    rows = agreement_table(ears)
    assert few_ears(rows) == []
    assert bool(np.isnan(rows["spearman"].to_numpy()[1])), "a constant has no correlation"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("case,side\nc0,left", "has no column likert"),
        ("case,side,likert\nc0,left,5", "'5', not 1 to 4"),
        ("case,side,likert\nc0,left,", "'', not 1 to 4"),
        ("case,side,likert\nc0,up,1", "the side of c0 is 'up'"),
        ("case,side,likert\nc0,right,1", "c0, right is not among"),
        ("case,side,likert\nc0,left,1\nc0,left,2", "1 scores c0 twice"),
        ("", "cannot be read as CSV"),
    ],
)
def test_bad_scores_are_refused(
    text: str, reason: str, table: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=reason):
        with_readers(table, written(tmp_path / "r.csv", text))


def test_folds_must_be_named_if_an_ear_has_several(table: pd.DataFrame, tmp_path: Path) -> None:
    folds = pd.concat([table.assign(fold=fold) for fold in ("fold-0", "fold-1")])
    plain = written(tmp_path / "a.csv", "case,side,likert\nc0,left,1")
    with pytest.raises(InputError, match="add a column fold"):
        with_readers(folds, plain)
    named = written(tmp_path / "b.csv", "case,side,likert,fold\nc0,left,3,fold-1")
    scored = with_readers(folds.reset_index(drop=True), named)
    assert scored["likert, reader 1"].tolist()[6] == 3
    assert np.isfinite(scored["likert, reader 1"].to_numpy()).sum() == 1


def test_the_command_writes_the_agreement(
    tiny_results: tuple[Path, Prediction],
    tiny_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("otovox.evaluation.report.error_picture", lambda *_: None)
    scores = written(tmp_path / "r.csv", "case,side,likert\none,right,2\ntwo,right,1")
    arguments = [
        "evaluate", tiny_results[0] / "fold-0", "-d", tiny_dataset, "-o", tmp_path / "s",
        "--readers", scores,
    ]  # fmt: skip
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert "note: the correlation of reader 1 with DSC rests on 2 ears" in result.stdout
    assert pd.read_csv(tmp_path / "s" / "readers.csv")["ears"].tolist()[0] == 2
    assert "otovox, reader 1" in (tmp_path / "s" / "likert.md").read_text("utf-8")
