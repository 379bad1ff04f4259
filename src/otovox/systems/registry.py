"""What can be trained: otovox's own network, and the systems that it is compared with.

A system takes three places: its settings in `config_systems`, its network in `networks.BUILDERS`,
and its entry in `SYSTEMS` below, which says how it is trained and how it looks at a scan.
"""

from otovox.config.training import TrainConfig
from otovox.errors import ConfigError
from otovox.systems.autocasnet import training as slice_cascade
from otovox.systems.dual_head import training as dual_head
from otovox.systems.interface import System
from otovox.systems.jsdnet import training as jsdnet
from otovox.systems.mpunet import training as multi_planar

#: Systems by the `kind` of their settings.
SYSTEMS = {
    "dual-head": System(dual_head.train, dual_head.tasks, dual_head.opened),
    "slice-cascade": System(
        slice_cascade.train, slice_cascade.tasks, slice_cascade.opened, turns=False
    ),
    "jsdnet": System(jsdnet.train, jsdnet.tasks, dual_head.opened),
    "multi-planar": System(
        multi_planar.train, multi_planar.tasks, multi_planar.opened, turns=False
    ),
}


def system_of(config: TrainConfig) -> System:
    """The system that settings are of.

    Raises:
        ConfigError: if it cannot be trained.
    """
    if config.system.kind not in SYSTEMS:
        names = ", ".join(SYSTEMS)
        raise ConfigError(f"system {config.system.kind!r} cannot be trained; choose one of {names}")
    return SYSTEMS[config.system.kind]
