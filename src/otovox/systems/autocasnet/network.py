"""The 2D networks of Hussain et al. 2021, figure 3 (H5-H7), and the cascade of their stages.

slice and masks -> encoder with max pooling -> bottleneck, dropout -> decoder with skips -> logits
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from otovox.systems.autocasnet.settings import AutoCasNetConfig

#: Channels per channel inside a squeeze and excitation. Source: the published code of Hussain et
#: al. 2021 (H7); the paper says that it is constant.
SQUEEZE = 8


def _convolution(incoming: int, outgoing: int) -> list[nn.Module]:
    return [nn.Conv2d(incoming, outgoing, 3, padding=1), nn.BatchNorm2d(outgoing)]


class Excitation(nn.Module):
    """Channels weighted by a global average of the slice (Hu et al. 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // SQUEEZE)
        self.weights = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, inner, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, p, q) -> the same shape."""
        return x * self.weights(x)


class Block(nn.Module):
    """Two times convolution 3x3 -> batch norm -> ReLU (H5), extended by the backbone.

    "resunet" adds a convolution 1x1 of the block's input before the last ReLU (H6), "seunet" an
    excitation after it (H7).
    """

    def __init__(self, backbone: str, incoming: int, outgoing: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(incoming, outgoing),
            nn.ReLU(inplace=True),
            *_convolution(outgoing, outgoing),
        )
        self.shortcut = nn.Conv2d(incoming, outgoing, 1) if backbone == "resunet" else None
        self.excitation = Excitation(outgoing) if backbone == "seunet" else None

    def forward(self, x: Tensor) -> Tensor:
        """(b, incoming, p, q) -> (b, outgoing, p, q)."""
        features = self.body(x)
        if self.shortcut is not None:
            features = features + self.shortcut(x)
        features = torch.relu(features)
        return features if self.excitation is None else self.excitation(features)


class SliceUNet(nn.Module):
    """One stage: slices with the masks of the previous stages -> logits.

    Args:
        config: backbone, filters and dropout.
        incoming: number of image channels.
    """

    def __init__(self, config: AutoCasNetConfig, incoming: int) -> None:
        super().__init__()
        self.incoming, filters = incoming, config.filters
        pairs = list(pairwise(filters))
        self.downs = nn.ModuleList(
            Block(config.backbone, before, after)
            for before, after in zip((incoming, *filters[:-1]), filters, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(config.dropout)
        self.ups = nn.ModuleList(nn.ConvTranspose2d(low, high, 2, stride=2) for high, low in pairs)
        self.blocks = nn.ModuleList(Block(config.backbone, 2 * high, high) for high, _ in pairs)
        self.head = nn.Conv2d(filters[0], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, incoming, p, q) -> (b, 1, p, q) logits; sides are multiples of `config.stride`."""
        features = [self.downs[0](x)]
        for down in list(self.downs)[1:]:
            features.append(down(self.pool(features[-1])))
        x = self.dropout(features[-1])
        for level in reversed(range(len(self.ups))):
            x = self.blocks[level](torch.cat((features[level], self.ups[level](x)), dim=1))
        return self.head(x)


class AutoCasNet(nn.Module):
    """All stages; in a cascade each has one more image channel than the previous one (H3).

    `inference.cascade` runs them over whole volumes.
    """

    def __init__(self, config: AutoCasNetConfig) -> None:
        super().__init__()
        cascade = config.combination == "cascade"
        self.stages = nn.ModuleList(
            SliceUNet(config, 1 + n * cascade) for n in range(len(config.order))
        )

    def forward(self, x: Tensor, stage: int) -> Tensor:
        """(b, channels, p, q) slices -> (b, 1, p, q) logits of one stage, counted from 0."""
        return self.stages[stage](x)
