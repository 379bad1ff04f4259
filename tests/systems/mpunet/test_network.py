"""The 2D network of MPUNet: its size, its shapes, its fusion's beginning."""

import pytest
import torch

from otovox.systems.mpunet.network import MPUNet, PlanarShape, PlanarUNet, ViewFusion

TINY = PlanarShape(depth=2, filters=4)


def test_it_has_the_frameworks_filters_and_62_million_parameters():
    shape = PlanarShape()
    with torch.device("meta"):
        network = PlanarUNet(shape)
    assert shape.levels == (90, 181, 362, 724, 1448)
    assert sum(part.numel() for part in network.parameters()) == 62_050_239


def test_a_network_by_hand():
    shape = PlanarShape(depth=1, filters=4)
    assert shape.levels == (5, 11)
    encoder = (9 * 5 + 5 + 9 * 25 + 5 + 10) + (9 * 55 + 11 + 9 * 121 + 11 + 22)
    decoder = (4 * 55 + 5 + 10) + (9 * 50 + 5 + 9 * 25 + 5 + 10)
    readout = 5 * 2 + 2
    counted = sum(part.numel() for part in PlanarUNet(shape).parameters())
    assert counted == encoder + decoder + readout


@pytest.mark.parametrize("sides", [(16, 16), (32, 12)])
def test_it_keeps_the_planes_sides(sides):
    network = PlanarUNet(TINY).eval()
    assert network(torch.zeros(3, 1, *sides)).shape == (3, 2, *sides)


def test_each_pixel_sees_its_neighbours_alone():
    torch.manual_seed(0)
    network = PlanarUNet(TINY).eval()
    plane = torch.randn(1, 1, 96, 96)
    other = plane.clone()
    other[..., -8:, :] += 5.0
    changed = (network(plane) - network(other)).abs().amax(dim=(0, 1, 3)) > 1e-6
    assert changed[-1]
    assert not changed[:40].any()


def test_fusion_begins_as_the_plain_sum():
    probabilities = torch.rand(7, 3, 2)
    assert torch.allclose(ViewFusion(3)(probabilities), probabilities.sum(dim=1))


def test_views_lie_with_the_weights():
    network = MPUNet(TINY, 6)
    assert network.state_dict()["views"].shape == (6, 3)
    assert network.state_dict()["fusion.weights"].shape == (6, 2)
