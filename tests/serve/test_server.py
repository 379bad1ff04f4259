"""The server from outside: uploads, the queue, restarts; with analyses that take no time."""

import io
import threading
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the server is not installed")

import serving
from otovox.serve.desk import Desk
from otovox.serve.settings import Limits
from otovox.serve.store import now
from serving import ended, send, server, studies, until, wait_for


@pytest.fixture
def scan(tmp_path: Path, write_scan) -> bytes:
    return write_scan(tmp_path / "source.nii.gz").read_bytes()


def test_an_uploaded_scan_is_analysed_listed_found_and_deleted(tmp_path, scan) -> None:
    data = tmp_path / "data"
    with server(data) as client:
        assert studies(client) == []
        send(client, {"Anna 100%.nii.gz": scan})
        (one,) = until(client, ended)
        assert (one["name"], one["state"], one["latest"]) == ("Anna 100%", "done", 1)
        assert len(studies(client, "na 100%")) == 1
        assert studies(client, "100_") == []
        assert client.get(f"/studies/{one['id']}").status_code == 200
        file = f"/api/studies/{one['id']}/versions/1/files/result.json"
        assert client.get(file).text == "{}"
        assert client.get(f"/api/studies/{one['id']}/versions/1/all.zip").status_code == 200
        assert client.delete(f"/api/studies/{one['id']}").status_code == 204
        assert studies(client) == []
        assert client.get(file).status_code == 404
        assert not list((data / "studies").iterdir())
        assert not list((data / "uploads").iterdir())


def test_a_dicom_folder_and_a_zip_file_become_a_study_each(tmp_path, scan, write_series) -> None:
    folder = write_series(tmp_path / "series", PatientName="Doe^Jane", StudyDate="20260102")
    slices = {f"CD/IM{n}": path.read_bytes() for n, path in enumerate(sorted(folder.iterdir()))}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inside/deep.nii.gz", scan)
    with server(tmp_path / "data") as client:
        send(client, slices | {"all.zip": packed.getvalue()})
        names = {one["name"]: one for one in until(client, ended)}
    assert set(names) == {"CD bone", "deep"}
    assert names["CD bone"]["patient"] == "Doe Jane"
    assert names["CD bone"]["study_date"] == "20260102"


def test_what_is_no_scan_is_told_and_stops_no_other(tmp_path, scan) -> None:
    with server(tmp_path / "data") as client:
        send(client, {"notes.txt": b"hello"})
        send(client, {"good.nii.gz": scan})
        found = until(client, lambda them: len(them) == 2 and ended(them))
    states = {one["name"]: (one["state"], one["reason"]) for one in found}
    assert states["good"] == ("done", "")
    (bad,) = [reason for name, (state, reason) in states.items() if state == "failed"]
    assert "contains no scan" in bad
    assert str(tmp_path) not in bad


@pytest.mark.slow
def test_a_running_and_a_waiting_analysis_are_cancelled_and_tried_again(tmp_path, scan) -> None:
    with server(tmp_path / "data", serving.slowly) as client:
        send(client, {"one.nii.gz": scan})
        send(client, {"two.nii.gz": scan})
        found = until(client, lambda them: len(them) == 2 and any(
            one["job"] and one["job"]["stage"] == "thinking" for one in them
        ))  # fmt: skip
        assert all(one["job"]["left_s"] > 0 for one in found)
        for one in found:
            assert client.post(f"/api/studies/{one['id']}/cancel").status_code == 202
        found = until(client, ended)
        assert {one["state"] for one in found} == {"cancelled"}
        assert client.post(f"/api/studies/{found[0]['id']}/retry").status_code == 202
        until(client, lambda them: any(one["state"] == "running" for one in them))


@pytest.mark.slow
def test_a_worker_that_dies_is_replaced_and_its_study_tried_once_more(tmp_path, scan) -> None:
    with server(tmp_path / "data", serving.dying_once) as client:
        send(client, {"unlucky.nii.gz": scan})
        send(client, {"bad.nii.gz": scan})
        found = until(client, lambda them: len(them) == 2 and ended(them))
    states = {one["name"]: one for one in found}
    assert states["unlucky"]["state"] == "done"
    assert states["bad"]["state"] == "failed"
    assert "died" in states["bad"]["reason"]
    assert (tmp_path / "data" / "analysed.log").read_text() == "unlucky\n"


@pytest.mark.slow
def test_after_a_restart_nothing_is_lost_and_nothing_is_done_twice(tmp_path, scan) -> None:
    data = tmp_path / "data"
    with server(data, serving.slowly) as client:
        for name in ("quick one", "long", "waiting"):
            send(client, {f"{name}.nii.gz": scan})
        until(client, lambda them: len(them) == 3 and any(
            one["name"] == "long" and one["state"] == "running" for one in them
        ))  # fmt: skip
        unfinished = client.post("/api/uploads").json()["upload"]
    with server(data) as client:
        found = until(client, ended)
        assert {one["name"]: one["state"] for one in found} == {
            "quick one": "done", "long": "done", "waiting": "done",
        }  # fmt: skip
        gone = client.put(f"/api/uploads/{unfinished}/files", content=b"x")
        assert gone.status_code == 404
    lines = (data / "analysed.log").read_text().splitlines()
    assert sorted(lines) == ["long", "quick one", "waiting"]


@pytest.mark.slow
def test_a_server_that_was_killed_while_it_moved_files_goes_on(tmp_path, scan, monkeypatch) -> None:
    data = tmp_path / "data"
    moved = Desk._move
    monkeypatch.setattr(Desk, "_move", lambda *_: None)
    with server(data) as client:
        send(client, {"one.nii.gz": scan})
        wait_for(lambda: studies(client))
        assert studies(client)[0]["state"] == "arriving"
    monkeypatch.setattr(Desk, "_move", moved)
    with server(data) as client:
        (one,) = until(client, ended)
        assert one["state"] == "done"
    assert (data / "analysed.log").read_text() == "one\n"


@pytest.mark.slow
def test_fifty_uploads_at_once_are_each_analysed_once(tmp_path, scan) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with server(tmp_path / "data", workers=2) as client:
        with ThreadPoolExecutor(10) as pool:
            list(pool.map(lambda n: send(client, {f"s{n:02d}.nii.gz": scan}), range(50)))
        found = until(client, lambda them: len(them) == 50 and ended(them), seconds=120)
    assert {one["state"] for one in found} == {"done"}
    lines = (tmp_path / "data" / "analysed.log").read_text().splitlines()
    assert sorted(lines) == [f"s{n:02d}" for n in range(50)]


def test_too_much_is_refused_and_leaves_nothing(tmp_path, scan) -> None:
    limits = Limits(file_bytes=1000, upload_bytes=1500, files=3)
    data = tmp_path / "data"
    with server(data, limits=limits) as client:
        upload = client.post("/api/uploads").json()["upload"]
        path = f"/api/uploads/{upload}/files"
        assert client.put(path, params={"name": "a.nii"}, content=b"x" * 1001).status_code == 413
        assert client.put(path, params={"name": "b.nii"}, content=b"x" * 900).status_code == 201
        assert client.put(path, params={"name": "c.nii"}, content=b"x" * 900).status_code == 413
        refused = client.put(path, params={"name": "d.nii"}, content=b"x")
        assert "at most 3 files" in refused.json()["problem"]
        kept = [file for file in (data / "uploads").rglob("*") if file.is_file()]
        assert [file.stat().st_size for file in kept] == [900]
        assert client.delete(f"/api/uploads/{upload}").status_code == 204
        assert not list((data / "uploads").iterdir())


def test_a_full_queue_takes_nothing_more(tmp_path) -> None:
    with server(tmp_path / "data", limits=Limits(waiting=0)) as client:
        refused = client.post("/api/uploads")
    assert refused.status_code == 400
    assert "already waiting" in refused.json()["problem"]


def test_a_listed_study_that_is_running_has_its_job(tmp_path) -> None:
    with server(tmp_path / "data") as client:
        store = client.desk.store
        store.add(
            "studies", id="a", upload="", name="a", state="queued", origin="page", created=now()
        )
        store.add("jobs", id=1, kind="analyse", target="a", state="ended", created=now())
        over = threading.Event()

        def work() -> None:
            while not over.is_set():
                for study, job in (("running", "running"), ("done", "done")):
                    with store.together():
                        store.change("jobs", {"id": 1}, state=job, started=now())
                        store.change("studies", {"id": "a"}, state=study)

        worker = threading.Thread(target=work)
        worker.start()
        try:
            seen = [(one["state"], bool(one["job"])) for _ in range(50) for one in studies(client)]
        finally:
            over.set()
            worker.join()
    assert set(seen) <= {("queued", False), ("running", True), ("done", False)}
    assert len(set(seen)) > 1
