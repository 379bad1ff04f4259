"""DICOMweb against a real Orthanc with its plugin, and refusals of servers that answer wrongly."""

import base64
import json
import logging
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

pytest.importorskip("starlette", reason="the server is not installed")
pytest.importorskip("dicomweb_client", reason="the DICOMweb client is not installed")
pytest.importorskip("httpx2", reason="the client of the tests is not installed")

import httpx2 as httpx

import serving
from orthanc import DICOMWEB, needs_dicomweb, orthanc
from otovox.cli.serve import archive_of
from otovox.errors import ConfigError
from otovox.serve import dicomweb
from otovox.serve.settings import Archive, Limits
from serve_ports import free_port
from serving import ended, server, studies, until, wait_for

SEG, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"
SECRET = "correct-horse-battery"


@contextmanager
def pacs(folder: Path, **settings) -> Iterator[str]:
    """Address of an Orthanc with DICOMweb."""
    with orthanc(folder, Plugins=[str(DICOMWEB)], **settings) as base:
        yield base


def put(base: str, folder: Path, **options) -> None:
    for path in sorted(folder.iterdir()):
        answer = httpx.post(f"{base}/instances", content=path.read_bytes(), **options)
        answer.raise_for_status()


@needs_dicomweb
def test_a_series_is_found_and_fetched(tmp_path, write_series) -> None:
    named = {"PatientName": "Doe^Jane", "PatientID": "4711", "StudyDate": "20260102"}
    ct = write_series(tmp_path / "ct", **named)
    other = write_series(tmp_path / "mr", count=2, PatientID="4711", Modality="MR")
    with pacs(tmp_path / "orthanc") as base:
        put(base, ct)
        put(base, other)
        archive = Archive(f"{base}/dicom-web/")
        with server(tmp_path / "data", archive=archive) as client:
            search = partial(client.get, "/api/archive")
            dates = {"StudyDate": "20260101-20261231"}
            for criteria in ({"PatientID": "4711"}, dates):
                (one,) = search(params=criteria).json()["series"]
                assert (one["patient"], one["patient_id"]) == ("Doe Jane", "4711")
                assert (one["study_date"], one["description"]) == ("20260102", "bone")
                assert one["images"] == len(list(ct.iterdir()))
            assert search(params={"PatientID": "4712"}).json() == {"series": []}
            form = {"study": one["study"], "series": one["series"]}
            assert client.post("/api/archive", data=form).status_code == 202
            (study,) = until(client, ended)
            assert (study["state"], study["origin"], study["patient"]) == (
                "done", "dicomweb", "Doe Jane",
            )  # fmt: skip
            kept = list((tmp_path / "data" / "studies" / study["id"] / "input").iterdir())
            assert len(kept) == len(list(ct.iterdir()))
            form["series"] = "1.2.3.9"
            missing = client.post("/api/archive", data=form)
            assert missing.status_code == 502
            assert "404" in missing.json()["problem"] or "no images" in missing.json()["problem"]
            assert not list((tmp_path / "data" / "uploads").iterdir())


@pytest.mark.slow
@needs_dicomweb
def test_real_results_are_stored_in_the_study_of_their_scan(tmp_path) -> None:
    with pacs(tmp_path / "orthanc") as base:
        put(base, serving.drawn_series(tmp_path / "series", PatientID="4711"))
        archive = Archive(f"{base}/dicom-web", store=True)
        with server(tmp_path / "data", serving.by_threshold, archive=archive) as client:
            desk = client.desk
            desk.send_results_to(archive.url, partial(dicomweb.store, archive=archive))
            (one,) = client.get("/api/archive", params={"PatientID": "4711"}).json()["series"]
            client.post("/api/archive", data={"study": one["study"], "series": one["series"]})
            (study,) = until(client, ended, seconds=120)
            assert study["state"] == "done", study["reason"]
            wait_for(lambda: desk.store.rows("sends", state="sent"))
            # The series that otovox made are no CT: they are not offered for analysis.
            assert client.get("/api/archive", params={"PatientID": "4711"}).json()["series"] == [
                one
            ]
            results = desk.results(study["id"], 1)
        kinds = {}
        for name in httpx.get(f"{base}/instances").json():
            kind = httpx.get(f"{base}/instances/{name}/metadata/SopClassUid").text
            kinds[kind] = httpx.get(f"{base}/instances/{name}/file").content
        assert len(httpx.get(f"{base}/studies").json()) == 1
    for kind, file in ((SEG, "segmentation.dcm"), (SR, "measurements.dcm")):
        (tmp_path / file).write_bytes(kinds[kind])
        assert serving.same_dicom(tmp_path / file, results / file)


@needs_dicomweb
def test_credentials_are_used_and_never_logged(tmp_path, write_series, caplog) -> None:
    caplog.set_level(logging.DEBUG)
    users = {"reader": SECRET}
    folder = write_series(tmp_path / "ct", PatientID="4711", count=3)
    with pacs(tmp_path / "orthanc", AuthenticationEnabled=True, RegisteredUsers=users) as base:
        put(base, folder, auth=("reader", SECRET))
        url = f"{base}/dicom-web"
        given = {"OTOVOX_DICOMWEB_USER": "reader", "OTOVOX_DICOMWEB_PASSWORD": SECRET}
        archive = archive_of(url, True, given)
        assert archive is not None
        assert len(dicomweb.search(archive, {"PatientID": "4711"})) == 1
        assert dicomweb.store(sorted(folder.iterdir()), archive) == ""
        for wrong in (Archive(url), Archive(url, user="reader", password="no"),
                      Archive(url, token=SECRET)):  # fmt: skip
            problem = dicomweb.store(sorted(folder.iterdir()), wrong)
            assert problem == (
                f"{url}: answered with HTTP status 401; set or correct its credentials"
            )
    logged = caplog.text + repr(archive)
    assert "dicom-web" in logged
    for secret in (SECRET, base64.b64encode(f"reader:{SECRET}".encode()).decode()):
        assert secret not in logged


@contextmanager
def answering(status: int, kind: str, body: bytes) -> Iterator[tuple[str, list[str]]]:
    """A server that gives one answer to everything; the paths and credentials that it got."""
    got: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            got.append(f"{self.path} {self.headers.get('Authorization', '')}")
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Answer) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/dicom-web", got
        running.shutdown()
        thread.join()


def failed(code: int) -> bytes:
    """The answer of a server that did not store an object (PS3.18, I.2)."""
    item = {"00081197": {"vr": "US", "Value": [code]}}
    return json.dumps({"00081198": {"vr": "SQ", "Value": [item]}}).encode()


def test_objects_that_were_not_stored_are_reported(tmp_path, write_series) -> None:
    (image, *_) = write_series(tmp_path / "ct", count=1).iterdir()
    for kind in ("application/dicom+json", "application/dicom+json; charset=utf-8"):
        with answering(202, kind, failed(0xA700)) as (url, got):
            problem = dicomweb.store([image], Archive(url, token=SECRET))
        assert problem == f"{url}: did not accept 1 of 1 files (reason 0xA700)"
        assert got == [f"/dicom-web/studies Bearer {SECRET}"]


def test_names_are_searched_with_wildcards() -> None:
    # Orthanc's plugin 1.7 does not decode what is percent-encoded, and finds no such name.
    with answering(200, "application/dicom+json", b"[]") as (url, got):
        assert dicomweb.search(Archive(url), {"PatientName": " Doe^J* "}) == []
    (path,) = got
    query = parse_qs(urlsplit(path.strip()).query)
    assert query["PatientName"] == ["Doe^J*"]
    assert query["ModalitiesInStudy"] == ["CT"]


@pytest.mark.parametrize(
    ("status", "kind", "body", "words"),
    [
        (500, "text/plain", b"", "answered with HTTP status 500"),
        (200, "application/dicom+json", b"{", "not valid DICOMweb"),
        (200, "application/dicom+json", b'[{"0020000D": 3}]', "not valid DICOMweb"),
        (200, "application/dicom+json", b"[{}]", "not valid DICOMweb"),
    ],
)
def test_wrong_answers_are_one_sentence(tmp_path, status, kind, body, words) -> None:
    with (
        answering(status, kind, body) as (url, _),
        server(tmp_path / "data", archive=Archive(url)) as client,
    ):
        answer = client.get("/api/archive", params={"PatientID": "Doe^Jane"})
    assert answer.status_code == 502
    assert words in answer.json()["problem"]
    assert "Doe" not in answer.json()["problem"]


def test_a_damaged_series_leaves_nothing(tmp_path) -> None:
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    part = b"--b\r\nContent-Type: application/dicom\r\n\r\nno image\r\n--b--"
    with (
        answering(200, kind, part) as (url, _),
        server(tmp_path / "data", archive=Archive(url)) as client,
    ):
        answer = client.post("/api/archive", data={"study": "1.2.3", "series": "1.2.4"})
        assert answer.status_code == 502
        for hostile in ("../../etc", "", "1.2/3", "x" * 100):
            answer = client.post("/api/archive", data={"study": "1.2.3", "series": hostile})
            assert answer.status_code == 400
        assert studies(client) == []
    assert not list((tmp_path / "data" / "uploads").iterdir())


@needs_dicomweb
def test_a_series_that_is_too_large_leaves_nothing(tmp_path, write_series) -> None:
    with pacs(tmp_path / "orthanc") as base:
        put(base, write_series(tmp_path / "ct", PatientID="4711"))
        archive = Archive(f"{base}/dicom-web")
        for limits in (Limits(files=3), Limits(upload_bytes=5000)):
            with server(tmp_path / "data", archive=archive, limits=limits) as client:
                (one,) = client.get("/api/archive", params={"PatientID": "4711"}).json()["series"]
                form = {"study": one["study"], "series": one["series"]}
                assert client.post("/api/archive", data=form).status_code in (400, 413)
                assert studies(client) == []
            assert not list((tmp_path / "data" / "uploads").iterdir())


def test_searches_that_ask_for_all_are_refused(tmp_path) -> None:
    archive = Archive(f"http://127.0.0.1:{free_port()}")
    with server(tmp_path / "data", archive=archive) as client:
        for criteria in ({}, {"PatientID": " "}, {"includefield": "all"}):
            assert client.get("/api/archive", params=criteria).status_code == 400
        away = client.get("/api/archive", params={"PatientID": "1"})
        assert away.json()["problem"] == f"{archive.url}: cannot be reached"
    with server(tmp_path / "other") as client:
        assert client.get("/api/archive", params={"PatientID": "1"}).status_code == 404


@pytest.mark.parametrize(
    ("url", "store", "environment", "words"),
    [
        (None, True, {}, "needs --dicomweb"),
        ("ftp://pacs", False, {}, "http or https"),
        ("https://", False, {}, "http or https"),
        ("https://pacs:99999/", False, {}, "http or https"),
        ("https://pacs/a?key=1", False, {}, "without a query"),
        (f"https://me:{SECRET}@pacs/a", False, {}, "visible"),
        ("http://10.0.0.5/a", False, {"OTOVOX_DICOMWEB_TOKEN": SECRET}, "https only"),
        ("https://pacs/a", False, {"OTOVOX_DICOMWEB_PASSWORD": SECRET}, "USER"),
        (
            "https://pacs/a",
            False,
            {"OTOVOX_DICOMWEB_TOKEN": SECRET, "OTOVOX_DICOMWEB_USER": "me"},
            "either",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(url, store, environment, words) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        archive_of(url, store, environment)
    assert SECRET not in str(refused.value)


def test_no_server_and_a_server_without_credentials() -> None:
    assert archive_of(None, False, {"OTOVOX_DICOMWEB_TOKEN": SECRET}) is None
    archive = archive_of("http://10.0.0.5:8042/dicom-web/", False, {})
    assert archive == Archive("http://10.0.0.5:8042/dicom-web")
