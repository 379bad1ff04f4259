"""The dual-headed U-Net of Stebani et al. 2023, otovox's own."""

from otovox.systems.dual_head.inference import open_model
from otovox.systems.dual_head.network import DualHeadUNet
from otovox.systems.dual_head.training import tasks, train
from otovox.systems.interface import System

SYSTEM = System(
    network=lambda config: DualHeadUNet(config.network),
    tasks=tasks,
    train=train,
    open_model=open_model,
    posed=True,
)
