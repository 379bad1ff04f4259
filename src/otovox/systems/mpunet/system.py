"""MPUNet of Perslev et al. 2019, as Lim et al. 2024 use it: one 2D network applied in six views."""

from otovox.systems.interface import System
from otovox.systems.mpunet.inference import open_model
from otovox.systems.mpunet.network import MPUNet
from otovox.systems.mpunet.settings import settings_of
from otovox.systems.mpunet.training import tasks, train

SYSTEM = System(
    network=lambda config: MPUNet.of(settings_of(config)),
    tasks=tasks,
    train=train,
    open_model=open_model,
    turns=False,
)
