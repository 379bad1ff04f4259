"""The dual-headed U-Net of Stebani et al. 2023: chunks in training, sliding windows afterwards."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from otovox.bundle import Bundle
from otovox.config import TrainConfig
from otovox.engine import open_engine
from otovox.systems.system import Course, Predict
from otovox.training_data import VolumeChunks, Volumes
from otovox.volume import Scan
from otovox.volume_inference import Sweep, VolumePrediction, predict_volume

if TYPE_CHECKING:
    from otovox.engine import Engine


def train(config: TrainConfig, output: Path, course: Course) -> Bundle:
    """See `system.Course`."""
    from otovox.training import train as train_network

    datasets = (
        VolumeChunks(course.training, config, course.statistics),
        Volumes(course.validation, course.statistics),
    )
    return train_network(
        config,
        output,
        datasets,
        resume=course.resume,
        hardware=course.hardware,
        origin=course.origin,
    )


def opened(bundle: Bundle, *, device: str = "auto", threads: int | None = None) -> Predict:
    """See `system.Opened`."""
    return partial(_predict, bundle, open_engine(bundle, device=device, threads=threads))


def _predict(
    bundle: Bundle,
    engine: "Engine",
    scan: Scan,
    workspace: Path,
    *,
    sweep: Sweep | None = None,
) -> VolumePrediction:
    return predict_volume(scan, bundle, engine, workspace, sweep=sweep)
