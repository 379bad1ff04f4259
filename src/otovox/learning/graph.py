"""A network as an OpenVINO graph, so that running it needs no torch.

A graph holds the operations alone; its constants are a model's weights, and lie where these do. It
is made with torch, once: for the embedded models by

    python -m otovox.systems.conversion src/otovox/models/labyrinth

(`CONTRIBUTING.md`), for any other when it is first used, and then kept in the user's cache.
"""

import base64
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from otovox.config.training import TrainConfig

if TYPE_CHECKING:
    from torch import nn

Weights = Mapping[str, NDArray[np.float32]]


class Graph(BaseModel):
    """A network's operations, and where its constants come from.

    Attributes:
        operations: OpenVINO's XML.
        size: bytes of all constants.
        weights: names of weights, by the byte at which each begins among the constants.
        others: all other constants, in base64, by the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    operations: str
    size: int
    weights: dict[int, str]
    others: dict[int, bytes]

    def constants(self, weights: Weights) -> NDArray[np.uint8]:
        """(`size`,) all constants as bytes.

        Args:
            weights: of the model, by name.
        """
        data = np.zeros(self.size, dtype=np.uint8)
        for start, name in self.weights.items():
            raw = np.ascontiguousarray(weights[name]).reshape(-1).view(np.uint8)
            data[start : start + len(raw)] = raw
        for start, text in self.others.items():
            raw = np.frombuffer(base64.b64decode(text), dtype=np.uint8)
            data[start : start + len(raw)] = raw
        return data


def openvino_library() -> Any:
    """OpenVINO, without its usage data: on import it sends some, unless its reporter is absent."""
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]
    import openvino

    return openvino


def convert(network: "nn.Module", config: TrainConfig, weights: Weights) -> Graph:
    """The graph of a network.

    Args:
        network: with its weights; answers as `networks.Output`.
        config: its settings.
        weights: the same, by name.
    """
    import torch

    openvino = openvino_library()
    shape = [1, config.network.in_channels, *config.data.shape]
    # Traced on the least volume that the network takes: faster than on a whole one.
    example = torch.rand(1, config.network.in_channels, *(2 * config.network.stride,) * 3)
    # The tracer warns of its own deprecation, and of checks whose outcome never changes here.
    with torch.inference_mode(), warnings.catch_warnings(action="ignore"):
        model = openvino.convert_model(plain(network), example_input=example, input=[shape])
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "graph.xml"
        openvino.save_model(model, path, compress_to_fp16=False)
        operations, data = path.read_text("utf-8"), path.with_suffix(".bin").read_bytes()
    return _graph(operations, data, weights)


def plain(network: "nn.Module") -> "nn.Module":
    """The network with plain tensors as its answer, one per head, sigmoid included."""
    import torch

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
            logits, heatmaps, _ = self.network(image, auxiliary=False)
            probability = None if logits is None else torch.sigmoid(logits)
            return tuple(answer for answer in (probability, heatmaps) if answer is not None)

    return Plain().eval()


def _graph(operations: str, data: bytes, weights: Weights) -> Graph:
    """The graph with every constant that is one of the weights replaced by its name."""
    names = {np.ascontiguousarray(values).tobytes(): name for name, values in weights.items()}
    taken: dict[int, str] = {}
    others: dict[int, bytes] = {}
    for layer in ElementTree.fromstring(operations).iter("layer"):
        place = layer.find("data")
        if layer.get("type") != "Const" or place is None:
            continue
        start, size = int(place.get("offset", 0)), int(place.get("size", 0))
        raw = data[start : start + size]
        if raw in names:
            taken[start] = names[raw]
        else:
            others[start] = base64.b64encode(raw)
    return Graph(operations=operations, size=len(data), weights=taken, others=others)
