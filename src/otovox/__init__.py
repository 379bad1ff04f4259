"""otovox: automated inner ear analysis from CT scans.

    import otovox

    model = otovox.load_model()
    result = model.analyze("scan.nii.gz")
    for ear in result.ears:
        print(ear.side, ear.volume_mm3, ear.landmarks["helicotrema"])
    result.save("results/scan")

The public names are those of `__all__`; each is loaded on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from otovox._version import __version__
from otovox.systems.registry import register_all

if TYPE_CHECKING:
    from otovox.analysis.model import Model, analyze, load_model
    from otovox.analysis.result import AnalyzedEar, Result
    from otovox.analysis.segmentation import measure_segmentation
    from otovox.core.anatomy import Side
    from otovox.core.case import Case, EarPrediction, Prediction
    from otovox.core.landmarks import Landmarks
    from otovox.core.volume import Grid, LabelMap, Scan
    from otovox.errors import OtovoxError
    from otovox.formats.scans import load_scan

# Registered here because the rooms below `systems` read the settings of all systems.
register_all()

__all__ = [
    "AnalyzedEar",
    "Case",
    "EarPrediction",
    "Grid",
    "LabelMap",
    "Landmarks",
    "Model",
    "OtovoxError",
    "Prediction",
    "Result",
    "Scan",
    "Side",
    "__version__",
    "analyze",
    "load_model",
    "load_scan",
    "measure_segmentation",
]

_HOMES = {
    "AnalyzedEar": "analysis.result",
    "Case": "core.case",
    "EarPrediction": "core.case",
    "Grid": "core.volume",
    "LabelMap": "core.volume",
    "Landmarks": "core.landmarks",
    "Model": "analysis.model",
    "OtovoxError": "errors",
    "Prediction": "core.case",
    "Result": "analysis.result",
    "Scan": "core.volume",
    "Side": "core.anatomy",
    "analyze": "analysis.model",
    "load_model": "analysis.model",
    "load_scan": "formats.scans",
    "measure_segmentation": "analysis.segmentation",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'otovox' has no attribute {name!r}")
    return getattr(import_module(f"otovox.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
