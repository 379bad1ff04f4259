"""Networks, one per system: the dual-headed U-Net, and those that it is compared with."""

from collections.abc import Callable

from torch import nn

from otovox.config.systems import MultiPlanarConfig, SystemConfig
from otovox.config.training import TrainConfig
from otovox.errors import ConfigError
from otovox.learning.networks import DualHeadUNet, Output
from otovox.systems.autocasnet.network import SliceCascade
from otovox.systems.jsdnet.network import JSDNet
from otovox.systems.mpunet.network import MultiPlanarUNet, PlanarShape

__all__ = ["DualHeadUNet", "JSDNet", "Output", "SliceCascade", "build"]

#: What makes the network of each system.
BUILDERS: dict[str, Callable[[TrainConfig], nn.Module]] = {
    "dual-head": lambda config: DualHeadUNet(config.network),
    "slice-cascade": lambda config: SliceCascade(config.system),  # pyright: ignore
    "jsdnet": JSDNet,
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
