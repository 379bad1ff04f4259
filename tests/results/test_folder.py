"""Result folders: complete, readable back, coinciding in the world, and never half-written."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import trimesh

from otovox.core.anatomy import Side
from otovox.core.case import Prediction, PredictionSettings, Provenance
from otovox.core.geometry import affine_from, random_rotation
from otovox.core.volume import Grid, LabelMap, Scan
from otovox.errors import InputError, OutputError
from otovox.formats.markups import read_markups
from otovox.formats.segments import read_segments
from otovox.measure.measured_scan import measure_scan
from otovox.results import folder as report
from otovox.results.description import describe
from otovox.results.folder import write_results
from otovox.results.schema import DICOM, FILES, read_result


@pytest.fixture
def scan() -> Scan:
    """Oblique, left-handed and anisotropic, so that a lost axis or sign would show."""
    rng = np.random.default_rng(4)
    linear = random_rotation(rng) @ np.diag([0.5, 0.6, -0.8])
    grid = Grid((24, 22, 20), affine_from(linear, np.array([30.0, -40.0, 800.0])))
    values = rng.normal(0, 100, grid.shape).astype(np.float32)
    return Scan(values, grid, "oblique", "/somewhere/private/oblique.nii.gz")


@pytest.fixture
def prediction(scan: Scan, predict: Any) -> Prediction:
    made: Prediction = predict(scan)
    uncertainty = made.uncertainty.copy()
    uncertainty[12, 10, 8] = 77 / 255
    settings = PredictionSettings(tta="fast", volume_mean_sd=np.nan)
    provenance = Provenance({"labyrinth": "ab" * 32}, settings)
    labels = made.labels.values.copy()
    labels[2:7, 8:12, 6:10] = Side.RIGHT.label
    return replace(
        made,
        labels=LabelMap(labels, scan.grid),
        uncertainty=uncertainty,
        provenance=provenance,
    )


def plain_picture(prediction: Prediction, path: Path) -> None:
    """Stands in for the picture where it does not matter."""
    path.write_bytes(b"png")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otovox.results.overview.overview", plain_picture)


def test_everything_is_written_and_named(prediction: Prediction, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "oblique"
    write_results(measure_scan(prediction), folder)
    # Made by hand, it has no probability map whose shape could be measured, and no DICOM series.
    lacking = {*DICOM, "parts", "lines", "planes"}
    promised = {name: file for name, file in FILES.items() if name not in lacking}
    assert {path.name for path in folder.iterdir()} == {"result.json", *promised.values()}
    assert [path.name for path in folder.parent.iterdir()] == ["oblique"]
    result = read_result(folder / "result.json")
    assert result.files == promised
    assert (folder / "overview.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("quick")
def test_mask_points_and_surface_coincide(prediction: Prediction, tmp_path: Path) -> None:
    """Read back by SimpleITK, the landmarks' voxels are those of result.json, in mm and ijk."""
    folder = tmp_path / "out"
    write_results(measure_scan(prediction), folder)
    image = sitk.ReadImage(str(folder / "segmentation.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(image).T, prediction.labels.values)
    points = read_markups(folder / "landmarks.mrk.json")
    result = read_result(folder / "result.json")
    ear = prediction.ears[0]
    assert np.isnan(points["right/round_window"]).all()
    for name in ("helicotrema", "oval_window"):
        point = points[f"right/{name}"]
        assert point == pytest.approx(ear.landmarks[name], abs=1e-4)
        ijk = image.TransformPhysicalPointToContinuousIndex(point.tolist())
        described = result.ears[0].landmarks[name]
        assert described.ijk == pytest.approx(ijk, abs=1e-3)
        assert described.mm == pytest.approx(point, abs=1e-4)
    triangles = np.frombuffer((folder / "labyrinth_left.stl").read_bytes()[84:], dtype=np.uint8)
    floats = triangles.reshape(-1, 50)[:, 12:48].copy().view("<f4").reshape(-1, 3)
    middle = prediction.labels.grid.to_mm(np.argwhere(prediction.labels.values == 2).mean(axis=0))
    assert floats.mean(axis=0) == pytest.approx(middle, abs=0.15)


@pytest.mark.usefixtures("quick")
def test_files_of_other_tools_tell_the_same(prediction: Prediction, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write_results(measure_scan(prediction), folder)
    segments = read_segments(folder / "segmentation.seg.nrrd")
    assert np.array_equal(segments.values, prediction.labels.values)
    assert segments.grid.same_as(prediction.labels.grid)
    scene = trimesh.load_scene(folder / "labyrinth.glb")
    assert {"right_labyrinth", "left_labyrinth", "left_helicotrema"} <= set(scene.geometry)
    for side in Side:
        one, other = (trimesh.load_mesh(folder / f"labyrinth_{side}.{e}") for e in ("stl", "ply"))
        assert one.bounds == pytest.approx(other.bounds, abs=1e-4)
        assert other.volume == pytest.approx(one.volume, rel=1e-4)
    assert "Left bony labyrinth" in (folder / "labels.txt").read_text("utf-8")


@pytest.mark.usefixtures("quick")
def test_uncertainty_is_written_on_the_scans_grid(prediction: Prediction, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write_results(measure_scan(prediction), folder)
    image = sitk.ReadImage(str(folder / "uncertainty.nii.gz"))
    values = sitk.GetArrayFromImage(image).T
    assert values.dtype == np.float32
    assert values[12, 10, 8] == pytest.approx(77 / 255)
    assert np.count_nonzero(values) == 1


def test_result_reports_what_is_known(prediction: Prediction) -> None:
    result = describe(measure_scan(prediction))
    text = result.model_dump_json()
    plain = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert plain["schema_version"] == "1.2"
    assert plain["coordinate_system"] == "LPS"
    assert plain["disclaimer"] == "Research use only. Not a medical device."
    assert plain["input"]["file"] == "oblique.nii.gz"
    assert "private" not in text
    assert plain["input"]["shape"] == [24, 22, 20]
    assert plain["input"]["spacing_mm"] == [0.5, 0.6, 0.8]
    assert plain["input"]["field_mm"] == [12.0, 13.2, 16.0]
    assert plain["provenance"]["models"]["labyrinth"]["sha256"] == "ab" * 32
    assert plain["provenance"]["settings"] == {"tta": "fast", "volume_mean_sd": None}
    right, left = plain["ears"]
    assert (right["side"], left["side"]) == ("right", "left")
    assert right["landmarks"]["round_window"] == {
        "mm": None, "ijk": None, "sd_mm": None, "present": False, "inside_field": True,
    }  # fmt: skip
    measured = right["measurements"]
    ear = prediction.ears[0]
    apart = np.linalg.norm(ear.landmarks["helicotrema"] - ear.landmarks["oval_window"])
    assert measured["helicotrema_to_oval_window"]["value"] == pytest.approx(apart, abs=1e-4)
    assert measured["helicotrema_to_round_window"]["value"] is None
    assert measured["labyrinth_volume"]["value"] == 200
    assert measured["labyrinth_volume"]["unit"] == "mm3"
    assert np.linalg.det(right["pose"]["matrix"]) == pytest.approx(1, abs=1e-5)
    assert np.linalg.det(left["pose"]["matrix"]) == pytest.approx(-1, abs=1e-5)
    assert right["uncertainty"]["largest_landmark_sd_mm"] == 0.2


@pytest.mark.usefixtures("quick")
def test_no_ear_is_written_too(scan: Scan, predict: Any, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    write_results(measure_scan(predict(scan, ())), folder)
    result = read_result(folder / "result.json")
    assert result.ears == []
    assert result.warnings == ["no inner ear found"]
    assert not [path for kind in ("stl", "ply", "glb") for path in folder.glob(f"*.{kind}")]
    assert not {"scene", "ply_left"} & set(result.files)
    assert "labyrinth_right" not in result.files
    assert read_markups(folder / "landmarks.mrk.json") == {}


@pytest.mark.usefixtures("quick")
@pytest.mark.slow
def test_an_older_result_is_replaced_whole(
    prediction: Prediction, scan: Scan, predict: Any, tmp_path: Path
) -> None:
    write_results(measure_scan(prediction), tmp_path / "out")
    write_results(measure_scan(predict(scan, (Side.LEFT,))), tmp_path / "out")
    assert not (tmp_path / "out" / "labyrinth_right.stl").exists()
    assert len(read_result(tmp_path / "out" / "result.json").ears) == 1


@pytest.mark.usefixtures("quick")
def test_a_failure_leaves_the_older_result(
    prediction: Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_results(measure_scan(prediction), tmp_path / "out")
    before = (tmp_path / "out" / "result.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "write_markups", full)
    with pytest.raises(OutputError, match="No space left"):
        write_results(measure_scan(prediction), tmp_path / "out")
    assert (tmp_path / "out" / "result.json").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_a_refusal_names_the_users_folder(
    prediction: Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(labels: object, path: Path) -> None:
        raise OutputError(f"{path}: cannot be written (disk full or not writable)")

    monkeypatch.setattr(report, "save_label_map", refuse)
    with pytest.raises(OutputError) as caught:
        write_results(measure_scan(prediction), tmp_path / "out")
    assert str(caught.value).startswith(f"{tmp_path / 'out' / 'segmentation.nii.gz'}: ")
    assert list(tmp_path.iterdir()) == []


def test_folders_of_others_are_never_replaced(prediction: Prediction, tmp_path: Path) -> None:
    """A DICOM folder analysed with `--output .` has the very name of its result folder."""
    (tmp_path / "head").mkdir()
    (tmp_path / "head" / "IM0001").write_bytes(b"a patient's only copy")
    with pytest.raises(OutputError, match="IM0001, which otovox did not write"):
        write_results(measure_scan(prediction), tmp_path / "head")
    assert (tmp_path / "head" / "IM0001").exists()
    with pytest.raises(OutputError, match="is a file"):
        write_results(measure_scan(prediction), tmp_path / "head" / "IM0001")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(prediction: Prediction, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be written"):
        write_results(measure_scan(prediction), tmp_path / "out")


def test_damaged_results_are_refused(tmp_path: Path, prediction: Prediction) -> None:
    path = tmp_path / "result.json"
    with pytest.raises(InputError, match="cannot be read"):
        read_result(path)
    plain = json.loads(describe(measure_scan(prediction)).model_dump_json())
    path.write_text(json.dumps(plain))
    assert read_result(path) == describe(measure_scan(prediction)).model_copy(
        update={"provenance": read_result(path).provenance}
    )
    for change in ({"extra": 1}, {"schema_version": "2.0"}, {"coordinate_system": "RAS"}):
        path.write_text(json.dumps(plain | change))
        with pytest.raises(InputError, match=next(iter(change))):
            read_result(path)
    path.write_text("{")
    with pytest.raises(InputError, match="not a result"):
        read_result(path)
