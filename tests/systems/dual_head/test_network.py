"""The network: sizes, parameter count, every variant runs and learns."""

import pytest
import torch

from otovox.config.training import NetworkConfig, load_preset
from otovox.systems.dual_head.network import DualHeadUNet

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
        {"blocks": "residual"},
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


@pytest.mark.parametrize("name", ["he_uniform", "he_normal", "xavier_uniform", "xavier_normal"])
def test_initialisation_is_drawn_as_named(name):
    config = load_preset("tiny").network.model_copy(
        update={"channels": (32, 64, 64), "initialisation": name}
    )
    torch.manual_seed(0)
    weights = DualHeadUNet(config).state_dict()["encoder.blocks.1.1.weight"]
    incoming, outgoing = 32 * 27, 64 * 27
    variance = 2 / (1 + 0.025**2) / incoming if "he" in name else 2 / (incoming + outgoing)
    assert float(weights.var()) == pytest.approx(variance, rel=0.05)
    # A uniform distribution ends at sqrt(3) SDs; of 55,296 normal draws some lie beyond three.
    spread = float(weights.abs().max()) / variance**0.5
    assert spread <= 3**0.5 + 1e-3 if "uniform" in name else spread > 3


@pytest.mark.parametrize("terminals", [1, 2, 3])
def test_terminals_are_as_many_as_asked_for(terminals):
    config = load_preset("base").network.model_copy(update={"terminals": terminals})
    assert config.auxiliary_factors == (2, 4, 8)[:terminals]
