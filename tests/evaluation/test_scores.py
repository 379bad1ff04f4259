"""Scores of predictions whose errors are known."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.case import Case, EarPrediction, Prediction
from otovox.core.geometry import mean_pose
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid, LabelMap, Scan
from otovox.evaluation.scores import (
    extra_ears,
    score_case,
    summarise_scores,
    write_scores,
    write_statistics,
)

GRID = Grid.centred((0, 0, 0), (80, 30, 30), spacing_mm=(1.0, 0.5, 0.5))
#: First voxel of a true labyrinth of 6 x 10 x 10 voxels.
CORNERS = {Side.RIGHT: (4, 10, 10), Side.LEFT: (70, 10, 10)}
SIZE = (6, 10, 10)


def labels_of(corners: dict[Side, tuple[int, ...]]) -> LabelMap:
    values = np.zeros(GRID.shape, np.uint8)
    for side, corner in corners.items():
        box = tuple(slice(c, c + n) for c, n in zip(corner, SIZE, strict=True))
        values[box] = side.label
    return LabelMap(values, GRID)


def middle_mm(corner: tuple[int, ...]) -> np.ndarray:
    return GRID.to_mm(np.asarray(corner) + (np.asarray(SIZE) - 1) / 2)


def landmarks_at(point_mm: np.ndarray) -> Landmarks:
    steps = np.arange(float(len(LANDMARK_NAMES)))[:, None] * np.array([[0.0, 1.0, 0.0]])
    return Landmarks(LANDMARK_NAMES, np.asarray(point_mm + steps, dtype=float))


def ear_at(side: Side, corner: tuple[int, ...], shift_mm: float = 0.0) -> EarPrediction:
    center = middle_mm(corner)
    return EarPrediction(
        side=side,
        pose=mean_pose(side, center),
        landmarks=landmarks_at(center + np.array([0, 0, shift_mm])),
        landmark_sd_mm=np.zeros(3),
        volume_mm3=150.0,
        center_mm=center,
        confidence=0.9,
        uncertainty=0.01,
    )


def case(*sides: Side) -> Case:
    chosen = {side: CORNERS[side] for side in sides or tuple(Side)}
    landmarks = {side: landmarks_at(middle_mm(corner)) for side, corner in chosen.items()}
    scan = Scan(np.zeros(GRID.shape, np.float32), GRID, "made")
    return Case(scan, labels_of(chosen), landmarks)


def prediction(ears: tuple[EarPrediction, ...], labels: LabelMap) -> Prediction:
    scan = Scan(np.zeros(GRID.shape, np.float32), GRID, "made")
    return Prediction(scan, ears, labels, np.zeros(GRID.shape, np.float32))


def test_a_perfect_prediction() -> None:
    ears = tuple(ear_at(side, CORNERS[side]) for side in Side)
    scores = score_case(prediction(ears, labels_of(CORNERS)), case())
    assert [score.side for score in scores] == [Side.RIGHT, Side.LEFT]
    for score in scores:
        assert score.case == "made"
        assert (score.found, score.side_right) == (True, True)
        assert (score.dice, score.iou, score.vs) == (1, 1, 1)
        assert (score.hd_mm, score.hd95_mm, score.avg_hd_mm, score.assd_mm) == (0, 0, 0, 0)
        assert score.landmark_mm == dict.fromkeys(LANDMARK_NAMES, 0.0)
        assert (score.precision, score.recall, score.accuracy, score.specificity) == (1,) * 4
        assert score.surface_dice == 1
        assert score.components == 1
        assert score.volume_mm3 == score.true_volume_mm3 == pytest.approx(150.0)


def test_a_shifted_ear_by_hand() -> None:
    """Two voxels of 0.5 mm along j: 480 of 600 voxels overlap."""
    corner = (4, 12, 10)
    ear = ear_at(Side.RIGHT, corner, shift_mm=0.75)
    found = prediction((ear,), labels_of({Side.RIGHT: corner}))
    (score,) = score_case(found, case(Side.RIGHT))
    assert score.dice == pytest.approx(0.8)
    assert score.iou == pytest.approx(480 / 720)
    assert score.vs == 1
    assert (score.precision, score.recall) == pytest.approx((0.8, 0.8))
    assert score.accuracy == pytest.approx(1 - 240 / 72_000)
    assert score.specificity == pytest.approx(1 - 120 / 71_400)
    # Only the four faces along j are shared surfaces; the two across it lie 1 mm apart.
    assert 0 < score.surface_dice < 1
    assert (score.confidence, score.uncertainty, score.volume_uncertainty) == (0.9, 0.01, 0)
    assert score.hd_mm == pytest.approx(1.0)
    assert score.avg_hd_mm == pytest.approx((60 * 0.5 + 60 * 1.0) / 600)
    assert score.landmark_mean_mm == pytest.approx(np.hypot(1.0, 0.75))


def test_swapped_sides_are_wrong_sides_not_missing_ears() -> None:
    other = {side.other: corner for side, corner in CORNERS.items()}
    ears = tuple(ear_at(side, corner) for side, corner in other.items())
    for score in score_case(prediction(ears, labels_of(other)), case()):
        assert score.found
        assert not score.side_right
        assert score.dice == 1
        assert score.landmark_mean_mm == 0


def test_two_found_ears_of_one_side_are_distinguished() -> None:
    labels = labels_of(CORNERS)
    both_right = LabelMap(np.minimum(labels.values, 1), GRID)
    ears = tuple(ear_at(Side.RIGHT, corner) for corner in CORNERS.values())
    right, left = score_case(prediction(ears, both_right), case())
    assert (right.dice, left.dice) == (1, 1)
    assert (right.side_right, left.side_right) == (True, False)
    assert (right.components, left.components) == (1, 1)


def test_a_missing_ear() -> None:
    found = prediction(
        (ear_at(Side.LEFT, CORNERS[Side.LEFT]),), labels_of({Side.LEFT: CORNERS[Side.LEFT]})
    )
    right, left = score_case(found, case())
    assert left.found
    assert not right.found
    assert not right.side_right
    assert (right.dice, right.components, right.volume_mm3) == (0, 0, 0)
    assert right.assd_mm == np.inf
    assert set(right.landmark_mm.values()) == {np.inf}
    assert np.isnan(right.landmark_mean_mm)
    assert right.landmarks_absent == 3


def test_extra_ears_are_counted() -> None:
    ears = tuple(ear_at(side, CORNERS[side]) for side in Side)
    found = prediction(ears, labels_of(CORNERS))
    assert extra_ears(found, case(Side.LEFT)) == 1
    assert extra_ears(found, case()) == 0
    assert len(score_case(found, case(Side.LEFT))) == 1
    assert extra_ears(prediction((), labels_of({})), case()) == 0


def test_absent_landmarks_count_apart_from_the_mean() -> None:
    ear = ear_at(Side.RIGHT, CORNERS[Side.RIGHT], shift_mm=0.5)
    points = ear.landmarks.points_mm.copy()
    points[0] = np.nan
    ear = replace(ear, landmarks=Landmarks(LANDMARK_NAMES, points))
    (score,) = score_case(
        prediction((ear,), labels_of({Side.RIGHT: CORNERS[Side.RIGHT]})), case(Side.RIGHT)
    )
    assert score.landmark_mm[LANDMARK_NAMES[0]] == np.inf
    assert score.landmark_mean_mm == pytest.approx(0.5)
    assert score.landmarks_absent == 1


def test_other_grids_are_refused() -> None:
    other = Grid.centred((1, 0, 0), GRID.shape, spacing_mm=(1.0, 0.5, 0.5))
    labels = LabelMap(np.zeros(GRID.shape, np.uint8), other)
    with pytest.raises(ValueError, match="different grids"):
        score_case(prediction((), labels), case())


def test_summary_by_hand(tmp_path: Path) -> None:
    ear = ear_at(Side.LEFT, CORNERS[Side.LEFT], shift_mm=0.4)
    scores = score_case(prediction((ear,), labels_of({Side.LEFT: CORNERS[Side.LEFT]})), case())
    rows = summarise_scores(scores)
    assert rows["dice"].mean == 0.5
    assert rows["dice"].sd == pytest.approx(np.sqrt(0.5))
    assert (rows["dice"].median, rows["dice"].min, rows["dice"].max) == (0.5, 0, 1)
    assert rows["dice"].n == 2
    assert rows["helicotrema_mm"].mean == pytest.approx(0.4)
    assert rows["helicotrema_mm"].n == 1
    assert np.isnan(rows["helicotrema_mm"].sd)
    write_scores(scores, tmp_path / "ears.csv")
    write_statistics(rows, tmp_path / "summary.csv")
    ears = _read(tmp_path / "ears.csv")
    assert [(row["side"], row["found"]) for row in ears] == [("right", "False"), ("left", "True")]
    assert float(ears[1]["round_window_mm"]) == pytest.approx(0.4)
    table = {row["measure"]: row for row in _read(tmp_path / "summary.csv")}
    assert float(table["dice"]["mean"]) == 0.5


def test_summary_of_nothing() -> None:
    assert summarise_scores([]) == {}


def _read(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
