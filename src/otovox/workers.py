"""Jobs shared out to local processes or to a dask.distributed cluster."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from otovox.errors import ConfigError

if TYPE_CHECKING:
    from distributed import Client

#: What is told of a job whose workers died.
DIED = "the workers that had it died, likely for lack of memory"

Job = TypeVar("Job")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Workers:
    """Where jobs are done.

    Attributes:
        count: local processes; None for as many as this machine feeds.
        scheduler: address of a dask.distributed scheduler instead, such as tcp://host:8786. Its
            workers need otovox, and the same paths to what is read and written.
    """

    count: int | None = None
    scheduler: str | None = None


@contextmanager
def client_of(scheduler: str | None, count: int, *, children: bool = False) -> "Iterator[Client]":
    """A cluster's client; the cluster is closed with it if it is ours.

    Args:
        scheduler: address of a cluster; None for one of our own.
        count: processes of our own.
        children: whether these may start processes themselves.

    Raises:
        ConfigError: if no scheduler answers.
    """
    from dask import config
    from distributed import Client, LocalCluster

    # It tells of every connection; what goes wrong it tells as warnings.
    logging.getLogger("distributed").setLevel(logging.WARNING)
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=10)
        except (OSError, ValueError) as error:
            raise ConfigError(f"no scheduler answers at {scheduler} ({error})") from error
        with client:
            yield client
        return
    with (
        config.set({"distributed.worker.daemon": not children}),
        # A port of its own, so that several may run on one machine.
        LocalCluster(count, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def shared_out(
    client: "Client", work: Callable[..., Answer], jobs: Sequence[Job], **options: Any
) -> Iterator[tuple[int, Answer | None]]:
    """Do jobs on a cluster; what a worker that died was doing is given to another.

    Args:
        client: of the cluster.
        work: called with a job and the options, where the workers are.
        jobs: what is to be done.
        options: the same for every job.

    Yields:
        The number of a job and its answer, as they come; None where its workers died every time.
    """
    from distributed import KilledWorker, as_completed

    tasks = client.map(work, jobs, pure=False, **options)
    given = {task: number for number, task in enumerate(tasks)}
    try:
        for task in as_completed(tasks):
            number = given.pop(task)
            try:
                yield number, task.result()
            except KilledWorker:
                yield number, None
    finally:
        client.cancel(list(given))
