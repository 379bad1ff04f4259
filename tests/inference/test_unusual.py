"""Scores of ears, and thresholds that lie beside a model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.case import EarPrediction
from otovox.core.geometry import mean_pose
from otovox.core.landmarks import Landmarks
from otovox.errors import ModelError
from otovox.inference.unusual import (
    FILE,
    TITLES,
    Flag,
    folder_of,
    is_unusual,
    load_flag,
    save_flags,
    sentence,
    unusual_scores,
)
from otovox.learning.bundle import embedded_names

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
)
FLAG = Flag(
    model_sha256="ab",
    tta="fast",
    score="uncertainty",
    threshold=0.015,
    false_alarms=0.05,
    usual=40,
    unusual=60,
    auc=0.9,
    data="phantoms",
    software="otovox",
)


def test_scores_by_hand() -> None:
    found = unusual_scores(EAR)
    assert set(found) == set(TITLES)
    assert list(found.values()) == pytest.approx([0.02, 0.2, 0.5, 0.1, 0.25])
    bare = replace(EAR, landmark_sd_mm=np.full(3, np.nan))
    assert np.isnan(unusual_scores(bare)["landmark_spread_mm"])


def test_an_ear_above_the_threshold_is_unusual() -> None:
    assert is_unusual(EAR, FLAG)
    assert not is_unusual(replace(EAR, uncertainty=0.015), FLAG)
    assert not is_unusual(replace(EAR, uncertainty=float("nan")), FLAG)
    assert sentence(EAR, FLAG) == (
        "the left ear is unusual (mean voxel SD in and near the labyrinth: 0.02; "
        "95% of healthy phantoms are below 0.015); check its outline in the planes"
    )


def test_a_threshold_belongs_to_weights_and_augmentation(tmp_path: Path) -> None:
    assert load_flag(tmp_path, sha256="ab", tta="fast") is None
    other = FLAG.model_copy(update={"tta": "paper", "threshold": 0.3})
    assert save_flags([FLAG, other], tmp_path) == tmp_path / FILE
    assert load_flag(tmp_path, sha256="ab", tta="fast") == FLAG
    assert load_flag(tmp_path, sha256="ab", tta="paper") == other
    assert load_flag(tmp_path, sha256="cd", tta="fast") is None
    assert load_flag(tmp_path, sha256="ab", tta="none") is None


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('[{"threshold": "high"}]')
    with pytest.raises(ModelError, match="is not a list of thresholds"):
        load_flag(tmp_path, sha256="ab", tta="fast")


def test_embedded_models_are_found_by_name() -> None:
    for name in embedded_names():
        assert (folder_of(name) / "model.json").is_file()
