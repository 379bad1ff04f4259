"""Scans in, label maps, points and meshes out; everything unusable is refused in one sentence."""

import json
import os
import subprocess
import sys
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from otovox.core.anatomy import Side
from otovox.core.geometry import rotation_from_vector
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid, LabelMap
from otovox.errors import InputError, OutputError
from otovox.formats.images import (
    load_label_map,
    save_label_map,
    save_volume,
    scan_name,
)
from otovox.formats.markups import read_markups, write_markups
from otovox.formats.meshes import write_stl
from otovox.formats.native import silenced_libraries
from otovox.formats.scans import load_scan
from otovox.formats.writing import replacing, replacing_folder

CUBE = [
    np.eye(3)[:, list(order)] * np.array(signs)
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3))
]
OBLIQUE = rotation_from_vector((0.3, -0.2, 0.5))


@pytest.fixture(autouse=True)
def silenced():
    """As on the command line."""
    with silenced_libraries():
        yield


def grid(directions=None, shape=(20, 22, 24), spacing_mm=(0.5, 0.6, 0.7)) -> Grid:
    return Grid.centred((10, -20, 30), shape, spacing_mm=spacing_mm, directions=directions)


def noise(shape, seed=0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(-1000, 2000, shape)
    return values.astype(np.float32)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("directions", [*CUBE[::7], OBLIQUE, OBLIQUE @ np.diag([-1, 1, 1])])
def test_scans_and_label_maps_keep_their_place(tmp_path, ending, directions) -> None:
    here = grid(directions)
    path = tmp_path / f"a{ending}"
    values = noise(here.shape)
    save_volume(values, here, path)
    scan = load_scan(path)
    np.testing.assert_array_equal(scan.values, values)
    assert scan.grid.same_as(here)
    labels = (values > 0).astype(np.uint8)
    save_label_map(LabelMap(labels, here), path)
    again = load_label_map(path)
    np.testing.assert_array_equal(again.values, labels)
    assert again.grid.same_as(here)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_names_lose_their_image_ending_only() -> None:
    for name in ("p.01.nii.gz", "p.01.NRRD", "p.01.mha", "p.01"):
        assert scan_name(Path(name)) == "p.01"


def written(path: Path, values: np.ndarray, spacing=(0.5, 0.5, 0.5)) -> Path:
    image = sitk.GetImageFromArray(values, isVector=False)
    image.SetSpacing(spacing[: image.GetDimension()])
    sitk.WriteImage(image, str(path))
    return path


def nan(shape) -> np.ndarray:
    values = noise(shape)
    values[3, 3, 3] = np.nan
    values[4, 4, 4] = np.inf
    return values


BAD = {
    "4D series": lambda p: written(p / "a.nii", noise((3, 20, 20, 20)), (0.5, 0.5, 0.5, 1.0)),
    "2 dimensions": lambda p: written(p / "a.nrrd", noise((40, 40)), (0.5, 0.5)),
    "single slice": lambda p: written(p / "a.nrrd", noise((1, 40, 40))),
    "too coarse": lambda p: written(p / "a.nrrd", noise((20, 40, 40)), (0.5, 0.5, 5.0)),
    "finer than": lambda p: written(p / "a.nrrd", noise((20, 40, 40)), (0.01, 0.01, 0.01)),
    "too small": lambda p: written(p / "a.nrrd", noise((12, 40, 40)), (0.5, 0.5, 0.5)),
    "all voxels have the value": lambda p: written(p / "a.nrrd", np.zeros((20, 40, 40), "f4")),
    "2 voxels are NaN": lambda p: written(p / "a.nrrd", nan((20, 40, 40))),
    "label map": lambda p: written(p / "a.nrrd", (noise((20, 40, 40)) > 0).astype("u1")),
    "file not found": lambda p: p / "absent.nii.gz",
    "is empty": lambda p: (p / "a.nii.gz").touch() or p / "a.nii.gz",
    "cannot be read as an image": lambda p: (p / "a.nrrd").write_text("hello") and p / "a.nrrd",
}


@pytest.mark.parametrize("sentence", BAD)
def test_bad_files_are_refused_in_one_sentence(tmp_path, sentence, capfd) -> None:
    path = BAD[sentence](tmp_path)
    with pytest.raises(InputError, match=sentence) as caught:
        load_scan(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert capfd.readouterr().err == ""


def test_a_truncated_file_is_refused(tmp_path) -> None:
    path = written(tmp_path / "a.nii.gz", noise((30, 40, 40)))
    path.write_bytes(path.read_bytes()[:4000])
    with pytest.raises(InputError, match=r"truncated|damaged"):
        load_scan(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_not_a_number_is_found_in_nifti_too(tmp_path, ending) -> None:
    # SimpleITK reads these voxels as 0, silently.
    path = written(tmp_path / f"a{ending}", nan((20, 40, 40)))
    with pytest.raises(InputError, match="2 voxels are NaN"):
        load_scan(path)


def test_a_few_missing_bytes_are_noticed_without_noise(tmp_path, capfd) -> None:
    for ending in (".nii", ".nrrd", ".mha"):
        path = written(tmp_path / f"a{ending}", noise((20, 40, 40)))
        path.write_bytes(path.read_bytes()[:-5])
        with pytest.raises(InputError, match="truncated"):
            load_scan(path)
    assert capfd.readouterr().err == ""


def test_a_sheared_nifti_is_refused_as_that(tmp_path) -> None:
    path = written(tmp_path / "a.nii", noise((20, 40, 40)))
    content = bytearray(path.read_bytes())
    content[252:254] = bytes(2)
    content[284:288] = np.float32(0.3).tobytes()  # NIfTI-1: srow_x[1]
    path.write_bytes(content)
    with pytest.raises(InputError, match="sheared"):
        load_scan(path)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_a_full_disk_leaves_nothing(tmp_path, ending, capfd) -> None:
    resource = pytest.importorskip("resource")
    import signal

    here = grid()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, old[1]))
    try:
        with pytest.raises(OutputError, match="disk full"):
            save_volume(noise(here.shape), here, tmp_path / f"a{ending}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


def test_a_colour_image_is_refused(tmp_path) -> None:
    image = sitk.GetImageFromArray(np.zeros((20, 20, 20, 3), "u1"), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "a.nrrd"))
    with pytest.raises(InputError, match="colour"):
        load_scan(tmp_path / "a.nrrd")


def test_a_huge_header_is_refused_before_reading(tmp_path) -> None:
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 2000 2000 2000\nendian: little\n"
    header += "encoding: raw\nspace: left-posterior-superior\n"
    header += "space directions: (0.1,0,0) (0,0.1,0) (0,0,0.1)\n\n"
    (tmp_path / "a.nrrd").write_text(header)
    with pytest.raises(InputError, match="GiB"):
        load_scan(tmp_path / "a.nrrd")


def test_sheared_axes_are_refused(tmp_path) -> None:
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 20 20 20\nendian: little\nencoding: raw\n"
    header += "space: left-posterior-superior\nspace directions: (1,0,0) (0.3,1,0) (0,0,1)\n\n"
    data = np.random.default_rng(0).integers(0, 99, 8000).astype("<i2").tobytes()
    (tmp_path / "a.nrrd").write_bytes(header.encode() + data)
    with pytest.raises(InputError, match="perpendicular"):
        load_scan(tmp_path / "a.nrrd")


def test_points_and_mask_coincide_when_read_by_others(tmp_path) -> None:
    here = grid(OBLIQUE @ np.diag([1, -1, 1]))
    labels = np.zeros(here.shape, np.uint8)
    labels[7, 8, 9] = 1
    save_label_map(LabelMap(labels, here), tmp_path / "m.nii.gz")
    point = Landmarks(("oval_window", "gone"), np.array([here.to_mm((7, 8, 9)), [np.nan] * 3]))
    write_markups(tmp_path / "p.mrk.json", {Side.RIGHT: point})
    image = sitk.ReadImage(str(tmp_path / "m.nii.gz"))
    content = json.loads((tmp_path / "p.mrk.json").read_text())["markups"][0]
    assert content["coordinateSystem"] == "LPS"
    first, second = content["controlPoints"]
    assert first["label"] == "right/oval_window"
    assert second["positionStatus"] == "undefined"
    assert image[image.TransformPhysicalPointToIndex(first["position"])] == 1
    again = read_markups(tmp_path / "p.mrk.json")
    np.testing.assert_allclose(again["right/oval_window"], point["oval_window"])
    assert np.isnan(again["right/gone"]).all()


def test_markups_without_a_coordinate_system_are_refused(tmp_path) -> None:
    path = tmp_path / "p.mrk.json"
    path.write_text('{"markups": [{"controlPoints": []}]}')
    with pytest.raises(InputError, match="LPS or RAS"):
        read_markups(path)


def test_ras_points_are_turned(tmp_path) -> None:
    path = tmp_path / "p.mrk.json"
    point = {"label": "a", "position": [1, 2, 3], "positionStatus": "defined"}
    path.write_text(
        json.dumps({"markups": [{"coordinateSystem": "RAS", "controlPoints": [point]}]})
    )
    np.testing.assert_array_equal(read_markups(path)["a"], (-1, -2, 3))


def test_a_mesh_is_a_binary_stl_in_lps(tmp_path) -> None:
    write_stl(tmp_path / "m.stl", np.eye(3), np.array([[0, 1, 2]]))
    data = (tmp_path / "m.stl").read_bytes()
    assert len(data) == 84 + 50
    assert b"SPACE=LPS" in data[:80]
    assert int.from_bytes(data[80:84], "little") == 1


def test_a_failed_write_leaves_nothing(tmp_path) -> None:
    def fail() -> None:
        with replacing(tmp_path / "a.txt") as beside:
            beside.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_folder_keeps_the_old_one(tmp_path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "old").touch()

    def fill_the_disk() -> None:
        with replacing_folder(tmp_path / "r") as beside:
            (beside / "new").touch()
            raise OSError(28, os.strerror(28))

    with pytest.raises(OutputError, match="No space left"):
        fill_the_disk()
    assert [p.name for p in tmp_path.rglob("*")] == ["r", "old"]
    with replacing_folder(tmp_path / "r") as beside:
        (beside / "new").touch()
    assert [p.name for p in (tmp_path / "r").iterdir()] == ["new"]


@pytest.mark.parametrize("ending", [".nii", ".nrrd", ".mha"])
def test_other_truncated_files_are_refused(tmp_path, ending) -> None:
    path = written(tmp_path / f"a{ending}", noise((30, 40, 40)))
    path.write_bytes(path.read_bytes()[:40_000])
    with pytest.raises(InputError, match=r"truncated|damaged"):
        load_scan(path)


def test_no_thread_loses_a_message_while_libraries_are_silent() -> None:
    code = """
import contextvars, os, sys, threading
from otovox.formats.native import alone, silenced_libraries
with silenced_libraries():
    def speak():
        with alone():
            os.write(2, b"noise")
    runs = [contextvars.copy_context().run for _ in range(20)]
    threads = [threading.Thread(target=run, args=[speak]) for run in runs]
    with alone():
        print("said", file=sys.stderr)
        os.write(2, b"noise")
    for thread in threads:
        thread.start()
        print("said", file=sys.stderr)
    for thread in threads:
        thread.join()
os.write(2, b"after")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr == b"said\n" * 21 + b"after"
