"""What several test files share: tiny scans on disk, and predictions made by hand."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from examples import ear_of
from otovox.core.anatomy import CANONICAL_MM, LANDMARK_NAMES, Side
from otovox.core.case import Case, Prediction
from otovox.core.geometry import affine_from, mean_pose
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid, LabelMap, Scan
from otovox.dataset.layout import Entry, add_case, start_dataset
from otovox.measure.measured_scan import measure_scan
from otovox.results.folder import write_results

#: Of the scans that `write_scan` makes.
SHAPE = (24, 22, 20)
#: Of the data set that `tiny_dataset` makes.
TINY = Grid(SHAPE, affine_from(np.eye(3) * 0.5, np.zeros(3)))


@pytest.fixture
def write_scan() -> Callable[[Path], Path]:
    """Writes a small CT-like image of noise and returns its path."""

    def write(path: Path) -> Path:
        values = np.random.default_rng(0).normal(0, 100, SHAPE).astype(np.int16)
        image = sitk.GetImageFromArray(values.transpose())
        image.SetSpacing((0.5, 0.5, 0.5))
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(path))
        return path

    return write


@pytest.fixture
def predict() -> Callable[..., Prediction]:
    """Makes a prediction with the given sides, right and left by default."""

    def make(scan: Scan, sides: tuple[Side, ...] = (Side.RIGHT, Side.LEFT)) -> Prediction:
        labels = np.zeros(scan.grid.shape, np.uint8)
        for side in sides:
            labels[10:14, 8:12, 6:10] = side.label
        return Prediction(
            scan=scan,
            ears=tuple(ear_of(scan, side) for side in sides),
            labels=LabelMap(labels, scan.grid),
            uncertainty=np.zeros(scan.grid.shape, np.float32),
            warnings=() if sides else ("no inner ear found",),
        )

    return make


@pytest.fixture
def tiny_scan() -> Scan:
    values = np.random.default_rng(0).normal(0, 100, TINY.shape).astype(np.float32)
    return Scan(values, TINY, "one")


@pytest.fixture
def tiny_dataset(tmp_path: Path, tiny_scan: Scan) -> Path:
    """Two cases of one patient, the second otosclerotic, and a third without results."""
    folder = tmp_path / "data"
    start_dataset(folder, name="tiny", source="made")
    pose = mean_pose(Side.RIGHT, TINY.center_mm)
    points = pose.to_lps([CANONICAL_MM[name] for name in LANDMARK_NAMES])
    landmarks = {Side.RIGHT: Landmarks(LANDMARK_NAMES, points + np.array([0.0, 0.99, 0.0]))}
    labels = np.zeros(TINY.shape, np.uint8)
    labels[10:14, 8:12, 6:12] = Side.RIGHT.label
    for name, diagnosis in (("one", "healthy"), ("two", "otosclerosis"), ("three", "healthy")):
        case = Case(replace(tiny_scan, name=name), LabelMap(labels, TINY), landmarks)
        patient = "a" if name != "three" else "b"
        add_case(folder, case, Entry(name, patient, scanner="fpvct-clinical", diagnosis=diagnosis))
    return folder


@pytest.fixture
def tiny_results(
    tmp_path: Path, tiny_scan: Scan, predict: Any, monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, Prediction]:
    """Results of two folds, `fold-0` of two cases and `fold-1` of one, and what they tell."""
    monkeypatch.setattr("otovox.results.overview.overview", lambda _, to: to.write_bytes(b"png"))
    made: Prediction = predict(tiny_scan, (Side.RIGHT,))
    uncertainty = np.zeros(TINY.shape, np.float32)
    uncertainty[3, 4, 5] = 51 / 255
    made = replace(made, uncertainty=uncertainty)
    for fold, names in (("fold-0", ("one", "two")), ("fold-1", ("one",))):
        for name in names:
            named = replace(made, scan=replace(tiny_scan, name=name))
            write_results(measure_scan(named), tmp_path / "run" / fold / name)
    return tmp_path / "run", made
