"""Many scans in one go: load, predict, write. A scan that fails stops no other.

`plan` looks at the arguments, `examine` takes one scan from file to results, `exit_code` sums up;
`analyze` is the one-scan form for Python. `cohort` runs many scans, here or on a cluster.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING, Any

from otovox._version import __version__
from otovox.analysis.summary import Row, rows_of
from otovox.core.case import Prediction
from otovox.core.volume import Scan
from otovox.errors import InputError, OtovoxError
from otovox.formats.archives import is_archive
from otovox.formats.fingerprint import fingerprint
from otovox.formats.images import scan_name
from otovox.formats.placement import Stated
from otovox.formats.scans import Source, find_scans, load_scan, opened_source, read_source
from otovox.formats.writing import check_output, make_folder
from otovox.learning.bundle import embedded, load_bundle
from otovox.results.folder import read_result, write_results
from otovox.results.schema import RESULT, ResultFile

if TYPE_CHECKING:
    from otovox.inference.ears import Analyzer
    from otovox.inference.single_ear import SingleEarAnalyzer

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
        fresh: analyse scans again whose results are there and up to date.
        stated: what the user says of headers that are silent about sides or voxel size.
    """

    series: str | None = None
    device: str = "auto"
    threads: int | None = None
    tta: str = "fast"
    model: str = "labyrinth"
    fresh: bool = False
    stated: Stated = field(default_factory=Stated)


@dataclass(frozen=True)
class Job:
    """A scan to analyse, or an argument that is none.

    Attributes:
        name: of the scan, and of its result folder.
        path: image file, DICOM folder or zip file.
        folder: where its results go.
        problem: why it cannot be a scan; empty if it may be one.
        source: the files that it is read from; None if `path` is all of them.
    """

    name: str
    path: Path
    folder: Path
    problem: str = ""
    source: Source | None = None


@dataclass(frozen=True)
class Outcome:
    """What became of one scan.

    Attributes:
        job: the scan.
        status: how it went.
        reason: refusal, or warnings, for the user; may be empty.
        result: what was found, and what `result.json` holds; None if refused.
    """

    job: Job
    status: Status
    reason: str
    result: ResultFile | None = None

    @property
    def rows(self) -> tuple[Row, ...]:
        """Its lines in summary.csv, one per ear, or a single one without an ear."""
        return rows_of(
            self.job.name, self.job.path, self.status.value, self.reason, result=self.result
        )

    @property
    def sides(self) -> tuple[str, ...]:
        """Sides of the ears found, right first."""
        return tuple(ear.side.value for ear in self.result.ears) if self.result else ()


def analyze(scan: Scan | str | Path, **options: Any) -> Prediction:
    """Analyse one scan, writing nothing.

    Args:
        scan: a Scan, an image file or a DICOM folder.
        options: fields of `Options`: series, device, threads, tta, model, stated.

    Returns:
        The ears found, none, one or two, and the label map on the scan's own grid.

    Raises:
        OtovoxError: if the scan or an option cannot be used.
    """
    chosen = Options(**options)
    if not isinstance(scan, Scan):
        scan = load_scan(scan, series=chosen.series, stated=chosen.stated)
    return _analyzer(chosen).predict(scan)


def plan(arguments: Sequence[Path], output: Path, *, series: str | None = None) -> tuple[Job, ...]:
    """Find the scans, and refuse what would end in a half-finished run.

    Args:
        arguments: files, DICOM folders, folders of these, zip files, patterns (`scans/*.nii.gz`),
            or text files that list such paths line by line, relative to the list's own folder.
        output: result folder; made if it is not there.
        series: UID, number or description of the DICOM series to take; all others are left out.

    Returns:
        One job per scan; each scan once.

    Raises:
        InputError: if two scans would share a result folder.
        OutputError: if nothing can be written to `output`, or results would replace a scan.
    """
    paths: list[Path] = []
    bad: list[Job] = []
    for argument in arguments:
        try:
            paths += _expanded(argument)
        except InputError as error:
            name = scan_name(argument)
            bad.append(Job(name, argument, output / name, str(error)))
    sources = find_scans(paths, series=series, passing_over=[output], strict=False)
    jobs = [Job(s.name, s.path, output / s.name, s.problem, s) for s in sources] + bad
    _refuse_collisions(jobs)
    check_output(
        output,
        names=[job.name for job in jobs if not job.problem],
        inputs=[*paths, *(path for s in sources for path in (s.path, *s.files) if not s.inside)],
    )
    make_folder(output)
    return tuple(jobs)


def examine(job: Job, options: Options) -> Outcome:
    """Take one scan from file to result folder, unless the results are there and up to date.

    Args:
        job: from `plan`.
        options: of the analysis; the models of the last ones are kept in memory.

    Returns:
        What became of it; a refused scan or an error of ours is an outcome, too.

    Raises:
        OtovoxError: if the model or the device cannot be used, whatever the scan.
    """
    if job.problem:
        return Outcome(job, Status.REFUSED, job.problem)
    try:
        key = _key(job, options)
        kept = None if options.fresh else _kept(job, key)
        if kept is not None:
            return kept
        # The files of a zip file are there until the results that refer to them are written.
        with opened_source(job.source or Source(job.path, job.name)) as source:
            return _examined(job, source, key, options)
    except Exception as error:
        return _failure(job, error)


def _examined(job: Job, source: Source, key: str, options: Options) -> Outcome:
    scan = read_source(source, series=options.series, stated=options.stated)
    found = _analyzer(options).predict(scan)
    prediction = replace(found, provenance=replace(found.provenance, key=key))
    return _success(job, write_results(prediction, job.folder))


def exit_code(outcomes: Sequence[Outcome]) -> int:
    """1 if we broke, else 2 if a scan was refused, else 3 if one had no inner ear, else 0."""
    statuses = {outcome.status for outcome in outcomes}
    return next((code for status, code in EXIT_CODES.items() if status in statuses), 0)


def _analyzer(options: Options) -> "Analyzer | SingleEarAnalyzer":
    return _opened(options.device, options.threads, options.tta, options.model)


@lru_cache(maxsize=1)
def _opened(
    device: str, threads: int | None, tta: str, model: str
) -> "Analyzer | SingleEarAnalyzer":
    """The models, loaded once for all scans of a process."""
    from otovox.inference.single_ear import open_any

    return open_any(device=device, threads=threads, tta=tta, model=model)


def _expanded(argument: Path) -> list[Path]:
    """The paths that a list or a pattern stands for; any other argument stands for itself."""
    if argument.suffix.lower() == ".txt" and argument.is_file():
        lines = (line.strip() for line in argument.read_text("utf-8").splitlines())
        listed = [argument.parent / line for line in lines if line and not line.startswith("#")]
        return [path for line in listed for path in _expanded(line)]
    if has_magic(str(argument)) and not argument.exists():
        matches = sorted(glob(str(argument), recursive=True))
        if not matches:
            raise InputError(f"{argument}: matches no file")
        return [Path(match) for match in matches]
    return [argument]


def _key(job: Job, options: Options) -> str:
    """What a result depends on: the scan's files, the models, the settings and the version."""
    parts = {
        "input": _fingerprint(job),
        "series": options.series,
        "stated": [options.stated.space, options.stated.spacing_mm],
        "tta": options.tta,
        "models": [load_bundle(options.model).sha256, embedded("locator").sha256],
        "version": __version__,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _fingerprint(job: Job) -> str:
    """Of the files that the scan is read from; a zip file stands for itself and the path within."""
    source = job.source or Source(job.path, job.name)
    if is_archive(source.path):
        return fingerprint(source.path, [source.path]) + f"{source.series} {source.inside}"
    return fingerprint(source.path, source.files)


def _kept(job: Job, key: str) -> Outcome | None:
    """The outcome of an earlier run, if its results are there and depend on the same things."""
    try:
        result = read_result(job.folder / RESULT)
    except InputError:
        return None
    return _success(job, result) if result.provenance.key == key else None


def _success(job: Job, result: ResultFile) -> Outcome:
    told = [*result.warnings]
    for ear in result.ears:
        told += [f"{ear.side}: {warning}" for warning in ear.warnings]
    status = Status.DONE if result.ears else Status.NO_EAR
    return Outcome(job, status, "; ".join(told), result)


def _failure(job: Job, error: Exception) -> Outcome:
    """Whatever went wrong with a scan, told to its user."""
    if isinstance(error, OtovoxError):
        return Outcome(job, Status.REFUSED, str(error))
    # torch has an error of its own for this.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        reason = f"{job.path}: there is not enough memory; crop the scan around the ears"
        return Outcome(job, Status.REFUSED, reason)
    # A bug of ours must not cost the user the other scans; -v shows where it is.
    log.info("%s: internal error", job.path, exc_info=error)
    reason = f"{job.path}: internal error, {type(error).__name__}: {error}"
    return Outcome(job, Status.BROKEN, reason)


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
