"""Work for the server's tests without a network: what a threshold finds, or nothing but a file."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.uid import generate_uid

from conftest import dicom_slice
from masks import drawn_ear
from otovox.core.anatomy import Side
from otovox.core.volume import LabelMap, Scan
from otovox.formats.scans import load_scan
from otovox.serve.desk import ENDED, TASKS, Desk
from otovox.serve.settings import ServerSettings
from otovox.serve.work import AnalyseTask, ReportStage, summary, write_view

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
AXE = Path(__file__).parent / "vendor" / "axe.min.js"
#: WebGL without a graphics card; root, as in containers, has no sandbox.
FLAGS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]

#: Grey values: of the drawn scans, and between labyrinth and bone in them.
BONE, FLUID, BETWEEN = 1200, 0, 600


def drawn_scan() -> Scan:
    """A left ear as a dark labyrinth in bright bone."""
    labels, _, _ = drawn_ear(Side.LEFT)
    noise = np.random.default_rng(0).normal(0, 20, labels.grid.shape)
    values = np.where(labels.values > 0, FLUID, BONE) + noise
    return Scan(np.rint(values).astype(np.float32), labels.grid, "drawn")


def drawn_series(folder: Path, **tags: Any) -> Path:
    """The drawn scan as a DICOM series of axial CT images."""
    scan, series = drawn_scan(), generate_uid()
    folder.mkdir(parents=True)
    i, j, count = scan.grid.shape
    for k in range(count):
        image = dicom_slice(k, series, **tags)
        image.ImagePositionPatient = [round(float(v), 4) for v in scan.grid.to_mm((0, 0, k))]
        image.SliceThickness = round(float(scan.grid.spacing_mm[2]), 4)
        image.PixelSpacing = [round(float(v), 4) for v in scan.grid.spacing_mm[1::-1]]
        image.Columns, image.Rows = i, j
        values = np.clip(scan.values[:, :, k].T + 1024, 0, 4095)
        image.PixelData = np.rint(values).astype("<u2").tobytes()
        image.save_as(folder / f"IM{k:04d}.dcm", enforce_file_format=True)
    return folder


def by_threshold(task: AnalyseTask, report_stage: ReportStage) -> dict:
    """Real results of a drawn scan: the labyrinth is what is dark."""
    from otovox.analysis.segmentation import measure_labels

    report_stage("reading the scan")
    scan = replace(load_scan(task.input), name=task.name)
    write_view(scan, task.view)
    report_stage("measuring")
    mask = np.where(scan.values < BETWEEN, Side.LEFT.label, 0).astype(np.uint8)
    points = {Side.LEFT: drawn_ear(Side.LEFT)[1]}
    result = measure_labels(scan, LabelMap(mask, scan.grid), points, source=Path("threshold"))
    return summary(result.save(task.results))


def quickly(task: AnalyseTask, report_stage: ReportStage) -> dict:
    """No result but a file; a line per analysis goes to a log beside the studies."""
    report_stage("looking")
    with (task.input.parents[2] / "analysed.log").open("a") as file:
        file.write(f"{task.name}\n")
    time.sleep(0.02)
    task.results.mkdir(parents=True, exist_ok=True)
    (task.results / "result.json").write_text("{}")
    return {"ears": {"left": {}}, "warnings": []}


def nothing(task: AnalyseTask, report_stage: ReportStage) -> dict:
    """An analysis that finds no ear."""
    return quickly(task, report_stage) | {"ears": {}}


def with_objects(task: AnalyseTask, report_stage: ReportStage) -> dict:
    """An analysis with files in the places of DICOM results."""
    found = quickly(task, report_stage)
    for name in ("segmentation.dcm", "measurements.dcm", "structures.dcm"):
        (task.results / name).write_bytes(b"")
    return found


def steadily(task: AnalyseTask, report_stage: ReportStage) -> dict:
    """Takes long enough for something to happen meanwhile."""
    report_stage("looking")
    time.sleep(0.2)
    return quickly(task, report_stage)


def slowly(task: AnalyseTask, report_stage: ReportStage) -> dict:
    """Takes long, unless its scan is called so."""
    report_stage("thinking")
    if "quick" not in task.name:
        time.sleep(60)
    return quickly(task, report_stage)


def dying_once(task: AnalyseTask, report_stage: ReportStage) -> dict:
    """The worker is killed the first time that a scan is analysed; "bad" kills it every time."""
    marker = task.input.parent / "died"
    if "bad" in task.name or not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return quickly(task, report_stage)


def tasks(analyse) -> dict:
    return {**TASKS, "analyse": analyse}


@contextmanager
def server(data: Path, analyse=quickly, **settings) -> Iterator[Any]:
    """A client of a server in this process; `client.desk` is its desk."""
    from starlette.testclient import TestClient

    from otovox.serve.app import make_app

    desk = Desk(ServerSettings(data, **settings), tasks(analyse))
    base = "http://localhost:8617"
    with TestClient(make_app(desk), base_url=base, raise_server_exceptions=False) as client:
        client.desk = desk  # pyright: ignore[reportAttributeAccessIssue]
        yield client


def send(client: Any, files: dict[str, bytes]) -> str:
    upload = client.post("/api/uploads").json()["upload"]
    for name, content in files.items():
        answer = client.put(f"/api/uploads/{upload}/files", params={"name": name}, content=content)
        assert answer.status_code == 201, answer.text
    assert client.post(f"/api/uploads/{upload}/end").status_code == 202
    return upload


def studies(client: Any, query: str = "") -> list[dict]:
    return client.get("/api/studies", params={"q": query}).json()["studies"]


def until(client: Any, true: Callable[[list[dict]], object], seconds: float = 40) -> list:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = client.get("/api/studies").json()
        if not found["sorting"] and true(found["studies"]):
            return found["studies"]
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {studies(client)}")


def ended(found: list[dict]) -> bool:
    return bool(found) and all(one["state"] in ENDED and not one["job"] for one in found)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def same_dicom(first: Path, second: Path) -> bool:
    """Whether two DICOM files hold the same data set."""
    return dcmread(first) == dcmread(second)


def axe_findings(page: Any) -> list[str]:
    """What axe calls serious or critical on a page of Playwright."""
    page.evaluate(AXE.read_text("utf-8"))
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {node['html'][:120]}"
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]
