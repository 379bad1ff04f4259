"""Building blocks of 3D U-Nets after Stebani et al. 2023, figure 2 (S10-S14), and their output."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from otovox.config.training import NetworkConfig

#: Slope of the leaky rectifier. Source: Stebani et al. 2023 (S14).
LEAK = 0.025


class Output(NamedTuple):
    """Output of the network for a batch.

    Attributes:
        segmentation_logits: (b, 1, i, j, k); None without a segmentation head.
        heatmaps: (b, n, i, j, k); None without a heatmap head.
        auxiliary: the same two at the coarser levels t1 to t3; empty unless requested.
    """

    segmentation_logits: Tensor | None
    heatmaps: Tensor | None
    auxiliary: tuple[tuple[Tensor | None, Tensor | None], ...] = ()


def activation(name: str) -> nn.Module:
    """The activation function with this name.

    >>> activation("relu")(torch.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    if name == "leaky_relu":
        return nn.LeakyReLU(LEAK, inplace=True)
    if name == "relu":
        return nn.ReLU(inplace=True)
    return {"prelu": nn.PReLU, "gelu": nn.GELU, "silu": nn.SiLU, "mish": nn.Mish}[name]()


class InstanceNorm(nn.Module):
    """Zero mean and unit variance per case and channel; not learned, as a convolution follows."""

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, i, j, k) -> the same shape."""
        if self.training and x.shape[0] == 1:
            # Equivalent for one case, without torch's copies between memory layouts.
            return functional.batch_norm(x, None, None, training=True)
        return functional.instance_norm(x)


def norm_layer(name: str, channels: int) -> nn.Module:
    """Instance or batch normalisation."""
    return nn.BatchNorm3d(channels) if name == "batch" else InstanceNorm()


class Residual(nn.Module):
    """Residual connection around a block; a 1^3 convolution matches the channels.

    Source: Milletari et al. 2016 (V-Net), as in IE-Vnet; the convolution is chosen.
    """

    def __init__(self, block: nn.Sequential, incoming: int, outgoing: int) -> None:
        super().__init__()
        self.block = block
        same = incoming == outgoing
        self.shortcut = nn.Identity() if same else nn.Conv3d(incoming, outgoing, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, incoming, i, j, k) -> (b, outgoing, i, j, k)."""
        return self.shortcut(x) + self.block(x)


def double_block(config: NetworkConfig, incoming: int, outgoing: int) -> nn.Module:
    """Twice norm -> convolution 3^3 -> activation (S10), residual or not."""
    layers: list[nn.Module] = []
    for channels in (incoming, outgoing):
        layers += [
            norm_layer(config.norm, channels),
            nn.Conv3d(channels, outgoing, 3, padding=1),
            activation(config.activation),
        ]
    block = nn.Sequential(*layers)
    return Residual(block, incoming, outgoing) if config.blocks == "residual" else block


class AttentionGate(nn.Module):
    """Additive attention on a skip, gated by the coarser decoder feature.

    Source: Oktay et al. 2018, equation 1; half the skip's channels internally (chosen, not
        measured).
    """

    def __init__(self, skip: int, gate: int) -> None:
        super().__init__()
        inner = max(1, skip // 2)
        self.skip = nn.Conv3d(skip, inner, 1, bias=False)
        self.gate = nn.Conv3d(gate, inner, 1)
        self.weight = nn.Conv3d(inner, 1, 1)

    def forward(self, skip: Tensor, gate: Tensor) -> Tensor:
        """(b, skip, i, j, k) and (b, gate, i, j, k), on one grid -> the skip, weighted."""
        return skip * torch.sigmoid(self.weight(torch.relu(self.skip(skip) + self.gate(gate))))


class Encoder(nn.Module):
    """Double blocks, separated by 2^3 convolutions of stride 2 that keep the channels (S10)."""

    def __init__(self, config: NetworkConfig, incoming: int) -> None:
        super().__init__()
        channels = config.channels
        self.blocks = nn.ModuleList(
            double_block(config, before, after)
            for before, after in zip((incoming, *channels[:-1]), channels, strict=True)
        )
        self.downs = nn.ModuleList(nn.Conv3d(n, n, 2, stride=2) for n in channels[:-1])

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features per level, finest first."""
        features = [self.blocks[0](x)]
        for down, block in zip(self.downs, list(self.blocks)[1:], strict=True):
            features.append(block(down(features[-1])))
        return features


class Decoder(nn.Module):
    """Transposed convolution 2^3 that keeps the channels, skip concatenated, double block (S11)."""

    def __init__(self, config: NetworkConfig, *, gated: bool) -> None:
        super().__init__()
        pairs = [
            (config.channels[n], config.channels[n + 1]) for n in range(len(config.channels) - 1)
        ]
        self.ups = nn.ModuleList(nn.ConvTranspose3d(low, low, 2, stride=2) for _, low in pairs)
        self.blocks = nn.ModuleList(double_block(config, low + high, high) for high, low in pairs)
        self.gates = nn.ModuleList(AttentionGate(high, low) for high, low in pairs if gated)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Decoded features per level, finest first, without the bottleneck."""
        x = features[-1]
        decoded: list[Tensor] = []
        for level in reversed(range(len(self.ups))):
            x = self.ups[level](x)
            skip = features[level]
            if self.gates:
                skip = self.gates[level](skip, x)
            x = self.blocks[level](torch.cat((skip, x), dim=1))
            decoded.insert(0, x)
        return decoded


def initialise(network: nn.Module, config: NetworkConfig) -> None:
    """Initialise the convolutions with the named scheme and zero biases; "uniform" is torch's own.

    Source: Glorot and Bengio 2010; He et al. 2015, with the slope of the leaky rectifier if it is
    the activation, otherwise that of a rectifier.
    """
    if config.initialisation == "uniform":
        return
    scheme, _, shape = config.initialisation.partition("_")
    slope = LEAK if config.activation == "leaky_relu" else 0.0
    for module in network.modules():
        if not isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            continue
        if scheme == "he":
            draw = nn.init.kaiming_uniform_ if shape == "uniform" else nn.init.kaiming_normal_
            draw(module.weight, a=slope)
        else:
            draw = nn.init.xavier_uniform_ if shape == "uniform" else nn.init.xavier_normal_
            draw(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
