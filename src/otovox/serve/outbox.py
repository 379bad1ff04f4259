"""Results to be sent to another system: rows of the database, so that a restart loses none."""

import logging
import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from otovox.errors import InputError
from otovox.results.schema import FILES
from otovox.serve.store import TIME, Row, Store, now

log = logging.getLogger(__name__)

#: What is sent of a version: segmentation and structured report.
SENT = ("dicom_segmentation", "dicom_report")
#: Interval between checks for new results, s: chosen.
_CHECK_S = 0.5
#: Pauses after failed attempts, s, then sending is given up: chosen; an archive may be down for
#: an hour.
PAUSES_S = (5.0, 60.0, 600.0, 3600.0)

#: Sends DICOM files; returns the problem as a sentence, empty if all were accepted.
Send = Callable[[list[Path]], str]


class Outbox:
    """A thread that sends results to one system, oldest first.

    Args:
        store: with the table `sends`.
        results: returns the result folder of a study's version.
        target: name of the system.
        send: sends files to it.
    """

    def __init__(
        self, store: Store, results: Callable[[str, int], Path], target: str, send: Send
    ) -> None:
        self.target = target
        self._store, self._results, self._send = store, results, send
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current attempt; what was not sent remains in the database."""
        self._stopped.set()
        self._thread.join(timeout=10)

    def _run(self) -> None:
        try:
            while not self._stopped.wait(_CHECK_S):
                for row in self._store.rows("sends", target=self.target, state="queued"):
                    if row["due"] <= now() and not self._stopped.is_set():
                        self._deliver(row)
        except sqlite3.ProgrammingError:
            # The database was closed during an attempt, which is repeated after a restart.
            return

    def _deliver(self, row: Row) -> None:
        this = {"id": row["id"]}
        try:
            paths = sent_files(self._results(row["study"], row["number"]))
            problem = self._send(paths) if paths else ""
            done = "sent" if paths else "nothing to send"
        except InputError:
            # The study was deleted.
            self._store.remove("sends", **this)
            return
        except sqlite3.ProgrammingError:
            raise
        except Exception as error:
            log.exception("%s", self.target)
            problem, done = f"{self.target}: internal error ({error})", ""
        if not problem:
            self._store.change("sends", this, state=done, reason="")
            return
        log.warning("%s", problem)
        attempts = row["attempts"] + 1
        final = attempts > len(PAUSES_S)
        due = row["due"] if final else _in(PAUSES_S[attempts - 1])
        state = "failed" if final else "queued"
        self._store.change("sends", this, state=state, reason=problem, attempts=attempts, due=due)


def sent_files(results: Path) -> list[Path]:
    """The files of a result folder that are sent; none if the scan was not a DICOM series.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "segmentation.dcm").write_bytes(b"")
    ...     [path.name for path in sent_files(Path(folder))]
    ['segmentation.dcm']
    """
    return [results / FILES[name] for name in SENT if (results / FILES[name]).is_file()]


def _in(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat(timespec=TIME)
