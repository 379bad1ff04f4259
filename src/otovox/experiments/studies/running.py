"""Runs of a study, one job per fold, in sequence, on local workers, or on a cluster.

A fold is trained and predicted by `cross_validation.train_fold` and `predict.predict_fold`:
finished work is not repeated, and interrupted work resumes from its last checkpoint. All output
is in `runs/RUN` of the study's folder, as after `otovox cross-validate`.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from otovox.config.training import TrainConfig
from otovox.dataset.layout import read_index
from otovox.dataset.prepared import prepare
from otovox.errors import ConfigError, InputError
from otovox.experiments.cross_validation import Fold, FoldPlan, draw_folds, keep_folds
from otovox.experiments.predict import PredictionPlan
from otovox.experiments.studies.fold import RUNS, FoldJob, FoldOutcome, do
from otovox.experiments.studies.plans import Study, StudyRun
from otovox.formats.writing import make_folder, replacing
from otovox.workers import DIED, Outcome, Status, Workers, client_of, shared_out

logger = logging.getLogger(__name__)

#: Devices for training and prediction; cuda:N is also allowed.
DEVICES = ("auto", "cpu", "torch", "cuda")
#: In the study's folder: resampled volumes, and a record of the study.
VOLUMES, STUDY = "volumes", "study.json"


def plan_jobs(
    study: Study,
    settings: Sequence[tuple[StudyRun, TrainConfig | str]],
    dataset: Path,
    output: Path,
    *,
    folds: FoldPlan,
    prediction: PredictionPlan,
) -> list[FoldJob]:
    """Draw the folds, the same for every run, and record the study.

    Args:
        study: study of the runs.
        settings: settings of the runs, from `plans.settled`.
        dataset: folder of the data set.
        output: folder of the study; `study.json` records the study.
        folds: settings of the folds.
        prediction: test sets and settings of their prediction.

    Raises:
        InputError: if there are too few patients.
        ConfigError: if it contains different folds or a different study, or the device does not
            exist.
    """
    if prediction.device not in DEVICES and not prediction.device.startswith("cuda:"):
        raise ConfigError(
            f"there is no device {prediction.device!r}; choose one of {', '.join(DEVICES)}"
        )
    dataset, output = dataset.resolve(), output.resolve()
    prediction = replace(
        prediction,
        tests=tuple(test.resolve() for test in prediction.tests),
        plain=tuple(test.resolve() for test in prediction.plain),
    )
    drawn = draw_folds(read_index(dataset), folds)
    keep_study(study, output)
    jobs: list[FoldJob] = []
    for fold in range(folds.folds):
        jobs += [
            FoldJob(run, fold, config, dataset, output, prediction) for run, config in settings
        ]
    for run, config in settings:
        if not isinstance(config, str):
            keep_folds(dataset, output / RUNS / run.name, drawn)
    _prepare(jobs, drawn)
    return jobs


def keep_study(study: Study, output: Path) -> None:
    """Record the study in its folder; an existing record must belong to the same study.

    Raises:
        ConfigError: if it belongs to a different one.
    """
    path = output / STUDY
    make_folder(output)
    if path.is_file() and json.loads(path.read_text("utf-8"))["name"] != study.name:
        raise ConfigError(f"{path}: belongs to a different study; choose another --output")
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
        raise InputError(
            f"{output}: is not the folder of a study, {STUDY} is unreadable"
        ) from error


def run_jobs(jobs: Sequence[FoldJob], workers: Workers) -> Iterator[FoldOutcome]:
    """Process all jobs; finished ones are skipped.

    Args:
        jobs: from `plan_jobs`.
        workers: local processes, with one GPU each if available; or a cluster.

    Yields:
        The outcome of each job, in order of completion.

    Raises:
        ConfigError: if no scheduler is reachable.
    """
    given = [job for job in jobs if not isinstance(job.config, str)]
    for job in jobs:
        if isinstance(job.config, str):
            yield Outcome(job, Status.REFUSED, job.config)
    count = workers.count or gpu_workers()
    if not given:
        return
    if workers.scheduler is None and count == 1:
        yield from (do(job) for job in given)
        return
    share = 0 if workers.scheduler is not None else count
    # Workers start their own processes to prepare chunks.
    with client_of(workers.scheduler, count, children=True) as client:
        for number, outcome in shared_out(client, _on_worker, given, share=share):
            job = given[number]
            if outcome is None:
                outcome = Outcome(job, Status.REFUSED, f"fold {job.fold}: {DIED}")
            yield replace(outcome, job=job)


def gpu_workers() -> int:
    """Number of workers: one per GPU of this machine, or one.

    >>> gpu_workers() >= 1
    True
    """
    import torch

    return max(1, torch.cuda.device_count())


def _prepare(jobs: Sequence[FoldJob], folds: Sequence[Fold]) -> None:
    """Resample the data set once per working spacing, for all runs together."""
    wanted = {case for fold in folds for share in fold.values() for case in share}
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


def _on_worker(job: FoldJob, share: int) -> FoldOutcome:
    """Do a job on a worker, with the GPU of the worker's number if it is local."""
    from distributed import get_worker

    name = get_worker().name
    return do(job, gpu=int(name) if share and str(name).isdigit() else None, share=share)
