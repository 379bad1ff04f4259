"""Settings of MPUNet. Values marked T are stated by Lim et al. 2024 or Perslev et al. 2019."""

from typing import Literal

from otovox.config.systems import Count, Positive, SystemConfig
from otovox.config.training import TrainConfig


class MPUNetConfig(SystemConfig):
    """The multi-planar U-Net of Perslev et al. 2019, as Lim et al. 2024 used it (L2-L7).

    The size and the spacing of the planes are those of `DataConfig`.

    Attributes:
        views: number of directions of the planes (L4). T.
        min_angle_deg: minimum angle between two views; reduced by 1 degree per failed draw (L4). T.
        depth: depth of the U-Net (L3). T.
        filters: filters at its finest level, times `filter_factor` (L3). T.
        filter_factor: sqrt(2) (L3). T.
        fusion: weights of the views learned per view and class, or a plain sum (L7). T.
        elastic: deform planes in training (L5). T.
    """

    kind: Literal["mpunet"] = "mpunet"  # pyright: ignore[reportIncompatibleVariableOverride]
    views: Count = 6
    min_angle_deg: Positive = 60.0
    depth: Count = 4
    filters: Count = 64
    filter_factor: Positive = 1.41421356
    fusion: Literal["learned", "sum"] = "learned"
    elastic: bool = True

    @property
    def stride(self) -> int:
        """Every side of a plane must be a multiple of this many pixels."""
        return 2**self.depth


#: See `registry.register`.
SETTINGS = MPUNetConfig


def settings_of(config: TrainConfig) -> MPUNetConfig:
    """The MPUNet settings of a training configuration."""
    assert isinstance(config.system, MPUNetConfig)
    return config.system
