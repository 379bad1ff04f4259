"""Many scans in one go: load, predict, write. A scan that fails stops no other.

`plan` looks at the arguments, `run` yields one Outcome per scan, `exit_code` sums them up;
`analyze` is the one-scan form for Python.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from otovox.case import Prediction
from otovox.errors import InputError, OtovoxError
from otovox.formats import find_scans, load_scan, scan_name
from otovox.formats.writing import make_folder
from otovox.report import write_results
from otovox.summary import Row, ear_columns, read_summary, scan_row, write_summary
from otovox.volume import Scan

if TYPE_CHECKING:
    from otovox.inference import Analyzer

T = TypeVar("T")

log = logging.getLogger(__name__)


class Status(StrEnum):
    """How it went with one scan."""

    DONE = "done"
    NO_EAR = "no inner ear found"
    REFUSED = "refused"
    BROKEN = "internal error"


#: Exit codes, the weightiest first.
EXIT_CODES = {Status.BROKEN: 1, Status.REFUSED: 2, Status.NO_EAR: 3}


@dataclass(frozen=True)
class Options:
    """Options of an analysis.

    Attributes:
        series: which DICOM series of a folder.
        device: auto, cpu, torch, cuda, cuda:N or mps.
        threads: CPU threads; None for all cores.
        tta: test-time augmentation, none or fast.
        model: name of an embedded model, or the folder of another.
        skip_existing: leave scans alone whose result is there.
    """

    series: str | None = None
    device: str = "auto"
    threads: int | None = None
    tta: str = "fast"
    model: str = "labyrinth"
    skip_existing: bool = False


@dataclass(frozen=True)
class Job:
    """A scan to analyse, or an argument that is none.

    Attributes:
        name: of the scan, and of its result folder.
        path: image file or DICOM folder.
        folder: where its results go.
        problem: why it cannot be a scan; empty if it may be one.
    """

    name: str
    path: Path
    folder: Path
    problem: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of one scan.

    Attributes:
        job: the scan.
        status: how it went.
        reason: refusal, or warnings, for the user; may be empty.
        rows: its lines in summary.csv, one per ear, or a single one without an ear.
    """

    job: Job
    status: Status
    reason: str
    rows: tuple[Row, ...]

    @property
    def sides(self) -> tuple[str, ...]:
        """Sides of the ears found, right first."""
        return tuple(row["side"] for row in self.rows if row["side"])


def analyze(scan: Scan | str | Path, **options: Any) -> Prediction:
    """Analyse one scan, writing nothing.

    Args:
        scan: a Scan, an image file or a DICOM folder.
        options: fields of `Options`: series, device, threads, tta, model.

    Returns:
        The ears found, none, one or two, and the label map on the scan's own grid.

    Raises:
        OtovoxError: if the scan or an option cannot be used.
    """
    chosen = Options(**options)
    if not isinstance(scan, Scan):
        scan = load_scan(scan, series=chosen.series)
    return _open_analyzer(chosen).predict(scan)


def plan(paths: Sequence[Path], output: Path) -> tuple[Job, ...]:
    """Find the scans, and refuse what would end in a half-finished run.

    Args:
        paths: files, DICOM folders, or folders of these.
        output: result folder; made if it is not there.

    Returns:
        One job per scan, in the order given; each scan once.

    Raises:
        InputError: if two scans would share a result folder.
        OutputError: if nothing can be written to `output`.
    """
    jobs: dict[Path, Job] = {}
    for path in paths:
        try:
            found, problem = tuple(find_scans([path])), ""
        except InputError as error:
            found, problem = (path,), str(error)
        for each in found:
            name = scan_name(each)
            jobs.setdefault(each.resolve(), Job(name, each, output / name, problem))
    _refuse_collisions(tuple(jobs.values()))
    make_folder(output)
    return tuple(jobs.values())


def run(jobs: Sequence[Job], output: Path, options: Options) -> Iterator[Outcome]:
    """Analyse scan after scan; models are loaded once; summary.csv is kept up to date.

    Args:
        jobs: from `plan`.
        output: result folder.
        options: of every scan.

    Yields:
        The outcome of each job, in order.

    Raises:
        ModelError: if the model or device cannot be used at all.
        OutputError: if summary.csv cannot be written.
    """
    rows = read_summary(output / "summary.csv")
    analyzer: Analyzer | None = None
    for job in jobs:
        outcome = _skipped(job, rows) if options.skip_existing else None
        scan = outcome or _loaded(job, options.series)
        if isinstance(scan, Scan):
            analyzer = analyzer or _open_analyzer(options)
            outcome = _predicted(job, scan, analyzer)
        else:
            outcome = scan
        rows = [row for row in rows if row["scan"] != job.name] + list(outcome.rows)
        write_summary(output / "summary.csv", rows)
        yield outcome


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """1 if we broke, else 2 if a scan was refused, else 3 if one had no inner ear, else 0."""
    statuses = {outcome.status for outcome in outcomes}
    return next((code for status, code in EXIT_CODES.items() if status in statuses), 0)


def _open_analyzer(options: Options) -> "Analyzer":
    from otovox.inference import open_analyzer

    return open_analyzer(
        device=options.device, threads=options.threads, tta=options.tta, model=options.model
    )


def _loaded(job: Job, series: str | None) -> Scan | Outcome:
    if job.problem:
        return _failure(job, Status.REFUSED, job.problem)
    return _tried(job, lambda: load_scan(job.path, series=series))


def _predicted(job: Job, scan: Scan, analyzer: "Analyzer") -> Outcome:
    def predict_and_write() -> Outcome:
        prediction = analyzer.predict(scan)
        write_results(prediction, job.folder)
        return _success(job, prediction)

    return _tried(job, predict_and_write)


def _tried(job: Job, step: Callable[[], T]) -> T | Outcome:
    """A step of one scan's analysis; whatever goes wrong becomes the scan's outcome."""
    try:
        return step()
    except OtovoxError as error:
        return _failure(job, Status.REFUSED, str(error))
    except Exception as error:
        # torch has an error of its own for this.
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            reason = f"{job.path}: there is not enough memory; crop the scan around the ears"
            return _failure(job, Status.REFUSED, reason)
        # A bug of ours must not cost the user the other scans; -v shows where it is.
        log.info("%s: internal error", job.path, exc_info=error)
        reason = f"{job.path}: internal error, {type(error).__name__}: {error}"
        return _failure(job, Status.BROKEN, reason)


def _success(job: Job, prediction: Prediction) -> Outcome:
    status = Status.DONE if prediction.ears else Status.NO_EAR
    told = [*prediction.warnings]
    for ear in prediction.ears:
        told += [f"{ear.side}: {warning}" for warning in ear.warnings]
    reason = "; ".join(told)
    row = scan_row(job.name, job.path, status=status, reason=reason)
    ears = tuple(row | ear_columns(ear) for ear in prediction.ears)
    return Outcome(job, status, reason, ears or (row,))


def _failure(job: Job, status: Status, reason: str) -> Outcome:
    row = scan_row(job.name, job.path, status=status, reason=reason)
    return Outcome(job, status, reason, (row,))


def _skipped(job: Job, rows: Sequence[Row]) -> Outcome | None:
    """The outcome of an earlier run, if its results are there and the summary knows them."""
    if not (job.folder / "result.json").is_file():
        return None
    found = tuple(row for row in rows if row["scan"] == job.name)
    kept = {Status.DONE.value, Status.NO_EAR.value}
    if not found or found[0]["status"] not in kept:
        return None
    return Outcome(job, Status(found[0]["status"]), found[0]["reason"], found)


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    # Casefolded, because some file systems do not tell "Scan" from "scan".
    counts = Counter(job.name.casefold() for job in jobs)
    for name, count in counts.items():
        if count > 1:
            one, other = [job.path for job in jobs if job.name.casefold() == name][:2]
            raise InputError(
                f"{one} and {other} would share the result folder {jobs[0].folder.parent / name}; "
                "analyse them with different --output folders, or rename one"
            )
