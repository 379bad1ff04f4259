"""The 2D networks have the published sizes, and compute what the paper describes."""

from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from otovox.config.training import load_preset
from otovox.systems.autocasnet.network import AutoCasNet, SliceUNet
from otovox.systems.autocasnet.settings import settings_of


@pytest.mark.parametrize(
    ("name", "millions"),
    # The first after the published code; of the others only what a block adds is known.
    [("autocasnet-unet", 1.928), ("autocasnet-resunet", 2.015), ("autocasnet-seunet", 1.956)],
)
def test_networks_have_the_sizes_of_the_published_ones(name, millions):
    network: Any = AutoCasNet(settings_of(load_preset(name)))
    for stage in network.stages:
        size = sum(values.numel() for values in stage.parameters())
        assert size == pytest.approx(millions * 1e6, rel=5e-4)


def by_hand(w: dict[str, Tensor], x: Tensor, levels: int) -> Tensor:
    """A stage written down once more from the papers, with plain operations on its weights.

    U-Net (Hussain et al. 2021, Figure 2): 2 x [convolution 3x3, batch norm, ReLU] per level, max
    pooling, transposed convolution, concatenation. ResU-Net (H6): the block's input through a
    convolution 1x1 is added before the last ReLU. SEU-Net (H7; Hu et al. 2018): channels are
    weighted by sigmoid(W2 relu(W1 mean)).
    """

    def convolved(x: Tensor, name: str, **how: int) -> Tensor:
        return functional.conv2d(x, w[f"{name}.weight"], w[f"{name}.bias"], **how)

    def normed(x: Tensor, name: str) -> Tensor:
        mean, variance, gain, shift = (
            w[f"{name}.{part}"][None, :, None, None]
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / torch.sqrt(variance + 1e-5) * gain + shift

    def block(x: Tensor, name: str) -> Tensor:
        first = normed(convolved(x, f"{name}.body.0", padding=1), f"{name}.body.1").clamp(min=0)
        found = normed(convolved(first, f"{name}.body.3", padding=1), f"{name}.body.4")
        if f"{name}.shortcut.weight" in w:
            found = found + convolved(x, f"{name}.shortcut")
        found = found.clamp(min=0)
        if f"{name}.excitation.weights.1.weight" not in w:
            return found
        inner = convolved(found.mean(dim=(2, 3), keepdim=True), f"{name}.excitation.weights.1")
        weight = convolved(inner.clamp(min=0), f"{name}.excitation.weights.3")
        return found / (1 + torch.exp(-weight))

    skips = [block(x, "downs.0")]
    for level in range(1, levels):
        skips.append(block(functional.max_pool2d(skips[-1], 2), f"downs.{level}"))
    x = skips.pop()
    for level in reversed(range(levels - 1)):
        up = functional.conv_transpose2d(
            x, w[f"ups.{level}.weight"], w[f"ups.{level}.bias"], stride=2
        )
        x = block(torch.cat((skips.pop(), up), dim=1), f"blocks.{level}")
    return convolved(x, "head")


@pytest.mark.parametrize("name", ["autocasnet-unet", "autocasnet-resunet", "autocasnet-seunet"])
def test_outputs_are_those_of_an_independent_implementation(name):
    torch.manual_seed(0)
    settings = settings_of(load_preset(name)).model_copy(update={"filters": (8, 16, 32)})
    stage = SliceUNet(settings, incoming=2).eval()
    for part in stage.modules():
        if isinstance(part, nn.BatchNorm2d):
            for values in (part.running_mean, part.bias, part.weight):
                assert values is not None
                nn.init.normal_(values, 0.5, 0.3)
            nn.init.uniform_(cast("Tensor", part.running_var), 0.5, 2)
    x = torch.randn(2, 2, 16, 24)
    with torch.no_grad():
        expected = by_hand(dict(stage.state_dict()), x, levels=3)
        found = stage(x)
    assert float(found.std()) > 1e-3
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
