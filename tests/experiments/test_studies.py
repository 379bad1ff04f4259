"""Studies: what their files say, that runs go on, fail alone and are compared rightly."""

import json
import shutil
from collections import Counter
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from examples import SMOKE, a_case
from otovox.cli.app import app
from otovox.config.training import SCHEDULES, TrainConfig, load_preset, preset_names
from otovox.dataset.layout import Entry, add_case, start_dataset
from otovox.errors import ConfigError, InputError
from otovox.evaluation.statistics import holm
from otovox.experiments.studies.estimate import cost
from otovox.experiments.studies.plans import (
    load_scale,
    load_study,
    merged,
    run_settings,
    settled,
    study_names,
)
from otovox.experiments.studies.report import TESTS, VALIDATION, runs_table, write_report

pytestmark = pytest.mark.filterwarnings("ignore::Warning:lightning", "ignore::UserWarning:torch")

ABLATIONS, SYSTEMS = load_study("ablations"), load_study("systems")
ORDERS = load_study("view-orders")
#: A study of two runs that fit SMOKE, one that is refused, and one that is none at that scale.
TINY = """
name = "tiny"
description = "Four runs"
reference = "base"

[[runs]]
number = 0
factor = "base"
level = "base"
status = "stated"

[[runs]]
number = 1
factor = "norm"
level = "batch"
status = "stated"
settings.network.norm = "batch"

[[runs]]
number = 2
factor = "activation"
level = "ReLU"
status = "ours"
settings.network.activation = "relu"

[[runs]]
number = 3
factor = "channels"
level = "short"
status = "ours"
settings.network.channels = [32, 64, 128]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "set"
    start_dataset(path, name="test", source="made here")
    for number in range(3):
        add_case(path, a_case(f"c{number}", number), Entry("", patient=f"p{number}"))
    return path


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.toml"
    path.write_text(SMOKE)
    return path


def run(*arguments) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["study", *(str(one) for one in arguments)])
    return done.exit_code, done.output


def differences(config: TrainConfig, base: TrainConfig) -> dict[str, object]:
    """Dotted keys in which settings differ, name and description aside."""

    def leaves(tree: dict, above: str = "") -> dict[str, object]:
        found: dict[str, object] = {}
        for key, value in tree.items():
            nested = leaves(value, f"{above}{key}.") if isinstance(value, dict) else None
            found |= {f"{above}{key}": value} if nested is None else nested
        return found

    own, other = leaves(config.model_dump()), leaves(base.model_dump())
    return {
        key: own.get(key)
        for key in own.keys() | other.keys()
        if own.get(key) != other.get(key) and key not in ("name", "description")
    }


def test_there_are_43_ablations_23_of_them_stated():
    runs = ABLATIONS.runs[1:44]
    assert Counter(run.status for run in runs) == {"stated": 23, "ours": 20}
    assert Counter(run.factor for run in runs) == {
        "norm": 1, "segmentation loss": 4, "deep supervision": 1, "channels": 6,
        "augmentation": 2, "activation": 5, "attention": 3, "SGD": 3, "weight decay": 5,
        "betas": 5, "heatmap schedule": 4, "accumulation": 4,
    }  # fmt: skip
    assert len({run.name for run in ABLATIONS.runs}) == 45
    assert ABLATIONS.runs[0].name == "00-base"
    # At one chunk a batch norm is an instance norm in training: both norms are run with two.
    batch, control = ABLATIONS.runs[1], ABLATIONS.runs[44]
    assert batch.settings == {"network": {"norm": "batch"}, "data": {"batch_size": 2}}
    assert (control.settings, control.status) == ({"data": {"batch_size": 2}}, "ours")


@pytest.mark.parametrize("study", [ABLATIONS, SYSTEMS, ORDERS], ids=lambda study: study.name)
def test_every_run_changes_exactly_what_it_states(study):
    configs = [run_settings(study, run) for run in study.runs]
    for run, config in zip(study.runs, configs, strict=True):
        found = differences(config, load_preset(run.preset or study.reference))
        wanted: dict[str, object] = {
            f"{table}.{key}": tuple(value) if isinstance(value, list) else value
            for table, keys in run.settings.items()
            if isinstance(keys, dict)
            for key, value in keys.items()
        }
        if "heatmaps" in run.settings:
            steps = SCHEDULES[run.settings["heatmaps"]]
            wanted = {"heatmaps": tuple(step.model_dump() for step in steps)}
        if run.level == "20":  # does not divide 750
            wanted["validate_every"] = 600
        # SGD's momentum is the default of a setting that AdamW does not use.
        wanted.pop("optimiser.momentum", None)
        assert found == wanted, run.name
    plain = [
        json.dumps(differences(one, configs[0]), default=str, sort_keys=True) for one in configs
    ]
    assert len(set(plain)) == len(configs)


def test_all_six_orders_of_the_views_are_runs():
    """H10: with the three single views as baselines."""
    orders = {getattr(run_settings(ORDERS, run).system, "order") for run in ORDERS.runs}  # noqa: B009
    views = ("coronal", "sagittal", "axial")
    assert orders == {*permutations(views), *((view,) for view in views)}


def test_every_preset_of_a_published_system_is_compared():
    ours = {"gold", "labyrinth", "labyrinth-finetune", "locator", "tiny"}
    used = {run.preset or SYSTEMS.reference for run in SYSTEMS.runs}
    assert used == set(preset_names()) - ours


def test_at_another_scale_the_changes_are_in_proportion(tmp_path, base):
    scale = tmp_path / "scale.toml"
    scale.write_text(
        "[all.optimiser]\nwarmup_iterations = 0\nplateau_iterations = 600\ntotal_iterations = 900\n"
        "accumulation = 2\n[all]\nvalidate_every = 50\n[dual-head.network]\n"
        "channels = [8, 12, 16, 24]\n[autocasnet.system]\nfilters = [4, 8]\n"
        "[jsdnet.system]\nchannels = [4, 8]\n"
    )
    laid = load_scale(scale)
    found = {
        r.number: run_settings(ABLATIONS, r, scale=laid) for r in ABLATIONS.runs if r.number != 41
    }
    channels = {number: found[number].network.channels for number in range(7, 13)}
    assert channels == {
        7: (8, 12), 8: (8, 12, 16), 9: (8, 12, 16, 24, 24), 10: (4, 6, 8, 12), 11: (6, 9, 12, 18),
        12: (12, 18, 24, 36),
    }  # fmt: skip
    assert [found[n].optimiser.accumulation for n in (40, 42, 43)] == [1, 3, 4]
    assert [found[n].validate_every for n in (0, 42, 43)] == [50, 45, 60]
    assert [step.iteration for step in found[36].heatmaps] == [0, 60, 120, 240, 360]
    # Half of 2 is 1; a further run would duplicate an existing one, and is reported.
    cascade = run_settings(SYSTEMS, SYSTEMS.runs[6], scale=laid)
    assert (cascade.system.model_dump()["filters"], cascade.network.channels[0]) == ((4, 8), 32)
    scale.write_text("[gold]\nseed = 1\n")
    with pytest.raises(ConfigError, match="gold: is not a section"):
        load_scale(scale)
    refused = dict((run.number, one) for run, one in settled(ABLATIONS, ABLATIONS.runs, base=base))
    assert "is identical to its base" in str(refused[40])
    assert "at least 2 items" in str(refused[7])
    assert isinstance(refused[0], TrainConfig)


def test_tables_are_merged_and_all_else_is_replaced():
    under = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    assert merged(under, {"a": {"c": [4]}, "e": 5}) == {"a": {"b": 1, "c": [4]}, "d": 3, "e": 5}


def test_studies_that_are_none_are_refused(tmp_path):
    assert study_names() == ("ablations", "systems", "view-orders")
    with pytest.raises(ConfigError, match="choose one of ablations, systems"):
        load_study("abl")
    (tmp_path / "s.toml").write_text(TINY.replace("number = 3", "number = 7"))
    with pytest.raises(ConfigError, match="numbered"):
        load_study(tmp_path / "s.toml")
    with pytest.raises(ConfigError, match="no factor 'colour'"):
        ABLATIONS.chosen(["colour"])
    assert [run.number for run in ABLATIONS.chosen(["attention"])] == [0, 20, 21, 22]


@pytest.mark.slow
def test_a_cost_grows_with_what_is_done(base):
    from otovox.config.training import load_config

    config = load_config(base)
    small = cost(config, "cpu")
    twice = config.optimiser.model_copy(update={"total_iterations": 4})
    network = config.network.model_copy(update={"channels": (16, 32)})
    assert small is not None
    assert small.step_s > 0
    wide = cost(config.model_copy(update={"optimiser": twice, "network": network}), "cpu")
    assert wide is not None
    assert wide.memory_gib > 2 * small.memory_gib
    assert wide.hours == pytest.approx(wide.step_s * 4 / 3600)


def test_list_reports_every_run():
    code, text = run("list", "ablations")
    assert code == 0
    assert len(text.splitlines()) == 45
    assert "network.norm = batch" in text


@pytest.mark.slow
def test_a_study_runs_goes_on_and_is_reported(folder, base, tmp_path):
    (tmp_path / "tiny.toml").write_text(TINY)
    out, other = tmp_path / "out", shutil.copytree(folder, tmp_path / "other")
    command = ("run", tmp_path / "tiny.toml", "--data", folder, "-o", out, "--base", base,
               "--test", other, "--folds", 1, "--validation", 1, "--tta", "none", "--device",
               "torch", "--no-estimate")  # fmt: skip
    # Of run 2 something else is there.
    (out / "runs" / "02-activation-relu" / "fold-0").mkdir(parents=True)
    (out / "runs" / "02-activation-relu" / "fold-0" / "config.json").write_text(
        '{"name": "another"}'
    )
    code, text = run(*command, "--workers", 1)
    assert code == 2, text
    assert "started with different settings" in text
    assert "2 of 4 folds done, 2 failed" in text
    assert "03-channels-short, fold 0: tiny, run 3" in text
    names = ("00-base", "01-norm-batch")
    checkpoints = [out / "runs" / name / "fold-0" / "last.ckpt" for name in names]
    before = [path.stat().st_mtime_ns for path in checkpoints]
    volumes = [(out / "runs" / name / "volumes").resolve() for name in names]
    assert volumes[0] == volumes[1] != out / "runs" / "00-base" / "volumes"
    # One run was killed after training, before its model was written and used.
    (out / "runs" / names[1] / "fold-0" / "finished").unlink()
    shutil.rmtree(out / "runs" / names[1] / "tests")
    code, text = run(*command, "--workers", 2)
    assert code == 2, text
    assert "2 of 4 folds done, 2 failed" in text
    assert checkpoints[0].stat().st_mtime_ns == before[0]
    logs = [(out / "logs" / f"{name}-fold-0.txt").read_text() for name in names]
    assert ["Restored all states" in log for log in logs] == [False, True]
    done = out / "runs" / names[1] / "tests" / "other" / "fold-0" / "results"
    assert sorted(path.name for path in done.iterdir()) == ["c0", "c1", "c2"]
    assert logs[1].count("c0: predicted") == 2
    code, text = run("report", out, "--data", folder, "--test", other)
    assert code == 0, text
    assert "2 runs scored" in text
    table = pd.read_csv(out / "report" / "runs.csv")
    assert set(table["run"]) == set(names)
    dice = table[(table["measure"] == "dice") & (table["set"] == TESTS)]
    assert dice["ears"].tolist() == [3, 3]
    assert dice["pairs"].tolist()[1] == 3
    scored = pd.read_csv(out / "scores" / names[1] / "other-fold-0.csv")
    assert dice["mean"].tolist()[1] == pytest.approx(scored["dice"].mean())
    assert (out / "report" / "norm.png").stat().st_size > 1000
    page = (out / "report" / "report.md").read_text()
    assert "| norm | batch | stated |" in page
    assert "Without results: 02-activation-relu, 03-channels-short" in page
    kept = (out / "scores" / names[1] / "other-fold-0.csv").stat().st_mtime_ns
    write_report(out, folder, [other])
    assert (out / "scores" / names[1] / "other-fold-0.csv").stat().st_mtime_ns == kept
    write_report(out, folder, [other], fresh=True)
    assert (out / "scores" / names[1] / "other-fold-0.csv").stat().st_mtime_ns > kept
    code, text = run("run", "systems", *command[2:])
    assert code == 2
    assert "belongs to a different study" in text


def test_a_bug_of_ours_stops_no_other_run(folder, base, tmp_path, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("out of luck")

    monkeypatch.setattr("otovox.experiments.studies.fold.train_fold", broken)
    (tmp_path / "tiny.toml").write_text(TINY)
    code, text = run("run", tmp_path / "tiny.toml", "--data", folder, "-o", tmp_path / "out",
                     "--base", base, "--only", "norm", "--folds", 1, "--validation", 1,
                     "--workers", 1)  # fmt: skip
    assert code == 1, text
    assert "0 of 2 folds done, 2 failed" in text
    assert "RuntimeError: out of luck" in text
    assert "Estimate, from a training step" in text
    log = (tmp_path / "out" / "logs" / "01-norm-batch-fold-0.txt").read_text()
    assert "Traceback" in log


def test_a_folder_without_a_study_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="not the folder of a study"):
        write_report(tmp_path, folder)


def test_runs_are_compared_ear_by_ear_and_corrected_over_runs():
    rng, n = np.random.default_rng(0), np.arange(30)
    names = ["cbct-resin", "fpvct-clinical", "fpvct-clinical, otosclerosis"]
    base = pd.DataFrame(
        {
            "set": [names[n % 3] for n in range(30)],
            "data": "d",
            "case": [f"c{n // 2}" for n in range(30)],
            "side": "left",
            "fold": [f"fold-{n % 2}" for n in range(30)],
            "diagnosis": ["", "", "otosclerosis"] * 10,
            "test": True,
            "dice": rng.uniform(0.8, 0.9, 30),
            "landmark_mean_voxels": np.nan,
        }
    )
    scores = {0: base}
    for number, gain in ((1, 0.05), (2, 0.0)):
        scores[number] = base.assign(dice=base["dice"] + gain + rng.normal(0, 0.01, 30))
    table = runs_table(ABLATIONS, scores)
    assert set(table["set"]) == {"B", TESTS}
    assert VALIDATION not in set(table["set"])
    assert set(table["measure"]) == {"dice"}
    rows = table.loc[table["set"] == TESTS]
    assert rows["ears"].tolist() == [20] * 3
    sets = [
        [base["dice"][(n % 2 == fold) & (n % 3 == one)].mean() for one in (0, 1)] for fold in (0, 1)
    ]
    means = np.mean(sets, axis=1)
    assert rows["mean"].iloc[0] == pytest.approx(means.mean())
    assert rows["sd"].iloc[0] == pytest.approx(means.std(ddof=1))
    assert rows["difference"].iloc[1] == pytest.approx(0.05, abs=0.01)
    assert rows["p_holm"].iloc[1:].tolist() == pytest.approx(holm(rows["p"].iloc[1:]).tolist())
    assert rows["p_holm"].iloc[1] < 0.01 < rows["p_holm"].iloc[2]


def test_the_small_ablations_are_some_of_the_whole_ones():
    folder = Path(__file__).parents[2] / "benchmarks" / "comparison"
    small, whole = load_study(folder / "ablations.toml"), load_study("ablations")
    for run in small.runs:
        same = [
            other for other in whole.runs if (other.factor, other.level) == (run.factor, run.level)
        ]
        assert [(one.status, one.settings) for one in same] == [(run.status, run.settings)]
        run_settings(small, run, base=folder / "base.toml")
    scale = load_scale(folder / "scale.toml")
    for run in load_study("systems").runs:
        run_settings(load_study("systems"), run, scale=scale)
