"""Training: a killed run ends where an unbroken one does."""

import platform
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from otovox.config.training import load_preset
from otovox.errors import ConfigError
from otovox.learning.bundle import load_bundle
from otovox.systems.registry import trained_network

pytestmark = pytest.mark.filterwarnings("ignore::Warning:lightning", "ignore::UserWarning:torch")


class Noise(torch.utils.data.Dataset):
    """Random chunks: the same number gives the same chunk."""

    def __init__(self, size: int, shape: tuple[int, int, int], landmarks: int) -> None:
        self.size, self.shape, self.landmarks = size, shape, landmarks

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng(index)
        image = rng.standard_normal((1, *self.shape)).astype(np.float32)
        points = rng.uniform(2, min(self.shape) - 2, (self.landmarks, 3)).astype(np.float32)
        return {
            "image": torch.from_numpy(image),
            "labels": torch.from_numpy((image > 1).astype(np.float32)),
            "points": torch.from_numpy(points),
        }


def short(**changes):
    config = load_preset("tiny")
    optimiser = config.optimiser.model_copy(
        update={
            "total_iterations": 4,
            "warmup_iterations": 1,
            "plateau_iterations": 2,
            "accumulation": 1,
        }
    )
    data = config.data.model_copy(update={"shape": (16, 16, 16), "workers": 0})
    return config.model_copy(
        update={"optimiser": optimiser, "data": data, "validate_every": 2, **changes}
    )


@pytest.fixture
def datasets():
    config = short()
    count = len(config.network.landmarks)
    return Noise(1 << 30, config.data.shape, count), Noise(2, config.data.shape, count)


@pytest.mark.slow
def test_a_resumed_run_equals_an_unbroken_one(tmp_path, datasets):
    from otovox.learning.hardware import Hardware
    from otovox.learning.training import TrainingOptions
    from otovox.systems.dual_head.training import train_on

    config = short()
    run, broken = TrainingOptions(hardware=Hardware("cpu")), tmp_path / "broken"
    whole = train_on(datasets, config, tmp_path / "whole", origin={}, run=run)
    train_on(datasets, config, broken, origin={}, run=replace(run, iterations=2))
    # As written by an earlier version, without the training loss.
    table = pd.read_csv(broken / "validation.csv")
    table.drop(columns="train_loss").to_csv(broken / "validation.csv", index=False)
    resumed = train_on(datasets, config, broken, origin={}, run=run)
    losses = pd.read_csv(tmp_path / "whole" / "validation.csv")["train_loss"].to_numpy()
    assert min(losses) > 0
    earlier = pd.read_csv(broken / "validation.csv", index_col=False)
    assert list(earlier["iteration"]) == [2, 4]
    assert "train_loss" not in earlier
    last = [
        torch.load(tmp_path / name / "last.ckpt", weights_only=False)["current_model_state"]
        for name in ("whole", "broken")
    ]
    for name, values in last[0].items():
        torch.testing.assert_close(values, last[1][name], rtol=0, atol=1e-6)
    assert whole.config == resumed.config
    rows = (tmp_path / "broken" / "validation.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == ["2", "4"]


@pytest.mark.slow
def test_the_bundle_of_a_run_can_be_loaded(tmp_path, datasets):
    from otovox.learning.hardware import Hardware
    from otovox.learning.training import TrainingOptions
    from otovox.systems.dual_head.training import train_on

    run = TrainingOptions(hardware=Hardware("cpu"), iterations=2)
    bundle = train_on(datasets, short(), tmp_path, origin={}, run=run)
    again = load_bundle(tmp_path / "model")
    assert again.sha256 == bundle.sha256
    assert again.facts["iteration"] == 2
    assert trained_network(again)(torch.zeros(1, 1, 16, 16, 16)).heatmaps is not None


@pytest.mark.slow
def test_training_starts_from_weights_and_reports_it(tmp_path, datasets):
    from otovox.learning.hardware import Hardware
    from otovox.learning.training import TrainingOptions
    from otovox.systems.dual_head.training import train_on

    run = TrainingOptions(hardware=Hardware("cpu"), iterations=2)
    first = train_on(datasets, short(), tmp_path / "a", origin={"training_data": "noise"}, run=run)
    still = short(optimiser=short().optimiser.model_copy(update={"peak_rate": 1e-12}))
    second = train_on(datasets, still, tmp_path / "b", origin={}, run=replace(run, start=first))
    for name, values in first.weights.items():
        np.testing.assert_allclose(second.weights[name], values, atol=2e-3)
    assert second.facts["started_from"] == [
        {"sha256": first.sha256, "iteration": 2, "training_data": "noise"}
    ]
    other = still.model_copy(
        update={"network": still.network.model_copy(update={"activation": "relu"})}
    )
    with pytest.raises(ConfigError, match="network of the --from model differs"):
        train_on(datasets, other, tmp_path / "c", origin={}, run=replace(run, start=first))


@pytest.mark.parametrize(("devices", "one"), [("auto", "1"), ("1", "1"), ("2,", "2,")])
def test_one_device_of_those_that_are_there(devices, one):
    from otovox.learning.hardware import Hardware

    assert Hardware("gpu", devices).alone().devices == one


@pytest.mark.parametrize(("devices", "nodes"), [("2", 1), ("0,1", 1), ("-1", 1), ("1", 2)])
def test_several_devices_are_refused_where_one_trains(devices, nodes):
    from otovox.learning.hardware import Hardware

    with pytest.raises(ConfigError, match="one device"):
        Hardware("gpu", devices, nodes).alone()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="others are left alone")
def test_freed_memory_is_asked_for_once():
    pages = """
import resource, numpy as np
from otovox.learning.hardware import keep_freed_memory
count = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
touched = []
for _ in range(2):
    before = count()
    for _ in range(10): np.ones(4_000_000)
    touched.append(count() - before)
    keep_freed_memory()
    np.ones(4_000_000)
print(*touched)
"""
    done = subprocess.run([sys.executable, "-c", pages], capture_output=True, text=True, check=True)
    before, after = (int(word) for word in done.stdout.split())
    assert after < before / 5


@pytest.mark.slow
def test_the_rate_is_reduced_and_training_stops_without_improvement(tmp_path, datasets):
    """L6, with the counts of Keras: validations 2 and 3 bring nothing, the rate is reduced once;
    after validation 4, the third without improvement, training stops, also when it is resumed."""
    from otovox.learning.hardware import Hardware
    from otovox.learning.training import TrainingOptions
    from otovox.systems.dual_head.training import train_on

    still = {"peak_rate": 1e-12, "total_iterations": 20, "schedule": "reduce-on-plateau"}
    still |= {"stop_patience": 3, "average_decay": 0.0}
    config = short()
    config = config.model_copy(update={"optimiser": config.optimiser.model_copy(update=still)})
    run = TrainingOptions(hardware=Hardware("cpu"))
    for _ in range(2):
        bundle = train_on(datasets, config, tmp_path, origin={}, run=run)
        assert pd.read_csv(tmp_path / "validation.csv")["iteration"].tolist() == [2, 4, 6, 8]
        kept = torch.load(tmp_path / "last.ckpt", weights_only=False)
        rate = kept["optimizer_states"][0]["param_groups"][0]["lr"]
        assert rate == pytest.approx(0.9e-12)
        # S18: the last state is kept even if an earlier one is the best.
        best = torch.load(tmp_path / "best.ckpt", weights_only=False)
        assert (best["epoch"], kept["epoch"]) == (0, 3)
        assert bundle.facts["iteration"] == 2
    last = config.model_copy(update={"kept": "last"})
    assert train_on(datasets, last, tmp_path, origin={}, run=run).facts["iteration"] == 8


def test_rows_beyond_the_last_checkpoint_are_replaced(tmp_path):
    from otovox.learning.training import _append_row

    table = tmp_path / "validation.csv"
    for iteration, loss in ((2, 0.5), (4, 0.4), (6, 0.3), (4, 0.2)):
        _append_row(table, iteration, {"val_loss": loss})
    assert table.read_text().split() == ["iteration,val_loss", "2,0.5", "4,0.2"]
    assert [path.name for path in tmp_path.iterdir()] == ["validation.csv"]
