"""The trainable systems: otovox's own network, and the systems for comparison.

A system is a folder and a line in `SYSTEMS`; `config.registry.register` documents the contents of
the folder. Systems are imported only when needed.
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
    """Register all systems for the rooms below."""
    for kind, package in SYSTEMS.items():
        register(kind, package)


def system_of(config: "TrainConfig") -> "System":
    """The system of some settings."""
    return module(config.system.kind, "system").SYSTEM


def trained_network(bundle: "Bundle") -> "nn.Module":
    """The network of a model with its weights, ready to predict.

    Raises:
        ModelError: if the weights do not match.
    """
    return bundle.onto(system_of(bundle.config).network(bundle.config))
