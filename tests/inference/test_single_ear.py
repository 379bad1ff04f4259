"""Models that know no pose: one ear as a whole, two ears each in its field, on the scan's grid."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from examples import Copying, ear_of, tiny_bundle
from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.case import Prediction, Provenance
from otovox.core.geometry import mean_pose
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid, LabelMap, Scan
from otovox.inference.ears import Analyzer
from otovox.inference.single_ear import SingleEarAnalyzer, one_ear, open_any
from otovox.learning.bundle import embedded
from otovox.systems.whole_volume import Sweep, VolumePrediction, predict_volume

GRID = Grid.centred((0.0, 0.0, 0.0), (150, 40, 40), spacing_mm=0.7)
MIDDLES = {Side.RIGHT: np.array([-40.0, 0.0, 0.0]), Side.LEFT: np.array([40.0, 0.0, 0.0])}


class Guide:
    """Knows where the ears lie."""

    def __init__(self, *sides: Side) -> None:
        self.sides, self.labyrinth = sides, embedded("labyrinth")

    def predict(self, scan: Scan) -> Prediction:
        ears = tuple(
            replace(ear_of(scan, side), pose=mean_pose(side, at), center_mm=at)
            for side, at in ((side, MIDDLES[side]) for side in self.sides)
        )
        empty = np.zeros(scan.grid.shape)
        labels = LabelMap(empty.astype(np.uint8), scan.grid)
        return Prediction(scan, ears, labels, empty.astype(np.float32), (), Provenance({"g": "1"}))


@pytest.fixture
def scan() -> Scan:
    """Two bright balls where the ears are."""
    places = GRID.to_mm(np.moveaxis(np.indices(GRID.shape), 0, -1))
    values = np.zeros(GRID.shape)
    for at in MIDDLES.values():
        values += np.exp(-0.5 * (np.linalg.norm(places - at, axis=-1) / 3) ** 2)
    return Scan(values.astype(np.float32), GRID)


def analyzer(tmp_path: Path, *sides: Side) -> SingleEarAnalyzer:
    model, guide = tiny_bundle(tmp_path / "model"), cast("Any", Guide(*sides))

    def look(scan: Scan, workspace: Path, *, sweep: Sweep | None = None) -> VolumePrediction:
        return predict_volume(scan, model, Copying(), workspace, sweep=sweep)

    return SingleEarAnalyzer(model, look, guide, Sweep(overlap_voxels=4))


def test_two_ears_are_looked_at_each_in_its_own_field(tmp_path, scan):
    found = analyzer(tmp_path, Side.RIGHT, Side.LEFT).predict(scan)
    assert [ear.side for ear in found.ears] == [Side.RIGHT, Side.LEFT]
    for ear in found.ears:
        here = found.labels.values == ear.side.label
        assert here.any()
        at = GRID.to_mm(np.argwhere(here))
        assert np.linalg.norm(at - MIDDLES[ear.side], axis=1).max() < 8
        np.testing.assert_allclose(ear.center_mm, MIDDLES[ear.side], atol=0.5)
        # Grey values are clipped, so that the middle of a ball is flat.
        assert np.linalg.norm(ear.landmarks.points_mm[0] - MIDDLES[ear.side]) < 4.5
        assert ear.probability is not None
    assert found.provenance.models.keys() == {"tiny", "g"}


def test_chunks_lie_where_the_embedded_model_found_the_labyrinth(tmp_path, scan):
    here = analyzer(tmp_path, Side.LEFT)
    seen: list[Sweep] = []

    def look(scan: Scan, workspace: Path, *, sweep: Sweep | None = None) -> VolumePrediction:
        assert sweep is not None
        seen.append(sweep)
        return predict_volume(scan, here.bundle, Copying(), workspace, sweep=sweep)

    mask = np.zeros(GRID.shape, np.uint8)
    mask[120:140, 15:25, 17:22] = Side.LEFT.label
    guide = cast("Any", Guide(Side.LEFT))
    guided = replace(guide.predict(scan), labels=LabelMap(mask, GRID))
    guide.predict = lambda _: guided
    found = replace(here, look=look, guide=guide).predict(scan)
    around_mm = seen[0].around_mm
    assert around_mm is not None
    np.testing.assert_allclose(around_mm, GRID.to_mm([(120, 15, 17), (139, 24, 21)]))
    # The right ear, which the guide does not know, is not predicted although it is in the scan.
    assert found.labels.values[127, 20, 20] == Side.LEFT.label
    assert not found.labels.values[:75].any()


def test_where_no_ear_is_there_is_none(tmp_path, scan):
    found = analyzer(tmp_path).predict(scan)
    assert not found.ears
    assert found.warnings == ("no inner ear found",)


def volume(grid: Grid, **known: Any) -> VolumePrediction:
    nothing = {"probability": None, "uncertainty": None, "landmarks": None}
    facts: dict[str, Any] = nothing | {"landmark_sd_mm": np.zeros(3), "peaks": np.ones(3)} | known
    return VolumePrediction(**facts, grid=grid)


def test_landmarks_alone_and_masks_alone(scan):
    points = Landmarks(LANDMARK_NAMES, np.eye(3))
    pose = mean_pose(Side.LEFT, scan.grid.center_mm)
    found = one_ear(volume(GRID, landmarks=points), scan, pose)
    assert not found.labels.values.any()
    np.testing.assert_allclose(found.ears[0].landmarks.points_mm, np.eye(3))
    flat = np.full(GRID.shape, 0.1, np.float32)
    masked = volume(GRID, probability=(scan.values > 0.9).astype(np.float32), uncertainty=flat)
    found = one_ear(masked, scan, pose)
    assert set(np.unique(found.labels.values)) == {0, Side.LEFT.label}
    assert not found.ears[0].landmarks.has("helicotrema")
    assert found.ears[0].uncertainty == pytest.approx(0.1)
    assert found.uncertainty.max() == pytest.approx(26 / 255)
    doubted = one_ear(volume(GRID, landmarks=points, peaks=np.full(3, 0.2)), scan, pose)
    assert "low confidence (0.20)" in doubted.ears[0].warnings[0]
    none = one_ear(volume(GRID, probability=0 * flat, uncertainty=flat), scan, pose)
    assert not none.ears


def test_models_are_opened_by_what_they_know(tmp_path):
    tiny_bundle(tmp_path / "model")
    known = open_any(device="torch", threads=1, tta="none", model=tmp_path / "model")
    assert isinstance(known, SingleEarAnalyzer)
    assert known.sweep.tta == "none"
    assert isinstance(open_any(device="cpu", threads=1, tta="none", model="labyrinth"), Analyzer)
    # A few small turns in the ear's own frame mean nothing to a model that knows no frame.
    fast = open_any(device="torch", threads=1, tta="fast", model=tmp_path / "model")
    assert isinstance(fast, SingleEarAnalyzer)
    assert fast.sweep.tta == "none"
