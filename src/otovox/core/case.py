"""A scan with its ground truth (Case), and the prediction for a scan (Prediction)."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from otovox.core.anatomy import Side
from otovox.core.geometry import FloatArray, Pose
from otovox.core.landmarks import Landmarks
from otovox.core.volume import LabelMap, Probability, Scan

DISCLAIMER = "Research use only. Not a medical device."
#: Steps of a stored uncertainty between 0 and 1: chosen, far below its own error, for compression.
_UNCERTAINTY_STEPS = np.float32(255)
#: Outputs of a model.
Heads = Literal["both", "segmentation", "landmarks"]


@dataclass(frozen=True)
class Case:
    """A scan with its ground truth.

    Attributes:
        scan: the CT.
        labels: labyrinths by `Side.label`, on the scan's grid.
        landmarks: per side the reported and pose landmarks, LPS mm.
        facts: origin of the case (seed, scanner, diagnosis), for tables.
    """

    scan: Scan
    labels: LabelMap
    landmarks: dict[Side, Landmarks]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One ear in one test-time sample.

    Attributes:
        probability: of the labyrinth, on the working grid, 0 outside the scan's field of view.
        landmarks: reported landmarks, LPS mm.
    """

    probability: Probability
    landmarks: Landmarks


@dataclass(frozen=True)
class Estimate:
    """An expected value, and the interval that contains the true one with a stated probability."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Quality:
    """Expected quality of one ear, estimated without ground truth; see `inference.quality`.

    Attributes:
        dice: DSC of its mask.
        landmark_mm: mean error of its landmarks, mm.
        coverage: probability that an interval contains the true value.
    """

    dice: Estimate
    landmark_mm: Estimate
    coverage: float


@dataclass(frozen=True)
class EarPrediction:
    """One ear of a prediction.

    Attributes:
        side: determined by the handedness of the anatomy.
        pose: position and orientation of the ear.
        landmarks: reported landmarks, LPS mm; nan where absent or outside the field of view.
        landmark_sd_mm: (n,) spread of each landmark over the test-time samples, root mean square.
        volume_mm3: volume of the voxels labelled as labyrinth, on the input's grid.
        center_mm: (3,) LPS centroid of the labyrinth.
        confidence: 0 to 1, the expected DSC of the mask; if the model has no estimator, the
            plausibility of the ear, see `inference.confidence`; nan if no model made the mask.
        uncertainty: mean voxel SD over the test-time samples within and near the labyrinth.
        agreement: lowest Dice between a test-time sample and the mean; nan if unknown.
        edge_width_mm: width of the edge of the labyrinth's wall in the scan, see `inference.wall`;
            nan if unknown.
        unusual: whether it is flagged as unlike healthy ears, see `inference.unusual`; None if the
            model has no threshold.
        touches_border: whether the labyrinth reaches the border of the scan's field of view.
        warnings: sentences for the user.
        probability: of the labyrinth, on the working grid in the ear's own frame, 0 outside the
            scan's field of view; finer than a coarse scan. None if the prediction was created
            manually.
        samples: the test-time samples, all on the grid of `probability`.
        landmark_peaks: (n,) heatmap peaks relative to a full heatmap; None if unknown.
        quality: expected quality of mask and landmarks; None if the model has no estimator.
        landmarks_sought: whether an absent landmark was searched for; for a mask that no model
            made, it was not given.
    """

    side: Side
    pose: Pose
    landmarks: Landmarks
    landmark_sd_mm: FloatArray
    volume_mm3: float
    center_mm: FloatArray
    confidence: float
    uncertainty: float
    agreement: float = float("nan")
    edge_width_mm: float = float("nan")
    unusual: bool | None = None
    touches_border: bool = False
    warnings: tuple[str, ...] = ()
    probability: Probability | None = None
    samples: tuple[Sample, ...] = ()
    landmark_peaks: FloatArray | None = None
    quality: Quality | None = None
    landmarks_sought: bool = True

    def __repr__(self) -> str:
        return f"<EarPrediction: {self.side}, confidence {self.confidence:.2f}>"


@dataclass(frozen=True)
class PredictionSettings:
    """Settings that affect a prediction; None where one does not apply.

    Attributes:
        single_ear: the scan was assumed to contain exactly one ear, at any position.
        heads: outputs of the model, if not all.
        tta: name of the test-time augmentation.
        smooth: the mask was smoothed with a Gaussian and Otsu's threshold.
        volume_mean_sd: mean voxel SD over the whole volume (S24).
        sides: source of the sides, if not the model itself.
        segmentation: file name of the measured mask, if no model made it.
    """

    single_ear: bool | None = None
    heads: Heads | None = None
    tta: str | None = None
    smooth: bool | None = None
    volume_mean_sd: float | None = None
    sides: str | None = None
    segmentation: str | None = None

    def to_json(self) -> dict[str, bool | str | float]:
        """The settings that apply, by name.

        >>> PredictionSettings(tta="fast", single_ear=True).to_json()
        {'single_ear': True, 'tta': 'fast'}
        """
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The reverse of `to_json`; names unknown to this version are ignored.

        >>> PredictionSettings.from_json({"tta": "none", "of_another_version": 1}).tta
        'none'
        """
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in names})


@dataclass(frozen=True)
class Provenance:
    """What produced a prediction.

    Attributes:
        models: SHA-256 of each model's weights, by the model's name.
        settings: those that affect the prediction.
        key: hash of everything that affects the prediction; None if not computed.
        location: checksum of the scan's location; None if not computed.
    """

    models: Mapping[str, str] = field(default_factory=dict)
    settings: PredictionSettings = PredictionSettings()
    key: str | None = None
    location: str | None = None


@dataclass(frozen=True)
class Prediction:
    """The prediction for one scan.

    Attributes:
        scan: the input.
        ears: none, one or two ears, right first.
        labels: 0 background, 1 right, 2 left, on the scan's own grid.
        uncertainty: (i, j, k) float32, voxel SD of the probability over the test-time samples,
            `stepped`.
        warnings: sentences about the scan as a whole.
        provenance: models and settings that produced it.
    """

    scan: Scan
    ears: tuple[EarPrediction, ...]
    labels: LabelMap
    uncertainty: NDArray[np.float32]
    warnings: tuple[str, ...] = ()
    provenance: Provenance = Provenance()

    @property
    def by_model(self) -> bool:
        """Whether a model made the mask, so that there are uncertainties and confidences.

        >>> from otovox.core.volume import Grid
        >>> grid, values = Grid((2, 2, 2), np.eye(4)), np.zeros((2, 2, 2), np.float32)
        >>> scan, labels = Scan(values, grid), LabelMap(values.astype(np.uint8), grid)
        >>> Prediction(scan, (), labels, values).by_model
        True
        """
        return self.provenance.settings.segmentation is None

    def __repr__(self) -> str:
        return f"<Prediction of {self.scan.name!r}: {list(self.ears)}>"


def stepped(uncertainty: NDArray[np.float32]) -> NDArray[np.float32]:
    """An uncertainty, of any shape, in the steps in which it is kept and written.

    >>> bool(abs(stepped(np.array([0.0, 0.12345], np.float32)) - [0, 0.12345]).max() < 0.002)
    True
    """
    steps = np.rint(uncertainty * _UNCERTAINTY_STEPS)
    return np.divide(steps, _UNCERTAINTY_STEPS, dtype=np.float32)
