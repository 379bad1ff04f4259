"""The true model behind the server: a phantom is uploaded, analysed, corrected and measured."""

import json
from pathlib import Path

import pytest

pytest.importorskip("starlette", reason="the server is not installed")

from otovox.formats.images import load_label_map, save_volume
from otovox.imaging.metrics import dice
from otovox.phantom.cases import make_case
from otovox.serve.desk import TASKS
from otovox.serve.settings import Analysis
from serving import ended, send, server, until


@pytest.mark.slow
def test_a_phantom_from_upload_to_correction(tmp_path: Path) -> None:
    case = make_case(7, kind="ear", scanner="msct")
    (side,) = case.landmarks
    save_volume(case.scan.values, case.scan.grid, tmp_path / "phantom.nii.gz")
    how = Analysis(tta="none", device="cpu")
    with server(tmp_path / "data", TASKS["analyse"], analysis=how) as client:
        send(client, {"phantom.nii.gz": (tmp_path / "phantom.nii.gz").read_bytes()})
        (study,) = until(client, ended, seconds=240)
        assert study["state"] == "done", study["reason"]
        base = f"/api/studies/{study['id']}/versions"
        first = client.get(f"{base}/1/files/result.json").json()
        assert [ear["side"] for ear in first["ears"]] == [side]
        (tmp_path / "mask.nii.gz").write_bytes(
            client.get(f"{base}/1/files/segmentation.nii.gz").content
        )
        found = load_label_map(tmp_path / "mask.nii.gz").values
        assert dice(found == side.label, case.labels.values == side.label) > 0.85
        marks = client.get(f"{base}/1/view").json()["landmarks"]
        marks[side]["oval_window"][2] += 0.4
        form = {"author": "Dr. Reader", "landmarks": json.dumps(marks), "area": "whole"}
        assert client.post(f"{base}/1/corrections", data=form).json() == {"number": 2}
        until(client, lambda them: not them[0]["job"], seconds=120)
        versions = client.get(f"/api/studies/{study['id']}").json()["versions"]
        assert [(one["author"], one["state"]) for one in versions] == [
            ("otovox", "done"), ("Dr. Reader", "done"),
        ]  # fmt: skip
        assert versions[1]["changes"] == [f"{side} oval window: moved by 0.40 mm"]
        second = client.get(f"{base}/2/files/result.json").json()
        assert second["ears"][0]["confidence"] is None
        old, new = (
            one["ears"][0]["measurements"]["oval_to_round_window"]["value"]
            for one in (first, second)
        )
        assert abs(new - old) > 0.05
        # A correction that cannot be anatomy is refused, and says why.
        marks[side]["oval_window"][2] += 20
        form["landmarks"] = json.dumps(marks)
        client.post(f"{base}/2/corrections", data=form)
        until(client, lambda them: not them[0]["job"], seconds=120)
        last = client.get(f"/api/studies/{study['id']}").json()["versions"][-1]
        assert last["state"] == "failed"
        assert "mm from the" in last["reason"]
        assert str(tmp_path) not in last["reason"]
        for hostile in (
            "{",
            "[]",
            json.dumps({"middle": {}}),
            json.dumps({side: {"helicotrema": "x"}}),
        ):
            answer = client.post(f"{base}/1/corrections", data=form | {"landmarks": hostile})
            assert answer.status_code == 400
        assert client.post(f"{base}/1/corrections", data=form | {"author": " "}).status_code == 400
        for mask in (b"", b"\x1f\x8bnonsense", b"\0" * 400, b"x" * 5000):
            files = {"mask": ("mask.nii.gz", mask)}
            answer = client.post(f"{base}/1/corrections", data=form, files=files)
            assert answer.status_code == 400
