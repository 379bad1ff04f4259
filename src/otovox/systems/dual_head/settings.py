"""Settings of the dual-headed U-Net."""

from typing import Literal

from otovox.config.systems import SystemConfig


class DualHeadConfig(SystemConfig):
    """The dual-headed U-Net of Stebani et al. 2023; its settings are in `NetworkConfig`."""

    kind: Literal["dual-head"] = "dual-head"  # pyright: ignore[reportIncompatibleVariableOverride]


#: See `registry.register`.
SETTINGS = DualHeadConfig
