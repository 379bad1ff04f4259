"""Models on disk: what is saved is loaded; damage is seen."""

import json

import numpy as np
import pytest
import torch

from otovox.config.training import load_preset
from otovox.errors import ConfigError, ModelError
from otovox.learning.bundle import embedded, embedded_names, load_bundle, save_bundle
from otovox.systems.dual_head.network import DualHeadUNet
from otovox.systems.registry import trained_network


@pytest.fixture
def folder(tmp_path):
    config = load_preset("tiny")
    torch.manual_seed(0)
    save_bundle(tmp_path, DualHeadUNet(config.network), config, facts={"dsc": 0.5})
    return tmp_path


def test_saved_is_loaded(folder):
    config = load_preset("tiny")
    torch.manual_seed(0)
    network = DualHeadUNet(config.network)
    bundle = load_bundle(folder)
    assert bundle.config == config
    assert bundle.facts == {"dsc": 0.5}
    for name, value in network.state_dict().items():
        assert bundle.weights[name].dtype == np.float32
        np.testing.assert_allclose(bundle.weights[name], value.numpy(), rtol=1e-3, atol=1e-6)
    assert not trained_network(bundle).training


def test_a_network_that_lies_channels_last_is_saved_alike(folder, tmp_path):
    config = load_preset("tiny")
    torch.manual_seed(0)
    network = DualHeadUNet(config.network)
    network.to(memory_format=torch.channels_last_3d)  # pyright: ignore[reportCallIssue]
    save_bundle(tmp_path / "other", network, config, facts={})
    assert load_bundle(tmp_path / "other").sha256 == load_bundle(folder).sha256


def test_a_count_beyond_half_precision_is_saved(tmp_path):
    config = load_preset("tiny")
    network = DualHeadUNet(config.network.model_copy(update={"norm": "batch"}))
    for name, buffer in network.named_buffers():
        if name.endswith("num_batches_tracked"):
            buffer.fill_(75_000)
    save_bundle(tmp_path, network, config, facts={})
    assert all(np.isfinite(values).all() for values in load_bundle(tmp_path).weights.values())


def test_the_card_is_readable(folder):
    card = json.loads((folder / "model.json").read_text())
    assert card["config"]["network"]["channels"] == [4, 8, 8]
    assert card["software"]["torch"].startswith("2.")


def test_damaged_weights_are_refused(folder):
    path = folder / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="damaged"):
        load_bundle(folder)


def test_missing_parts_are_refused(folder):
    (folder / "weights.safetensors").unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load_bundle(folder)
    with pytest.raises(ModelError, match="neither"):
        load_bundle(folder / "absent")


def test_a_card_of_nonsense_is_refused(folder):
    path = folder / "model.json"
    card = json.loads(path.read_text())
    card["config"]["network"]["channels"] = "many"
    path.write_text(json.dumps(card))
    with pytest.raises(ConfigError, match="channels"):
        load_bundle(folder)
    path.write_text("{}")
    with pytest.raises(ModelError, match="format"):
        load_bundle(folder)


def test_weights_of_another_architecture_are_refused(folder):
    path = folder / "model.json"
    card = json.loads(path.read_text())
    card["config"]["network"]["channels"] = [4, 8, 16]
    path.write_text(json.dumps(card))
    with pytest.raises(ModelError, match="architecture"):
        trained_network(load_bundle(folder))


@pytest.mark.parametrize("name", embedded_names())
def test_embedded_models_fit_their_cards(name):
    bundle = embedded(name)
    trained_network(bundle)
