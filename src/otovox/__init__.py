"""otovox: from a CT scan to an analysed inner ear.

    import otovox

    prediction = otovox.analyze("scan.nii.gz")
    for ear in prediction.ears:
        print(ear.side, ear.volume_mm3, ear.landmarks["helicotrema"])

The public names are those of `__all__`; each is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from otovox._version import __version__
from otovox.systems.registry import register_all

if TYPE_CHECKING:
    from otovox.analysis.scan import analyze
    from otovox.core.anatomy import Side
    from otovox.core.case import Case, EarPrediction, Prediction
    from otovox.core.landmarks import Landmarks
    from otovox.core.volume import Grid, LabelMap, Scan
    from otovox.errors import OtovoxError
    from otovox.formats.scans import load_scan

# The rooms below the systems read their settings: only from here can they know which there are.
register_all()

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
    "Case": "core.case",
    "EarPrediction": "core.case",
    "Grid": "core.volume",
    "LabelMap": "core.volume",
    "Landmarks": "core.landmarks",
    "OtovoxError": "errors",
    "Prediction": "core.case",
    "Scan": "core.volume",
    "Side": "core.anatomy",
    "analyze": "analysis.scan",
    "load_scan": "formats.scans",
}


def __getattr__(name: str) -> Any:
    """A public name, from the module where it lives (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'otovox' has no attribute {name!r}")
    return getattr(import_module(f"otovox.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
