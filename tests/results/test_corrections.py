"""Results corrected by hand become training cases: checked, told what changed, or refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from typer.testing import CliRunner

from otovox.cli.app import app
from otovox.core.anatomy import CANONICAL_MM, LANDMARK_NAMES, POSE_NAMES, Side
from otovox.core.case import Case, EarPrediction, Prediction
from otovox.core.geometry import mean_pose
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid, LabelMap, Scan
from otovox.dataset.checks import check_dataset, side_offset_mm
from otovox.dataset.layout import load_case, read_index, write_index
from otovox.errors import InputError, OutputError
from otovox.formats.images import save_label_map, save_volume
from otovox.formats.markups import write_markups
from otovox.formats.segments import write_segments
from otovox.measure.measured_scan import measure_scan
from otovox.results.corrections import add_correction, read_correction
from otovox.results.description import describe

GRID = Grid.centred((0, 0, 0), (190, 56, 60), spacing_mm=0.5)
MIDDLES = {Side.RIGHT: np.array([-33.0, 0, 0]), Side.LEFT: np.array([33.0, 0, 0])}


def head() -> Case:
    """Two mean ears of thick wire: canals and cochlea drawn through their landmarks."""
    labels = np.zeros(GRID.shape, np.uint8)
    landmarks = {}
    for side in Side:
        pose = mean_pose(side, MIDDLES[side])
        points = pose.to_lps([CANONICAL_MM[name] for name in (*LANDMARK_NAMES, *POSE_NAMES)])
        seeds = np.ones(GRID.shape, bool)
        for point in [*points, pose.origin_mm]:
            for share in np.linspace(0, 1, 40):
                place = share * point + (1 - share) * pose.origin_mm
                seeds[tuple(np.rint(GRID.to_ijk(place)).astype(int))] = False
        away_mm = np.asarray(ndimage.distance_transform_edt(seeds, sampling=0.5))
        labels[away_mm < 1.1] = side.label
        landmarks[side] = Landmarks(LANDMARK_NAMES, points[: len(LANDMARK_NAMES)])
    values = np.random.default_rng(0).normal(0, 50, GRID.shape) + np.where(labels > 0, 0, 1200)
    scan = Scan(values.astype(np.float32), GRID, "head")
    return Case(scan, LabelMap(labels, GRID), landmarks)


HEAD = head()


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """A result folder of the head as it was found, its scan in the folder beside."""
    scans, folder = tmp_path / "scans", tmp_path / "results" / "head"
    scans.mkdir()
    folder.mkdir(parents=True)
    save_volume(HEAD.scan.values, GRID, scans / "head.nii.gz")
    ears = tuple(
        EarPrediction(
            side=side,
            pose=mean_pose(side, MIDDLES[side]),
            landmarks=HEAD.landmarks[side],
            landmark_sd_mm=np.full(3, 0.1),
            volume_mm3=HEAD.labels.volume_mm3(side.label),
            center_mm=MIDDLES[side],
            confidence=0.9,
            uncertainty=0.01,
        )
        for side in Side
    )
    uncertainty = np.zeros(GRID.shape, np.float32)
    told = describe(measure_scan(Prediction(HEAD.scan, ears, HEAD.labels, uncertainty)))
    (folder / "result.json").write_text(told.model_dump_json(), "utf-8")
    save_label_map(HEAD.labels, folder / "segmentation.nii.gz")
    write_segments(folder / "segmentation.seg.nrrd", HEAD.labels)
    write_markups(folder / "landmarks.mrk.json", HEAD.landmarks)
    return folder


def scans_of(result: Path) -> Path:
    return result.parents[1] / "scans"


def with_a_bite(side: Side = Side.RIGHT) -> LabelMap:
    """The head's labels less one slab of one ear."""
    values = HEAD.labels.values.copy()
    middle = int(np.rint(GRID.to_ijk(MIDDLES[side])[2]))
    part = values[:, :, middle]
    part[part == side.label] = 0
    return LabelMap(values, GRID)


def test_an_untouched_result_reports_no_change(result: Path) -> None:
    found = read_correction(result, scans=scans_of(result))
    assert found.changes == ()
    np.testing.assert_array_equal(found.case.labels.values, HEAD.labels.values)


def test_what_was_changed_is_reported(result: Path, tmp_path: Path) -> None:
    bitten = with_a_bite()
    write_segments(result / "segmentation.seg.nrrd", bitten)
    points = HEAD.landmarks[Side.LEFT].points_mm + np.array([[0.3, 0.4, 0], [0, 0, 0], [0, 0, 0]])
    moved = HEAD.landmarks | {Side.LEFT: Landmarks(LANDMARK_NAMES, points)}
    write_markups(result / "landmarks.mrk.json", moved)
    found = read_correction(result, scans=scans_of(result))
    before, now = (labels.volume_mm3(1) for labels in (HEAD.labels, bitten))
    assert found.changes == (
        f"right labyrinth: {before:.1f} to {now:.1f} mm3 ({100 * (now / before - 1):+.1f} %)",
        "left helicotrema: moved by 0.50 mm",
    )
    entry = add_correction(tmp_path / "data", found)
    assert (entry.case, entry.split, entry.side, entry.patient) == ("head", "train", "both", "head")
    again = load_case(tmp_path / "data", read_index(tmp_path / "data")[0])
    np.testing.assert_array_equal(again.labels.values, bitten.values)
    np.testing.assert_allclose(again.landmarks[Side.LEFT].points_mm, points)
    assert not [finding for finding in check_dataset(tmp_path / "data") if finding.serious]


def test_a_cropped_segmentation_is_put_back_in_its_place(result: Path) -> None:
    bitten = with_a_bite(Side.LEFT)
    hit = np.argwhere(bitten.values)
    start, stop = hit.min(axis=0), hit.max(axis=0) + 1
    part = bitten.values[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
    i, j, k = part.shape
    cropped = LabelMap(np.ascontiguousarray(part), GRID.crop(start, (i, j, k)))
    write_segments(result / "segmentation.seg.nrrd", cropped)
    found = read_correction(result, scans=scans_of(result))
    np.testing.assert_array_equal(found.case.labels.values, bitten.values)


def test_a_finer_segmentation_is_resampled(result: Path) -> None:
    values = np.repeat(np.repeat(np.repeat(HEAD.labels.values, 2, 0), 2, 1), 2, 2)
    fine = Grid.centred(GRID.center_mm, (380, 112, 120), spacing_mm=0.25)
    write_segments(result / "segmentation.seg.nrrd", LabelMap(values, fine))
    (result / "segmentation.nii.gz").unlink()
    found = read_correction(result, scans=scans_of(result))
    overlap = np.count_nonzero((found.case.labels.values > 0) & (HEAD.labels.values > 0))
    both = np.count_nonzero(found.case.labels.values) + np.count_nonzero(HEAD.labels.values)
    assert 2 * overlap / both > 0.97


def swapped() -> LabelMap:
    values = HEAD.labels.values
    return LabelMap(np.where(values, 3 - values, 0).astype(np.uint8), GRID)


def spoil_4d(result: Path) -> None:
    image = sitk.Image(8, 8, 8, sitk.sitkUInt8)
    sitk.WriteImage(sitk.JoinSeries([image, image]), str(result / "segmentation.nii.gz"))


def spoil_landmark(result: Path) -> None:
    points = HEAD.landmarks[Side.RIGHT].points_mm + np.array([[0, 0, 15.0], [0] * 3, [0] * 3])
    marks = HEAD.landmarks | {Side.RIGHT: Landmarks(LANDMARK_NAMES, points)}
    write_markups(result / "landmarks.mrk.json", marks)


def spoil_sides(result: Path) -> None:
    (result / "segmentation.seg.nrrd").unlink()
    save_label_map(swapped(), result / "segmentation.nii.gz")


def spoil_handedness(result: Path) -> None:
    """Only one ear, called by the other side's name, in labels and points."""
    values = np.where(HEAD.labels.values == 1, 2, 0).astype(np.uint8)
    (result / "segmentation.seg.nrrd").unlink()
    save_label_map(LabelMap(values, GRID), result / "segmentation.nii.gz")
    write_markups(result / "landmarks.mrk.json", {Side.LEFT: HEAD.landmarks[Side.RIGHT]})


def spoil_ear(result: Path) -> None:
    values = np.where(HEAD.labels.values == 1, 1, 0).astype(np.uint8)
    (result / "segmentation.seg.nrrd").unlink()
    save_label_map(LabelMap(values, GRID), result / "segmentation.nii.gz")


def spoil_both(result: Path) -> None:
    save_label_map(with_a_bite(Side.LEFT), result / "segmentation.nii.gz")
    write_segments(result / "segmentation.seg.nrrd", with_a_bite(Side.RIGHT))


def spoil_values(result: Path) -> None:
    values = np.where(HEAD.labels.values == 1, 7, 0).astype(np.uint8)
    save_label_map(LabelMap(values, GRID), result / "segmentation.nii.gz")


def spoil_place(result: Path) -> None:
    away = Grid.centred((90, 0, 0), GRID.shape, spacing_mm=0.5)
    (result / "segmentation.nii.gz").unlink()
    write_segments(result / "segmentation.seg.nrrd", LabelMap(HEAD.labels.values, away))


def spoil_empty(result: Path) -> None:
    empty = LabelMap(np.zeros(GRID.shape, np.uint8), GRID)
    save_label_map(empty, result / "segmentation.nii.gz")
    write_segments(result / "segmentation.seg.nrrd", empty)


def spoil_result(result: Path) -> None:
    (result / "result.json").unlink()


def spoil_scan(result: Path) -> None:
    (scans_of(result) / "head.nii.gz").rename(scans_of(result) / "other.nii.gz")


def spoil_grid(result: Path) -> None:
    told = json.loads((result / "result.json").read_text())
    told["input"]["shape"] = [10, 10, 10]
    (result / "result.json").write_text(json.dumps(told))


BAD: dict[str, Callable[[Path], None]] = {
    "in 3D are needed": spoil_4d,
    "right helicotrema lies 8.0 mm from": spoil_landmark,
    "swap the two labels": spoil_sides,
    "left ear has the anatomy of a right one": spoil_handedness,
    "left landmarks, but there is no left labyrinth": spoil_ear,
    "delete the other": spoil_both,
    r"label values \[7\]": spoil_values,
    "lie outside the scan": spoil_place,
    "segmentation is empty": spoil_empty,
    "result.json: cannot be read": spoil_result,
    "no scan named head": spoil_scan,
    "different voxel grid": spoil_grid,
}


@pytest.mark.parametrize("sentence", BAD)
def test_what_cannot_be_is_refused_in_one_sentence(result: Path, sentence: str) -> None:
    BAD[sentence](result)
    with pytest.raises(InputError, match=sentence) as caught:
        read_correction(result, scans=scans_of(result))
    assert "\n" not in str(caught.value)


def test_a_case_is_replaced_only_when_asked(result: Path, tmp_path: Path) -> None:
    found = read_correction(result, scans=scans_of(result))
    add_correction(tmp_path / "data", found)
    with pytest.raises(InputError, match="--replace"):
        add_correction(tmp_path / "data", found)
    add_correction(tmp_path / "data", found, replaced=True)
    (entry,) = read_index(tmp_path / "data")
    write_index(tmp_path / "data", [replace(entry, split="test")])
    with pytest.raises(InputError, match="belongs to the test split"):
        add_correction(tmp_path / "data", found, replaced=True)


def test_nothing_is_half_written(
    result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read_correction(result, scans=scans_of(result))

    def full(*_: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr("otovox.dataset.layout.write_markups", full)
    with pytest.raises(OutputError, match="full"):
        add_correction(tmp_path / "data", found)
    files = [path.name for path in (tmp_path / "data").rglob("*") if path.is_file()]
    assert sorted(files) == ["cases.csv", "dataset.json"]


def test_mirroring_turns_the_side() -> None:
    for side, sign in ((Side.RIGHT, 1), (Side.LEFT, -1)):
        places = GRID.to_mm(np.argwhere(HEAD.labels.values == side.label))
        assert sign * side_offset_mm(HEAD.landmarks[side], places) > 0.5
        mirrored = Landmarks(LANDMARK_NAMES, HEAD.landmarks[side].points_mm * (-1, 1, 1))
        assert sign * side_offset_mm(mirrored, places * (-1, 1, 1)) < -0.5


def test_the_command_reports_each_result_and_ends_in_2(result: Path, tmp_path: Path) -> None:
    write_segments(result / "segmentation.seg.nrrd", with_a_bite())
    call = ["dataset", "add-corrections", str(tmp_path / "data"), str(result)]
    good = CliRunner().invoke(app, [*call, "--scans", str(scans_of(result))])
    assert good.exit_code == 0, good.output
    assert "head: added" in good.output
    assert "right labyrinth:" in good.output
    bad = CliRunner().invoke(app, [*call, str(tmp_path), "--scans", str(scans_of(result))])
    assert bad.exit_code == 2
    assert "0 added, 2 refused" in bad.output
    assert "Traceback" not in bad.output
