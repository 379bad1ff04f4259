"""Training and prediction of one fold of one run, with its output in a log."""

import logging
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

from otovox.config.training import TrainConfig
from otovox.errors import ConfigError, OtovoxError
from otovox.experiments.cross_validation import train_fold
from otovox.experiments.predict import PredictionPlan, predict_fold
from otovox.experiments.studies.plans import StudyRun
from otovox.formats.writing import make_folder
from otovox.workers import Outcome, Status

logger = logging.getLogger(__name__)

#: Subfolders of a study: its runs and their logs.
RUNS, LOGS = "runs", "logs"
#: Loggers whose messages go to a fold's log.
LOGGERS = ("otovox", "lightning.pytorch", "lightning.fabric")


@dataclass(frozen=True)
class FoldJob:
    """One fold of one run.

    Attributes:
        run: run of the study.
        fold: number of the fold.
        config: all settings, or why they are invalid.
        dataset: folder of the data set, absolute.
        output: folder of the study, absolute.
        prediction: test sets, absolute, and settings of their prediction; the device is also used
            for training.
    """

    run: StudyRun
    fold: int
    config: TrainConfig | str
    dataset: Path
    output: Path
    prediction: PredictionPlan

    @property
    def place(self) -> Path:
        """Folder of all folds of the run."""
        return self.output / RUNS / self.run.name


#: The outcome of one fold; it has no answer, because its results are on disk.
FoldOutcome = Outcome[FoldJob, None]


def do(job: FoldJob, *, gpu: int | None = None, share: int = 0) -> FoldOutcome:
    """Train one fold of a run, or resume it, and predict its held-out cases.

    Args:
        job: the job, with settings.
        gpu: index of the GPU, modulo the number of GPUs; None for the first.
        share: number of workers that share the machine's cores; 0 to leave threads unchanged.

    Returns:
        The outcome; all output goes to a log.
    """
    place = job.output / LOGS / f"{job.run.name}-fold-{job.fold}.txt"
    try:
        make_folder(place.parent)
        with _logged(place):
            _do(job, gpu, share)
    except OtovoxError as error:
        return Outcome(job, Status.REFUSED, str(error))
    except Exception as error:
        reason = f"{type(error).__name__}: {error} (see {place})"
        return Outcome(job, Status.BROKEN, reason)
    return Outcome(job, Status.DONE)


def _do(job: FoldJob, gpu: int | None, share: int) -> None:
    import torch

    from otovox.learning.hardware import Hardware
    from otovox.learning.training import TrainingOptions

    assert not isinstance(job.config, str)
    if multiprocessing.current_process().daemon and job.config.data.workers:
        raise ConfigError(
            "the workers cannot start the processes that prepare chunks: start the workers with "
            "--no-nanny, or set data.workers = 0"
        )
    if share:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // share))
    device, count = job.prediction.device, torch.cuda.device_count()
    if device in ("auto", "cuda") and count:
        number = (gpu or 0) % count
        hardware, device = Hardware("gpu", f"{number},"), f"cuda:{number}"
    elif device.startswith("cuda:"):
        hardware = Hardware("gpu", f"{device.removeprefix('cuda:')},")
    elif device == "cuda":
        raise ConfigError("there is no CUDA device here")
    else:
        hardware = Hardware("cpu", "1")
    train_fold(job.dataset, job.config, job.place, job.fold, run=TrainingOptions(hardware=hardware))
    predict_fold(job.dataset, job.place, job.fold, plan=replace(job.prediction, device=device))


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Append everything that is printed and logged to a file."""
    speaking = [logging.getLogger(name) for name in LOGGERS]
    before = [(one.handlers, one.propagate, one.level) for one in speaking]
    with path.open("a", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
        for one in speaking:
            one.handlers, one.propagate = [logging.StreamHandler(file)], False
            one.setLevel(logging.INFO)
        try:
            yield
        except Exception:
            logger.exception("failed")
            raise
        finally:
            for one, (handlers, propagates, level) in zip(speaking, before, strict=True):
                one.handlers, one.propagate = handlers, propagates
                one.setLevel(level)
