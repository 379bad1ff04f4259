"""The real command, killed without warning and started again."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

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
    desk = Desk(ServerSettings(Path({data!r}), port={port}), serving.tasks(serving.{work}))
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
