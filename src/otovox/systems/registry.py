"""What can be trained: otovox's own network, and the systems that it is compared with.

A system is a folder that holds all of it, and a line in `SYSTEMS`; `config.registry.register` says
what the folder must hold. None of them is imported before it is needed.
"""

from typing import TYPE_CHECKING

from otovox.config.registry import module, register

if TYPE_CHECKING:
    from torch import nn

    from otovox.config.training import TrainConfig
    from otovox.learning.bundle import Bundle
    from otovox.systems.interface import System

#: The package of each system, by the kind of its settings.
SYSTEMS = {
    "dual-head": "otovox.systems.dual_head",
    "autocasnet": "otovox.systems.autocasnet",
    "jsdnet": "otovox.systems.jsdnet",
    "mpunet": "otovox.systems.mpunet",
}


def register_all() -> None:
    """Make all systems known to the rooms below."""
    for kind, package in SYSTEMS.items():
        register(kind, package)


def system_of(config: "TrainConfig") -> "System":
    """The system that settings are of."""
    return module(config.system.kind, "system").SYSTEM


def trained_network(bundle: "Bundle") -> "nn.Module":
    """The network of a model with its weights, ready to predict.

    Raises:
        ModelError: if the weights do not fit.
    """
    return bundle.onto(system_of(bundle.config).network(bundle.config))
