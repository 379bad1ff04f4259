"""Hostile requests, one by one."""

import io
import stat
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the server is not installed")

from starlette.testclient import TestClient

import serving
from otovox.errors import ConfigError
from otovox.serve.app import make_app
from otovox.serve.desk import Desk
from otovox.serve.settings import Limits, ServerSettings
from otovox.serve.uploads import Refused, place_for, stored_name, unpack
from serving import ended, send, server, until

TOKEN = "a-long-token-for-tests"


@pytest.fixture
def scan(tmp_path: Path, write_scan) -> bytes:
    return write_scan(tmp_path / "source.nii.gz").read_bytes()


def at(data: Path, host: str = "localhost:8617", **settings) -> TestClient:
    desk = Desk(ServerSettings(data, **settings), serving.tasks(serving.quickly))
    return TestClient(make_app(desk), base_url=f"http://{host}", follow_redirects=False)


def test_beyond_this_machine_a_token_is_needed(tmp_path) -> None:
    with pytest.raises(ConfigError, match="needs a token"):
        ServerSettings(tmp_path, host="0.0.0.0")
    assert ServerSettings(tmp_path, host="0.0.0.0", token=TOKEN).address.endswith(f"?token={TOKEN}")


def test_without_the_token_nothing_is_answered(tmp_path) -> None:
    with at(tmp_path / "data", token=TOKEN, host="0.0.0.0") as client:
        for path in ("/", "/api/studies", "/static/app.css", "/cohort/", "/info/"):
            assert client.get(path).status_code == 401
            assert client.get(path, params={"token": "wrong"}).status_code == 401
        assert client.post("/api/uploads").status_code == 401
        bearer = {"authorization": f"Bearer {TOKEN}"}
        assert client.get("/api/studies", headers=bearer).status_code == 200
        opened = client.get("/", params={"token": TOKEN})
        assert (opened.status_code, opened.headers["location"]) == (303, "/")
        assert "HttpOnly" in opened.headers["set-cookie"]
        assert client.get("/").status_code == 200


def test_a_token_in_the_address_redirects_nowhere_else(tmp_path) -> None:
    with at(tmp_path / "data", token=TOKEN, host="0.0.0.0") as client:
        opened = client.get("//evil.example/", params={"token": TOKEN})
        assert not opened.headers.get("location", "/").startswith(("//", "http"))


def test_other_names_for_this_machine_are_refused(tmp_path) -> None:
    """DNS rebinding: a page elsewhere whose name points here."""
    with at(tmp_path / "data", host="evil.example") as client:
        assert client.get("/api/studies").status_code == 421
    with at(tmp_path / "other", host="127.0.0.1:8617") as client:
        assert client.get("/api/studies").status_code == 200


def test_pages_of_other_origins_can_do_nothing(tmp_path) -> None:
    with at(tmp_path / "data") as client:
        for headers in (
            {"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
        ):  # fmt: skip
            assert client.post("/api/uploads", headers=headers).status_code == 403
        own = {"origin": "http://localhost:8617"}
        assert client.post("/api/uploads", headers=own).status_code == 201
        seen = client.get("/api/studies", headers={"origin": "http://evil.example"})
        assert "access-control-allow-origin" not in seen.headers
        preflight = {"origin": "http://evil.example", "access-control-request-method": "PUT"}
        answer = client.options("/api/uploads", headers=preflight)
        assert "access-control-allow-origin" not in answer.headers
    with at(tmp_path / "ohif", origins=("https://viewer.example",)) as client:
        seen = client.get("/api/studies", headers={"origin": "https://viewer.example"})
        assert seen.headers["access-control-allow-origin"] == "https://viewer.example"


def test_every_answer_forbids_foreign_scripts_and_frames(tmp_path) -> None:
    with at(tmp_path / "data") as client:
        for path in ("/", "/static/app.css", "/nothing"):
            policy = client.get(path).headers["content-security-policy"]
            assert "script-src 'self'" in policy
            assert "frame-ancestors 'self'" in policy
        assert client.get("/").headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in client.get("/cohort/").headers["content-security-policy"]


@pytest.mark.parametrize(
    "name",
    ["../../../etc/passwd.nii.gz", "/etc/cron.d/x.nii.gz", "..\\..\\x.nii.gz", "a\0b.nii.gz",
     "C:\\x.nii.gz", "~/.ssh/x.nii.gz", "x" * 5000 + ".nii.gz", "con.nii.gz", ".nii.gz"],
)  # fmt: skip
def test_no_name_leads_out_of_the_upload(tmp_path, name) -> None:
    folder = tmp_path / "upload"
    place = place_for(folder, 3, name)
    assert place.resolve().is_relative_to(folder.resolve())
    assert place.name == "f000003.nii.gz"
    assert len(place.relative_to(folder).parts) == 2


@pytest.mark.parametrize("name", ["../scan.raw", "-rf.raw", ".hidden.mhd", "a b.raw", "x.raw.sh"])
def test_only_simple_names_of_detached_voxels_are_kept(name) -> None:
    assert stored_name(1, "scan.raw") == "scan.raw"
    kept = stored_name(1, name)
    assert kept in ("scan.raw", "f000001.raw", "f000001.mhd", "f000001")


def test_a_traversing_upload_writes_nothing_outside(tmp_path, scan) -> None:
    data = tmp_path / "deep" / "data"
    with server(data) as client:
        send(client, {"../../../../escaped.nii.gz": scan})
        (one,) = until(client, ended)
        assert one["name"] == "escaped"
    assert not list(tmp_path.rglob("escaped*"))


def packed(path: Path, *members: tuple[zipfile.ZipInfo | str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in members:
            archive.writestr(info, content)
    return path


def test_a_zip_file_cannot_write_elsewhere(tmp_path) -> None:
    path = packed(tmp_path / "a.zip", ("../../evil.nii", b"1"), ("/abs.nii", b"2"))
    names = unpack(path, tmp_path / "in", Limits(), first=1)
    inside = [file for file in (tmp_path / "in").rglob("*") if file.is_file()]
    assert sorted(file.read_bytes() for file in inside) == [b"1", b"2"]
    assert set(names.values()) == {"../../evil.nii", "/abs.nii"}
    assert not list(tmp_path.rglob("evil*")) + list(tmp_path.rglob("abs*"))


def test_a_link_in_a_zip_file_is_left_out(tmp_path) -> None:
    link = zipfile.ZipInfo("link.nii")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = packed(tmp_path / "a.zip", (link, b"/etc/passwd"), ("b.nii", b"2"))
    assert set(unpack(path, tmp_path / "in", Limits(), first=1).values()) == {"b.nii"}


@pytest.mark.parametrize(
    ("limits", "content"),
    [(Limits(unpacked_ratio=100), b"\0" * 2**24), (Limits(files=1), b"1"),
     (Limits(upload_bytes=100), b"\0" * 101), (Limits(file_bytes=100), b"\0" * 101)],
)  # fmt: skip
def test_zip_bombs_are_refused_before_they_are_unpacked(tmp_path, limits, content) -> None:
    path = packed(tmp_path / "a.zip", ("a.nii", content), ("b.nii", b"1"))
    with pytest.raises(Refused, match="more than allowed"):
        unpack(path, tmp_path / "in", limits, first=1)
    assert not (tmp_path / "in").exists()


def test_a_zip_file_that_lies_about_its_sizes_is_refused(tmp_path) -> None:
    path = packed(tmp_path / "a.zip", ("a.nii", b"x" * 5000))
    content = path.read_bytes().replace((5000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(content)
    with pytest.raises(Refused):
        unpack(path, tmp_path / "in", Limits(), first=1)


def test_encrypted_damaged_and_nested_zip_files_are_told(tmp_path) -> None:
    inner = packed(tmp_path / "inner.zip", ("a.nii", b"x")).read_bytes()
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as archive:
        archive.writestr("inner.zip", inner)
    with server(tmp_path / "data") as client:
        send(client, {"broken.zip": b"PK\3\4nonsense", "outer.zip": outer.getvalue()})
        found = until(client, ended)
    assert {one["state"] for one in found} == {"failed"}
    assert any("damaged" in one["reason"] for one in found)


def test_only_the_files_of_results_are_given_out(tmp_path, scan) -> None:
    with server(tmp_path / "data") as client:
        send(client, {"a.nii.gz": scan})
        (one,) = until(client, ended)
        base = f"/api/studies/{one['id']}/versions/1/files"
        (tmp_path / "data" / "studies" / one["id"] / "versions" / "1" / "secret").write_text("x")
        for name in ("secret", "..%2f..%2f..%2fotovox.sqlite", "%2fetc%2fpasswd", "overview.png"):
            assert client.get(f"{base}/{name}").status_code == 404
        for study in ("..", "%2e%2e", "' OR 1=1 --", "0" * 32):
            assert (
                client.get(f"/api/studies/{study}/versions/1/files/result.json").status_code == 404
            )
            assert client.delete(f"/api/studies/{study}").status_code in (404, 405)
        assert client.get("/static/../desk.py").status_code == 404
        assert client.get("/static/%2e%2e/desk.py").status_code == 404
        assert until(client, ended)


def test_names_are_text_and_never_markup(tmp_path, scan) -> None:
    name = "<img src=x onerror=alert(1)>"
    with server(tmp_path / "data") as client:
        send(client, {f"{name}.nii.gz": scan})
        (one,) = until(client, ended)
        page = client.get(f"/studies/{one['id']}").text
    assert "<img src=x" not in page
    assert "&lt;img src=x" in page


def test_data_are_for_their_owner_alone(tmp_path, scan) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o755)
    with server(data):
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        assert stat.S_IMODE((data / "studies").stat().st_mode) == 0o700
        assert stat.S_IMODE((data / "otovox.sqlite").stat().st_mode) == 0o600
