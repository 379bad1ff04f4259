"""JSDNet of Zhang et al. 2020; output and inference are those of the dual-headed U-Net."""

from otovox.systems.dual_head.inference import open_model
from otovox.systems.interface import System
from otovox.systems.jsdnet.network import JSDNet
from otovox.systems.jsdnet.training import tasks, train

SYSTEM = System(network=JSDNet, tasks=tasks, train=train, open_model=open_model)
