"""AutoCasNet of Hussain et al. 2021: 2D networks of several views, one after the other.

Every stage sees all slices of its view, the grey values and the masks of the stages before (H3);
of its own mask the largest part in three dimensions is kept (H4). There are no landmarks.
"""

from otovox.systems.autocasnet.inference import open_model
from otovox.systems.autocasnet.network import AutoCasNet
from otovox.systems.autocasnet.settings import settings_of
from otovox.systems.autocasnet.training import tasks, train
from otovox.systems.interface import System

SYSTEM = System(
    network=lambda config: AutoCasNet(settings_of(config)),
    tasks=tasks,
    train=train,
    open_model=open_model,
    turns=False,
)
