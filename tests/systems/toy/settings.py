"""Settings of the toy."""

from typing import Literal

from otovox.config.systems import Positive, SystemConfig


class ToyConfig(SystemConfig):
    """A threshold.

    Attributes:
        gain: by which grey values are multiplied.
    """

    kind: Literal["toy"] = "toy"
    gain: Positive = 1.0


SETTINGS = ToyConfig
