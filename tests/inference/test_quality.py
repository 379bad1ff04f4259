"""The estimate of an ear's quality: by hand, by monotonic trends, and beside a model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.case import EarPrediction
from otovox.core.geometry import mean_pose
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid, Probability
from otovox.errors import ModelError
from otovox.inference.quality import (
    DICE_FLOOR,
    FEATURES,
    FILE,
    LANDMARK_FLOOR_MM,
    Estimator,
    LogLinearModel,
    features,
    load_estimator,
    log_of_dice,
    log_of_landmark,
    save_estimator,
)
from otovox.learning.bundle import embedded

GRID = Grid.centred((0, 0, 0), (8, 8, 8), spacing_mm=0.2)
EAR = EarPrediction(
    side=Side.LEFT,
    pose=replace(mean_pose(Side.LEFT), residual_mm=0.5),
    landmarks=Landmarks(LANDMARK_NAMES, np.zeros((3, 3))),
    landmark_sd_mm=np.array([0.1, 0.3, np.nan]),
    volume_mm3=200.0,
    center_mm=np.zeros(3),
    confidence=0.75,
    uncertainty=0.02,
    agreement=0.9,
    edge_width_mm=0.7,
    probability=Probability(np.full((8, 8, 8), 0.8, np.float32), GRID),
    landmark_peaks=np.array([1.2, 0.5, np.nan]),
)
LINE = LogLinearModel(weights=(0.5,) * len(FEATURES), bias=-3.0, low=-0.5, high=0.4)
ESTIMATOR = Estimator(
    model_sha256="ab",
    tta="fast",
    features=FEATURES,
    means=(0.0,) * len(FEATURES),
    sds=(1.0,) * len(FEATURES),
    lows=(-1.0,) * len(FEATURES),
    highs=(1.0,) * len(FEATURES),
    dice=LINE,
    landmark_mm=LINE,
    coverage=0.9,
    fitted=10,
    held_out=10,
    data="phantoms",
    software="otovox",
)


def test_features_by_hand() -> None:
    found = dict(zip(FEATURES, features(EAR, np.array([0.2, 0.3, 0.6])), strict=True))
    assert found["expected_overlap_error"] == pytest.approx(np.log(1 - 2 * 0.8 / 1.8 + 0.01))
    assert found["voxel_spread"] == pytest.approx(np.log(0.021))
    assert found["sample_disagreement"] == pytest.approx(np.log(0.11))
    assert found["landmark_spread"] == pytest.approx(np.log((0.1 + 0.3 + 1.0) / 3 + 0.02))
    assert found["faint_landmarks"] == pytest.approx(1 - 1.5 / 3)
    assert found["pose_misfit"] == 0.5
    assert found["coarsest_voxel"] == pytest.approx(np.log(0.6))


def test_an_estimate_by_hand_and_its_interval() -> None:
    quality = ESTIMATOR.estimate(np.zeros(len(FEATURES)))
    assert quality.dice.value == pytest.approx(1 + DICE_FLOOR - np.exp(-3.0))
    assert quality.dice.low == pytest.approx(1 + DICE_FLOOR - np.exp(-2.6))
    assert quality.landmark_mm.high == pytest.approx(np.exp(-2.6) - LANDMARK_FLOOR_MM)
    assert quality.dice.low < quality.dice.value < quality.dice.high
    assert quality.landmark_mm.low <= quality.landmark_mm.value < quality.landmark_mm.high


def test_logarithms_and_back() -> None:
    for dice in (0.2, 0.9, 0.99):
        assert 1 + DICE_FLOOR - np.exp(log_of_dice(dice)) == pytest.approx(dice)
    for error in (0.0, 0.3, 2.0):
        assert np.exp(log_of_landmark(error)) - LANDMARK_FLOOR_MM == pytest.approx(error)


def test_what_lies_beyond_all_that_was_seen_counts_as_its_end() -> None:
    far, end = np.full(len(FEATURES), 50.0), np.ones(len(FEATURES))
    assert ESTIMATOR.estimate(far) == ESTIMATOR.estimate(end)
    assert ESTIMATOR.estimate(far).dice.value == 0.0
    assert ESTIMATOR.estimate(-far).dice.value > 0.99


def test_an_estimator_belongs_to_weights_and_augmentation(tmp_path: Path) -> None:
    save_estimator(ESTIMATOR, tmp_path)
    assert load_estimator(tmp_path, sha256="ab", tta="fast") == ESTIMATOR
    assert load_estimator(tmp_path, sha256="ab", tta="none") is None
    assert load_estimator(tmp_path / "elsewhere", sha256="ab", tta="fast") is None
    save_estimator(ESTIMATOR.model_copy(update={"tta": "none"}), tmp_path)
    assert load_estimator(tmp_path, sha256="ab", tta="fast") == ESTIMATOR
    other = ESTIMATOR.model_copy(update={"model_sha256": "cd", "tta": "none"})
    save_estimator(other, tmp_path)
    assert load_estimator(tmp_path, sha256="cd", tta="none") == other
    assert load_estimator(tmp_path, sha256="ab", tta="fast") is None
    (tmp_path / FILE).write_text("[{}]")
    with pytest.raises(ModelError, match="quality"):
        load_estimator(tmp_path, sha256="ab", tta="fast")


@pytest.mark.parametrize("tta", ["none", "fast", "paper"])
def test_the_embedded_model_has_an_estimator(tta: str) -> None:
    assert load_estimator("labyrinth", sha256=embedded("labyrinth").sha256, tta=tta) is not None
