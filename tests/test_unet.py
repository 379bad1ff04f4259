"""The network: sizes, parameter count, every variant runs and learns."""

import pytest
import torch

from otovox.config import NetworkConfig, load_preset
from otovox.networks import DualHeadUNet

SMALL = {"channels": (4, 6, 8), "landmarks": ("a", "b")}


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_the_papers_parameter_count():
    config = load_preset("base").network.model_copy(update={"deep_supervision": False})
    with torch.device("meta"):
        assert parameters(DualHeadUNet(config)) == pytest.approx(28.35e6, rel=0.01)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"norm": "batch"},
        {"stem": 2},
        {"deep_supervision": False},
        {"decoders": 1},
        {"decoders": 1, "heads": "segmentation"},
        {"decoders": 1, "heads": "landmarks"},
        {"decoders": 1, "attention": "both"},
        *({"attention": name} for name in ("segmentation", "heatmap", "both")),
        *({"activation": name} for name in ("relu", "prelu", "gelu", "silu", "mish")),
    ],
    ids=str,
)
def test_every_variant_runs_and_every_weight_learns(changes):
    config = NetworkConfig(**{**SMALL, **changes})
    network = DualHeadUNet(config)
    image = torch.randn(2, 1, 16, 8, 24)
    output = network(image)
    parts = [output[:2], *output.auxiliary]
    assert len(output.auxiliary) == len(config.auxiliary_factors)
    for factor, (logits, heatmaps) in zip((1, *config.auxiliary_factors), parts, strict=True):
        size = tuple(n // factor for n in image.shape[2:])
        assert (logits is None) == (config.heads == "landmarks")
        assert (heatmaps is None) == (config.heads == "segmentation")
        assert logits is None or logits.shape == (2, 1, *size)
        assert heatmaps is None or heatmaps.shape == (2, 2, *size)
    sum(t.square().sum() for pair in parts for t in pair if t is not None).backward()  # pyright: ignore
    idle = [name for name, p in network.named_parameters() if p.grad is None]
    assert not idle


def test_auxiliary_outputs_only_in_training_or_on_request():
    network = DualHeadUNet(NetworkConfig(**SMALL)).eval()
    image = torch.randn(1, 1, 8, 8, 8)
    assert network(image).auxiliary == ()
    assert len(network(image, auxiliary=True).auxiliary) == 1


def test_attention_gates_only_the_named_decoder():
    gates = {
        name: [len(d.gates) for d in DualHeadUNet(NetworkConfig(**SMALL, attention=name)).decoders]  # pyright: ignore
        for name in ("none", "segmentation", "heatmap", "both")
    }
    assert gates == {"none": [0, 0], "segmentation": [2, 0], "heatmap": [0, 2], "both": [2, 2]}


@pytest.mark.parametrize("stem", [1, 2])
def test_grey_scale_and_offset_do_not_matter(stem):
    network = DualHeadUNet(NetworkConfig(**SMALL, stem=stem)).eval()
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        one, other = network(image), network(image * 500 - 300)
    torch.testing.assert_close(one.heatmaps, other.heatmaps, rtol=1e-3, atol=1e-3)


def test_training_and_evaluation_normalise_alike():
    network = DualHeadUNet(NetworkConfig(**SMALL))
    image = torch.randn(1, 1, 16, 16, 16)
    with torch.no_grad():
        trained = network.train()(image)
        torch.testing.assert_close(trained.heatmaps, network.eval()(image).heatmaps)


@pytest.mark.parametrize("terminals", [(1,), (2,), (1, 2)])
def test_auxiliary_outputs_come_from_the_terminals_asked_for(terminals):
    config = NetworkConfig(channels=(4, 4, 8, 8), terminals=terminals)
    output = DualHeadUNet(config).train()(torch.zeros(1, 1, 16, 16, 16))
    sides = [logits.shape[-1] for logits, _ in output.auxiliary if logits is not None]
    assert sides == [16 // factor for factor in config.auxiliary_factors]


@pytest.mark.parametrize("name", ["kaiming_uniform", "xavier_uniform", "kaiming_normal"])
def test_initial_weights_are_drawn_by_name(name):
    torch.manual_seed(0)
    network = DualHeadUNet(NetworkConfig(channels=(16, 16), initialisation=name))
    layers = dict(network.encoder.blocks.named_parameters())
    weight = layers["0.4.weight"]
    fan = 16 * 27
    variance = 1 / fan if name.startswith("xavier") else 2 / (1 + 0.025**2) / fan
    assert float(weight.detach().var()) == pytest.approx(variance, rel=0.05)
    bound = (3 * variance) ** 0.5
    assert (float(weight.detach().abs().max()) <= bound) == name.endswith("uniform")
    assert not layers["0.4.bias"].any()
