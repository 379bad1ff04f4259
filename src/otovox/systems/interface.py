"""The interface of all systems."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from otovox.config.training import TrainConfig
from otovox.core.volume import Scan
from otovox.dataset.prepared import Prepared
from otovox.imaging.intensity import Statistics
from otovox.learning.bundle import Bundle
from otovox.learning.engine import Precision
from otovox.systems.whole_volume import Sweep, VolumePrediction

if TYPE_CHECKING:
    from torch import nn

    from otovox.learning.hardware import Hardware
    from otovox.learning.training import Task, TrainingOptions


@dataclass(frozen=True)
class TrainingInput:
    """Data and options for training a system.

    Attributes:
        training, validation: cases at the working spacing.
        statistics: statistics of the training cases; None if chunks are normalised individually.
        origin: data description for the model card, JSON values.
        resume: continue an interrupted run; False to start again.
        hardware: hardware for training; None for whatever is available.
        iterations: stop every network after this many, if fewer than in the settings.
    """

    training: list[Prepared]
    validation: list[Prepared]
    statistics: Statistics | None
    origin: Mapping[str, Any]
    resume: bool = True
    hardware: "Hardware | None" = None
    iterations: int | None = None

    @property
    def run(self) -> "TrainingOptions":
        """Options for `training.fit`."""
        from otovox.learning.hardware import Hardware
        from otovox.learning.training import TrainingOptions

        return TrainingOptions(self.resume, self.hardware or Hardware(), self.iterations)


#: Creates the network of some settings.
Network = Callable[[TrainConfig], "nn.Module"]
#: Trains a system, given its settings, the folder for checkpoints, curves and the finished model
#: (`model/`), and the training input; returns the best model.
Train = Callable[[TrainConfig, Path, TrainingInput], Bundle]
#: Training tasks of some settings, in order, each with its own weights.
Tasks = Callable[[TrainConfig], "list[Task]"]


class Predict(Protocol):
    """Predicts scans with one model."""

    def __call__(
        self, scan: Scan, workspace: Path, *, sweep: Sweep | None = None
    ) -> VolumePrediction:
        """Predict a whole scan.

        Args:
            scan: scan of one ear.
            workspace: folder for the output arrays and temporary data.
            sweep: settings of the sliding window; unsupported ones are refused.

        Raises:
            InputError: if the scan has too many voxels at the model's spacing.
            ConfigError: if the system does not support these settings.
        """
        ...


class OpenModel(Protocol):
    """Prepares a model for predicting scans."""

    def __call__(
        self,
        bundle: Bundle,
        *,
        device: str = "auto",
        threads: int | None = None,
        precision: Precision = "f32",
    ) -> Predict:
        """Prepare a model on a device, see `engine.open_engine`; systems that torch runs on every
        device have one precision.

        Raises:
            ConfigError: if there is no such device.
        """
        ...


@dataclass(frozen=True)
class System:
    """A system that can be trained.

    Attributes:
        network: creates the untrained network with all its stages.
        tasks: creates its training tasks.
        train: trains it on cases.
        open_model: prepares a trained model for scans.
        turns: whether it supports test-time augmentation by rotations of the cube.
        posed: whether it can analyse an ear in the ear's own frame, if its landmarks define one.
    """

    network: Network
    tasks: Tasks
    train: Train
    open_model: OpenModel
    turns: bool = True
    posed: bool = False

    def predict(
        self,
        scan: Scan,
        bundle: Bundle,
        workspace: Path,
        *,
        sweep: Sweep | None = None,
        device: str = "auto",
    ) -> VolumePrediction:
        """Predict one scan with one model; for many scans, call `open_model` once."""
        return self.open_model(bundle, device=device)(scan, workspace, sweep=sweep)
