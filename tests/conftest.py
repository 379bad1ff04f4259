"""What several test files share: tiny scans on disk, and predictions made by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from otovox.anatomy import CANONICAL_MM, LANDMARK_NAMES, Side
from otovox.case import EarPrediction, Prediction
from otovox.geometry import mean_pose
from otovox.landmarks import Landmarks
from otovox.volume import LabelMap, Scan

#: Of the scans that `write_scan` makes.
SHAPE = (24, 22, 20)


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


def ear_of(scan: Scan, side: Side) -> EarPrediction:
    """A mean ear in the middle of a scan; its round window is absent."""
    pose = mean_pose(side, scan.grid.center_mm)
    points = pose.to_lps([CANONICAL_MM[name] for name in LANDMARK_NAMES])
    points[LANDMARK_NAMES.index("round_window")] = np.nan
    return EarPrediction(
        side=side,
        pose=pose,
        landmarks=Landmarks(LANDMARK_NAMES, points),
        landmark_sd_mm=np.array([0.1, 0.2, np.nan]),
        volume_mm3=200.0,
        center_mm=scan.grid.center_mm,
        confidence=0.9,
        uncertainty=0.001,
        warnings=("the round window lies outside the field",),
    )


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
