"""The mean ear of 72 measured labyrinths: cochlea, canals, common crus and vestibule."""

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def ear_statistics() -> dict[str, Any]:
    """The measured mean shape, in the canonical frame (see `ear_statistics.json`).

    >>> len(ear_statistics()["canals"]["lateral"]["centreline_mm"])
    21
    """
    return json.loads((files("otovox.core") / "ear_statistics.json").read_text("utf-8"))
