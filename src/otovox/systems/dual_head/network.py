"""The dual-headed 3D U-Net of Stebani et al. 2023, figure 2 (S10-S13), parametrised.

image -> [stem] -> encoder -> decoder(s) with skips, optionally gated -> segmentation logits,
heatmaps
"""

from torch import Tensor, nn

from otovox.config.training import NetworkConfig
from otovox.learning.networks import Decoder, Encoder, Output, initialise, norm_layer


class Heads(nn.Module):
    """Linear output layers of one task: full resolution, and the auxiliary levels (S11, S12)."""

    def __init__(self, config: NetworkConfig, outgoing: int) -> None:
        super().__init__()
        finest = config.channels[0]
        self.main = (
            nn.Conv3d(finest, outgoing, 1)
            if config.stem == 1
            else nn.ConvTranspose3d(finest, outgoing, config.stem, stride=config.stem)
        )
        levels = range(1, 1 + len(config.auxiliary_factors))
        self.auxiliary = nn.ModuleList(
            nn.Conv3d(config.channels[level], outgoing, 1) for level in levels
        )


class DualHeadUNet(nn.Module):
    """Encoder, one or two decoders, segmentation and heatmap heads.

    The first norm acts on the image, so that absolute grey values have no effect. Every side of the
    input must be a multiple of `config.stride`.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        incoming = config.in_channels
        self.stem: nn.Module | None = None
        if config.stem == 2:
            incoming = config.channels[0]
            self.stem = nn.Sequential(
                norm_layer(config.norm, config.in_channels),
                nn.Conv3d(config.in_channels, incoming, config.stem, stride=config.stem),
            )
        self.encoder = Encoder(config, incoming)
        tasks = ("segmentation", "heatmap") if config.decoders == 2 else ("both",)
        self.decoders = nn.ModuleList(
            Decoder(config, gated=config.attention in (task, "both")) for task in tasks
        )
        self.segmentation = Heads(config, 1) if config.has_segmentation else None
        self.landmarks = Heads(config, len(config.landmarks)) if config.has_landmarks else None
        initialise(self, config)

    def forward(self, x: Tensor, auxiliary: bool | None = None) -> Output:
        """Segment and locate.

        Args:
            x: (b, c, i, j, k) image.
            auxiliary: also return the coarser levels; by default only in training mode.

        Returns:
            Logits, heatmaps and auxiliary outputs.
        """
        if self.stem is not None:
            x = self.stem(x)
        features = self.encoder(x)
        decoded = [decoder(features) for decoder in self.decoders]
        tasks = ((self.segmentation, decoded[0]), (self.landmarks, decoded[-1]))
        logits, heatmaps = (
            None if head is None else head.main(levels[0]) for head, levels in tasks
        )
        wanted = self.training if auxiliary is None else auxiliary
        coarser = tuple(
            (
                None
                if self.segmentation is None
                else self.segmentation.auxiliary[n](decoded[0][n + 1]),
                None if self.landmarks is None else self.landmarks.auxiliary[n](decoded[-1][n + 1]),
            )
            for n in range(len(self.config.auxiliary_factors) if wanted else 0)
        )
        return Output(logits, heatmaps, coarser)
