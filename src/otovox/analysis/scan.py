"""Scans from file to results folder. A failing scan does not stop the others.

`plan` finds the scans, `examine` analyses one of them and writes its results; `cohort` runs many,
locally or on a cluster.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from otovox._version import __version__
from otovox.errors import ConfigError, InputError, ModelError
from otovox.formats.archives import is_archive
from otovox.formats.arguments import expanded, printable
from otovox.formats.fingerprint import fingerprint
from otovox.formats.images import scan_name
from otovox.formats.leftovers import remove_leftovers
from otovox.formats.placement import Stated
from otovox.formats.scans import Source, find_scans, opened_source, read_source
from otovox.formats.writing import check_output, make_folder
from otovox.results.schema import RESULT, ResultFile, check_same_scan, read_result
from otovox.stages import Stage, report
from otovox.workers import Outcome, Status, failure

if TYPE_CHECKING:
    from otovox.analysis.model import Model


@dataclass(frozen=True)
class Options:
    """Options of an analysis.

    Attributes:
        series: DICOM series of a folder.
        device: auto, cpu, torch, cuda, cuda:N or mps.
        threads: CPU threads; None for all cores.
        tta: test-time augmentation: none, fast, paper or full.
        model: name of an embedded model, or folder of a trained one.
        fresh: analyse scans again even if their results are up to date.
        anonymous: leave out the identity of DICOM patients and series, and DICOM results.
        stated: orientation and voxel size stated by the user, for headers that lack them.
    """

    series: str | None = None
    device: str = "auto"
    threads: int | None = None
    tta: str = "fast"
    model: str = "labyrinth"
    fresh: bool = False
    anonymous: bool = False
    stated: Stated = field(default_factory=Stated)


@dataclass(frozen=True)
class Job:
    """A scan to analyse, or an argument that is not a scan.

    Attributes:
        name: name of the scan and of its results folder.
        path: image file, DICOM folder or zip file.
        folder: its results folder.
        problem: why it is not a scan; empty if it may be one.
        source: the files to read; None if `path` is the only one.
    """

    name: str
    path: Path
    folder: Path
    problem: str = ""
    source: Source | None = None


#: The outcome of one scan; its answer is the contents of `result.json`.
ScanOutcome = Outcome[Job, ResultFile]


def plan(arguments: Sequence[Path], output: Path, *, series: str | None = None) -> tuple[Job, ...]:
    """Find the scans, and refuse anything that would make the run fail halfway.

    Args:
        arguments: files, DICOM folders, folders of these, zip files, patterns (`scans/*.nii.gz`),
            or text files that list such paths line by line, relative to the list's own folder.
        output: results folder; created if necessary.
        series: UID, number or description of the DICOM series to analyse; others are skipped.

    Returns:
        One job per scan, without duplicates.

    Raises:
        InputError: if two scans would share a results folder.
        OutputError: if nothing can be written to `output`, or results would replace a scan.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for name in ("anna.nii.gz", "bela.nrrd"):
    ...         Path(folder, name).touch()
    ...     [job.name for job in plan([Path(folder)], Path(folder, "out"))]
    ['anna', 'bela']
    """
    paths, refused = expanded(arguments)
    sources = find_scans(paths, series=series, passing_over=[output], strict=False)
    sources += [Source(path, scan_name(path), problem=why) for path, why in refused]
    jobs = [Job(s.name, s.path, output / s.name, s.problem, s) for s in _told_apart(sources)]
    _refuse_collisions(jobs)
    check_output(
        output,
        names=[job.name for job in jobs if not job.problem],
        inputs=[*paths, *(path for s in sources for path in (s.path, *s.files) if not s.inside)],
    )
    make_folder(output)
    remove_leftovers(output)
    return tuple(jobs)


def examine(job: Job, options: Options) -> ScanOutcome:
    """Analyse one scan and write its results, unless they exist and are up to date.

    Args:
        job: from `plan`.
        options: options of the analysis; the last model loaded is kept in memory.

    Returns:
        The outcome, which may be a refusal or an internal error.

    Raises:
        OtovoxError: if the model or the device cannot be used for any scan.

    >>> job = Job("notes", Path("notes.txt"), Path("out", "notes"), problem="is not an image")
    >>> examine(job, Options()).status.value
    'refused'
    """
    if job.problem:
        return Outcome(job, Status.REFUSED, job.problem)
    try:
        origin = job.source or Source(job.path, job.name)
        key = _key(job, options)
        kept = None if options.fresh else _kept(job, key)
        if kept is not None:
            return kept
        check_same_scan(job.folder, origin.location)
        report(Stage.READING)
        # Files extracted from a zip file exist until the results that refer to them are written.
        with opened_source(origin) as source:
            scan = read_source(source, series=options.series, stated=options.stated)
            scan = scan.anonymous() if options.anonymous else scan
            model = _model(options)
            analysed = model.analyze_scan(scan, key=key, location=origin.location)
            result = analysed.save(job.folder)
        return success(job, result)
    except (ConfigError, ModelError):
        raise
    except Exception as error:
        return _failure(job, error)


def _model(options: Options) -> "Model":
    # What refuses a scan is loaded before what analyses it, so that refusals come at once.
    from otovox.analysis.model import load_model

    return load_model(
        options.model, device=options.device, threads=options.threads, tta=options.tta
    )


def _key(job: Job, options: Options) -> str:
    """What a result depends on: the scan's files, the models, the settings and the version."""
    from otovox.learning.bundle import embedded, load_bundle

    parts = {
        "input": _fingerprint(job),
        "series": options.series,
        "anonymous": options.anonymous,
        "stated": [options.stated.space, options.stated.spacing_mm],
        "tta": options.tta,
        "models": [load_bundle(options.model).sha256, embedded("locator").sha256],
        "version": __version__,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _fingerprint(job: Job) -> str:
    """Fingerprint of the files to read; for a zip file that of the archive and the path inside."""
    source = job.source or Source(job.path, job.name)
    if is_archive(source.path):
        return fingerprint(source.path, [source.path]) + f"{source.series} {source.inside}"
    return fingerprint(source.path, source.files)


def _kept(job: Job, key: str) -> ScanOutcome | None:
    """The outcome of an earlier run, if its results exist and are up to date."""
    try:
        result = read_result(job.folder / RESULT)
    except InputError:
        return None
    return success(job, result) if result.provenance.key == key else None


def success(job: Job, result: ResultFile) -> ScanOutcome:
    """The outcome of a scan whose results were written; its warnings are the reason.

    >>> job = Job("anna", Path("anna.nii"), Path("out", "anna"))
    >>> outcome = success(job, ResultFile.model_construct(ears=[], warnings=["no inner ear found"]))
    >>> outcome.status.value, outcome.reason
    ('no inner ear found', 'no inner ear found')
    """
    reasons = [*result.warnings]
    for ear in result.ears:
        reasons += [f"{ear.side}: {warning}" for warning in ear.warnings]
    status = Status.DONE if result.ears else Status.NO_EAR
    return Outcome(job, status, "; ".join(reasons), result)


def _failure(job: Job, error: Exception) -> ScanOutcome:
    return failure(job, error, printable(job.path), hint="; crop the scan around the ears")


def _told_apart(sources: Sequence[Source]) -> list[Source]:
    """The sources, with unique names for those that are not scans."""
    taken = {source.name.casefold() for source in sources if not source.problem}
    named = []
    for source in sources:
        if source.problem:
            base = printable(source.path.name)
            names = (source.name, base, *(f"{base}-{n}" for n in range(2, len(sources) + 2)))
            name = next(name for name in map(printable, names) if name.casefold() not in taken)
            taken.add(name.casefold())
            source = replace(source, name=name)
        named.append(source)
    return named


def _refuse_collisions(jobs: Sequence[Job]) -> None:
    # Casefolded, because some file systems do not distinguish "Scan" and "scan".
    counts = Counter(job.name.casefold() for job in jobs)
    for name, count in counts.items():
        if count > 1:
            one, other = [job.path for job in jobs if job.name.casefold() == name][:2]
            raise InputError(
                f"{one} and {other} would share the results folder {jobs[0].folder.parent / name}; "
                "analyse them with different --output folders, or rename one"
            )
