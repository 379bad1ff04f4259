"""All operations on studies: receive, analyse, correct, cancel, delete, recover."""

import re
import shutil
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from otovox.errors import InputError, OutputError
from otovox.formats.writing import replacing
from otovox.results.schema import FILES, RESULT
from otovox.serve.outbox import Outbox, Send
from otovox.serve.pool import Pool, Tasks
from otovox.serve.settings import Place, ServerSettings
from otovox.serve.store import Row, Store, new_id, now
from otovox.serve.uploads import Refused, place_for, receive, shown_name
from otovox.serve.work import AnalyseTask, MeasureTask, SortTask, analyse, measure, sort_upload

#: Functions of the workers by the kind of job.
TASKS: Tasks = {"sort": sort_upload, "analyse": analyse, "measure": measure}
#: States of a study whose analysis has ended.
ENDED = ("done", "no ear", "failed", "cancelled")
#: Author of versions that otovox created.
OURS = "otovox"


class Unknown(InputError):
    """A requested object that does not exist."""


class ArchiveError(InputError):
    """The DICOMweb server cannot be used, or it refused."""


class Desk:
    """The studies of one data folder.

    Args:
        settings: of the server.
        tasks: functions of the workers; replaced only in tests.
    """

    def __init__(self, settings: ServerSettings, tasks: Tasks = TASKS) -> None:
        self.settings = settings
        self.data = settings.data
        for folder in (self.data, self.data / "uploads", self.data / "studies"):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                folder.chmod(0o700)
            except OSError as error:
                raise OutputError(f"{folder}: cannot be used ({error.strerror})") from error
        self.store = Store(self.data / "otovox.sqlite")
        self.pool = Pool(
            self.store, tasks, prepare=self._task, finished=self._finished, after=self._after,
            count=settings.workers,
        )  # fmt: skip
        self.outboxes: list[Outbox] = []

    def start(self) -> None:
        """Recover unfinished work of the last server and start the workers."""
        self._recover()
        self.pool.start()

    def stop(self) -> None:
        for outbox in self.outboxes:
            outbox.stop()
        self.pool.stop()
        self.store.close()

    def send_results_to(self, target: str, send: Send) -> None:
        """Send the DICOM results of every version to another system.

        Args:
            target: its name, the same after a restart.
            send: sends files to it.
        """
        outbox = Outbox(self.store, self.results, target, send)
        self.outboxes.append(outbox)
        outbox.start()

    # Uploads

    def begin_upload(self, origin: str) -> str:
        """Create an empty upload.

        Args:
            origin: "page", "dicom", "dicomweb" or "monai label".

        Raises:
            Refused: if too many studies are waiting.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     desk = Desk(ServerSettings(Path(folder)))
        ...     desk.store.row("uploads", id=desk.begin_upload("page"))["state"]
        ...     desk.store.close()
        'receiving'
        """
        waiting = len(self.store.rows("jobs", state="queued"))
        if waiting >= self.settings.limits.waiting:
            raise Refused(f"{waiting} studies are already waiting; try again later")
        upload = new_id()
        self.store.add("uploads", id=upload, state="receiving", origin=origin, created=now())
        self._upload(upload).mkdir(mode=0o700)
        return upload

    async def receive_file(self, upload: str, name: str, blocks: AsyncIterator[bytes]) -> None:
        """Store one file of an upload.

        Raises:
            Refused: if it is too large, or exceeds the number of files; the upload is unchanged.
            Unknown: if no such upload.
        """
        limits = self.settings.limits
        with self.store.together():
            row = self._receiving(upload)
            if row["count"] >= limits.files:
                raise Refused(f"an upload has at most {limits.files} files")
            number = row["count"] + 1
            self.store.change("uploads", {"id": upload}, count=number)
        folder = self._upload(upload)
        place = place_for(folder, number, name)
        size = await receive(
            blocks, place, file_bytes=limits.file_bytes,
            left_bytes=limits.upload_bytes - row["bytes"],
        )  # fmt: skip
        with self.store.together():
            row = self._receiving(upload)
            names = row["names"] | {str(place.relative_to(folder)): shown_name(name)}
            total = row["bytes"] + size
            self.store.change("uploads", {"id": upload}, bytes=total, names=names)
        if total > limits.upload_bytes:
            place.unlink(missing_ok=True)
            raise Refused("the upload is larger than allowed")

    def keep_file(self, upload: str, name: str, content: bytes) -> None:
        """Store one file of an upload from memory.

        Raises:
            Refused: if the upload becomes too large.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     desk = Desk(ServerSettings(Path(folder)))
        ...     desk.keep_file(desk.begin_upload("dicom"), "anna.dcm", b"voxels")
        ...     [row["bytes"] for row in desk.store.rows("uploads")]
        ...     desk.store.close()
        [6]
        """
        row, folder = self._receiving(upload), self._upload(upload)
        if row["bytes"] + len(content) > self.settings.limits.upload_bytes:
            raise Refused("the upload is larger than allowed")
        place = place_for(folder, row["count"] + 1, name)
        with replacing(place) as beside:
            beside.write_bytes(content)
        names = row["names"] | {str(place.relative_to(folder)): shown_name(name)}
        values = {"count": row["count"] + 1, "bytes": row["bytes"] + len(content)}
        self.store.change("uploads", {"id": upload}, names=names, **values)

    def end_upload(self, upload: str) -> None:
        """Complete an upload: its files are then sorted into scans.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     desk = Desk(ServerSettings(Path(folder)))
        ...     upload = desk.begin_upload("dicom")
        ...     desk.keep_file(upload, "anna.dcm", b"voxels")
        ...     desk.end_upload(upload)
        ...     [job["kind"] for job in desk.store.rows("jobs")]
        ...     desk.store.close()
        ['sort']
        """
        with self.store.together():
            if not self._receiving(upload)["names"]:
                raise Refused("the upload contains no files")
            self.store.change("uploads", {"id": upload}, state="received")
            self.store.add_job("sort", upload, urgent=True)
        self.pool.wake()

    def drop_upload(self, upload: str) -> None:
        """Delete an upload that is not complete.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     desk = Desk(ServerSettings(Path(folder)))
        ...     desk.drop_upload(desk.begin_upload("page"))
        ...     desk.store.rows("uploads")
        ...     desk.store.close()
        []
        """
        self._receiving(upload)
        self._forget_upload(upload)

    # Studies

    def study(self, study: str) -> Row:
        """A study's row.

        Raises:
            Unknown: if there is none.

        >>> from tempfile import TemporaryDirectory
        >>> anna = {"id": "a1", "name": "anna", "upload": "u1", "state": "done", "origin": "page"}
        >>> with TemporaryDirectory() as folder:
        ...     desk = Desk(ServerSettings(Path(folder)))
        ...     desk.store.add("studies", **anna, created=now())
        ...     desk.study("a1")["name"]
        ...     desk.store.close()
        'anna'
        """
        row = self.store.row("studies", id=study)
        if row is None:
            raise Unknown("no such study")
        return row

    def place(self, study: str) -> Place:
        """Folder of a study; its identifier was created by this server."""
        return Place(self.data / "studies" / self.study(study)["id"])

    def versions(self, study: str) -> list[Row]:
        """The versions of a study's results, oldest first.

        >>> from tempfile import TemporaryDirectory
        >>> one = {"study": "a1", "number": 1, "kind": "analysis", "author": OURS, "state": "done"}
        >>> with TemporaryDirectory() as folder:
        ...     desk = Desk(ServerSettings(Path(folder)))
        ...     desk.store.add("versions", **one, created=now())
        ...     [(row["number"], row["kind"]) for row in desk.versions("a1")]
        ...     desk.store.close()
        [(1, 'analysis')]
        """
        return self.store.rows("versions", order="number", study=study)

    def results(self, study: str, number: int) -> Path:
        """The result folder of a version.

        Raises:
            Unknown: if it does not exist, or is not finished.
        """
        row = self.store.row("versions", study=study, number=number)
        if row is None or row["state"] != "done":
            raise Unknown("no such version")
        return self.place(study).version(row["number"])

    def cancel(self, study: str) -> None:
        """Cancel the running and waiting jobs of a study."""
        self.study(study)
        for job in self.store.rows("jobs", target=study):
            if job["state"] == "queued":
                outcome = {"state": "cancelled", "reason": "cancelled"}
                with self.store.together():
                    self.store.change("jobs", {"id": job["id"]}, **outcome, finished=now())
                    self._finished(job, outcome)
            elif job["state"] == "running":
                self.pool.cancel(job["id"])

    def retry(self, study: str) -> None:
        """Repeat a failed or cancelled analysis."""
        with self.store.together():
            row = self.study(study)
            if row["state"] not in ("failed", "cancelled") or not row["files"]:
                raise Refused("only failed or cancelled studies can be analysed again")
            self._queue_analysis(study)
        self.pool.wake()

    def delete(self, study: str) -> None:
        """Delete a study with all its files and rows."""
        place = self.place(study)
        self.cancel(study)
        with self.store.together():
            self.store.remove("versions", study=study)
            self.store.remove("jobs", target=study)
            self.store.remove("sends", study=study)
            self.store.remove("studies", id=study)
        shutil.rmtree(place.folder, ignore_errors=True)

    def correct(
        self, study: str, *, author: str, note: str, base: int, files: Mapping[str, bytes]
    ) -> int:
        """Save a correction and measure it; the version that it is based on is kept.

        Args:
            study: its identifier.
            author: name of the corrector.
            note: free text.
            base: number of the corrected version.
            files: contents of `segmentation.nii.gz` and `landmarks.mrk.json`.

        Returns:
            Number of the new version.
        """
        if not author.strip():
            raise Refused("the author of a correction must be named")
        place, source = self.place(study), self.results(study, base)
        with self.store.together():
            number = max(row["number"] for row in self.versions(study)) + 1
            self.store.add(
                "versions", study=study, number=number, kind=f"corrects {base}",
                author=shown_name(author), created=now(), state="queued", note=shown_name(note),
            )  # fmt: skip
            folder = place.correction(number)
            folder.mkdir(mode=0o700, parents=True)
            shutil.copyfile(source / RESULT, folder / RESULT)
            for name, content in files.items():
                with replacing(folder / name) as beside:
                    beside.write_bytes(content)
            self.store.add_job("measure", study, version=number, urgent=True)
        self.pool.wake()
        return number

    # Tasks of the workers and their outcomes

    def _task(self, job: Row) -> Any:
        if job["kind"] == "sort":
            upload = self.store.row("uploads", id=job["target"])
            folder = self._upload(job["target"])
            return upload and SortTask(folder, upload["names"], self.settings.limits)
        study = self.store.row("studies", id=job["target"])
        if study is None:
            return None
        place, number = self.place(study["id"]), job["version"]
        self.store.change("versions", {"study": study["id"], "number": number}, state="running")
        if job["kind"] == "measure":
            return MeasureTask(place.input, place.correction(number), place.version(number))
        self.store.change("studies", {"id": study["id"]}, state="running")
        analysis = self.settings.analysis
        return AnalyseTask(place.input, place.version(number), place.view, study["name"], analysis)

    def _finished(self, job: Row, outcome: Row) -> None:
        if job["kind"] == "sort":
            self._sorted(job["target"], outcome)
            return
        study, reason = job["target"], self._without_paths(job["target"], outcome["reason"])
        state = outcome["state"]
        self.store.change(
            "versions", {"study": study, "number": job["version"]}, state=state, reason=reason,
            summary={name: outcome[name] for name in ("ears", "warnings") if name in outcome},
            changes=outcome.get("changes", []),
        )  # fmt: skip
        for outbox in self.outboxes if state == "done" else ():
            self.store.add(
                "sends", study=study, number=job["version"], target=outbox.target,
                state="queued", due=now(),
            )  # fmt: skip
        if job["kind"] == "analyse":
            if state == "done" and not outcome["ears"]:
                state, reason = "no ear", "no inner ear found"
            self.store.change("studies", {"id": study}, state=state, reason=reason)

    def _after(self, job: Row, outcome: Row) -> None:
        if job["kind"] == "sort":
            self._move(job["target"])

    def _sorted(self, upload: str, outcome: Row) -> None:
        """Record the scans of an upload, then move their files."""
        origin = (self.store.row("uploads", id=upload) or {}).get("origin", "")
        scans = outcome.get("scans") or [
            {"name": "upload", "files": [], "problem": outcome["reason"] or "contains no scan"}
        ]
        for scan in scans:
            facts = {n: scan.get(n, "") for n in ("patient", "patient_id", "study_date")}
            self.store.add(
                "studies", id=new_id(), upload=upload, name=scan["name"], origin=origin,
                state="failed" if scan["problem"] else "arriving", reason=scan["problem"],
                description=scan.get("description", ""), created=now(), files=scan["files"],
                **facts,
            )  # fmt: skip
        self.store.change("uploads", {"id": upload}, state="sorted")

    def _move(self, upload: str) -> None:
        """Move the files of an upload's scans to their studies; can be repeated."""
        folder = self._upload(upload)
        for study in self.store.rows("studies", upload=upload, state="arriving"):
            place = self.place(study["id"])
            place.input.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in study["files"]:
                if (folder / name).exists():
                    (folder / name).replace(place.input / Path(name).name)
            with self.store.together():
                self._queue_analysis(study["id"])
        self._forget_upload(upload)
        self.pool.wake()

    def _queue_analysis(self, study: str) -> None:
        self.store.remove("versions", study=study, number=1)
        self.store.add(
            "versions", study=study, number=1, kind="analysis", author=OURS, created=now(),
            state="queued",
        )  # fmt: skip
        self.store.change("studies", {"id": study}, state="queued", reason="")
        self.store.add_job("analyse", study, version=1)

    def _recover(self) -> None:
        """Continue unfinished work of the last server, even if it was killed."""
        self.store.change("jobs", {"state": "running"}, state="queued", stage="")
        for upload in self.store.rows("uploads"):
            if upload["state"] == "receiving":
                self._forget_upload(upload["id"])
            elif upload["state"] == "sorted":
                self._move(upload["id"])
        for name, table in (("studies", "studies"), ("uploads", "uploads")):
            listed = {row["id"] for row in self.store.rows(table)}
            for folder in (self.data / name).iterdir():
                if folder.name not in listed:
                    shutil.rmtree(folder, ignore_errors=True)

    def _forget_upload(self, upload: str) -> None:
        self.store.remove("uploads", id=upload)
        shutil.rmtree(self._upload(upload), ignore_errors=True)

    def _upload(self, upload: str) -> Path:
        return self.data / "uploads" / upload

    def _receiving(self, upload: str) -> Row:
        row = self.store.row("uploads", id=upload, state="receiving")
        if row is None:
            raise Unknown("no such upload")
        return row

    def _without_paths(self, study: str, reason: str) -> str:
        """A message in which the study's name replaces paths of this machine."""
        row = self.store.row("studies", id=study)
        name = row["name"] if row else "scan"
        return re.sub(rf"{re.escape(str(self.data))}[^\s:,;]*", lambda _: name, reason)


def file_of(results: Path, name: str) -> Path:
    """A file of a result folder by its standard name.

    Raises:
        Unknown: for any other name, or if it does not exist.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "report.html").write_text("<html>")
    ...     file_of(Path(folder), "report.html").name
    'report.html'
    """
    if name not in {RESULT, *FILES.values()} or not (results / name).is_file():
        raise Unknown("no such file")
    return results / name
