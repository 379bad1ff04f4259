"""Networks, one per system: the dual-headed U-Net of Stebani et al. 2023 and what it is beside."""

from collections.abc import Callable

from torch import nn

from otovox.config import TrainConfig
from otovox.config_systems import MultiPlanarConfig, SystemConfig
from otovox.errors import ConfigError
from otovox.networks.mpunet import MultiPlanarUNet, PlanarShape
from otovox.networks.unet import DualHeadUNet, Output

__all__ = ["DualHeadUNet", "Output", "build"]

#: What makes the network of each system.
BUILDERS: dict[str, Callable[[TrainConfig], nn.Module]] = {
    "dual-head": lambda config: DualHeadUNet(config.network),
    "multi-planar": lambda config: _multi_planar(config.system),
}


def build(config: TrainConfig) -> nn.Module:
    """The untrained network of a system, all its stages in one.

    Raises:
        ConfigError: if the system has none.
    """
    if config.system.kind not in BUILDERS:
        raise ConfigError(f"system {config.system.kind!r} has no network yet")
    return BUILDERS[config.system.kind](config)


def _multi_planar(system: SystemConfig) -> nn.Module:
    assert isinstance(system, MultiPlanarConfig)
    shape = PlanarShape(system.depth, system.filters, system.filter_factor)
    return MultiPlanarUNet(shape, system.views)
