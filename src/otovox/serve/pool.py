"""Worker processes: each job runs in one of them, can be cancelled, and survives a crash.

Jobs are read from the database, and their outcomes written to it. A worker that dies is replaced;
its job runs again once, since a file may be the cause.
"""

import logging
import multiprocessing as mp
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from otovox.serve.store import Row, Store, now
from otovox.workers import DIED, failure

log = logging.getLogger(__name__)

#: Attempts at a job whose worker died: chosen.
MOST_ATTEMPTS = 2
#: Interval at which threads check for jobs and for their parent process, s: chosen.
_PAUSE_S = 0.5

#: A task function receives the result of `prepare` for its job, and reports its stages.
Tasks = Mapping[str, Callable[[Any, Callable[[str], None]], Row]]


@dataclass
class Worker:
    """One process and its current job."""

    process: BaseProcess
    pipe: Connection
    job: int | None = None
    cancelled: bool = field(default=False)


class Pool:
    """Threads that feed one process each.

    Args:
        store: with the jobs.
        tasks: functions by the kind of job; they must be importable by name.
        prepare: converts a job to the argument of its task; None if there is nothing to do.
        finished: called with a job and its outcome (`state`, `reason` and the task's return value)
            in the transaction that ends the job.
        after: called with a job and its outcome after that transaction.
        count: number of processes.
    """

    def __init__(
        self,
        store: Store,
        tasks: Tasks,
        *,
        prepare: Callable[[Row], Any],
        finished: Callable[[Row, Row], None],
        after: Callable[[Row, Row], None],
        count: int = 1,
    ) -> None:
        self._store, self._tasks = store, dict(tasks)
        self._prepare, self._finished, self._after = prepare, finished, after
        self._workers: dict[int, Worker] = {}
        self._lock, self._wake, self._stopped = threading.Lock(), threading.Event(), False
        self._threads = [
            threading.Thread(target=self._feed, args=(number,), daemon=True)
            for number in range(count)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End all processes; their jobs are queued again when the server starts."""
        with self._lock:
            self._stopped = True
            for worker in self._workers.values():
                worker.process.terminate()
        self._wake.set()
        for thread in self._threads:
            thread.join(timeout=10)

    def wake(self) -> None:
        """Check for jobs now."""
        self._wake.set()

    def cancel(self, job: int) -> bool:
        """Kill a running job; returns whether it was running."""
        with self._lock:
            for worker in self._workers.values():
                if worker.job == job:
                    worker.cancelled = True
                    worker.process.kill()
                    return True
        return False

    @property
    def processes(self) -> list[int]:
        """Process identifiers of the workers."""
        with self._lock:
            return [w.process.pid for w in self._workers.values() if w.process.pid]

    def _feed(self, number: int) -> None:
        while not self._stopped:
            job = self._store.take_job()
            if job is None:
                self._wake.wait(_PAUSE_S)
                self._wake.clear()
                continue
            try:
                self._do(number, job)
            except Exception as error:
                log.exception("job %s", job["id"])
                self._end(job, {"state": "failed", "reason": f"internal error ({error})"})

    def _do(self, number: int, job: Row) -> None:
        task = self._prepare(job)
        if task is None:
            self._end(job, {"state": "cancelled", "reason": "there is nothing to do"})
            return
        worker = self._worker(number)
        if worker is None:
            return
        worker.job = job["id"]
        outcome = self._outcome(worker, job, task)
        worker.job = None
        if self._stopped and outcome is None:
            return
        if outcome is None:
            self._replace(number)
            if worker.cancelled:
                outcome = {"state": "cancelled", "reason": "cancelled"}
            elif job["attempts"] < MOST_ATTEMPTS:
                self._store.change("jobs", {"id": job["id"]}, state="queued", stage="")
                return
            else:
                outcome = {"state": "failed", "reason": DIED}
        self._end(job, outcome)

    def _outcome(self, worker: Worker, job: Row, task: Any) -> Row | None:
        """The outcome from a worker; None if it died."""
        try:
            worker.pipe.send((job["kind"], task))
            while True:
                kind, answer = worker.pipe.recv()
                if kind == "stage":
                    self._store.change("jobs", {"id": job["id"]}, stage=answer)
                else:
                    return answer
        except (EOFError, OSError):
            return None

    def _end(self, job: Row, outcome: Row) -> None:
        with self._store.together():
            self._store.change(
                "jobs", {"id": job["id"]}, state=outcome["state"], reason=outcome["reason"],
                finished=now(), stage="",
            )  # fmt: skip
            self._finished(job, outcome)
        self._after(job, outcome)

    def _worker(self, number: int) -> Worker | None:
        """The process of a thread, started if necessary; None after `stop`."""
        worker = self._workers.get(number)
        if worker is not None and worker.process.is_alive():
            worker.cancelled = False
            return worker
        context = mp.get_context("spawn")
        with self._lock:
            # `stop` ends the processes it finds: none may start after it has looked.
            if self._stopped:
                return None
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve_jobs, args=(theirs, self._tasks), daemon=False)
            process.start()
            theirs.close()
            self._workers[number] = Worker(process, ours)
            return self._workers[number]

    def _replace(self, number: int) -> None:
        with self._lock:
            worker = self._workers.pop(number)
        worker.pipe.close()
        worker.process.join(timeout=5)


def _serve_jobs(pipe: Connection, tasks: Tasks) -> None:
    """Main loop of a worker process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    with suppress(EOFError, OSError):
        while True:
            kind, task = pipe.recv()
            pipe.send(
                ("done", _done(tasks[kind], task, lambda text: pipe.send(("stage", str(text)))))
            )


def _done(work: Callable[..., Row], task: Any, report_stage: Callable[[str], None]) -> Row:
    from otovox.formats.native import silenced_libraries

    try:
        with silenced_libraries():
            return {"state": "done", "reason": ""} | work(task, report_stage)
    except Exception as error:
        outcome = failure(task, error, "scan", hint="; crop the scan around the ears")
        return {"state": "failed", "reason": outcome.reason}


def _end_with_parent(parent: int) -> None:
    """Exit when the server has ended, so that no job runs twice."""
    while os.getppid() == parent:
        time.sleep(_PAUSE_S)
    os._exit(1)
