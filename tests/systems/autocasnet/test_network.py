"""The 2D networks have the published sizes."""

from typing import Any

import pytest

from otovox.config.training import load_preset
from otovox.systems.autocasnet.network import AutoCasNet
from otovox.systems.autocasnet.settings import settings_of


@pytest.mark.parametrize(
    ("name", "millions"),
    # The first after the published code; of the others only what a block adds is known.
    [("autocasnet-unet", 1.928), ("autocasnet-resunet", 2.015), ("autocasnet-seunet", 1.956)],
)
def test_networks_have_the_sizes_of_the_published_ones(name, millions):
    network: Any = AutoCasNet(settings_of(load_preset(name)))
    for stage in network.stages:
        size = sum(values.numel() for values in stage.parameters())
        assert size == pytest.approx(millions * 1e6, rel=5e-4)
