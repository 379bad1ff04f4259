"""The MONAI Label protocol, so that 3D Slicer's MONAI Label module and OHIF work with otovox.

Images become studies, labels become versions; training and active learning are not
supported, as `/info/` states. Source: MONAI Label 0.8.5, its own client and
endpoints.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from anyio import to_thread
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from otovox._version import __version__
from otovox.core.anatomy import LABYRINTH, Side
from otovox.errors import InputError
from otovox.formats.images import load_label_map, save_label_map
from otovox.results.schema import FILES
from otovox.serve import views
from otovox.serve.api import desk_of, form_of, plain_name
from otovox.serve.desk import ENDED, Desk, Unknown
from otovox.serve.store import Row, new_id
from otovox.serve.uploads import Refused, stored_name

#: Name of the only model, and origin of its images.
MODEL, ORIGIN = "inner_ear", "monai label"
#: Interval at which a waiting request checks for its result, s: chosen.
_CHECK_S = 0.3
_BLOCK = 2**20
_LABELS = {LABYRINTH[side].title: side.label for side in Side}


async def info(request: Request) -> Response:
    desk = desk_of(request)
    model = {
        "type": "segmentation",
        "labels": _LABELS,
        "dimension": 3,
        "description": "Bony labyrinths of both sides. Research use only, not a medical device.",
        "config": {},
    }
    nothing = ("trainers", "strategies", "scoring", "train_stats")
    return JSONResponse(
        {
            "name": "otovox",
            "description": model["description"],
            "version": __version__,
            "labels": list(_LABELS),
            "models": {MODEL: model},
            "datastore": _status(desk),
        }
        | {name: {} for name in nothing}
    )


async def auth(request: Request) -> Response:
    """There are no user accounts; a required token is sent as a bearer token.

    >>> asyncio.run(auth(Request({"type": "http"}))).body
    b'{"enabled":false}'
    """
    return JSONResponse({"enabled": False})


async def datastore(request: Request) -> Response:
    desk = desk_of(request)
    if request.query_params.get("output") != "all":
        return JSONResponse(_status(desk))
    objects = {
        row["id"]: {
            "image": {"ext": ".nii.gz", "info": {"name": row["name"], "ts": row["created"]}},
            "labels": {
                "final" if one["number"] > 1 else "original": {"ext": ".nii.gz", "info": {}}
                for one in desk.versions(row["id"])
                if one["state"] == "done"
            },
        }
        for row in desk.store.search("")
    }
    return JSONResponse({"name": "otovox", "description": "studies", "objects": objects})


async def add_image(request: Request) -> Response:
    async with form_of(request, files=1) as form:
        study = await _study_of(desk_of(request), _file(form, "file"), request.query_params)
    return JSONResponse({"image": study})


async def get_image(request: Request) -> Response:
    desk = desk_of(request)
    row = _found(desk, request.query_params.get("image", ""))
    await _ended(desk, row["id"])
    results = desk.results(row["id"], _latest(desk, row["id"]))
    place = desk.place(row["id"])
    content = await to_thread.run_sync(views.volume, place.view, results, views.WHOLE, "scan")
    return _named(content, f"{plain_name(row['name'])}.nii")


async def remove_image(request: Request) -> Response:
    desk = desk_of(request)
    row = _found(desk, request.query_params.get("id", ""))
    await to_thread.run_sync(desk.delete, row["id"])
    return JSONResponse({})


async def get_label(request: Request) -> Response:
    desk = desk_of(request)
    row = _found(desk, request.query_params.get("label", ""))
    number = 1 if request.query_params.get("tag") == "original" else _latest(desk, row["id"])
    path = desk.results(row["id"], number) / FILES["segmentation"]
    return FileResponse(path, filename=f"{plain_name(row['name'])}.nii.gz")


async def save_label(request: Request) -> Response:
    """Save a corrected mask; landmarks are unchanged."""
    desk = desk_of(request)
    row = _found(desk, request.query_params.get("image", ""))
    async with form_of(request, files=1) as form:
        label = _file(form, "label")
        params = _params(form)
        folder = desk.place(row["id"]).folder / f"saving-{new_id()}"
        folder.mkdir(mode=0o700)
        try:
            path = folder / stored_name(1, label.filename or "label.nii.gz")
            await _store(label, path, desk.settings.limits.file_bytes)
            base = _latest(desk, row["id"])
            files = await to_thread.run_sync(_as_ours, path, desk.results(row["id"], base))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    author = str(params.get("client_id") or params.get("user") or "MONAI Label client")
    number = desk.correct(row["id"], author=author, note="", base=base, files=files)
    return JSONResponse({"image": row["id"], "label": row["id"], "version": number})


async def infer(request: Request) -> Response:
    """The mask of an image; responds when the analysis is complete."""
    desk, query = desk_of(request), request.query_params
    if request.path_params["model"] != MODEL:
        raise Unknown(f"no such model; the only one is {MODEL}")
    async with form_of(request, files=2) as form:
        file = form.get("file")
        if isinstance(file, UploadFile):
            study = await _study_of(desk, file, query)
        else:
            study = _found(desk, query.get("session_id") or query.get("image", ""))["id"]
    await _ended(desk, study)
    results = desk.results(study, _latest(desk, study))
    described = await to_thread.run_sync(views.describe_view, results)
    params = {"label_names": _LABELS, "landmarks_lps_mm": described["landmarks"]}
    kind = query.get("output")
    path = results / FILES["segmentation"]
    if kind == "json":
        return JSONResponse(params)
    if kind == "image":
        return FileResponse(path, filename=path.name)
    if kind == "dicom_seg":
        path = results / FILES["dicom_segmentation"]
        if not path.is_file():
            raise Unknown("the scan is not a DICOM series and has no DICOM segmentation")
        return FileResponse(path, filename=path.name, media_type="application/dicom")
    return _multipart(params, path)


async def create_session(request: Request) -> Response:
    desk = desk_of(request)
    async with form_of(request, files=desk.settings.limits.files) as form:
        given = [one for one in form.getlist("files") if isinstance(one, UploadFile)]
        if not given:
            raise Refused("a session needs an image")
        study = await _study_from(desk, given)
    return JSONResponse({"session_id": study, "session_info": {"image": study}})


async def get_session(request: Request) -> Response:
    row = _found(desk_of(request), request.path_params["session"])
    return JSONResponse({"image": row["id"], "name": row["name"]})


async def remove_session(request: Request) -> Response:
    """The study is kept and can be viewed and deleted on the page."""
    return await get_session(request)


def _status(desk: Desk) -> dict[str, Any]:
    rows = desk.store.rows("studies")
    done = [row for row in rows if row["state"] == "done"]
    return {
        "total": len(rows),
        "completed": len(done),
        "label_tags": {"original": len(done)},
        "label_names": {name: len(done) for name in _LABELS},
        "train": {},
    }


async def _study_of(desk: Desk, file: UploadFile, query: Any) -> str:
    """A study of one uploaded image, named as by its sender."""
    name, wanted = file.filename or "image.nii.gz", query.get("image", "")
    if wanted and wanted not in ("None", ""):
        ending = "".join(Path(name).suffixes[-2:])
        file.filename = wanted + ending if not wanted.endswith(ending) else wanted
    return await _study_from(desk, [file])


async def _study_from(desk: Desk, given: list[UploadFile]) -> str:
    """The identifier of the study created from uploaded files."""
    upload = desk.begin_upload(ORIGIN)
    for file in given:
        await desk.receive_file(upload, file.filename or "image.nii.gz", _blocks(file))
    desk.end_upload(upload)
    while True:
        rows = desk.store.rows("studies", upload=upload)
        if rows:
            break
        await asyncio.sleep(_CHECK_S)
    if len(rows) > 1:
        raise Refused(f"{len(rows)} scans were sent; send one")
    if rows[0]["state"] == "failed":
        raise InputError(rows[0]["reason"])
    return rows[0]["id"]


async def _blocks(file: UploadFile) -> AsyncIterator[bytes]:
    while block := await file.read(_BLOCK):
        yield block


async def _store(file: UploadFile, path: Path, most: int) -> None:
    size = 0
    with path.open("xb") as target:
        async for block in _blocks(file):
            size += len(block)
            if size > most:
                raise Refused("the label is too large")
            target.write(block)


def _as_ours(path: Path, results: Path) -> dict[str, bytes]:
    """A label map of any format as the files of a correction, with the landmarks of its version."""
    ours = path.parent / FILES["segmentation"]
    save_label_map(load_label_map(path), ours)
    files = {ours.name: ours.read_bytes()}
    landmarks = results / FILES["landmarks"]
    return files | {landmarks.name: landmarks.read_bytes()}


async def _ended(desk: Desk, study: str) -> None:
    """Wait for the end of an analysis.

    Raises:
        InputError: if it failed.
    """
    while (row := desk.study(study))["state"] not in ENDED:
        await asyncio.sleep(_CHECK_S)
    if row["state"] in ("failed", "cancelled"):
        raise InputError(row["reason"])


def _found(desk: Desk, name: str) -> Row:
    """A study by its identifier, or the latest image of that name from a MONAI Label client."""
    row = desk.store.row("studies", id=name)
    named = desk.store.rows("studies", name=name, origin=ORIGIN)
    if row is None and not named:
        raise Unknown("no such image")
    return row or named[-1]


def _latest(desk: Desk, study: str) -> int:
    done = [one["number"] for one in desk.versions(study) if one["state"] == "done"]
    if not done:
        raise Unknown("the results are not available yet")
    return done[-1]


def _file(form: FormData, name: str) -> UploadFile:
    file = form.get(name)
    if not isinstance(file, UploadFile):
        raise Refused(f"a file called {name!r} is needed")
    return file


def _params(form: FormData) -> dict[str, Any]:
    try:
        params = json.loads(str(form.get("params") or "{}"))
    except ValueError as error:
        raise Refused("params are no JSON") from error
    return params if isinstance(params, dict) else {}


def _multipart(params: dict[str, Any], path: Path) -> Response:
    """JSON and a file in one response, as MONAI Label's client expects."""
    limit = uuid4().hex
    head = (
        f'--{limit}\r\nContent-Disposition: form-data; name="params"\r\n'
        f"Content-Type: application/json\r\n\r\n{json.dumps(params)}\r\n"
        f'--{limit}\r\nContent-Disposition: form-data; name="image"; filename="{path.name}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    body = head.encode() + path.read_bytes() + f"\r\n--{limit}--\r\n".encode()
    return Response(body, media_type=f"multipart/form-data; boundary={limit}")


def _named(content: bytes, name: str) -> Response:
    disposition = {"content-disposition": f'attachment; filename="{name}"'}
    return Response(content, media_type="application/octet-stream", headers=disposition)


ROUTES = [
    Route("/info/", info),
    Route("/auth/", auth),
    Route("/datastore/", datastore, methods=["GET"]),
    Route("/datastore/", add_image, methods=["PUT"]),
    Route("/datastore/image", add_image, methods=["PUT"]),
    Route("/datastore/image", get_image, methods=["GET"]),
    Route("/datastore/", remove_image, methods=["DELETE"]),
    Route("/datastore/image", remove_image, methods=["DELETE"]),
    Route("/datastore/label", get_label, methods=["GET"]),
    Route("/datastore/label", save_label, methods=["PUT"]),
    Route("/infer/{model}", infer, methods=["POST"]),
    Route("/session/", create_session, methods=["PUT"]),
    Route("/session/{session}", get_session, methods=["GET"]),
    Route("/session/{session}", remove_session, methods=["DELETE"]),
]
