"""Settings of JSDNet. Values marked C are chosen, not measured."""

from typing import Literal

from pydantic import Field

from otovox.config.systems import Count, Positive, SystemConfig
from otovox.config.training import TrainConfig


class JSDNetConfig(SystemConfig):
    """JSDNet of Zhang et al. 2020, the joint baseline of Stebani et al. 2023 (J).

    Attributes:
        channels: channels per level of both U-Nets, finest first. C.
        displacement_unit_voxels: unit of the displacement maps, voxels. C.
    """

    kind: Literal["jsdnet"] = "jsdnet"  # pyright: ignore[reportIncompatibleVariableOverride]
    channels: tuple[Count, ...] = Field(default=(32, 64, 128, 256), min_length=2)
    displacement_unit_voxels: Positive = 64.0

    @property
    def stride(self) -> int:
        """Every side of the input must be a multiple of this many voxels."""
        return 2 ** (len(self.channels) - 1)


#: See `registry.register`.
SETTINGS = JSDNetConfig


def settings_of(config: TrainConfig) -> JSDNetConfig:
    """The JSDNet settings of a training configuration."""
    assert isinstance(config.system, JSDNetConfig)
    return config.system
