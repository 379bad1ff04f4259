"""Ship a model: its network as a graph beside its weights, so that analysing needs no torch.

python -m otovox.systems.conversion src/otovox/models/labyrinth
"""

import sys
from pathlib import Path

from otovox.learning.bundle import load_bundle, save_graph
from otovox.learning.graph import convert
from otovox.systems.registry import trained_network


def convert_model(folder: Path) -> None:
    """Write a model's graph into its folder, and the graph's checksum into its card.

    Args:
        folder: of a model whose system is the dual-headed U-Net.

    Raises:
        ModelError: if it cannot be read.
    """
    bundle = load_bundle(folder)
    save_graph(folder, convert(trained_network(bundle), bundle.config, bundle.weights))


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        convert_model(Path(argument))
