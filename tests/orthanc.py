"""A real Orthanc on loopback."""

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from serve_ports import free_port

DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
needs_orthanc = pytest.mark.skipif(
    shutil.which("Orthanc") is None, reason="Orthanc is not installed"
)
needs_dicomweb = pytest.mark.skipif(
    shutil.which("Orthanc") is None or not DICOMWEB.exists(),
    reason="Orthanc and its DICOMweb plugin are not installed",
)


@contextmanager
def orthanc(folder: Path, **settings: Any) -> Iterator[str]:
    """Address of an Orthanc that keeps its data in a folder.

    Args:
        folder: for its data and settings.
        settings: replace those below.
    """
    httpx = pytest.importorskip("httpx2", reason="the client of the tests is not installed")
    folder.mkdir()
    port = free_port()
    given = {
        "StorageDirectory": str(folder), "IndexDirectory": str(folder), "HttpPort": port,
        "DicomPort": free_port(), "AuthenticationEnabled": False, "Plugins": [],
        "DicomCheckCalledAet": False, "DicomAlwaysAllowStore": True, "RemoteAccessAllowed": False,
        **settings,
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(given))
    process = subprocess.Popen(
        ["Orthanc", folder / "orthanc.json"], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    )
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(200):
            try:
                httpx.get(f"{base}/system")
                break
            except httpx.TransportError:
                time.sleep(0.1)
        else:
            raise AssertionError("Orthanc did not start")
        yield base
    finally:
        process.terminate()
        process.wait(timeout=20)
