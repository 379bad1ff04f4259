"""JSDNet, the joint baseline of Stebani et al. 2023: displacements first, then both outputs.

image -> U-Net -> displacement maps; image and maps -> U-Net -> segmentation logits, heatmaps

Source: Zhang et al. 2020, Medical Image Analysis 60:101621. Blocks, widths and norms are those of
our dual-headed U-Net (chosen, not measured), so that the two differ only in their design.
"""

from typing import Self

import torch
from torch import Tensor, nn

from otovox.config.training import NetworkConfig, TrainConfig
from otovox.learning.networks import Decoder, Encoder, Output, activation, initialise
from otovox.systems.jsdnet.settings import settings_of


class DisplacementUNet(nn.Module):
    """Image -> three channels per landmark: the vector from every voxel to it, in units."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.encoder = Encoder(config, config.in_channels)
        self.decoder = Decoder(config, gated=False)
        self.head = nn.Conv3d(config.channels[0], 3 * len(config.landmarks), 1)

    def forward(self, x: Tensor) -> Tensor:
        """(b, c, i, j, k) -> (b, 3 n, i, j, k): i, j, k of the first landmark, then the others'."""
        return self.head(self.decoder(self.encoder(x))[0])


class JointUNet(nn.Module):
    """Image and displacement maps -> segmentation logits and heatmaps.

    A norm would remove the zero of a map, which marks its landmark; therefore a convolution and an
    activation precede the first one.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        count = len(config.landmarks)
        width = config.channels[0]
        self.entrance = nn.Sequential(
            nn.Conv3d(config.in_channels + 3 * count, width, 3, padding=1),
            activation(config.activation),
        )
        self.encoder = Encoder(config, width)
        self.decoder = Decoder(config, gated=False)
        self.segmentation = nn.Conv3d(width, 1, 1)
        self.landmarks = nn.Conv3d(width, count, 1)

    def forward(self, image: Tensor, displacements: Tensor) -> Output:
        """(b, c, i, j, k) and (b, 3 n, i, j, k) -> logits and heatmaps."""
        both = torch.cat((image, displacements), dim=1)
        features = self.decoder(self.encoder(self.entrance(both)))[0]
        return Output(self.segmentation(features), self.landmarks(features))


class JSDNet(nn.Module):
    """Both networks; the first is trained before the second, and receives no gradient from it.

    Args:
        config: provides the channels (system), and landmarks, norm, activation and initialisation
            (network).
    """

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        given = config.network
        inner = NetworkConfig(
            in_channels=given.in_channels,
            channels=settings_of(config).channels,
            landmarks=given.landmarks,
            norm=given.norm,
            activation=given.activation,
            deep_supervision=False,
            initialisation=given.initialisation,
        )
        self.displacement = DisplacementUNet(inner)
        self.joint = JointUNet(inner)
        initialise(self, inner)

    def train(self, mode: bool = True) -> Self:
        """Training mode, except for a frozen first network."""
        super().train(mode)
        if not any(values.requires_grad for values in self.displacement.parameters()):
            self.displacement.eval()
        return self

    def forward(self, x: Tensor, auxiliary: bool | None = None) -> Output:
        """Segment and locate.

        Args:
            x: (b, c, i, j, k) image; every side a multiple of the system's stride.
            auxiliary: ignored, for compatibility with `DualHeadUNet.forward`.

        Returns:
            Logits and heatmaps.
        """
        return self.joint(x, self.displacement(x).detach())
