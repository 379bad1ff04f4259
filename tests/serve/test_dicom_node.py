"""The DICOM node on loopback, against pynetdicom, DCMTK and Orthanc where they are installed."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the server is not installed")
pytest.importorskip("pynetdicom", reason="the DICOM node is not installed")

import highdicom as hd
import pynetdicom
from pydicom import dcmread
from pydicom.uid import CTImageStorage, MRImageStorage
from pynetdicom.sop_class import Verification  # pyright: ignore[reportAttributeAccessIssue]

import serving
from orthanc import needs_orthanc, orthanc
from otovox.core.anatomy import Side
from otovox.dataset.segmentations import read_segmentation
from otovox.formats.images import load_label_map
from otovox.serve import dicom_node, outbox
from otovox.serve.settings import Destination, Dicom
from serve_ports import free_port
from serving import ended, send, server, until, wait_for

SEG, SR = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"


#: A tool that only DCMTK has: pynetdicom comes with its own storescu.
DCMTK = shutil.which("dcmdump")


def dcmtk(tool: str) -> Path:
    """Path of a tool of DCMTK."""
    return Path(DCMTK or "").with_name(tool)


@pytest.fixture
def scan_bytes(tmp_path: Path, write_scan) -> bytes:
    return write_scan(tmp_path / "source.nii.gz").read_bytes()


@contextmanager
def node(data: Path, analyse=serving.quickly, **settings) -> Iterator:
    """A server with a node that "SCANNER" may send to, and its client."""
    with server(data, analyse) as client:
        told = Dicom(0, allowed=("SCANNER",), quiet_s=0.5, **settings)
        started = dicom_node.start_node(client.desk, told)
        try:
            yield client, started.port
        finally:
            started.stop()


def associated(port: int, title: str = "SCANNER", called: str = "OTOVOX", kind=CTImageStorage):
    entity = pynetdicom.AE(title)
    entity.add_requested_context(Verification)
    entity.add_requested_context(kind)
    return entity.associate("127.0.0.1", port, ae_title=called)


def test_echo_and_who_may_call(tmp_path) -> None:
    with node(tmp_path / "data") as (_, port):
        association = associated(port)
        assert association.send_c_echo().Status == 0
        association.release()
        assert associated(port, title="STRANGER").is_rejected
        assert associated(port, called="OTHER").is_rejected


def test_only_ct_images_are_taken(tmp_path) -> None:
    with node(tmp_path / "data") as (_, port):
        association = associated(port, kind=MRImageStorage)
        accepted = [one.abstract_syntax for one in association.accepted_contexts]
        assert accepted == [Verification]
        association.release()


@pytest.mark.slow
def test_a_series_is_analysed_once_when_it_is_complete(tmp_path, write_series) -> None:
    slices = sorted(write_series(tmp_path / "series", PatientName="Doe^Jane").iterdir())
    with node(tmp_path / "data") as (client, port):
        for half in (slices[:10], slices[10:], slices[:3]):
            association = associated(port)
            for path in half:
                assert association.send_c_store(dcmread(path)).Status == 0
            association.release()
        (one,) = until(client, ended)
        assert (one["state"], one["patient"], one["origin"]) == ("done", "Doe Jane", "dicom")
        kept = list((tmp_path / "data" / "studies" / one["id"] / "input").iterdir())
        assert len(kept) == len(slices)


@pytest.mark.slow
def test_hostile_identifiers_stay_in_the_upload(tmp_path, write_series) -> None:
    slices = sorted(write_series(tmp_path / "series").iterdir())
    with node(tmp_path / "data") as (client, port):
        association = associated(port)
        for path in slices:
            image = dcmread(path)
            image.PatientID = "../../../../evil"
            assert association.send_c_store(image).Status == 0
        association.release()
        until(client, ended)
    assert not list(tmp_path.rglob("evil*"))


def send_drawn(folder: Path, port: int) -> None:
    """Send the drawn scan to a node."""
    association = associated(port)
    for path in sorted(serving.drawn_series(folder).iterdir()):
        assert association.send_c_store(path).Status == 0
    association.release()


def check_results(segmentation: Path, report: Path, results: Path) -> None:
    """Received objects hold the mask, refer to the scan's study, and to each other."""
    mask = load_label_map(results / "segmentation.nii.gz").values
    read = hd.seg.segread(segmentation)
    voxels = read.get_volume(segment_numbers=[1]).array
    assert read.get_segment_description(1).segment_label == "Left bony labyrinth"
    assert int((voxels > 0).sum()) == int((mask == Side.LEFT.label).sum()) > 1000
    back = read_segmentation(segmentation, {}).labels.values
    assert (back == Side.LEFT.label).sum() == (mask == Side.LEFT.label).sum()
    document = hd.sr.srread(report)
    content: Any = document.content
    groups = content.get_volumetric_roi_measurement_groups()
    assert len(groups) == 1
    referred = groups[0].referenced_segment.referenced_sop_instance_uid
    assert referred == read.SOPInstanceUID
    assert document.StudyInstanceUID == read.StudyInstanceUID
    volume = next(one for one in groups[0].get_measurements() if one.name.meaning == "Volume")
    told = json.loads((results / "result.json").read_text())["ears"][0]["measurements"]
    assert volume.value == pytest.approx(told["labyrinth_volume"]["value"], rel=1e-4)


@pytest.mark.slow
def test_real_results_arrive_at_pynetdicom_and_dcmtk(tmp_path) -> None:
    entity = pynetdicom.AE("PACS")
    for kind in (SEG, SR):
        entity.add_supported_context(kind)

    def keep(event: Any) -> int:
        kind = event.request.AffectedSOPClassUID
        with (tmp_path / f"{kind}.dcm").open("wb") as file:
            file.write(event.encoded_dataset())
        return 0

    handlers: list[Any] = [(pynetdicom.evt.EVT_C_STORE, keep)]
    pacs = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert pacs is not None
    targets = [Destination("PACS", "127.0.0.1", pacs.server_address[1])]
    with dcmtk_storescp(tmp_path / "dcmtk") as port, pacs_stopped(pacs):
        if port:
            targets.append(Destination("DCMTK", "127.0.0.1", port))
        data = tmp_path / "data"
        with node(data, serving.by_threshold, send_to=tuple(targets)) as (client, own):
            send_drawn(tmp_path / "series", own)
            (one,) = until(client, ended, seconds=120)
            assert one["state"] == "done", one["reason"]
            wait_for(lambda: not client.desk.store.rows("sends", state="queued"))
            sends = client.desk.store.rows("sends")
            assert [(row["state"], row["reason"]) for row in sends] == [("sent", "")] * len(targets)
        results = data / "studies" / one["id"] / "versions" / "1"
        check_results(tmp_path / f"{SEG}.dcm", tmp_path / f"{SR}.dcm", results)
        if port:
            kept = {dcmread(path).SOPClassUID: path for path in (tmp_path / "dcmtk").iterdir()}
            assert set(kept) == {SEG, SR}
            check_results(kept[SEG], kept[SR], results)
            # DCMTK reads the report as one of its own kind.
            shown = subprocess.run(["dsrdump", kept[SR]], capture_output=True, text=True)
            assert shown.returncode == 0
            assert "Labyrinth" in shown.stdout or "labyrinth" in shown.stdout


@contextmanager
def pacs_stopped(pacs: Any) -> Iterator[None]:
    try:
        yield
    finally:
        pacs.shutdown()


@contextmanager
def dcmtk_storescp(folder: Path) -> Iterator[int]:
    """Port of DCMTK's storescp, which keeps what it receives; 0 if it is not installed."""
    if not DCMTK:
        yield 0
        return
    folder.mkdir()
    port = free_port()
    process = subprocess.Popen([dcmtk("storescp"), "-aet", "DCMTK", "-od", folder, str(port)])
    try:
        echo = [dcmtk("echoscu"), "-aec", "DCMTK", "127.0.0.1", str(port)]
        wait_for(lambda: subprocess.run(echo, capture_output=True).returncode == 0)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.mark.slow
def test_what_is_not_sent_yet_is_sent_after_a_restart(tmp_path, scan_bytes) -> None:
    got: list[list[str]] = []

    def away(paths: list[Path]) -> str:
        got.append([])
        return "PACS cannot be reached"

    data = tmp_path / "data"
    with server(data, serving.with_objects) as client:
        client.desk.send_results_to("PACS", away)
        send(client, {"one.nii.gz": scan_bytes})
        until(client, ended)
        wait_for(lambda: got)
        (row,) = client.desk.store.rows("sends")
        wait_for(lambda: client.desk.store.rows("sends")[0]["attempts"] == 1)
        assert row["state"] == "queued"
        client.desk.store.change("sends", {}, due="")
    got.clear()

    def there(paths: list[Path]) -> str:
        got.append([path.name for path in paths])
        return ""

    with server(data, serving.with_objects) as client:
        client.desk.send_results_to("PACS", there)
        wait_for(lambda: client.desk.store.rows("sends", state="sent"))
        time.sleep(1.2)
    assert got == [["segmentation.dcm", "measurements.dcm"]]


def test_sending_is_given_up_after_the_last_pause(tmp_path, scan_bytes, monkeypatch) -> None:
    monkeypatch.setattr(outbox, "PAUSES_S", (0.0, 0.0))
    tried: list[int] = []

    def away(paths: list[Path]) -> str:
        tried.append(len(paths))
        if len(tried) == 2:
            raise RuntimeError("broken")
        return "PACS cannot be reached"

    with server(tmp_path / "data", serving.with_objects) as client:
        client.desk.send_results_to("PACS", away)
        send(client, {"one.nii.gz": scan_bytes})
        wait_for(lambda: client.desk.store.rows("sends", state="failed"))
        (row,) = client.desk.store.rows("sends")
        assert row["reason"] == "PACS cannot be reached"
        (one,) = until(client, ended)
        client.delete(f"/api/studies/{one['id']}")
        assert not client.desk.store.rows("sends")
    assert tried == [2, 2, 2]


# pynetdicom leaves the socket of a refused connection open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_unreachable_destination_is_reported(tmp_path, write_series) -> None:
    (image, *_) = write_series(tmp_path / "series").iterdir()
    target = Destination("PACS", "127.0.0.1", free_port())
    problem = dicom_node.send([image], target, title="OTOVOX")
    assert problem == f"PACS@127.0.0.1:{target.port} does not accept an association"


@pytest.mark.skipif(not DCMTK, reason="DCMTK is not installed")
@pytest.mark.slow
def test_dcmtk_sends_and_asks(tmp_path, write_series) -> None:
    folder = write_series(tmp_path / "series")
    with node(tmp_path / "data") as (client, port):
        base = ["-aet", "SCANNER", "-aec", "OTOVOX", "127.0.0.1", str(port)]
        subprocess.run([dcmtk("echoscu"), *base], check=True, capture_output=True)
        subprocess.run([dcmtk("storescu"), "+sd", *base, folder], check=True, capture_output=True)
        stranger = [dcmtk("echoscu"), "-aet", "STRANGER", "-aec", "OTOVOX", "127.0.0.1", str(port)]
        assert subprocess.run(stranger, capture_output=True).returncode != 0
        (one,) = until(client, ended)
        assert one["state"] == "done"


@pytest.mark.slow
@needs_orthanc
def test_orthanc_sends_a_series_and_gets_its_results(tmp_path) -> None:
    httpx = pytest.importorskip("httpx2", reason="the client of the tests is not installed")
    dicom = free_port()
    target = Destination("ORTHANC", "127.0.0.1", dicom)
    data = tmp_path / "data"
    with node(data, serving.by_threshold, send_to=(target,)) as (client, port):
        modalities = {"otovox": ["OTOVOX", "127.0.0.1", port]}
        settings = {"DicomAet": "SCANNER", "DicomPort": dicom, "DicomModalities": modalities}
        with orthanc(tmp_path / "orthanc", **settings) as base:
            for path in sorted(serving.drawn_series(tmp_path / "series").iterdir()):
                httpx.post(f"{base}/instances", content=path.read_bytes()).raise_for_status()
            (series,) = httpx.get(f"{base}/series").json()
            assert httpx.post(f"{base}/modalities/otovox/echo", content="{}").status_code == 200
            sent = httpx.post(f"{base}/modalities/otovox/store", content=series, timeout=60)
            sent.raise_for_status()
            until(client, ended, seconds=120)
            wait_for(lambda: client.desk.store.rows("sends", state="sent"))
            kinds = [
                httpx.get(f"{base}/instances/{one}/metadata/SopClassUid").text
                for one in httpx.get(f"{base}/instances").json()
            ]
            # The results belong to the study of the scan.
            assert len(httpx.get(f"{base}/studies").json()) == 1
    assert (kinds.count(SEG), kinds.count(SR)) == (1, 1)
