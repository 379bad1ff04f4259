"""Graphs of trained models in the user's cache, so that each is converted once."""

import hashlib
import logging
import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from otovox.errors import OutputError
from otovox.formats.writing import replacing
from otovox.learning.bundle import Bundle
from otovox.learning.graph import Graph, convert

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)

#: Raised when graphs are made or kept in another way, so that old ones in caches are not used.
VERSION = "1"


def graph_of(bundle: Bundle, network: "Callable[[Bundle], nn.Module]") -> Graph:
    """A model's graph: its own, else one from the user's cache, else a new one, kept there.

    Args:
        bundle: the model.
        network: makes its network, with torch.
    """
    if bundle.graph is not None:
        return bundle.graph
    path = cache_folder() / f"{_cache_key(bundle)}.json"
    try:
        return Graph.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        graph = convert(network(bundle), bundle.config, bundle.weights)
    try:
        with replacing(path) as beside:
            beside.write_text(graph.model_dump_json(), "utf-8")
    except OutputError as error:
        logger.info("the converted network is not kept: %s", error)
    return graph


def cache_folder() -> Path:
    """Where converted networks are kept, by the system's conventions."""
    home = Path.home()
    if sys.platform == "win32":
        parent = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        parent = home / "Library" / "Caches"
    else:
        parent = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return parent / "otovox" / "graphs"


def _cache_key(bundle: Bundle) -> str:
    """Changes with weights, settings, the converter, and how graphs are kept."""
    parts = (bundle.sha256, bundle.config.model_dump_json(), metadata.version("openvino"), VERSION)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
