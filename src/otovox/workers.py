"""Jobs and their outcomes: in this process, local processes or a dask.distributed cluster."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from otovox.errors import ConfigError, OtovoxError

if TYPE_CHECKING:
    from distributed import Client

log = logging.getLogger(__name__)

#: Reason of a job whose workers died.
DIED = "the workers that processed it died, probably for lack of memory"

Job = TypeVar("Job")
Answer = TypeVar("Answer")


class Status(StrEnum):
    """How a job ended."""

    DONE = "done"
    NO_EAR = "no inner ear found"
    REFUSED = "refused"
    BROKEN = "internal error"


#: Exit codes, the most serious first.
EXIT_CODES = {Status.BROKEN: 1, Status.REFUSED: 2, Status.NO_EAR: 3}


@dataclass(frozen=True)
class Outcome(Generic[Job, Answer]):
    """The outcome of one job.

    Attributes:
        job: the job.
        status: how it ended.
        reason: why it failed, or warnings, for the user; may be empty.
        answer: its return value; None if it failed or returns nothing.
    """

    job: Job
    status: Status
    reason: str = ""
    answer: Answer | None = None

    @property
    def failed(self) -> bool:
        """Whether it was refused or ended in an internal error."""
        return self.status in (Status.REFUSED, Status.BROKEN)


def failure(job: Job, error: Exception, name: object, *, hint: str = "") -> Outcome[Job, Any]:
    """The outcome of a job that raised an error.

    Args:
        job: the job.
        error: the exception raised.
        name: name of the job for the user, such as the path of a scan.
        hint: advice for the user if memory is insufficient.
    """
    if isinstance(error, OtovoxError):
        return Outcome(job, Status.REFUSED, str(error))
    # torch has its own exception for this.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Outcome(job, Status.REFUSED, f"{name}: there is not enough memory{hint}")
    # An internal error must not stop the other jobs; -v shows the traceback.
    log.info("%s: internal error", name, exc_info=error)
    reason = f"{name}: internal error, {type(error).__name__}: {error}"
    return Outcome(job, Status.BROKEN, reason)


def exit_code(outcomes: Sequence[Outcome[Any, Any]]) -> int:
    """The exit code of a command: that of its most serious outcome.

    Args:
        outcomes: of all jobs.

    Returns:
        1 after an internal error, else 2 if a job was refused, else 3 if a scan contains no
        inner ear, else 0.

    >>> exit_code([Outcome("a", Status.DONE), Outcome("b", Status.REFUSED)])
    2
    """
    statuses = {outcome.status for outcome in outcomes}
    return next((code for status, code in EXIT_CODES.items() if status in statuses), 0)


@dataclass(frozen=True)
class Workers:
    """Where jobs are run.

    Attributes:
        count: number of local processes; None for as many as cores and memory allow.
        scheduler: address of a dask.distributed scheduler instead, such as tcp://host:8786. Its
            workers need otovox, and the same paths to inputs and outputs.
    """

    count: int | None = None
    scheduler: str | None = None


@contextmanager
def client_of(scheduler: str | None, count: int, *, children: bool = False) -> "Iterator[Client]":
    """The client of a cluster; a cluster started here is closed with it.

    Args:
        scheduler: address of a running cluster; None to start one on this machine.
        count: number of processes of the local cluster.
        children: whether these may start processes themselves.

    Raises:
        ConfigError: if no scheduler is reachable.
    """
    from dask import config
    from distributed import Client, LocalCluster

    # dask logs every connection; problems are still logged as warnings.
    logging.getLogger("distributed").setLevel(logging.WARNING)
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=10)
        except (OSError, ValueError) as error:
            raise ConfigError(f"no scheduler is reachable at {scheduler} ({error})") from error
        with client:
            yield client
        return
    with (
        config.set({"distributed.worker.daemon": not children}),
        # A free port, so that several can run on one machine.
        LocalCluster(count, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def shared_out(
    client: "Client", work: Callable[..., Answer], jobs: Sequence[Job], **options: Any
) -> Iterator[tuple[int, Answer | None]]:
    """Run jobs on a cluster; the jobs of a worker that died are given to another.

    Args:
        client: client of the cluster.
        work: function called with a job and the options, on the workers.
        jobs: the jobs.
        options: the same for every job.

    Yields:
        The index of a job and its answer, in order of completion; None if its workers died every
        time.
    """
    from distributed import KilledWorker, as_completed

    tasks = client.map(work, jobs, pure=False, **options)
    pending = {task: number for number, task in enumerate(tasks)}
    try:
        for task in as_completed(tasks):
            number = pending.pop(task)
            try:
                yield number, task.result()
            except KilledWorker:
                yield number, None
    finally:
        client.cancel(list(pending))
