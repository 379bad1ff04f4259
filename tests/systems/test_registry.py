"""Every system is found by its kind, has a network, learns a batch, and goes through one door."""

import pytest
import torch

from otovox.config.registry import register
from otovox.config.training import config_from, load_preset
from otovox.core.volume import Scan
from otovox.errors import ConfigError
from otovox.inference.single_ear import open_any
from otovox.learning.bundle import load_bundle
from otovox.systems.registry import SYSTEMS, system_of
from otovox.systems.whole_volume import Sweep
from systems.ball import GRID, a_ball, predicted, settings, trained

pytestmark = pytest.mark.filterwarnings("ignore::Warning:lightning", "ignore::UserWarning:torch")


def test_every_system_has_settings_and_a_network():
    for kind, package in SYSTEMS.items():
        config = settings({"kind": kind}, 2)
        assert type(config.system).__module__ == f"{package}.settings"
        assert system_of(config).network(config).state_dict()


@pytest.mark.parametrize(
    ("preset", "count"), [("tiny", 1), ("autocasnet-seunet", 3), ("jsdnet", 2), ("mpunet", 1)]
)
def test_every_task_makes_a_batch_that_it_can_learn_from(preset, count):
    config = load_preset(preset)
    tasks = system_of(config).tasks(config)
    assert len(tasks) == count
    for task in tasks:
        size, channels, *sides = task.shape
        assert size == config.data.batch_size
        image = torch.randn(2, channels, *(2 * config.stride for _ in sides))
        loss = task.losses(task.example(image), 0)["loss"]
        loss.backward()
        assert torch.isfinite(loss)


def test_a_system_that_is_not_registered_is_refused():
    with pytest.raises(ConfigError, match="'toy'; choose one of dual-head, autocasnet"):
        settings({"kind": "toy"}, 2)
    with pytest.raises(ConfigError, match="kind is missing"):
        config_from({"name": "x", "system": {"order": ["axial"]}}, origin="test")


@pytest.mark.slow
def test_a_new_system_is_its_folder_and_one_line(tmp_path, monkeypatch):
    """It is set up, learns, is kept, and analyses a scan like any other."""
    monkeypatch.setattr("otovox.config.registry._PACKAGES", dict(SYSTEMS))
    register("toy", "systems.toy")
    config = settings({"kind": "toy", "gain": 2.0}, 2)
    trained(config, tmp_path / "run", [a_ball()])
    bundle = load_bundle(tmp_path / "run" / "model")
    assert bundle.config == config
    found = predicted(bundle, tmp_path / "work")
    assert found.grid.same_as(GRID)
    look = open_any(device="torch", threads=1, tta="none", model=tmp_path / "run" / "model")
    # The embedded models find no ear in a ball; that is their say, not the system's.
    assert look.predict(Scan(a_ball().image, GRID)).warnings == ("no inner ear found",)


def test_the_dual_head_trains_and_predicts_through_the_same_door(tmp_path):
    config = load_preset("tiny")
    bundle = trained(config, tmp_path / "run", [a_ball()])
    found = predicted(bundle, tmp_path / "work", sweep=Sweep(overlap_voxels=2))
    assert found.landmarks is not None
    assert found.probability is not None
