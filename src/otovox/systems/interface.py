"""The interface: what every system can do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from otovox.config.training import TrainConfig
from otovox.core.volume import Scan
from otovox.dataset.prepared import Prepared
from otovox.imaging.intensity import Statistics
from otovox.learning.bundle import Bundle
from otovox.systems.whole_volume import Sweep, VolumePrediction

if TYPE_CHECKING:
    from torch import nn

    from otovox.learning.hardware import Hardware
    from otovox.learning.training import Task, TrainingOptions


@dataclass(frozen=True)
class TrainingInput:
    """The data that a system is trained on, and how to train it.

    Attributes:
        training, validation: cases at the working spacing.
        statistics: of the training cases; None where every chunk is normalised by itself.
        origin: what the model's card says of the data, JSON values.
        resume: continue where the last run stopped; False to start again.
        hardware: where to train; None for whatever is available.
    """

    training: list[Prepared]
    validation: list[Prepared]
    statistics: Statistics | None
    origin: Mapping[str, Any]
    resume: bool = True
    hardware: "Hardware | None" = None

    @property
    def run(self) -> "TrainingOptions":
        """How to train, in the words of `training.fit`."""
        from otovox.learning.hardware import Hardware
        from otovox.learning.training import TrainingOptions

        return TrainingOptions(self.resume, self.hardware or Hardware())


#: Makes the network of some settings.
Network = Callable[[TrainConfig], "nn.Module"]
#: Trains a system: its settings, the folder for checkpoints, curves and the finished model
#: (`model/`), and the course; the best model.
Train = Callable[[TrainConfig, Path, TrainingInput], Bundle]
#: What is trained with settings, one after the other, each with weights of its own.
Tasks = Callable[[TrainConfig], "list[Task]"]


class Predict(Protocol):
    """Predicts scans with one model."""

    def __call__(
        self, scan: Scan, workspace: Path, *, sweep: Sweep | None = None
    ) -> VolumePrediction:
        """Predict a whole scan.

        Args:
            scan: of one ear.
            workspace: folder for the answer's arrays, and for what is kept meanwhile.
            sweep: how the volume is swept; what a system cannot do is refused.

        Raises:
            InputError: if the scan has too many voxels at the model's spacing.
            ConfigError: if the system cannot sweep like that.
        """
        ...


class OpenModel(Protocol):
    """Prepares a model for predicting scans."""

    def __call__(
        self, bundle: Bundle, *, device: str = "auto", threads: int | None = None
    ) -> Predict:
        """Prepare a model on a device, see `engine.open_engine`.

        Raises:
            ConfigError: if there is no such device.
        """
        ...


@dataclass(frozen=True)
class System:
    """A system that can be trained.

    Attributes:
        network: untrained, all its stages in one.
        tasks: of its training.
        train: on cases.
        open_model: readies a trained model for scans.
        turns: whether it has test-time augmentation by turns of the cube.
        posed: whether it may look at an ear in the ear's own frame, where its landmarks give one.
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
        """One scan by one model; for many scans, call `open_model` once."""
        return self.open_model(bundle, device=device)(scan, workspace, sweep=sweep)
