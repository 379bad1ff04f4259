"""Engines: OpenVINO and torch say the same."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from otovox.config.training import load_preset
from otovox.errors import ConfigError
from otovox.learning.bundle import Bundle, embedded, load_bundle, save_bundle
from otovox.learning.engine import Engine, open_engine
from otovox.systems.dual_head.network import DualHeadUNet
from otovox.systems.registry import trained_network

#: Largest difference allowed between the engines in f32.
TOLERANCE = 1e-3


def tiny(folder, shape: tuple[int, int, int], heads: str = "both") -> Bundle:
    config = load_preset("tiny")
    data = config.data.model_copy(update={"shape": shape})
    network = config.network.model_copy(update={"heads": heads})
    config = config.model_copy(update={"data": data, "network": network})
    torch.manual_seed(1)
    save_bundle(folder, DualHeadUNet(config.network), config, facts={})
    return load_bundle(folder)


def opened(bundle: Bundle, **how: Any) -> Engine:
    return open_engine(bundle, trained_network, **how)


@pytest.mark.parametrize("shape", [(16, 16, 16), (16, 24, 32)])
def test_openvino_equals_torch(tmp_path, shape):
    bundle = tiny(tmp_path, shape)
    images = np.random.default_rng(0).normal(size=(2, 1, *shape)).astype(np.float32)
    expected = opened(bundle, device="torch").run(images)
    found = opened(bundle, device="cpu", threads=1, precision="f32").run(images)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=TOLERANCE)
    assert found[0].shape == (2, 1, *shape)
    assert found[1].shape == (2, 3, *shape)
    assert found[0].min() >= 0
    assert found[0].max() <= 1


@pytest.mark.parametrize(("heads", "channels"), [("segmentation", (1, 0)), ("landmarks", (0, 3))])
@pytest.mark.parametrize("device", ["cpu", "torch"])
def test_a_network_of_one_head_answers_with_no_channels_for_the_other(
    tmp_path, heads, channels, device
):
    bundle = tiny(tmp_path, (16, 16, 16), heads)
    image = np.random.default_rng(0).normal(size=(2, 1, 16, 16, 16)).astype(np.float32)
    found = opened(bundle, device=device, threads=1).run(image)
    assert [part.shape for part in found] == [(2, n, 16, 16, 16) for n in channels]
    there = found[channels.index(max(channels))]
    with torch.inference_mode():
        logits, heatmaps, _ = trained_network(bundle)(torch.from_numpy(image))
    expected = heatmaps if logits is None else torch.sigmoid(logits)
    np.testing.assert_allclose(there, expected.numpy(), rtol=0, atol=TOLERANCE)


def test_unknown_device_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="openvino, please"):
        opened(tiny(tmp_path, (16, 16, 16)), device="openvino, please")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_absent_accelerator_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="CUDA"):
        opened(tiny(tmp_path, (16, 16, 16)), device="cuda")


def test_embedded_models_say_the_same_in_both_engines():
    for name in ("locator", "labyrinth"):
        bundle = embedded(name)
        image = np.random.default_rng(0).normal(size=(1, 1, *bundle.config.data.shape))
        image = image.astype(np.float32)
        expected = opened(bundle, device="torch").run(image)
        found = opened(bundle, device="cpu").run(image)
        amplitude = bundle.config.heatmaps[-1].amplitude
        np.testing.assert_allclose(found[0], expected[0], rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=TOLERANCE * amplitude)


def in_a_new_process(check: str) -> int:
    """The exit code of a process that opens an embedded model and then exits with a check."""
    code = (
        "import sys; from otovox.learning.bundle import embedded; "
        "from otovox.learning.engine import open_engine; "
        "from otovox.systems.registry import trained_network; "
        "open_engine(embedded('locator'), trained_network, device='auto'); "
        f"sys.exit({check})"
    )
    return subprocess.run([sys.executable, "-W", "ignore", "-c", code]).returncode


def test_no_usage_data_is_sent():
    assert in_a_new_process("sys.modules.get('openvino_telemetry') is not None") == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_an_embedded_model_runs_without_torch():
    assert in_a_new_process("'torch' in sys.modules") == 0
