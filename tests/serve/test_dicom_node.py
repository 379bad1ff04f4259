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

import pynetdicom
from pydicom import dcmread
from pydicom.uid import UID, CTImageStorage, MRImageStorage, generate_uid
from pynetdicom.sop_class import Verification  # pyright: ignore[reportAttributeAccessIssue]

import serving
from otovox.serve import dicom_node
from otovox.serve.settings import Destination, Dicom
from serve_ports import free_port
from serving import ended, server, until


def with_dicom(task, say) -> dict:
    """An analysis that writes DICOM results of the slices' own study."""
    found = serving.quickly(task, say)
    source = dcmread(next(path for path in task.input.iterdir()))
    for name, kind in (
        ("segmentation.dcm", "1.2.840.10008.5.1.4.1.1.66.4"),
        ("measurements.dcm", "1.2.840.10008.5.1.4.1.1.88.34"),
    ):
        source.SOPClassUID = source.file_meta.MediaStorageSOPClassUID = UID(kind)
        source.SOPInstanceUID = source.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        source.SeriesInstanceUID = generate_uid()
        source.save_as(task.results / name)
    return found


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


@pytest.mark.slow
def test_results_are_sent_on(tmp_path, write_series) -> None:
    got: list[str] = []
    entity = pynetdicom.AE("PACS")
    entity.supported_contexts = pynetdicom.StoragePresentationContexts
    entity.supported_contexts += (pynetdicom.build_context("1.2.840.10008.5.1.4.1.1.66.4"),)
    handlers: list[Any] = [(pynetdicom.evt.EVT_C_STORE, lambda event: got.append(str(
        event.request.AffectedSOPClassUID)) or 0)]  # fmt: skip
    pacs = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert pacs is not None
    target = Destination("PACS", "127.0.0.1", pacs.server_address[1])
    try:
        with node(tmp_path / "data", with_dicom, send_to=(target,)) as (_, port):
            association = associated(port)
            for path in sorted(write_series(tmp_path / "series").iterdir()):
                association.send_c_store(dcmread(path))
            association.release()
            end = time.monotonic() + 30
            while len(got) < 2 and time.monotonic() < end:
                time.sleep(0.1)
    finally:
        pacs.shutdown()
    assert got == ["1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"]


# pynetdicom leaves the socket of a refused connection open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_destination_that_is_away_is_told() -> None:
    target = Destination("PACS", "127.0.0.1", free_port())
    assert "does not accept" in dicom_node.send([Path(__file__)], target, title="OTOVOX")


@pytest.mark.skipif(shutil.which("storescu") is None, reason="DCMTK is not installed")
@pytest.mark.slow
def test_dcmtk_sends_and_asks(tmp_path, write_series) -> None:
    folder = write_series(tmp_path / "series")
    with node(tmp_path / "data") as (client, port):
        base = ["-aet", "SCANNER", "-aec", "OTOVOX", "127.0.0.1", str(port)]
        subprocess.run(["echoscu", *base], check=True, capture_output=True)
        subprocess.run(["storescu", "+sd", *base, folder], check=True, capture_output=True)
        stranger = ["echoscu", "-aet", "STRANGER", "-aec", "OTOVOX", "127.0.0.1", str(port)]
        assert subprocess.run(stranger, capture_output=True).returncode != 0
        (one,) = until(client, ended)
        assert one["state"] == "done"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("Orthanc") is None, reason="Orthanc is not installed")
def test_orthanc_sends_a_series_and_gets_its_results(tmp_path, write_series) -> None:
    httpx = pytest.importorskip("httpx2", reason="the client of the tests is not installed")
    dicom, http = free_port(), free_port()
    target = Destination("ORTHANC", "127.0.0.1", dicom)
    with node(tmp_path / "data", with_dicom, send_to=(target,)) as (_, port):
        settings = {
            "StorageDirectory": str(tmp_path / "o"), "IndexDirectory": str(tmp_path / "o"),
            "DicomAet": "SCANNER", "DicomPort": dicom, "HttpPort": http,
            "AuthenticationEnabled": False, "DicomCheckCalledAet": False, "Plugins": [],
            "DicomAlwaysAllowStore": True, "RemoteAccessAllowed": False,
            "DicomModalities": {"otovox": ["OTOVOX", "127.0.0.1", port]},
        }  # fmt: skip
        (tmp_path / "orthanc.json").write_text(json.dumps(settings))
        process = subprocess.Popen(
            ["Orthanc", tmp_path / "orthanc.json"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        base = f"http://127.0.0.1:{http}"
        try:
            for _ in range(100):
                try:
                    httpx.get(f"{base}/system")
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            for path in sorted(write_series(tmp_path / "series").iterdir()):
                httpx.post(f"{base}/instances", content=path.read_bytes()).raise_for_status()
            (series,) = httpx.get(f"{base}/series").json()
            assert httpx.post(f"{base}/modalities/otovox/echo", content="{}").status_code == 200
            sent = httpx.post(f"{base}/modalities/otovox/store", content=series, timeout=60)
            sent.raise_for_status()
            end, kinds = time.monotonic() + 40, set()
            while len(kinds) < 3 and time.monotonic() < end:
                time.sleep(0.3)
                kinds = {
                    httpx.get(f"{base}/instances/{one}/metadata/SopClassUid").text
                    for one in httpx.get(f"{base}/instances").json()
                }
        finally:
            process.terminate()
            process.wait(timeout=20)
    assert {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"} < kinds
