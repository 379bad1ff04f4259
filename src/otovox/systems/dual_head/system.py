"""The dual-headed U-Net of Stebani et al. 2023, otovox's own; torch is loaded when it is needed."""

from pathlib import Path
from typing import TYPE_CHECKING

from otovox.config.training import TrainConfig
from otovox.learning.bundle import Bundle
from otovox.systems.dual_head.inference import open_model
from otovox.systems.interface import System, TrainingInput

if TYPE_CHECKING:
    from torch import nn

    from otovox.learning.training import Task


def _network(config: TrainConfig) -> "nn.Module":
    from otovox.systems.dual_head.network import DualHeadUNet

    return DualHeadUNet(config.network)


def _tasks(config: TrainConfig) -> "list[Task]":
    from otovox.systems.dual_head.training import tasks

    return tasks(config)


def _train(config: TrainConfig, output: Path, course: TrainingInput) -> Bundle:
    from otovox.systems.dual_head.training import train

    return train(config, output, course)


SYSTEM = System(network=_network, tasks=_tasks, train=_train, open_model=open_model, posed=True)
