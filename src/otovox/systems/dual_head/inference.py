"""Inference of the dual-headed U-Net: sliding windows, test-time rotations."""

from functools import partial
from pathlib import Path

from otovox.core.volume import Scan
from otovox.learning.bundle import Bundle
from otovox.learning.engine import Engine, Precision, open_engine
from otovox.systems.interface import Predict
from otovox.systems.registry import trained_network
from otovox.systems.whole_volume import Sweep, VolumePrediction, predict_volume


def open_model(
    bundle: Bundle,
    *,
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "f32",
) -> Predict:
    """See `interface.OpenModel`."""
    engine = open_engine(
        bundle, trained_network, device=device, threads=threads, precision=precision
    )
    return partial(_predict, bundle, engine)


def _predict(
    bundle: Bundle,
    engine: Engine,
    scan: Scan,
    workspace: Path,
    *,
    sweep: Sweep | None = None,
) -> VolumePrediction:
    return predict_volume(scan, bundle, engine, workspace, sweep=sweep)
