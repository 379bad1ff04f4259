"""The real command, killed without warning and started again."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from serve_ports import free_port

pytest.importorskip("starlette", reason="the server is not installed")
httpx = pytest.importorskip("httpx2", reason="the client of the tests is not installed")

START = """
import sys; sys.path.insert(0, {tests!r})
if __name__ == "__main__":
    import uvicorn, serving
    from pathlib import Path
    from otovox.serve.app import make_app
    from otovox.serve.desk import Desk
    from otovox.serve.settings import ServerSettings
    settings = ServerSettings(Path({data!r}), port={port}, workers=2)
    desk = Desk(settings, serving.tasks(serving.{work}))
    uvicorn.run(make_app(desk), port={port}, log_level="error")
"""


def start(folder: Path, port: int, work: str) -> subprocess.Popen:
    script = folder / f"start_{work}.py"
    tests = str(Path(__file__).parents[1])
    text = START.format(tests=tests, data=str(folder / "data"), port=port, work=work)
    script.write_text(text)
    process = subprocess.Popen([sys.executable, script], start_new_session=True)
    for _ in range(200):
        try:
            httpx.get(f"http://127.0.0.1:{port}/api/studies")
            return process
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("the server did not start")


def found(port: int) -> list[dict]:
    return httpx.get(f"http://127.0.0.1:{port}/api/studies").json()["studies"]


@pytest.mark.slow
def test_a_killed_server_loses_nothing_and_does_nothing_twice(tmp_path: Path, write_scan) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz").read_bytes()
    port = free_port()
    process = start(tmp_path, port, "slowly")
    base = f"http://127.0.0.1:{port}/api/uploads"
    for name in ("quick.nii.gz", "long.nii.gz", "waiting.nii.gz"):
        upload = httpx.post(base).json()["upload"]
        httpx.put(f"{base}/{upload}/files", params={"name": name}, content=scan)
        httpx.post(f"{base}/{upload}/end")
    end = time.monotonic() + 60
    while not any(one["name"] == "long" and one["state"] == "running" for one in found(port)):
        assert time.monotonic() < end
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process = start(tmp_path, port, "quickly")
    try:
        while any(one["job"] for one in found(port)) or len(found(port)) < 3:
            assert time.monotonic() < end
            time.sleep(0.1)
        assert {one["state"] for one in found(port)} == {"done"}
    finally:
        process.terminate()
        process.wait(timeout=20)
    lines = (tmp_path / "data" / "analysed.log").read_text().splitlines()
    assert sorted(lines) == ["long", "quick", "waiting"]


def upload(port: int, name: str, scan: bytes) -> bool:
    """Upload a scan; whether the server confirmed it."""
    base = f"http://127.0.0.1:{port}/api/uploads"
    try:
        key = httpx.post(base, timeout=60).json()["upload"]
        sent = httpx.put(f"{base}/{key}/files", params={"name": name}, content=scan, timeout=60)
        return sent.is_success and httpx.post(f"{base}/{key}/end", timeout=60).is_success
    except httpx.TransportError:
        return False


def kill_a_worker(server: int) -> None:
    children = psutil.Process(server).children()
    workers = [one for one in children if any("spawn_main" in word for word in one.cmdline())]
    workers[0].kill()


@pytest.mark.slow
def test_fifty_uploads_while_a_worker_and_the_server_are_killed(tmp_path: Path, write_scan) -> None:
    scan = write_scan(tmp_path / "scan.nii.gz").read_bytes()
    names = [f"s{number:02d}" for number in range(50)]
    port = free_port()
    process = start(tmp_path, port, "steadily")
    with ThreadPoolExecutor(50) as pool:
        sent = {name: pool.submit(upload, port, f"{name}.nii.gz", scan) for name in names}
        end = time.monotonic() + 120
        while sum(one["state"] == "done" for one in found(port)) < 3:
            assert time.monotonic() < end
            time.sleep(0.1)
        kill_a_worker(process.pid)
        while sum(one["state"] == "done" for one in found(port)) < 8:
            assert time.monotonic() < end
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        confirmed = {name for name, answer in sent.items() if answer.result()}
    process = start(tmp_path, port, "steadily")
    try:
        address = f"http://127.0.0.1:{port}/api/studies"
        while True:
            answer = httpx.get(address).json()
            if not answer["sorting"] and not any(one["job"] for one in answer["studies"]):
                break
            assert time.monotonic() < end
            time.sleep(0.2)
        studies = answer["studies"]
        versions = [len(httpx.get(f"{address}/{one['id']}").json()["versions"]) for one in studies]
    finally:
        process.terminate()
        process.wait(timeout=20)
    there = [one["name"] for one in studies]
    assert len(confirmed) >= 8
    # Nothing confirmed is lost, nothing is there twice, and everything was analysed.
    assert confirmed <= set(there) <= set(names)
    assert len(there) == len(set(there))
    assert {one["state"] for one in studies} == {"done"}
    assert versions == [1] * len(studies)
    folders = {one.name for one in (tmp_path / "data" / "studies").iterdir()}
    assert folders == {one["id"] for one in studies}
    assert not list((tmp_path / "data" / "uploads").iterdir())
