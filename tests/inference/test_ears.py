"""The embedded model, whole: a phantom ear through every axis order, flip and obliquity."""

import json
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

import otovox
from otovox.cli.app import app
from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.case import stepped
from otovox.core.geometry import distance_mm, random_rotation
from otovox.core.volume import Grid, Scan
from otovox.dataset.layout import write_case
from otovox.formats.scans import load_scan
from otovox.imaging.metrics import dice
from otovox.imaging.resample import resample
from otovox.inference.confidence import REVIEW_CONFIDENCE
from otovox.inference.ears import Analyzer, open_analyzer
from otovox.inference.looks import TTA, Turn
from otovox.inference.unusual import Flag
from otovox.measure.measured_scan import measure_scan
from otovox.phantom.cases import make_case
from otovox.results.description import describe

#: Permutations and signs of the axes: the 48 ways in which a file may store the same scan.
WAYS = [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


@pytest.fixture(scope="module")
def case():
    return make_case(11, scanner="msct", field_mm=(26, 26, 24))


@pytest.fixture(scope="module")
def analyzer():
    return open_analyzer(tta="none")


@pytest.fixture(scope="module")
def prediction(case, analyzer):
    return analyzer.predict(case.scan)


def stored_in_another_way(scan: Scan, order, signs) -> Scan:
    """The same scan, its axes in another order and direction; the affine tells so."""
    linear = scan.grid.affine[:3, :3][:, list(order)] * np.array(signs)
    values = scan.values.transpose(order)
    flipped = tuple(axis for axis, sign in enumerate(signs) if sign < 0)
    values = np.flip(values, flipped)
    first = np.zeros(3)
    for axis in flipped:
        first[order[axis]] = scan.grid.shape[order[axis]] - 1
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = linear, scan.grid.to_mm(first)
    i, j, k = values.shape
    return Scan(np.ascontiguousarray(values), Grid((i, j, k), affine), scan.name)


def test_the_ear_is_found_with_its_side_and_landmarks(case, prediction):
    (ear,) = prediction.ears
    ((side, truth),) = case.landmarks.items()
    assert ear.side is side
    assert ear.confidence > 0.9
    assert not ear.touches_border
    assert dice(prediction.labels.values > 0, case.labels.values > 0) > 0.9
    assert set(np.unique(prediction.labels.values)) == {0, side.label}
    for name in LANDMARK_NAMES:
        assert np.linalg.norm(ear.landmarks[name] - truth[name]) < 0.7, name
    assert ear.volume_mm3 == pytest.approx(prediction.labels.volume_mm3(side.label))


def test_a_clear_ear_that_is_lost_at_closer_look_is_found_from_a_mean_head(
    case, analyzer, prediction, monkeypatch
):
    monkeypatch.setattr(Analyzer, "_look_again", lambda *_: None)
    (ear,) = analyzer.predict(case.scan).ears
    assert ear.side is prediction.ears[0].side
    assert distance_mm(ear.center_mm, prediction.ears[0].center_mm) < 1


@pytest.mark.slow
@pytest.mark.parametrize(("order", "signs"), WAYS)
def test_the_way_of_storing_does_not_matter(case, analyzer, prediction, order, signs):
    other = stored_in_another_way(case.scan, order, signs)
    found = analyzer.predict(other)
    (expected,), (ear,) = prediction.ears, found.ears
    assert ear.side is expected.side
    gap = np.abs(ear.landmarks.points_mm - expected.landmarks.points_mm).max()
    assert gap < 0.05
    back = stored_in_another_way(
        Scan(prediction.labels.values.astype(np.float32), case.scan.grid), order, signs
    )
    assert found.labels.grid.same_as(back.grid)
    assert dice(found.labels.values > 0, back.values > 0) > 0.99


@pytest.mark.slow
def test_oblique_grids_give_the_same_physical_answer(case, analyzer, prediction):
    (expected,) = prediction.ears
    for seed in range(2):
        axes = random_rotation(np.random.default_rng(seed))
        grid = Grid.centred(
            case.scan.grid.center_mm, (120, 120, 120), spacing_mm=0.25, directions=axes
        )
        values = resample(case.scan.values, case.scan.grid, grid, outside="edge")
        (ear,) = analyzer.predict(Scan(values, grid)).ears
        assert ear.side is expected.side
        assert np.abs(ear.landmarks.points_mm - expected.landmarks.points_mm).max() < 0.3


@pytest.mark.slow
def test_a_mirrored_head_has_the_other_side(case, analyzer, prediction):
    """The voxels mirrored, the header not: the anatomy is now that of the other side."""
    mirrored = Scan(np.ascontiguousarray(case.scan.values[::-1]), case.scan.grid)
    (ear,) = analyzer.predict(mirrored).ears
    assert ear.side is prediction.ears[0].side.other


@pytest.mark.slow
def test_a_header_that_turns_the_patient_does_not_change_the_side(case, analyzer, prediction):
    """Directions lost and replaced by another frame: the anatomy still tells the side."""
    i, j, k = case.scan.grid.shape
    axes = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    grid = Grid.centred((0, 0, 0), (i, j, k), spacing_mm=case.scan.grid.spacing_mm, directions=axes)
    (ear,) = analyzer.predict(Scan(case.scan.values, grid)).ears
    assert ear.side is prediction.ears[0].side


@pytest.mark.slow
def test_the_grey_scale_does_not_matter(case, analyzer, prediction):
    values = np.clip((case.scan.values + 1000) * 255 / 3500, 0, 255).astype(np.uint8)
    (ear,) = analyzer.predict(Scan(values.astype(np.float32), case.scan.grid)).ears
    gap = np.abs(ear.landmarks.points_mm - prediction.ears[0].landmarks.points_mm).max()
    assert gap < 0.3


@pytest.mark.slow
def test_a_cut_field_is_reported(case, analyzer):
    inside = np.argwhere(case.labels.values > 0)
    low, high = inside.min(axis=0)[2], inside.max(axis=0)[2]
    stop = int(low + 0.7 * (high - low))
    part = case.scan.values[:, :, :stop]
    grid = case.scan.grid.crop((0, 0, 0), part.shape)
    (ear,) = analyzer.predict(Scan(part, grid)).ears
    assert ear.touches_border
    assert "field of view" in ear.warnings[0]


@pytest.mark.slow
def test_no_ear_in_noise(analyzer):
    grid = Grid.centred((0, 0, 0), (90, 90, 90), spacing_mm=0.3)
    values = np.random.default_rng(0).normal(0, 200, grid.shape).astype(np.float32)
    found = analyzer.predict(Scan(values, grid))
    assert found.ears == ()
    assert found.warnings == ("no inner ear found",)
    assert not found.labels.values.any()


def test_test_time_samples_spread_and_a_plain_look_does_not(case, prediction):
    fast = open_analyzer(tta="fast").predict(case.scan)
    assert 0.05 < fast.uncertainty.max() < 0.6
    np.testing.assert_array_equal(fast.uncertainty, stepped(fast.uncertainty))
    assert np.isfinite(fast.ears[0].landmark_sd_mm).all()
    assert prediction.uncertainty.max() == 0


@pytest.mark.slow
def test_the_papers_ten_looks_agree_with_a_plain_one(case, prediction):
    (plain,) = prediction.ears
    found = open_analyzer(tta="paper").predict(case.scan)
    (ear,) = found.ears
    assert len(ear.samples) == 10
    assert all(np.isfinite(sample.probability.values).all() for sample in ear.samples)
    assert ear.side is plain.side
    assert ear.uncertainty > 0
    gap = np.linalg.norm(ear.landmarks.points_mm - plain.landmarks.points_mm, axis=1)
    assert np.nanmax(gap) < 1.5
    assert dice(found.labels.values > 0, prediction.labels.values > 0) > 0.8


@pytest.mark.parametrize(("name", "count"), [("none", 1), ("fast", 5), ("paper", 10), ("full", 24)])
def test_test_time_samples_are_as_many_as_requested(name, count):
    assert len(TTA[name]) == count
    assert TTA[name][0] == Turn()
    angles = {round(float(np.linalg.norm(turn.vector_deg)), 3) for turn in TTA[name]}
    if name in ("paper", "full"):
        assert angles == {0, 90, 180} | ({120} if name == "full" else set())


@pytest.mark.slow
def test_files_coincide_in_millimetres(case, tmp_path):
    """The command's files, read back by SimpleITK and json alone, against the phantom's truth."""
    write_case(case, tmp_path / "case")
    scan = tmp_path / "case" / "scan.nii.gz"
    result = CliRunner().invoke(app, ["analyze", str(scan), "-o", str(tmp_path / "out"), "-q"])
    assert result.exit_code == 0, result.output
    folder = tmp_path / "out" / "scan"
    mask = sitk.ReadImage(str(folder / "segmentation.nii.gz"))
    image = sitk.ReadImage(str(scan))
    assert mask.GetSize() == image.GetSize()
    np.testing.assert_allclose(mask.GetOrigin(), image.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(mask.GetDirection(), image.GetDirection(), atol=1e-6)
    marks = json.loads((folder / "landmarks.mrk.json").read_text())["markups"][0]
    assert marks["coordinateSystem"] == "LPS"
    ((side, truth),) = case.landmarks.items()
    points = {point["label"]: point["position"] for point in marks["controlPoints"]}
    labels = {f"{side}/{name}" for name in LANDMARK_NAMES}
    assert labels <= set(points)
    distance = sitk.Abs(sitk.SignedMaurerDistanceMap(mask == side.label, useImageSpacing=True))
    for name in LANDMARK_NAMES:
        point = points[f"{side}/{name}"]
        np.testing.assert_allclose(point, truth[name], atol=0.7)
        # Windows lie on the wall, the helicotrema within the cochlea's apex.
        index = mask.TransformPhysicalPointToIndex(point)
        assert distance[index] < 1.2
    result = json.loads((folder / "result.json").read_text())
    assert [ear["side"] for ear in result["ears"]] == [side]
    mm = result["ears"][0]["landmarks"]["helicotrema"]["mm"]
    ijk = result["ears"][0]["landmarks"]["helicotrema"]["ijk"]
    back = image.TransformContinuousIndexToPhysicalPoint(ijk)
    np.testing.assert_allclose(back, mm, atol=1e-3)


@pytest.mark.slow
def test_the_public_function_takes_a_path_and_a_scan(case, tmp_path):
    write_case(case, tmp_path)
    path = tmp_path / "scan.nii.gz"
    (one,) = otovox.analyze(path, tta="none").ears
    (other,) = otovox.analyze(load_scan(path), tta="none").ears
    assert one.side is other.side is next(iter(case.landmarks))
    assert Side(one.side) in case.landmarks


@pytest.mark.slow
@pytest.mark.xfail(reason="the present model misses this common cavity; the one before found it")
def test_a_labyrinth_without_its_landmarks_is_found_and_doubted() -> None:
    """A common cavity has too few landmarks for a pose: the header tells the side, with a word."""
    case = make_case(7_003, scanner="cbct", diagnosis="common_cavity")
    (ear,) = open_analyzer(tta="none").predict(case.scan).ears
    assert {ear.side} == set(case.landmarks)
    assert ear.confidence < REVIEW_CONFIDENCE
    assert any("too few landmarks" in warning for warning in ear.warnings)
    truth = float(np.count_nonzero(case.labels.values)) * case.scan.grid.voxel_mm3
    assert ear.volume_mm3 == pytest.approx(truth, rel=0.1)


@pytest.mark.slow
def test_an_ear_beyond_the_threshold_is_reported_as_unusual(case, analyzer, prediction) -> None:
    assert prediction.ears[0].unusual is None
    for threshold, unusual in ((1.0, False), (-1.0, True)):
        flag = Flag(
            model_sha256=analyzer.labyrinth.sha256, tta="none", score="uncertainty",
            threshold=threshold, false_alarms=0.05, usual=20, unusual=20, auc=0.9, data="made",
            software="made",
        )  # fmt: skip
        found = replace(analyzer, flag=flag).predict(case.scan)
        assert found.ears[0].unusual is unusual
        assert any("is unusual" in text for text in found.ears[0].warnings) is unusual
        assert describe(measure_scan(found)).ears[0].uncertainty.unusual is unusual
