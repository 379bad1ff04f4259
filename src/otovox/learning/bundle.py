"""A trained model on disk: weights as safetensors, everything else as readable JSON."""

import hashlib
import json
import platform
from dataclasses import dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from otovox.config.training import TrainConfig, config_from
from otovox.errors import ModelError
from otovox.learning.graph import Graph

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = "weights.safetensors"
CARD = "model.json"
GRAPH = "graph.json"
#: Raised when a bundle's layout changes.
FORMAT = 1


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained model.

    Attributes:
        config: the settings it was trained with, among them architecture and grid.
        weights: by parameter name, float32.
        facts: figures, software versions, iteration.
        sha256: of the weights' file.
        graph: the network's operations for OpenVINO; None if it lies without them.
    """

    config: TrainConfig
    weights: dict[str, NDArray[np.float32]]
    facts: dict[str, Any]
    sha256: str
    graph: Graph | None = None

    def onto(self, network: "nn.Module") -> "nn.Module":
        """Load these weights into a network of the settings' system, ready to predict.

        Raises:
            ModelError: if they do not match.
        """
        import torch

        tensors = {name: torch.from_numpy(values) for name, values in self.weights.items()}
        try:
            network.load_state_dict(tensors)
        except RuntimeError as error:
            raise ModelError(f"the weights do not match the architecture in {CARD}") from error
        return network.eval()


def save_bundle(
    folder: Path, network: "nn.Module", config: TrainConfig, *, facts: dict[str, Any]
) -> None:
    """Write a model with weights in half precision, whose rounding is far below the model's error.

    Args:
        folder: created if necessary.
        network: the trained network.
        config: its settings.
        facts: metrics and other information for the model card; JSON values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # In C order: the file stores raw bytes, and a network may use the channels-last layout.
    # Only the batch counter of a normalisation exceeds this range; predictions do not depend on it.
    most = float(np.finfo(np.float16).max)
    arrays = {
        name: tensor.detach().cpu().float().clamp(-most, most).numpy().astype(np.float16, "C")
        for name, tensor in network.state_dict().items()
    }
    data = save(arrays)
    names = ("otovox", "torch", "numpy", "SimpleITK", "lightning")
    card = {
        "format": FORMAT,
        "sha256": hashlib.sha256(data).hexdigest(),
        "software": {"python": platform.python_version(), **_versions(names)},
        "facts": facts,
        "config": config.model_dump(mode="json"),
    }
    (folder / WEIGHTS).write_bytes(data)
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", "utf-8")


def save_graph(folder: Path, graph: Graph) -> None:
    """Put a network's graph beside its weights, and its checksum into the card.

    Args:
        folder: of a model.
        graph: of the same weights.
    """
    data = graph.model_dump_json().encode()
    card = json.loads((folder / CARD).read_text("utf-8"))
    card["graph_sha256"] = hashlib.sha256(data).hexdigest()
    (folder / GRAPH).write_bytes(data)
    (folder / CARD).write_text(json.dumps(card, indent=2) + "\n", "utf-8")


def load_bundle(model: str | Path) -> Bundle:
    """Load an embedded model by name, or a model from a folder.

    Raises:
        ModelError: if there is none, or it is damaged or incompatible with this version.

    >>> load_bundle("labyrinth").config.data.spacing_mm
    0.2
    """
    if str(model) in embedded_names():
        return embedded(str(model))
    folder = Path(model)
    if not folder.is_dir():
        names = ", ".join(embedded_names())
        raise ModelError(f"{model}: neither a model folder nor an embedded model ({names})")
    return _load(folder)


def embedded_names() -> tuple[str, ...]:
    """Names of the included models, sorted.

    >>> embedded_names()
    ('labyrinth', 'locator')
    """
    return tuple(sorted(path.parent.name for path in _shipped().glob(f"*/{CARD}")))


def embedded(name: str) -> Bundle:
    """The embedded model with this name.

    >>> embedded("locator").config.name
    'locator'
    """
    return _load(_shipped() / name)


def _shipped() -> Path:
    return Path(str(resources.files("otovox"))) / "models"


def _load(folder: Path) -> Bundle:
    try:
        card = json.loads((folder / CARD).read_text("utf-8"))
        data = (folder / WEIGHTS).read_bytes()
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: cannot be read as a model ({error})") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise ModelError(f"{folder / CARD}: is not a model card of format {FORMAT}")
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != card.get("sha256"):
        raise ModelError(
            f"{folder / WEIGHTS}: is damaged (its SHA-256 differs from the model card's)"
        )
    try:
        weights = {name: values.astype(np.float32) for name, values in load(data).items()}
    except SafetensorError as error:
        raise ModelError(f"{folder / WEIGHTS}: is not a safetensors file ({error})") from error
    config = config_from(card.get("config", {}), origin=str(folder / CARD))
    graph = _graph(folder / GRAPH, card.get("graph_sha256"))
    return Bundle(config, weights, card.get("facts", {}), sha256, graph)


def _graph(path: Path, sha256: str | None) -> Graph | None:
    if sha256 is None:
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error})") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ModelError(f"{path}: is damaged (its SHA-256 is not the card's)")
    return Graph.model_validate_json(data)


def _versions(names: tuple[str, ...]) -> dict[str, str]:
    versions = {}
    for name in names:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return versions
