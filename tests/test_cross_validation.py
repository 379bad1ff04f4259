"""The protocol whole, at toy size: folds trained, unseen cases predicted, evaluated (S17-S20)."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from otovox import cross_validation
from otovox.anatomy import CANONICAL_MM, LANDMARK_NAMES, Side
from otovox.bundle import Bundle, load_bundle
from otovox.case import Case
from otovox.cli import app
from otovox.cross_validation import Plan, cross_validate, is_finished, prepared
from otovox.dataset import Entry, add_case, read_index, start_dataset
from otovox.errors import ConfigError
from otovox.geometry import affine_from, mean_pose
from otovox.intensity import Scaling
from otovox.landmarks import Landmarks
from otovox.report import read_result
from otovox.scored_runs import folds_of, score_runs
from otovox.training import Machine
from otovox.volume import Grid, LabelMap, Scan

pytestmark = pytest.mark.filterwarnings("ignore::Warning:lightning", "ignore::UserWarning:torch")

GRID = Grid((20, 18, 16), affine_from(np.eye(3) * 0.6, np.zeros(3)))
MACHINE = Machine("cpu", "1")
SETTINGS = """
name = "toy"
validate_every = 2
heatmaps = [{ iteration = 0, spread_voxels = 2.0, amplitude = 5.0 }]
[network]
channels = [4, 8]
decoders = 1
[optimiser]
total_iterations = 2
warmup_iterations = 0
plateau_iterations = 2
accumulation = 1
average_decay = 0.0
[data]
source = "dataset"
intensity = "set"
spacing_mm = 0.8
shape = [8, 8, 8]
window_voxels = 4
workers = 0
[augment]
protocol = "beta"
"""


def balls(folder: Path, count: int) -> Path:
    start_dataset(folder, name="balls", source="made")
    places = GRID.to_mm(np.moveaxis(np.indices(GRID.shape), 0, -1))
    inside = np.linalg.norm(places - GRID.center_mm, axis=-1) < 2.5
    points = mean_pose(Side.RIGHT).to_lps([CANONICAL_MM[name] for name in LANDMARK_NAMES])
    for number in range(count):
        noise = np.random.default_rng(number).normal(0, 50, GRID.shape)
        scan = Scan((noise + 900 * inside).astype(np.float32), GRID, f"ball-{number}")
        labels = LabelMap(inside.astype(np.uint8) * np.uint8(Side.RIGHT.label), GRID)
        landmarks = {Side.RIGHT: Landmarks(LANDMARK_NAMES, GRID.center_mm + 0.2 * points)}
        entry = Entry(scan.name, f"patient-{number}", scanner="made")
        add_case(folder, Case(scan, labels, landmarks), entry)
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A cross-validation by the command line: data set, settings, output."""
    folder = tmp_path_factory.mktemp("protocol")
    data, other = balls(folder / "data", 4), balls(folder / "others", 1)
    settings = folder / "toy.toml"
    settings.write_text(SETTINGS)
    line = ["cross-validate", data, "--output", folder / "cv", "--config", settings]
    line += ["--folds", "2", "--validation", "1", "--test", other, "--tta", "fast"]
    line += ["--accelerator", "cpu", "--devices", "1", "--device", "torch"]
    found = CliRunner().invoke(app, [str(part) for part in line])
    assert found.exit_code == 0, found.output
    assert "otovox evaluate" in found.output
    return data, settings, folder / "cv"


def test_everything_is_there(done: tuple[Path, Path, Path]) -> None:
    data, _, output = done
    splits = json.loads((output / "splits.json").read_text())
    held_out = [fold["validation"] for fold in splits["folds"]]
    assert len(held_out) == 2
    assert held_out[0] != held_out[1]
    for number, cases in enumerate(held_out):
        results = output / f"fold-{number}" / "results"
        assert [path.name for path in results.iterdir()] == cases
        result = read_result(results / cases[0] / "result.json")
        assert result.provenance.settings["tta"] == "none"
        assert (results / cases[0] / result.files["segmentation"]).is_file()
        card = json.loads((output / f"fold-{number}" / "model" / "model.json").read_text())
        assert card["facts"]["validation_cases"] == cases
        tested = output / "tests" / "others" / f"fold-{number}" / "results" / "ball-0"
        assert read_result(tested / "result.json").provenance.settings["tta"] == "fast"
    assert len((output / "folds.csv").read_text().splitlines()) == 3
    assert (output / "learning-curves.png").stat().st_size > 10_000
    assert not list(data.rglob("*.npy"))


def test_the_results_can_be_scored(done: tuple[Path, Path, Path]) -> None:
    """Each fold's own cases alone: what it trained on is not scored."""
    data, _, output = done
    table, missing = score_runs(folds_of([output]), data)
    assert len(table) == 2
    assert sorted(table["fold"]) == ["fold-0", "fold-1"]
    assert len(missing) == 2


def test_finished_folds_are_not_trained_again(
    done: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from otovox.config import load_config

    data, settings, output = done
    config = load_config(settings)
    assert is_finished(output / "fold-0", config)
    monkeypatch.setattr(cross_validation, "train", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr(
        cross_validation, "predict_volume", lambda *_, **__: pytest.fail("predicted again")
    )
    table = cross_validate(data, output, config, plan=Plan(2, 1), machine=MACHINE)
    assert table["fold"].to_list() == ["fold-0", "fold-1"]
    assert np.isfinite(table["dsc"]).all()
    longer = config.optimiser.model_copy(update={"total_iterations": 4})
    changed = config.model_copy(update={"optimiser": longer})
    assert not is_finished(output / "fold-0", changed)
    with pytest.raises(ConfigError, match="other settings"):
        cross_validate(data, output, changed, plan=Plan(2, 1), machine=MACHINE)
    with pytest.raises(ConfigError, match="other folds"):
        cross_validate(data, output, config, plan=Plan(2, 1, seed=5), machine=MACHINE)


def test_test_sets_are_scaled_by_their_own_and_matched(
    done: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    data, _, output = done
    bundle = load_bundle(output / "fold-0" / "model")
    picture = tmp_path / "contrast.png"
    own = prepared(bundle, data, by="", picture=picture)
    assert not picture.exists()
    matched = prepared(bundle, data, by="scanner", picture=picture)
    assert picture.stat().st_size > 10_000
    bright = np.array([900.0])
    for entry, scaling in own.items():
        assert isinstance(scaling, Scaling)
        assert 900 < scaling.high < 1100
        # The set is much like its own training cases: matching changes little.
        other = matched[entry]
        assert other is not None
        assert other.apply(bright)[0] == pytest.approx(scaling.apply(bright)[0], rel=0.2)
    alone = Bundle(bundle.config, bundle.weights, {"scaling": None}, "")
    assert set(prepared(alone, data, by="", picture=picture).values()) == {None}
    with pytest.raises(ConfigError, match="no range"):
        prepared(alone, data, by="2", picture=picture)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--preset", "base"], "--data"),
        (["--preset", "tiny", "--fold", "0"], "--data"),
        (["--preset", "tiny", "--data", "DATA", "--fold", "0", "--validation", "1"], "phantoms"),
        (["--preset", "base", "--data", "DATA"], "otovox dataset split"),
        (["--preset", "base", "--data", "DATA", "--fold", "3"], "the last is 2"),
        (["--preset", "base", "--data", "DATA", "--fold", "0"], "too few"),
    ],
)
def test_train_refuses_what_does_not_fit(
    done: tuple[Path, Path, Path], tmp_path: Path, options: list[str], word: str
) -> None:
    data, _, _ = done
    line = ["train", "-o", str(tmp_path), *(str(data) if o == "DATA" else o for o in options)]
    found = CliRunner().invoke(app, line)
    assert found.exit_code == 2
    assert word in found.output


def test_one_fold_by_itself(done: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, settings, output = done
    line = ["train", "--output", tmp_path / "run", "--config", settings, "--data", data]
    line += ["--fold", "1", "--folds", "2", "--validation", "1", "--accelerator", "cpu"]
    found = CliRunner().invoke(app, [str(part) for part in [*line, "--devices", "1"]])
    assert found.exit_code == 0, found.output
    cards = [
        json.loads((run / "model" / "model.json").read_text())["facts"]
        for run in (tmp_path / "run", output / "fold-1")
    ]
    assert cards[0]["validation_cases"] == cards[1]["validation_cases"]
    assert cards[0]["scaling"] == cards[1]["scaling"]
    assert len(read_index(data)) == 4


def test_the_protocol_learns(done: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """Chunks, scaling, augmentation and whole-volume figures fit together: balls are learnt."""
    from otovox.config import load_config
    from otovox.dataset import Fold
    from otovox.training import train
    from otovox.training_data import disk_datasets

    data, settings, output = done
    config = load_config(settings)
    optimiser = config.optimiser.model_copy(
        update={"total_iterations": 120, "plateau_iterations": 80, "peak_rate": 1e-2}
    )
    chunk = config.data.model_copy(update={"shape": (12, 12, 12), "near_share": 1.0})
    config = config.model_copy(update={"optimiser": optimiser, "data": chunk, "validate_every": 60})
    fold = Fold(("ball-0", "ball-1"), ("ball-2",))
    datasets = disk_datasets(config, data, fold, output / "volumes")
    bundle = train(config, tmp_path, datasets, machine=MACHINE)
    assert bundle.facts["validation"]["dsc"] > 0.8
