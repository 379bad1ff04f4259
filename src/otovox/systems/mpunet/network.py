"""The 2D U-Net of MPUNet, and the fusion of its views (L3, L7).

Source: Perslev et al. 2019, "One network to segment them all" (MICCAI), which Lim et al. 2024 train
with its settings fixed.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Self

import torch
from torch import Tensor, nn

from otovox.systems.mpunet.settings import MPUNetConfig

#: Epsilon and momentum of the norm. Source: Keras' defaults, used by the framework.
NORM_EPSILON, NORM_KEEPS = 1e-3, 0.99


@dataclass(frozen=True)
class PlanarShape:
    """Size of a 2D network of MPUNet.

    Attributes:
        depth: number of poolings.
        filters: filters of the finest level before the factor; doubled at every coarser level.
        factor: factor on every level's filters; the product is truncated to an integer, which
            gives the framework's 90, 181, 362, 724 and 1448 and 62.05 million parameters.
        classes: number of classes, including background.
    """

    depth: int = 4
    filters: int = 64
    factor: float = sqrt(2)
    classes: int = 2

    @property
    def levels(self) -> tuple[int, ...]:
        """Filters per level, finest first, the bottleneck last."""
        return tuple(int(self.filters * 2**n * self.factor) for n in range(self.depth + 1))

    @property
    def stride(self) -> int:
        """Both sides of a plane must be a multiple of this."""
        return int(2**self.depth)


class PlaneNorm(nn.BatchNorm2d):
    """Batch normalisation with the framework's constants."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=NORM_EPSILON, momentum=1 - NORM_KEEPS)


class SameConvolution(nn.Conv2d):
    """A 2 x 2 convolution that keeps the plane's size by padding a row and column at the end."""

    def __init__(self, incoming: int, outgoing: int) -> None:
        super().__init__(incoming, outgoing, 2)

    def forward(self, input: Tensor) -> Tensor:
        """(b, incoming, x, y) -> (b, outgoing, x, y)."""
        return super().forward(nn.functional.pad(input, (0, 1, 0, 1)))


def planar_block(incoming: int, outgoing: int) -> nn.Sequential:
    """Twice convolution 3^2 -> rectifier, then norm (L3)."""
    return nn.Sequential(
        nn.Conv2d(incoming, outgoing, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(outgoing, outgoing, 3, padding=1),
        nn.ReLU(),
        PlaneNorm(outgoing),
    )


class PlanarUNet(nn.Module):
    """Encoder, bottleneck and decoder over planes; one linear output per class.

    Upsampling repeats pixels; a 2^2 convolution with rectifier and norm halves the channels, the
    skip is concatenated before it, and a double block follows. Weights are initialised with
    Glorot's uniform distribution and biases with zero, as in Keras.
    """

    def __init__(self, shape: PlanarShape) -> None:
        super().__init__()
        self.shape = shape
        levels = shape.levels
        pairs = list(pairwise(levels))
        self.encoder = nn.ModuleList(
            planar_block(before, after)
            for before, after in zip((1, *levels[:-1]), levels, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2), SameConvolution(low, high), nn.ReLU(),
                          PlaneNorm(high))
            for high, low in pairs
        )  # fmt: skip
        self.decoder = nn.ModuleList(planar_block(2 * high, high) for high, _ in pairs)
        self.readout = nn.Conv2d(levels[0], shape.classes, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, planes: Tensor) -> Tensor:
        """Segment planes.

        Args:
            planes: (b, 1, x, y), both sides multiples of `shape.stride`.

        Returns:
            (b, classes, x, y) logits; their softmax is the framework's output.
        """
        x = self.encoder[0](planes)
        skips: list[Tensor] = []
        for block in list(self.encoder)[1:]:
            skips.append(x)
            x = block(self.pool(x))
        for level in reversed(range(len(self.ups))):
            x = self.decoder[level](torch.cat((skips[level], self.ups[level](x)), dim=1))
        return self.readout(x)


class ViewFusion(nn.Module):
    """One weight per view and class, one bias per class (L7).

    Initialised as the plain sum over the views.
    """

    def __init__(self, views: int, classes: int = 2) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(views, classes))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, probabilities: Tensor) -> Tensor:
        """(n, views, classes) probabilities -> (n, classes) logits."""
        return (self.weights * probabilities).sum(dim=1) + self.bias


class MPUNet(nn.Module):
    """The network for planes, its views, and their fusion, in one set of weights.

    Attributes:
        views: (views, 3) unit vectors, LPS; drawn at the start of training and stored with the
            weights.
    """

    views: Tensor

    @classmethod
    def of(cls, config: MPUNetConfig) -> Self:
        """The untrained network for some settings."""
        shape = PlanarShape(config.depth, config.filters, config.filter_factor)
        return cls(shape, config.views)

    def __init__(self, shape: PlanarShape, views: int) -> None:
        super().__init__()
        self.planar = PlanarUNet(shape)
        self.fusion = ViewFusion(views, shape.classes)
        self.register_buffer("views", torch.zeros(views, 3))

    def forward(self, planes: Tensor) -> Tensor:
        """(b, 1, x, y) planes of any view -> (b, classes, x, y) logits."""
        return self.planar(planes)
