"""The HTTP interface of the pages' scripts: JSON and files."""

import json
import re
import shutil
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from anyio import to_thread
from starlette.background import BackgroundTask
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from otovox.serve import views
from otovox.serve.desk import Desk, Unknown, file_of
from otovox.serve.security import SANDBOX
from otovox.serve.settings import Archive
from otovox.serve.store import Row, new_id
from otovox.serve.uploads import Refused

#: Largest mask that the viewer may send, bytes, packed: chosen.
LARGEST_MASK = 256 * 2**20
#: Largest form without a file, bytes: chosen.
LARGEST_FORM = 2**16
#: Assumed durations before the first job on this machine, s: the analysis of a head takes about 45
#: on two cores (benchmarks).
FIRST_GUESS_S = {"analyse": 45.0, "measure": 20.0, "sort": 2.0}
_UNFINISHED = ("queued", "running")


def desk_of(request: Request) -> Desk:
    """The desk that a request is for.

    >>> from types import SimpleNamespace as Some
    >>> app = Some(state=Some(desk="the desk"))
    >>> desk_of(Request({"type": "http", "app": app}))
    'the desk'
    """
    return request.app.state.desk


@asynccontextmanager
async def form_of(request: Request, *, files: int, most: int = 0) -> AsyncIterator[FormData]:
    """A form with files, bounded.

    Args:
        request: with the form.
        files: most files of it.
        most: most bytes of it; 0 for those of an upload.

    Raises:
        Refused: if it is larger, or does not state its size.
    """
    most = most or desk_of(request).settings.limits.upload_bytes
    size = request.headers.get("content-length", "")
    if not size.isdecimal():
        raise Refused("a form must state its size")
    if int(size) > most:
        raise Refused("the form is larger than allowed")
    async with request.form(max_files=files, max_fields=16, max_part_size=2**20) as form:
        yield form


async def begin_upload(request: Request) -> Response:
    return JSONResponse({"upload": desk_of(request).begin_upload("page")}, 201)


async def put_file(request: Request) -> Response:
    name = request.query_params.get("name", "file")
    await desk_of(request).receive_file(request.path_params["upload"], name, _blocks(request))
    return JSONResponse({}, 201)


async def end_upload(request: Request) -> Response:
    desk_of(request).end_upload(request.path_params["upload"])
    return JSONResponse({}, 202)


async def drop_upload(request: Request) -> Response:
    desk_of(request).drop_upload(request.path_params["upload"])
    return Response(status_code=204)


async def search_archive(request: Request) -> Response:
    """CT series on the DICOMweb server, by patient, date or accession number."""
    from otovox.serve import dicomweb

    series = await to_thread.run_sync(
        dicomweb.search, archive_of(request), dict(request.query_params)
    )
    return JSONResponse({"series": series})


async def fetch_series(request: Request) -> Response:
    """Fetch a series from the DICOMweb server; responds when all its images have arrived."""
    from otovox.serve import dicomweb

    archive, desk = archive_of(request), desk_of(request)
    async with form_of(request, files=0, most=LARGEST_FORM) as form:
        study, series = (str(form.get(name, "")) for name in ("study", "series"))
    fetch = partial(dicomweb.fetch, archive, desk, study=study, series=series)
    return JSONResponse({"upload": await to_thread.run_sync(fetch)}, 202)


def archive_of(request: Request) -> Archive:
    """The DICOMweb server.

    Raises:
        Unknown: if there is none.

    >>> from types import SimpleNamespace as Some
    >>> archive = Archive("https://pacs.example.org/dicom-web/")
    >>> app = Some(state=Some(desk=Some(settings=Some(archive=archive))))
    >>> archive_of(Request({"type": "http", "app": app})).url
    'https://pacs.example.org/dicom-web'
    """
    archive = desk_of(request).settings.archive
    if archive is None:
        raise Unknown("there is no DICOMweb server; start with --dicomweb")
    return archive


async def list_studies(request: Request) -> Response:
    desk = desk_of(request)
    # One moment for all: a job that ends meanwhile would leave its study running without a job.
    with desk.store.together():
        rows = desk.store.search(request.query_params.get("q", ""))
        jobs = {job["target"]: job for job in unfinished_jobs(desk)}
        studies = [_listed(desk, row, jobs.get(row["id"])) for row in rows]
        sorting = sum(row["state"] != "receiving" for row in desk.store.rows("uploads"))
    return JSONResponse({"studies": studies, "sorting": sorting})


async def get_study(request: Request) -> Response:
    desk, study = desk_of(request), request.path_params["study"]
    with desk.store.together():
        row = desk.study(study)
        jobs = {job["target"]: job for job in unfinished_jobs(desk)}
        versions = [{name: one[name] for name in _VERSION} for one in desk.versions(study)]
        listed = _listed(desk, row, jobs.get(study))
    return JSONResponse(listed | {"versions": versions})


async def delete_study(request: Request) -> Response:
    await to_thread.run_sync(desk_of(request).delete, request.path_params["study"])
    return Response(status_code=204)


async def cancel_study(request: Request) -> Response:
    await to_thread.run_sync(desk_of(request).cancel, request.path_params["study"])
    return JSONResponse({}, 202)


async def retry_study(request: Request) -> Response:
    desk_of(request).retry(request.path_params["study"])
    return JSONResponse({}, 202)


async def get_file(request: Request) -> Response:
    path = file_of(_results(request), request.path_params["name"])
    shown = path.suffix in (".html", ".png")
    headers = {"content-security-policy": SANDBOX} if path.suffix == ".html" else {}
    kind = "inline" if shown and "download" not in request.query_params else "attachment"
    study = desk_of(request).study(request.path_params["study"])
    name = path.name if kind == "inline" else f"{plain_name(study['name'])}_{path.name}"
    return FileResponse(path, filename=name, content_disposition_type=kind, headers=headers)


async def get_all(request: Request) -> Response:
    """All files of a version, and its author, as one zip file."""
    desk, results = desk_of(request), _results(request)
    study = desk.study(request.path_params["study"])
    number = int(request.path_params["number"])
    row = next(one for one in desk.versions(study["id"]) if one["number"] == number)
    path = desk.data / "uploads" / f"{new_id()}.zip"
    name = plain_name(study["name"])

    def pack() -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for file in sorted(results.iterdir()):
                archive.write(file, f"{name}/{file.name}")
            who = {key: row[key] for key in _VERSION if key != "summary"}
            archive.writestr(f"{name}/version.json", json.dumps(who, indent=2))

    await to_thread.run_sync(pack)
    gone = BackgroundTask(path.unlink, missing_ok=True)
    return FileResponse(path, filename=f"{name}_version-{number}.zip", background=gone)


async def get_view(request: Request) -> Response:
    return JSONResponse(await to_thread.run_sync(views.describe_view, _results(request)))


async def get_volume(request: Request) -> Response:
    place, results = desk_of(request).place(request.path_params["study"]), _results(request)
    area, kind = request.path_params["area"], request.path_params["kind"]
    content = await to_thread.run_sync(views.volume, place.view, results, area, kind)
    return Response(content, media_type="application/octet-stream")


async def get_surface(request: Request) -> Response:
    side = request.path_params["area"]
    content = await to_thread.run_sync(views.surface, _results(request), side)
    return Response(content, media_type="model/stl")


async def correct(request: Request) -> Response:
    """Save a corrected mask or corrected landmarks as a new version."""
    desk, study = desk_of(request), request.path_params["study"]
    base = int(request.path_params["number"])
    async with form_of(request, files=1, most=LARGEST_MASK) as form:
        mask = form.get("mask")
        content = await mask.read(LARGEST_MASK) if isinstance(mask, UploadFile) else None
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
    try:
        points = json.loads(fields.get("landmarks", "{}"))
        named = {str(side): dict(marks) for side, marks in points.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise Refused("the landmarks are not of the form that the viewer sends") from error
    results, place = desk.results(study, base), desk.place(study)
    beside = place.folder / f"saving-{new_id()}"

    def save() -> int:
        try:
            files = views.corrected(
                results, place.view, area=fields.get("area", views.WHOLE), mask=content,
                points=named, beside=beside,
            )  # fmt: skip
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        author, note = fields.get("author", ""), fields.get("note", "")
        return desk.correct(study, author=author, note=note, base=base, files=files)

    return JSONResponse({"number": await to_thread.run_sync(save)}, 202)


#: Columns of a version that are sent to clients.
_VERSION = ("number", "kind", "author", "created", "state", "reason", "note", "changes", "summary")


def unfinished_jobs(desk: Desk) -> list[Row]:
    """Running and waiting jobs in processing order, with the estimated seconds until their end.

    >>> from types import SimpleNamespace as Some
    >>> queued = {"id": 7, "kind": "analyse", "state": "queued", "urgent": 0}
    >>> rows = {"rows": lambda _, state: [queued] * (state == "queued")}
    >>> store = Some(**rows, usual_seconds=lambda kind: 40.0)
    >>> [job["left_s"] for job in unfinished_jobs(Some(store=store, settings=Some(workers=1)))]
    [40]
    """
    jobs = [job for state in _UNFINISHED for job in desk.store.rows("jobs", state=state)]
    jobs.sort(key=lambda job: (job["state"] != "running", -job["urgent"], job["id"]))
    usual = {kind: desk.store.usual_seconds(kind) or guess for kind, guess in FIRST_GUESS_S.items()}
    free = [0.0] * desk.settings.workers
    for job in jobs:
        free.sort()
        need = usual[job["kind"]]
        if job["state"] == "running":
            need = max(need - _elapsed(job["started"]), 1.0)
        free[0] += need
        job["left_s"] = round(free[0])
    return jobs


def plain_name(name: str) -> str:
    """A study's name as a safe file name.

    >>> plain_name("Müller/left ear")
    'M_ller_left_ear'
    """
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or "scan"


def _listed(desk: Desk, row: Row, job: Row | None) -> dict[str, Any]:
    versions = desk.versions(row["id"])
    latest = next((one for one in versions[::-1] if one["state"] == "done"), None)
    shown = ("id", "name", "state", "reason", "patient", "patient_id", "study_date",
             "description", "origin", "created")  # fmt: skip
    return {name: row[name] for name in shown} | {
        "job": job and {name: job[name] for name in ("kind", "state", "stage", "left_s")},
        "latest": latest and latest["number"],
        "corrected_by": latest["author"] if latest and latest["number"] > 1 else "",
        "summary": latest["summary"] if latest else {},
    }


def _results(request: Request) -> Any:
    desk, study = desk_of(request), request.path_params["study"]
    return desk.results(study, int(request.path_params["number"]))


async def _blocks(request: Request) -> AsyncIterator[bytes]:
    async for block in request.stream():
        if block:
            yield block


def _elapsed(started: str | None) -> float:
    if not started:
        return 0.0
    return (datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds()


_STUDY = "/api/studies/{study}"
_NUMBER = _STUDY + "/versions/{number:int}"
ROUTES = [
    Route("/api/uploads", begin_upload, methods=["POST"]),
    Route("/api/uploads/{upload}/files", put_file, methods=["PUT"]),
    Route("/api/uploads/{upload}/end", end_upload, methods=["POST"]),
    Route("/api/uploads/{upload}", drop_upload, methods=["DELETE"]),
    Route("/api/archive", search_archive, methods=["GET"]),
    Route("/api/archive", fetch_series, methods=["POST"]),
    Route("/api/studies", list_studies),
    Route(_STUDY, get_study, methods=["GET"]),
    Route(_STUDY, delete_study, methods=["DELETE"]),
    Route(_STUDY + "/cancel", cancel_study, methods=["POST"]),
    Route(_STUDY + "/retry", retry_study, methods=["POST"]),
    Route(_NUMBER + "/files/{name}", get_file),
    Route(_NUMBER + "/all.zip", get_all),
    Route(_NUMBER + "/view", get_view),
    Route(_NUMBER + "/view/{area}/{kind}.nii", get_volume),
    Route(_NUMBER + "/view/{area}/surface.stl", get_surface),
    Route(_NUMBER + "/corrections", correct, methods=["POST"]),
]
