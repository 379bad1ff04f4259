"""Many scans: sequentially, on several local processes, or on a dask.distributed cluster.

Each worker writes complete results of its scan or none, so finished work is never lost; if a worker
dies, dask gives its scan to another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from otovox.analysis.scan import Job, Options, ScanOutcome, examine, success
from otovox.analysis.summary import Row, read_summary, rows_of, update_summary
from otovox.errors import InputError
from otovox.formats.leftovers import is_scratch, remove_leftovers
from otovox.formats.writing import locked, replacing
from otovox.results.schema import RESULT, read_result
from otovox.results.tables import long_table, write_long_table
from otovox.workers import DIED, Outcome, Status, Workers, client_of, shared_out

#: Memory that a worker needs: a whole head takes 2.1 GiB (benchmarks), plus a reserve.
WORKER_GIB = 4.0
#: Cores that one scan uses efficiently. Chosen, not measured.
WORKER_CORES = 2

SUMMARY = "summary.csv"
#: Final states of scans without results.
FAILURES = (Status.REFUSED, Status.BROKEN)
#: Additional files for a folder of several scans: a table with a row per measurement, and a page.
LONG, PAGE = "measurements.csv", "cohort.html"


def local_workers(scans: int) -> int:
    """Number of local processes that cores and memory of this machine allow, at most `scans`.

    >>> local_workers(1)
    1
    """
    if scans < 2:
        return 1
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    fed = min(CPU_COUNT // WORKER_CORES, int(MEMORY_LIMIT / 2**30 / WORKER_GIB))
    return max(1, min(fed, scans))


def run(
    jobs: Sequence[Job], output: Path, options: Options, workers: Workers | None = None
) -> Iterator[ScanOutcome]:
    """Analyse all scans; summary.csv is updated continuously, the cohort files at the end.

    Several processes may write to one folder; its tables contain the scans of all of them.

    Args:
        jobs: from `analysis.plan`.
        output: results folder.
        options: options for every scan.
        workers: where to analyse them.

    Yields:
        The outcome of each job, in order of completion.

    Raises:
        ConfigError, ModelError: if the workers, the model or the device cannot be used at all.
        OutputError: if a table or the page cannot be written.
    """
    try:
        for outcome in _outcomes(jobs, options, workers or Workers()):
            with locked(output):
                update_summary(output / SUMMARY, outcome.job.name, summary_rows(outcome))
            yield outcome
        with locked(output):
            _write_cohort(output)
    finally:
        remove_leftovers(output)  # of terminated workers


def summary_rows(outcome: ScanOutcome) -> tuple[Row, ...]:
    """A scan's rows in summary.csv, one per ear, or a single one without an ear.

    >>> job = Job("anna", Path("anna.nii"), Path("out", "anna"))
    >>> (row,) = summary_rows(Outcome(job, Status.REFUSED, "an MR"))
    >>> row["scan"], row["status"], row["reason"]
    ('anna', 'refused', 'an MR')
    """
    job, status = outcome.job, outcome.status.value
    return rows_of(job.name, job.path, status=status, reason=outcome.reason, result=outcome.answer)


def _write_cohort(output: Path) -> None:
    """Write the files about all scans of a folder, if there are several."""
    outcomes = known_outcomes(output)
    if len(outcomes) < 2:
        return
    # The page's libraries load slowly, and a single scan needs none of them.
    from otovox.analysis.cohort_page import write_cohort_page

    results = {o.job.name: o.answer for o in outcomes if o.answer is not None}
    with replacing(output / LONG) as beside:
        write_long_table(results, beside)
    with replacing(output / PAGE) as beside:
        write_cohort_page(outcomes, long_table(results), beside)


def known_outcomes(output: Path) -> list[ScanOutcome]:
    """The outcomes of all scans in an output folder, sorted by name.

    Results that are missing from summary.csv, because a process was killed, are added to it.

    Args:
        output: folder of the results folders.

    Raises:
        OutputError: if summary.csv cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     refused = {"scan": "anna", "status": "refused", "reason": "an MR"}
    ...     update_summary(Path(folder, SUMMARY), "anna", [refused])
    ...     [(outcome.job.name, outcome.reason) for outcome in known_outcomes(Path(folder))]
    [('anna', 'an MR')]
    """
    rows: dict[str, Row] = {}
    for row in read_summary(output / SUMMARY):
        rows.setdefault(row["scan"], row)
    folders = [path.parent for path in output.glob(f"*/{RESULT}")]
    written = {folder.name for folder in folders if not is_scratch(folder)}
    outcomes: list[ScanOutcome] = []
    for name in sorted({*rows, *written}):
        row = rows.get(name, {})
        job = Job(name, Path(row.get("path", name)), output / name)
        refused = next((s for s in FAILURES if s.value == row.get("status")), None)
        if refused is not None:
            outcomes.append(Outcome(job, refused, row["reason"]))
            continue
        try:
            outcome = success(job, read_result(output / name / RESULT))
        except InputError:  # removed or damaged
            continue
        outcomes.append(outcome)
        if not row:
            update_summary(output / SUMMARY, name, summary_rows(outcome))
    return outcomes


def _outcomes(jobs: Sequence[Job], options: Options, workers: Workers) -> Iterator[ScanOutcome]:
    count = workers.count or local_workers(len(jobs))
    if workers.scheduler is None and count == 1:
        yield from (examine(job, options) for job in jobs)
        return
    with client_of(workers.scheduler, count) as client:
        if workers.scheduler is None:
            from dask.system import CPU_COUNT

            options = replace(options, threads=options.threads or max(1, CPU_COUNT // count))
        absolute = [
            replace(
                job,
                path=job.path.absolute(),
                folder=job.folder.resolve(),
                source=job.source and replace(job.source, path=job.source.path.absolute()),
            )
            for job in jobs
        ]
        for number, outcome in shared_out(client, examine, absolute, options=options):
            job = jobs[number]
            if outcome is None:
                outcome = Outcome(job, Status.REFUSED, f"{job.path}: {DIED}")
            yield replace(outcome, job=job)
