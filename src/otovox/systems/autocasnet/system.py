"""AutoCasNet of Hussain et al. 2021: a cascade of 2D networks of several views.

Every stage receives all slices of its view, grey values and masks of the previous stages (H3); the
largest 3D component of its own mask is kept (H4). There are no landmarks.
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
