"""MONAI Label's protocol, asked by MONAI Label's own client where it is installed."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the server is not installed")

import numpy as np

import serving
from masks import drawn_ear
from otovox.core.anatomy import Side
from otovox.core.volume import LabelMap
from otovox.formats.images import load_label_map, save_label_map, save_volume
from otovox.serve.app import make_app
from otovox.serve.desk import Desk
from otovox.serve.monai_label import MODEL
from otovox.serve.settings import ServerSettings
from serving import server


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("drawn") / "anna.nii.gz"
    scan = serving.drawn_scan()
    save_volume(scan.values, scan.grid, path)
    return path


def test_info_says_what_there_is(tmp_path) -> None:
    with server(tmp_path / "data") as client:
        told = client.get("/info/").json()
        assert told["models"][MODEL]["type"] == "segmentation"
        assert told["models"][MODEL]["labels"] == {
            "Right bony labyrinth": 1, "Left bony labyrinth": 2,
        }  # fmt: skip
        assert told["trainers"] == told["strategies"] == {}
        assert client.get("/datastore/").json()["total"] == 0


def test_what_is_not_there_and_what_is_no_image_is_refused(tmp_path) -> None:
    with server(tmp_path / "data") as client:
        answer = client.post(f"/infer/{MODEL}", params={"image": "nobody"}, data={"params": "{}"})
        assert answer.status_code == 404
        assert client.post("/infer/other", data={"params": "{}"}).status_code == 404
        assert client.get("/datastore/label", params={"label": "../.."}).status_code == 404
        bad = client.put("/datastore/", files={"file": ("x.nii.gz", b"nonsense")})
        assert bad.status_code in (200, 400)
        assert client.put("/datastore/", data={"params": "{}"}).status_code == 400


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A server on a real port."""
    import uvicorn

    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        place.listen()
        desk = Desk(ServerSettings(tmp_path / "data"), serving.tasks(serving.by_threshold))
        running = uvicorn.Server(uvicorn.Config(make_app(desk), log_level="error"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [place]})
        thread.start()
        yield f"http://127.0.0.1:{place.getsockname()[1]}"
        running.should_exit = True
        thread.join(timeout=20)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_their_own_client_uploads_infers_corrects_and_downloads(tmp_path, drawn, address) -> None:
    library = pytest.importorskip("monailabel.client.client", reason="monailabel is not installed")
    client = library.MONAILabelClient(address, tmpdir=str(tmp_path), client_id="reader one")
    assert client.info()["name"] == "otovox"
    assert not client.auth_enabled()
    image = client.upload_image(str(drawn), "anna")["image"]
    file, params = client.infer(MODEL, "anna", {})
    assert params["label_names"]["Left bony labyrinth"] == 2
    truth = drawn_ear(Side.LEFT)[0]
    found = load_label_map(Path(file))
    assert found.grid.same_as(truth.grid, tolerance_mm=0.01)
    assert np.array_equal(found.values, truth.values)
    changed = found.values.copy()
    changed[tuple(np.argwhere(changed)[0])] = 0
    save_label_map(LabelMap(changed, found.grid), tmp_path / "new.nii.gz")
    assert client.save_label("anna", str(tmp_path / "new.nii.gz"))["image"] == image
    end = time.monotonic() + 60
    while "final" not in client.datastore()["objects"][image]["labels"]:
        assert time.monotonic() < end
        time.sleep(0.3)
    kept = load_label_map(Path(client.download_label(image, "original")))
    new = load_label_map(Path(client.download_label(image, "final")))
    assert np.array_equal(kept.values, truth.values)
    assert np.array_equal(new.values, changed)
    session = client.create_session(str(drawn))["session_id"]
    file, _ = client.infer(MODEL, "", {}, session_id=session)
    assert np.array_equal(load_label_map(Path(file)).values, truth.values)
