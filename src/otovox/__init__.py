"""otovox: from a CT scan to an analysed inner ear.

    import otovox

    prediction = otovox.analyze("scan.nii.gz")
    for ear in prediction.ears:
        print(ear.side, ear.volume_mm3, ear.landmarks["helicotrema"])

The public names are those of `__all__`; each is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otovox.analysis import analyze
    from otovox.anatomy import Side
    from otovox.case import Case, EarPrediction, Prediction
    from otovox.errors import OtovoxError
    from otovox.formats import load_scan
    from otovox.landmarks import Landmarks
    from otovox.volume import Grid, LabelMap, Scan

__version__ = "0.1.0"

__all__ = [
    "Case",
    "EarPrediction",
    "Grid",
    "LabelMap",
    "Landmarks",
    "OtovoxError",
    "Prediction",
    "Scan",
    "Side",
    "__version__",
    "analyze",
    "load_scan",
]

_HOMES = {
    "Case": "case",
    "EarPrediction": "case",
    "Grid": "volume",
    "LabelMap": "volume",
    "Landmarks": "landmarks",
    "OtovoxError": "errors",
    "Prediction": "case",
    "Scan": "volume",
    "Side": "anatomy",
    "analyze": "analysis",
    "load_scan": "formats",
}


def __getattr__(name: str) -> Any:
    """A public name, from the module where it lives (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'otovox' has no attribute {name!r}")
    return getattr(import_module(f"otovox.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
