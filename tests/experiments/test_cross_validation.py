"""Folds of a data set on disk: drawn by patient, kept, trained once."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from examples import SMOKE, a_case
from otovox.cli.app import app
from otovox.dataset.layout import Entry, add_case, read_index, start_dataset
from otovox.errors import ConfigError, InputError
from otovox.experiments.cross_validation import FoldPlan, draw_folds, keep_folds
from otovox.learning.bundle import load_bundle

pytestmark = pytest.mark.filterwarnings("ignore::Warning:lightning", "ignore::UserWarning:torch")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "set"
    start_dataset(path, name="test", source="made here")
    for number in range(4):
        add_case(path, a_case(f"c{number}", number), Entry("", patient=f"p{min(number, 2)}"))
    return path


def run(*arguments) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(one) for one in arguments])
    return done.exit_code, done.output


@given(st.integers(0, 1000), st.integers(2, 4), st.integers(1, 5))
@settings(max_examples=30)
def test_no_patient_is_on_both_sides_and_none_validates_twice(seed, folds, validation):
    entries = [Entry(f"c{n}", f"p{n // 2}", split="test" if n < 4 else "") for n in range(46)]
    drawn = draw_folds(entries, FoldPlan(folds=folds, validation=validation, seed=seed))
    patient = {entry.case: entry.patient for entry in entries}
    held: list[str] = []
    for fold in drawn:
        sides = [{patient[case] for case in fold[part]} for part in ("train", "validation")]
        assert not sides[0] & sides[1]
        assert (len(sides[0]), len(sides[1])) == (21 - validation, validation)
        held += sides[1]
    assert len(held) == len(set(held))
    assert drawn == draw_folds(entries, FoldPlan(folds=folds, validation=validation, seed=seed))


def test_the_papers_folds_are_38_and_5():
    drawn = draw_folds([Entry(f"c{n}", f"p{n}") for n in range(43)])
    assert [(len(fold["train"]), len(fold["validation"])) for fold in drawn] == [(38, 5)] * 3


@pytest.mark.parametrize(("patients", "folds"), [(17, 4), (6, 3), (7, 7)])
def test_few_patients_are_divided_evenly_and_each_validates_once(patients, folds):
    """H9: the 17 specimens of Hussain et al. 2021 give four folds of 4 or 5."""
    drawn = draw_folds([Entry(f"c{n}", f"p{n}") for n in range(patients)], FoldPlan(folds=folds))
    sizes = [len(fold["validation"]) for fold in drawn]
    assert len(sizes) == folds
    assert max(sizes) - min(sizes) <= 1
    held = [case for fold in drawn for case in fold["validation"]]
    assert sorted(held) == sorted(f"c{n}" for n in range(patients))
    for fold in drawn:
        assert not set(fold["train"]) & set(fold["validation"])
        assert len(fold["train"]) + len(fold["validation"]) == patients


def test_too_few_patients_are_refused():
    with pytest.raises(InputError, match="3 patients cannot be divided into 4 folds"):
        draw_folds([Entry(f"c{n}", f"p{n}") for n in range(3)], FoldPlan(folds=4))
    with pytest.raises(InputError, match="3 patients cannot be divided into 1 folds"):
        draw_folds([Entry(f"c{n}", f"p{n}") for n in range(3)], FoldPlan(folds=1))
    with pytest.raises(InputError, match="4 patients"):
        draw_folds([Entry(f"c{n}", f"p{n}") for n in range(4)], FoldPlan(folds=3, validation=2))


def test_other_folds_are_never_written_over(folder, tmp_path):
    entries = read_index(folder)
    first = draw_folds(entries, FoldPlan(folds=2, validation=1, seed=0))
    keep_folds(folder, tmp_path / "out", first)
    keep_folds(folder, tmp_path / "out", first)
    with pytest.raises(ConfigError, match="different folds"):
        keep_folds(folder, tmp_path / "out", first[:1])


def test_sets_of_the_same_name_are_refused_before_training(folder, tmp_path):
    """Their results would lie in the same folder."""
    namesake = shutil.copytree(folder, tmp_path / "sets" / folder.name)
    code, text = run("cross-validate", folder, "-o", tmp_path / "out", "--preset", "tiny",
                     "--test", folder, "--plain", namesake)  # fmt: skip
    assert code == 2
    assert "two data sets with the same folder name" in text
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_all_folds_are_trained_and_predicted_once_and_can_be_scored(folder, tmp_path):
    (tmp_path / "settings.toml").write_text(SMOKE)
    out, other = tmp_path / "out", shutil.copytree(folder, tmp_path / "other")
    like = shutil.copytree(folder, tmp_path / "like")
    command = ("cross-validate", folder, "-o", out, "--config", tmp_path / "settings.toml",
               "--folds", 2, "--validation", 1, "--accelerator", "cpu", "--device", "torch",
               "--test", other, "--plain", like, "--match", 1, "--tta", "none",
               "--argmax")  # fmt: skip
    code, text = run(*command)
    assert code == 0, text
    splits = json.loads((out / "splits.json").read_text())
    for fold in (0, 1):
        bundle = load_bundle(out / f"fold-{fold}" / "model")
        assert bundle.facts["fold"] == splits["folds"][fold]
        assert set(bundle.facts["intensity"]) == {"low", "high", "mean", "sd"}
        rows = (out / f"fold-{fold}" / "validation.csv").read_text().splitlines()
        names = {
            "iteration",
            "val_loss",
            "dsc",
            "iou",
            "mse",
            "mae",
            "landmark_mm",
            "choice",
            "train_loss",
        }
        assert set(rows[0].split(",")) == names
        assert len(rows) == 3
        held = splits["folds"][fold]["validation"]
        assert sorted(p.name for p in (out / f"fold-{fold}" / "results").iterdir()) == held
        results = out / "tests" / "other" / f"fold-{fold}" / "results"
        assert sorted(p.name for p in results.iterdir()) == ["c0", "c1", "c2", "c3"]
        settings = json.loads((results / "c0" / "result.json").read_text())["provenance"][
            "settings"
        ]
        assert settings["tta"] == "none"
        assert settings["volume_mean_sd"] == 0
        assert (out / "tests" / f"contrast-fold-{fold}.png").stat().st_size > 1000
        assert (out / "tests" / "like" / f"fold-{fold}" / "results" / "c3").is_dir()
    assert (out / "learning-curves.png").stat().st_size > 1000
    before = (out / "fold-0" / "last.ckpt").stat().st_mtime_ns
    (out / "fold-1" / "finished").unlink()
    predicted = (out / "fold-0" / "results").stat().st_mtime_ns
    code, text = run(*command)
    assert code == 0, text
    assert (out / "fold-0" / "results").stat().st_mtime_ns == predicted
    assert (out / "fold-0" / "last.ckpt").stat().st_mtime_ns == before
    assert (out / "fold-1" / "finished").is_file()
    code, text = run(
        "evaluate", out, "--data", folder, "--data", other, "--data", like, "-o", tmp_path / "s"
    )
    assert code == 0, text
    assert (tmp_path / "s" / "learning-curves.png").is_file()
    validated = sum(len(fold["validation"]) for fold in splits["folds"])
    assert f"{validated + 16} ears scored" in text
    (tmp_path / "settings.toml").write_text(SMOKE.replace("= 0.0", "= 0.5"))
    code, text = run(*command)
    assert code == 2
    assert "different settings" in text


@pytest.mark.slow
def test_a_fold_stops_after_the_given_iterations_and_continues(folder, tmp_path):
    (tmp_path / "settings.toml").write_text(SMOKE)
    command = ("train", "--data", folder, "-o", tmp_path / "out", "--config",
               tmp_path / "settings.toml", "--folds", 2, "--validation", 1,
               "--accelerator", "cpu")  # fmt: skip
    place = tmp_path / "out" / "fold-0"

    def validated() -> list[str]:
        rows = (place / "validation.csv").read_text().splitlines()[1:]
        return [row.partition(",")[0] for row in rows]

    for _ in range(2):
        code, text = run(*command, "--iterations", 1)
        assert code == 0, text
        assert "fold 0, iteration 1:" in text
        assert validated() == ["1"]
        assert not (place / "finished").exists()
    code, text = run(*command)
    assert code == 0, text
    assert validated() == ["1", "2"]
    assert (place / "finished").is_file()


def test_iterations_that_are_no_whole_interval_are_refused(folder, tmp_path):
    (tmp_path / "settings.toml").write_text(SMOKE.replace("every = 1", "every = 2"))
    code, text = run("train", "--data", folder, "-o", tmp_path / "out", "--config",
                     tmp_path / "settings.toml", "--iterations", 1)  # fmt: skip
    assert code == 2
    assert "1 iterations are not a multiple of 2" in text
    assert not (tmp_path / "out").exists()


def test_one_fold_alone_and_folds_that_are_none(folder, tmp_path):
    code, text = run("train", "--data", folder, "-o", tmp_path / "out", "--preset", "tiny",
                     "--fold", 3, "--folds", 3)  # fmt: skip
    assert code == 2
    assert "there is no fold 3" in text
