"""The server's database: uploads, studies, versions, jobs and results to send, in one SQLite file.

Only the server process writes it, so that a worker that dies leaves no partial changes.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from otovox.errors import OutputError

_SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, state TEXT NOT NULL, origin TEXT NOT NULL, created TEXT NOT NULL,
    count INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0,
    names TEXT NOT NULL DEFAULT '{}', note TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS studies (
    id TEXT PRIMARY KEY, upload TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '', patient TEXT NOT NULL DEFAULT '',
    patient_id TEXT NOT NULL DEFAULT '', study_date TEXT NOT NULL DEFAULT '',
    description TEXT NOT NULL DEFAULT '', origin TEXT NOT NULL, created TEXT NOT NULL,
    files TEXT NOT NULL DEFAULT '[]'
);
CREATE TABLE IF NOT EXISTS versions (
    study TEXT NOT NULL, number INTEGER NOT NULL, kind TEXT NOT NULL, author TEXT NOT NULL,
    created TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '',
    note TEXT NOT NULL DEFAULT '', changes TEXT NOT NULL DEFAULT '[]',
    summary TEXT NOT NULL DEFAULT '{}', PRIMARY KEY (study, number)
);
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, target TEXT NOT NULL,
    version INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL, stage TEXT NOT NULL DEFAULT '',
    urgent INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '', created TEXT NOT NULL, started TEXT, finished TEXT
);
CREATE TABLE IF NOT EXISTS sends (
    id INTEGER PRIMARY KEY AUTOINCREMENT, study TEXT NOT NULL, number INTEGER NOT NULL,
    target TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '', due TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, urgent, id);
CREATE INDEX IF NOT EXISTS jobs_by_target ON jobs (target);
"""
#: Columns with JSON.
_JSON = ("names", "files", "changes", "summary")
#: Number of recent jobs from which durations are estimated: chosen.
_RECENT = 20

#: Precision of stored times; all times have it, so that they compare as text.
TIME = "milliseconds"

Row = dict[str, Any]


def now() -> str:
    """The current time in the stored format, UTC.

    >>> len(now()), now()[-6:]
    (29, '+00:00')
    """
    return datetime.now(UTC).isoformat(timespec=TIME)


def new_id() -> str:
    """A random identifier, safe as a folder name.

    >>> new_id().isalnum()
    True
    """
    return uuid4().hex


class Store:
    """The database; methods may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Open or create it.

        Raises:
            OutputError: if that fails.
        """
        self._lock = threading.RLock()
        try:
            path.touch(mode=0o600)
            self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._base.row_factory = sqlite3.Row
            self._base.execute("PRAGMA journal_mode = WAL")
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.executescript(_SCHEMA)
        except (OSError, sqlite3.Error) as error:
            raise OutputError(f"{path}: cannot be opened as a database ({error})") from error

    def close(self) -> None:
        with self._lock:
            self._base.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """A transaction.

        >>> import contextlib
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     store = Store(Path(folder, "otovox.sqlite"))
        ...     with contextlib.suppress(ValueError), store.together():
        ...         store.add_job("analyse", "a1")
        ...         raise ValueError("this undoes it")
        ...     store.rows("jobs")
        ...     store.close()
        []
        """
        with self._lock:
            if self._base.in_transaction:
                yield
                return
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")

    def add(self, table: str, **values: Any) -> None:
        """Insert a row.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     store = Store(Path(folder, "otovox.sqlite"))
        ...     store.add("sends", study="a1", number=1, target="PACS", state="queued", due=now())
        ...     store.row("sends", study="a1")["target"]
        ...     store.close()
        'PACS'
        """
        names = ", ".join(values)
        marks = ", ".join("?" * len(values))
        self._run(f"INSERT INTO {table} ({names}) VALUES ({marks})", _packed(values))

    def change(self, table: str, where: Row, **values: Any) -> int:
        """Update the rows that have these values; returns their number.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     store = Store(Path(folder, "otovox.sqlite"))
        ...     store.add_job("analyse", "a1")
        ...     store.change("jobs", {"target": "a1"}, stage="reading")  # changed rows
        ...     store.row("jobs", target="a1")["stage"]
        ...     store.close()
        1
        'reading'
        """
        sets = ", ".join(f"{name} = ?" for name in values)
        condition, matched = _condition(where)
        done = self._run(f"UPDATE {table} SET {sets}{condition}", [*_packed(values), *matched])
        return done.rowcount

    def remove(self, table: str, **where: Any) -> None:
        """Delete the rows that have these values.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     store = Store(Path(folder, "otovox.sqlite"))
        ...     store.add_job("analyse", "a1")
        ...     store.remove("jobs", target="a1")
        ...     store.rows("jobs")
        ...     store.close()
        []
        """
        condition, matched = _condition(where)
        self._run(f"DELETE FROM {table}{condition}", matched)

    def rows(self, table: str, *, order: str = "rowid", **where: Any) -> list[Row]:
        """The rows that have these values.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     store = Store(Path(folder, "otovox.sqlite"))
        ...     for study in ("a1", "a2"):
        ...         store.add_job("analyse", study)
        ...     [job["target"] for job in store.rows("jobs", order="id DESC", state="queued")]
        ...     store.close()
        ['a2', 'a1']
        """
        condition, matched = _condition(where)
        with self._lock:
            cursor = self._run(f"SELECT * FROM {table}{condition} ORDER BY {order}", matched)
            return [_unpacked(row) for row in cursor.fetchall()]

    def row(self, table: str, **where: Any) -> Row | None:
        """The first row that has these values; None if there is none.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     store = Store(Path(folder, "otovox.sqlite"))
        ...     store.add_job("analyse", "a1")
        ...     store.row("jobs", target="a1")["kind"], store.row("jobs", target="a2")
        ...     store.close()
        ('analyse', None)
        """
        return next(iter(self.rows(table, **where)), None)

    def add_job(self, kind: str, target: str, *, version: int = 0, urgent: bool = False) -> None:
        """Put a job into the queue.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     store = Store(Path(folder, "otovox.sqlite"))
        ...     store.add_job("measure", "a1", version=2)
        ...     [(job["kind"], job["version"], job["state"]) for job in store.rows("jobs")]
        ...     store.close()
        [('measure', 2, 'queued')]
        """
        self.add(
            "jobs", kind=kind, target=target, version=version, state="queued",
            urgent=int(urgent), created=now(),
        )  # fmt: skip

    def take_job(self) -> Row | None:
        """The next job, marked as running; None if there is none.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     store = Store(Path(folder, "otovox.sqlite"))
        ...     store.add_job("analyse", "a1")
        ...     store.add_job("measure", "a2", urgent=True)
        ...     [store.take_job()["kind"] for _ in range(2)], store.take_job()
        ...     store.close()
        (['measure', 'analyse'], None)
        """
        with self.together():
            queued = self.rows("jobs", order="urgent DESC, id", state="queued")
            if not queued:
                return None
            job = queued[0] | {"state": "running", "attempts": queued[0]["attempts"] + 1}
            self.change(
                "jobs", {"id": job["id"]}, state="running", attempts=job["attempts"],
                started=now(), stage="starting",
            )  # fmt: skip
            return job

    def search(self, text: str) -> list[Row]:
        """Studies whose name, patient, ID, date or description contains a text, newest first.

        >>> from tempfile import TemporaryDirectory
        >>> study = {"id": "a1", "upload": "u1", "name": "anna", "state": "done", "origin": "page"}
        >>> with TemporaryDirectory() as folder:
        ...     store = Store(Path(folder, "otovox.sqlite"))
        ...     store.add("studies", **study, created=now(), patient="Doe^Anna")
        ...     [row["name"] for row in store.search("doe")], store.search("bela")
        ...     store.close()
        (['anna'], [])
        """
        escaped = "".join(f"\\{c}" if c in "\\%_" else c for c in text)
        columns = ("name", "patient", "patient_id", "study_date", "description")
        condition = " OR ".join(f"{column} LIKE ? ESCAPE '\\'" for column in columns)
        with self._lock:
            cursor = self._run(
                f"SELECT * FROM studies WHERE {condition} ORDER BY created DESC, rowid DESC",
                [f"%{escaped}%"] * len(columns),
            )
            return [_unpacked(row) for row in cursor.fetchall()]

    def usual_seconds(self, kind: str) -> float | None:
        """Median duration of the latest jobs of a kind; None before the first.

        >>> from tempfile import TemporaryDirectory
        >>> times = {"started": "2026-05-01T10:00:00Z", "finished": "2026-05-01T10:00:30Z"}
        >>> with TemporaryDirectory() as folder:
        ...     store = Store(Path(folder, "otovox.sqlite"))
        ...     store.add("jobs", kind="sort", target="u1", state="done", created=now(), **times)
        ...     round(store.usual_seconds("sort")), store.usual_seconds("analyse")
        ...     store.close()
        (30, None)
        """
        with self._lock:
            cursor = self._run(
                "SELECT (julianday(finished) - julianday(started)) * 86400 FROM jobs "
                "WHERE kind = ? AND state = 'done' ORDER BY id DESC LIMIT ?",
                [kind, _RECENT],
            )
            durations = sorted(row[0] for row in cursor.fetchall())
        return durations[len(durations) // 2] if durations else None

    def _run(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        with self._lock:
            return self._base.execute(statement, values)


def _packed(values: Row) -> list[Any]:
    return [json.dumps(v) if name in _JSON else v for name, v in values.items()]


def _condition(where: Row) -> tuple[str, list[Any]]:
    if not where:
        return "", []
    return " WHERE " + " AND ".join(f"{name} = ?" for name in where), list(where.values())


def _unpacked(row: sqlite3.Row) -> Row:
    values = dict(row)
    return values | {name: json.loads(values[name]) for name in _JSON if name in values}
