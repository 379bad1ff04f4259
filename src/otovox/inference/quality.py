"""Expected quality of an ear's mask and landmarks, with an interval, without ground truth.

A linear model of the logarithm of the error (1 - DSC, and the landmarks' mean error), fitted to
phantoms over the whole range of quality: fine and coarse voxels, sharp and soft kernels, noise,
metal, cut fields of view, disease (`benchmarks/quality.py`). Its interval is split-conformal (Vovk
et al. 2005): the quantiles of the residuals of held-out ears. It is valid for one model and one
type of test-time augmentation, and is stored next to the model's weights.
"""

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator

from otovox.core.case import EarPrediction, Estimate, Quality
from otovox.errors import ModelError
from otovox.formats.writing import replacing
from otovox.imaging.metrics import expected_dice
from otovox.inference.unusual import folder_of

#: The estimators' file in a model's folder.
FILE = "quality.json"
#: Properties of an ear from which its quality is estimated. All increase with error; see
#: `features`.
FEATURES = (
    "expected_overlap_error",
    "voxel_spread",
    "sample_disagreement",
    "landmark_spread",
    "faint_landmarks",
    "pose_misfit",
    "coarsest_voxel",
    "edge_width",
)
#: Added before taking logarithms, which would be infinite for a perfect ear: chosen, the error of a
#: very good mask and, in mm, of very good landmarks.
DICE_FLOOR, LANDMARK_FLOOR_MM = 0.01, 0.05


class LogLinearModel(BaseModel):
    """A linear model of a logarithm.

    Attributes:
        weights: per standardised feature, in the order of `FEATURES`.
        bias: added to their sum.
        low, high: residuals that contain the fraction `Estimator.coverage` of unseen ears.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    weights: tuple[float, ...]
    bias: float
    low: float
    high: float


class Estimator(BaseModel):
    """Both models, and how they were fitted.

    Attributes:
        model_sha256, tta: the model and augmentation for which they are valid.
        means, sds: means and SDs for standardising the features.
        lows, highs: range of each feature in the fitted ears, to which features are clipped.
        dice, landmark_mm: the models.
        coverage: coverage of the intervals.
        fitted, held_out: numbers of ears used for fitting and for the intervals.
        data, software: source of the ears, and the software that analysed them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model_sha256: str
    tta: str
    features: tuple[str, ...]
    means: tuple[float, ...]
    sds: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    dice: LogLinearModel
    landmark_mm: LogLinearModel
    coverage: float
    fitted: int
    held_out: int
    data: str
    software: str

    @model_validator(mode="after")
    def _fits(self) -> Self:
        columns = (self.means, self.sds, self.lows, self.highs, self.dice.weights)
        columns += (self.landmark_mm.weights,)
        if self.features != FEATURES or any(len(one) != len(FEATURES) for one in columns):
            raise ValueError("features: do not match this version")
        return self

    def estimate(self, features: NDArray[np.floating]) -> Quality:
        """The expected quality of an ear with these features, see `features`."""
        inside = np.clip(features, self.lows, self.highs)
        standard = (inside - self.means) / self.sds
        dice, points = (
            [float(standard @ line.weights + line.bias + more) for more in (0, line.low, line.high)]
            for line in (self.dice, self.landmark_mm)
        )
        value, high, low = (float(np.clip(dice_of(one), 0, 1)) for one in dice)
        middle, least, most = (max(float(landmark_mm_of(one)), 0.0) for one in points)
        return Quality(Estimate(value, low, high), Estimate(middle, least, most), self.coverage)


#: What a file contains.
_LIST = TypeAdapter(list[Estimator])


def log_of_dice(dice: NDArray[np.floating] | float) -> NDArray[np.floating]:
    """The modelled quantity: the logarithm of 1 - DSC, floored.

    >>> round(float(log_of_dice(0.9)), 3), round(float(np.log(0.1 + DICE_FLOOR)), 3)
    (-2.207, -2.207)
    """
    return np.log(1 - np.asarray(dice, dtype=float) + DICE_FLOOR)


def dice_of(log: float) -> float:
    """The inverse of `log_of_dice`.

    >>> round(dice_of(float(log_of_dice(0.9))), 6)
    0.9
    """
    return 1 + DICE_FLOOR - float(np.exp(log))


def log_of_landmark(error_mm: NDArray[np.floating] | float) -> NDArray[np.floating]:
    """The modelled quantity: the logarithm of the error in mm, floored.

    >>> round(float(log_of_landmark(0.95)), 6) + 0.0
    0.0
    """
    return np.log(np.asarray(error_mm, dtype=float) + LANDMARK_FLOOR_MM)


def landmark_mm_of(log: float) -> float:
    """The inverse of `log_of_landmark`.

    >>> round(landmark_mm_of(float(log_of_landmark(0.3))), 6)
    0.3
    """
    return float(np.exp(log)) - LANDMARK_FLOOR_MM


def features(ear: EarPrediction, spacing_mm: NDArray[np.floating]) -> NDArray[np.float64]:
    """Properties of an ear from which its quality is estimated.

    Args:
        ear: the ear with its probability and peaks.
        spacing_mm: (3,) voxel edges of the scan.

    Returns:
        Values in the order of `FEATURES`, logarithms where the scale is relative:
        1 - the DSC that the probabilities predict for their own mask; mean voxel SD;
        1 - lowest Dice of a sample with the mean; mean SD of the landmarks (1 mm where absent);
        how far the heatmap peaks are below their full height; misfit of the pose, mm; the
        coarsest voxel edge and the width of the wall's edge, mm.
    """
    assert ear.probability is not None
    assert ear.landmark_peaks is not None
    probability = ear.probability.values
    spreads = np.where(np.isfinite(ear.landmark_sd_mm), ear.landmark_sd_mm, 1.0)
    faint = 1 - float(np.clip(np.nan_to_num(ear.landmark_peaks), 0, 1).mean())
    agreement = ear.agreement if np.isfinite(ear.agreement) else 1.0
    return np.array(
        [
            np.log(1 - expected_dice(probability) + 0.01),
            np.log(ear.uncertainty + 1e-3),
            np.log(1 - agreement + 0.01),
            np.log(float(spreads.mean()) + 0.02),
            faint,
            ear.pose.residual_mm,
            np.log(float(np.max(spacing_mm))),
            np.log(ear.edge_width_mm),
        ]
    )


def load_estimator(model: str | Path, *, sha256: str, tta: str) -> Estimator | None:
    """The estimator of a model; None if there is none for this test-time augmentation.

    Raises:
        ModelError: if the file exists and cannot be read.

    >>> load_estimator("labyrinth", sha256="of other weights", tta="fast") is None
    True
    """
    estimators = _estimators(folder_of(model) / FILE)
    return next((one for one in estimators if (one.model_sha256, one.tta) == (sha256, tta)), None)


def save_estimator(estimator: Estimator, model: str | Path) -> Path:
    """Write an estimator next to a model's weights; returns the file.

    Those of the same model for other test-time augmentations are kept.

    Raises:
        ModelError: if the file exists and cannot be read.
    """
    path = folder_of(model) / FILE
    others = [
        one
        for one in _estimators(path)
        if one.model_sha256 == estimator.model_sha256 and one.tta != estimator.tta
    ]
    with replacing(path) as beside:
        beside.write_bytes(_LIST.dump_json([*others, estimator], indent=2) + b"\n")
    return path


def _estimators(path: Path) -> list[Estimator]:
    if not path.is_file():
        return []
    try:
        return _LIST.validate_json(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise ModelError(f"{path}: is not a list of quality estimators ({error})") from error
