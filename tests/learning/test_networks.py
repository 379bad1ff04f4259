"""Parts of networks."""

import torch

from otovox.config.training import NetworkConfig
from otovox.learning.networks import double_block


def test_a_residual_block_adds_to_what_it_is_given():
    block = double_block(NetworkConfig(blocks="residual"), 4, 4)
    image = torch.randn(1, 4, 4, 4, 4)
    for p in block.parameters():
        torch.nn.init.zeros_(p)
    torch.testing.assert_close(block(image), image)
