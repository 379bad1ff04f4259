"""Two networks of one size; the second sees where a displacement is zero."""

from typing import Any

import pytest
import torch

from otovox.config.training import load_preset
from otovox.systems.jsdnet.network import JSDNet
from otovox.systems.jsdnet.training import displacements
from systems.ball import JSDNET, settings


def test_the_joint_network_sees_where_a_displacement_is_zero():
    """A constant added to the maps moves the landmark, and must change the answer."""
    torch.manual_seed(0)
    network: Any = JSDNet(settings(JSDNET, 2)).eval()
    image = torch.randn(1, 1, 16, 16, 16)
    maps = displacements(torch.full((1, 3, 3), 5.0), (16, 16, 16), unit_voxels=16.0)
    with torch.inference_mode():
        here, there = (network.joint(image, maps + shift).heatmaps for shift in (0.0, 0.5))
    assert float((here - there).abs().max()) > 0.01


def test_jsdnet_is_two_networks_of_one_size():
    network: Any = JSDNet(load_preset("jsdnet"))
    sizes = [
        sum(values.numel() for values in part.parameters())
        for part in (network.displacement, network.joint)
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)
    answer = network(torch.zeros(1, 1, 16, 16, 16))
    assert answer.segmentation_logits.shape == (1, 1, 16, 16, 16)
    assert answer.heatmaps.shape == (1, 3, 16, 16, 16)
