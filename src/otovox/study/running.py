"""Runs of a study, a fold each a job: one after the other, on local workers, or on a cluster.

A fold is trained and predicted by `cross_validation.train_fold` and `case_results.predict_fold`:
what is finished is not done again, and what was begun goes on from its last checkpoint. Everything
lies in `runs/RUN` below the study's folder, as after `otovox cross-validate`.
"""

import json
import logging
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from otovox.case_results import Plan, predict_fold
from otovox.cohort import Workers
from otovox.config import TrainConfig
from otovox.cross_validation import Fold, draw_folds, keep_folds, train_fold
from otovox.dataset import read_index
from otovox.errors import ConfigError, InputError, OtovoxError
from otovox.formats.writing import make_folder, replacing
from otovox.prepared import prepare
from otovox.study.plans import Run, Study

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

#: Where to train and predict; besides these, cuda:N.
DEVICES = ("auto", "cpu", "torch", "cuda")
#: Below the study's folder: its runs, their logs, resampled volumes, and what was run.
RUNS, LOGS, VOLUMES, STUDY = "runs", "logs", "volumes", "study.json"

#: Whose words go to a fold's log.
LOGGERS = ("otovox", "lightning.pytorch", "lightning.fabric")


@dataclass(frozen=True)
class Job:
    """One fold of one run.

    Attributes:
        run: of the study.
        fold: its number.
        config: everything that is set; or why it cannot be set.
        dataset: folder of the data set, absolute.
        output: of the study, absolute.
        how: test sets, absolute, and how they are predicted; its device is also trained on.
    """

    run: Run
    fold: int
    config: TrainConfig | str
    dataset: Path
    output: Path
    how: Plan

    @property
    def place(self) -> Path:
        """Folder of all folds of the run."""
        return self.output / RUNS / self.run.name


@dataclass(frozen=True)
class Outcome:
    """How it went with a job: nothing is said if it went well.

    Attributes:
        job: what was to be done.
        reason: why it failed.
        ours: whether that is a bug of ours.
    """

    job: Job
    reason: str = ""
    ours: bool = False


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """1 if we broke, else 2 if a run was refused, else 0."""
    if any(outcome.ours for outcome in outcomes):
        return 1
    return 2 if any(outcome.reason for outcome in outcomes) else 0


def plan_jobs(
    study: Study,
    settings: Sequence[tuple[Run, TrainConfig | str]],
    dataset: Path,
    output: Path,
    *,
    folds: tuple[int, int, int],
    how: Plan,
) -> list[Job]:
    """Draw the folds, the same for every run, and write down what is run.

    Args:
        study: the runs are of.
        settings: of runs, from `plans.settled`.
        dataset: folder of the data set.
        output: folder of the study; `study.json` tells what was run in it.
        folds: how many, patients that validate in each, seed of the draw.
        how: test sets, and how they are predicted.

    Raises:
        InputError: if there are too few patients.
        ConfigError: if other folds, or another study, are there; or there is no such device.
    """
    if how.device not in DEVICES and not how.device.startswith("cuda:"):
        raise ConfigError(f"there is no device {how.device!r}; choose of {', '.join(DEVICES)}")
    dataset, output = dataset.resolve(), output.resolve()
    how = replace(how, tests=tuple(test.resolve() for test in how.tests))
    drawn = draw_folds(read_index(dataset), folds=folds[0], validation=folds[1], seed=folds[2])
    keep_study(study, output)
    jobs: list[Job] = []
    for fold in range(folds[0]):
        jobs += [Job(run, fold, config, dataset, output, how) for run, config in settings]
    for run, config in settings:
        if not isinstance(config, str):
            keep_folds(dataset, output / RUNS / run.name, drawn)
    _prepare(jobs, drawn)
    return jobs


def keep_study(study: Study, output: Path) -> None:
    """Write down the study; the one that is there already must be of the same name.

    Raises:
        ConfigError: if another one is there.
    """
    path = output / STUDY
    make_folder(output)
    if path.is_file() and json.loads(path.read_text("utf-8"))["name"] != study.name:
        raise ConfigError(f"{path}: tells of another study; choose another --output")
    with replacing(path) as beside:
        beside.write_text(study.model_dump_json(indent=2) + "\n", "utf-8")


def read_study(output: Path) -> Study:
    """The study that was run in a folder.

    Raises:
        InputError: if there is none.
    """
    path = output / STUDY
    try:
        return Study.model_validate_json(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{output}: is no folder of a study, {STUDY} cannot be read") from error


def run_jobs(jobs: Sequence[Job], workers: Workers) -> Iterator[Outcome]:
    """Do all jobs; those that are finished cost nothing.

    Args:
        jobs: from `plan_jobs`.
        workers: how many processes, one GPU each where there are any; or a cluster.

    Yields:
        The outcome of each job, as it comes.

    Raises:
        ConfigError: if no scheduler answers.
    """
    given = [job for job in jobs if not isinstance(job.config, str)]
    for job in jobs:
        if isinstance(job.config, str):
            yield Outcome(job, job.config)
    count = workers.count or local_workers()
    if not given:
        return
    if workers.scheduler is None and count == 1:
        yield from (do(job) for job in given)
        return
    with _client(workers.scheduler, count) as client:
        share = 0 if workers.scheduler is not None else count
        yield from _distributed(client, given, share)


def local_workers() -> int:
    """One per GPU of this machine, or one."""
    import torch

    return max(1, torch.cuda.device_count())


def do(job: Job, *, gpu: int | None = None, share: int = 0) -> Outcome:
    """Train one fold of a run, or go on with it, and predict what it has not seen.

    Args:
        job: with settings.
        gpu: which, counted over those of the machine again and again; None for the first.
        share: how many workers share the machine's cores; 0 to leave these as they are.

    Returns:
        How it went; everything that is printed meanwhile goes to a log.
    """
    place = job.output / LOGS / f"{job.run.name}-fold-{job.fold}.txt"
    try:
        make_folder(place.parent)
        with _logged(place):
            _do(job, gpu, share)
    except OtovoxError as error:
        return Outcome(job, str(error))
    except Exception as error:
        return Outcome(job, f"{type(error).__name__}: {error} (see {place})", ours=True)
    return Outcome(job)


def _do(job: Job, gpu: int | None, share: int) -> None:
    import torch

    from otovox.training import Hardware

    assert not isinstance(job.config, str)
    if multiprocessing.current_process().daemon and job.config.data.workers:
        raise ConfigError(
            "the workers may start no processes, which prepare chunks: start them with --no-nanny, "
            "or set data.workers = 0"
        )
    if share:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // share))
    device, count = job.how.device, torch.cuda.device_count()
    if device in ("auto", "cuda") and count:
        number = (gpu or 0) % count
        hardware, device = Hardware("gpu", f"{number},"), f"cuda:{number}"
    elif device.startswith("cuda:"):
        hardware = Hardware("gpu", f"{device.removeprefix('cuda:')},")
    elif device == "cuda":
        raise ConfigError("there is no CUDA device here")
    else:
        hardware = Hardware("cpu", "1")
    train_fold(job.dataset, job.config, job.place, job.fold, hardware=hardware)
    predict_fold(job.dataset, job.place, job.fold, how=replace(job.how, device=device))


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Everything that is printed and logged goes to the end of a file."""
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


def _prepare(jobs: Sequence[Job], folds: Sequence[Fold]) -> None:
    """Resample the data set once per working spacing, for all runs together."""
    wanted = {case for fold in folds for part in fold.values() for case in part}
    ready: set[Path] = set()
    for job in jobs:
        link, config = job.place / VOLUMES, job.config
        if isinstance(config, str) or job.fold:
            continue
        data, landmarks = config.data, config.network.landmarks
        sides = "x".join(map(str, data.shape))
        kept = job.output / VOLUMES / "-".join([f"{data.spacing_mm:g}mm", sides, *landmarks])
        make_folder(kept)
        target = Path("..") / ".." / VOLUMES / kept.name
        if link.is_symlink() and link.readlink() != target:
            link.unlink()
        if not link.exists():
            link.symlink_to(target, target_is_directory=True)
        if kept not in ready:
            ready.add(kept)
            logger.info("volumes of %g mm", data.spacing_mm)
            entries = [entry for entry in read_index(job.dataset) if entry.case in wanted]
            prepare(
                job.dataset, entries, kept,
                spacing_mm=data.spacing_mm, shape=data.shape, landmarks=landmarks,
            )  # fmt: skip


def _distributed(client: "Client", jobs: Sequence[Job], share: int) -> Iterator[Outcome]:
    from distributed import KilledWorker, as_completed

    tasks = client.map(_on_worker, jobs, share=share, pure=False)
    given = dict(zip(tasks, jobs, strict=True))
    try:
        for task in as_completed(tasks):
            job = given.pop(task)
            try:
                outcome = task.result()
            except KilledWorker:
                reason = "the workers that had it died, likely for lack of memory"
                outcome = Outcome(job, f"fold {job.fold}: {reason}")
            yield replace(outcome, job=job)
    finally:
        client.cancel(list(given))


def _on_worker(job: Job, share: int) -> Outcome:
    """Do a job with the GPU of a worker: that of its number, if it is one of ours."""
    from distributed import get_worker

    name = get_worker().name
    return do(job, gpu=int(name) if share and str(name).isdigit() else None, share=share)


@contextmanager
def _client(scheduler: str | None, count: int) -> "Iterator[Client]":
    """A cluster's client; a cluster of ours may start processes, which prepare chunks."""
    from dask import config
    from distributed import Client, LocalCluster

    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=10)
        except (OSError, ValueError) as error:
            raise ConfigError(f"no scheduler answers at {scheduler} ({error})") from error
        with client:
            yield client
        return
    with (
        config.set({"distributed.worker.daemon": False}),
        LocalCluster(count, threads_per_worker=1, dashboard_address="") as cluster,
        Client(cluster) as client,
    ):
        yield client
