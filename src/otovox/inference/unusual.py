"""Whether an ear is unlike the healthy ones, told without any truth by a score of the prediction.

The threshold belongs to one model and one kind of test-time augmentation; it is found on healthy
phantoms (`benchmarks/calibration.py`) and lies beside the model's weights.
"""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from otovox.core.case import EarPrediction
from otovox.errors import ModelError
from otovox.formats.writing import replacing
from otovox.learning.bundle import embedded_names

#: The thresholds' file in a model's folder.
FILE = "unusual.json"

#: What each score is, for users. All are higher in what is unusual.
TITLES = {
    "uncertainty": "mean voxel SD in and near the labyrinth",
    "landmark_spread_mm": "mean spread of the landmarks, mm",
    "pose_residual_mm": "misfit of the landmarks to a usual ear, mm",
    "disagreement": "1 - least Dice of a test-time sample with their mean",
    "doubt": "1 - confidence",
}


class Flag(BaseModel):
    """A threshold, and how it came about.

    Attributes:
        model_sha256, tta: what it belongs to.
        score: a name of `TITLES`.
        threshold: above it an ear is unusual.
        false_alarms: chance that was asked for that a healthy ear exceeds it.
        usual, unusual: ears that it was found on, and that were to be told from them.
        auc: area under the ROC on these.
        data, software: what the ears were, and what analysed them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model_sha256: str
    tta: str
    score: str
    threshold: float
    false_alarms: float
    usual: int
    unusual: int
    auc: float
    data: str
    software: str


def unusual_scores(ear: EarPrediction) -> dict[str, float]:
    """All scores of an ear, by the names of `TITLES`; nan where one cannot be told."""
    spreads = ear.landmark_sd_mm[np.isfinite(ear.landmark_sd_mm)]
    return {
        "uncertainty": float(ear.uncertainty),
        "landmark_spread_mm": float(spreads.mean()) if len(spreads) else float("nan"),
        "pose_residual_mm": float(ear.pose.residual_mm),
        "disagreement": 1.0 - float(ear.agreement),
        "doubt": 1.0 - float(ear.confidence),
    }


def is_unusual(ear: EarPrediction, flag: Flag) -> bool:
    """Whether an ear exceeds the threshold; one whose score cannot be told does not."""
    return unusual_scores(ear)[flag.score] > flag.threshold


def sentence(ear: EarPrediction, flag: Flag) -> str:
    """What the user is told of an unusual ear."""
    found = unusual_scores(ear)[flag.score]
    return (
        f"the {ear.side} ear is unlike healthy ones ({TITLES[flag.score]}: {found:.3g}, "
        f"{1 - flag.false_alarms:.0%} of healthy phantoms stay below {flag.threshold:.3g}): "
        "please review"
    )


def load_flag(model: str | Path, *, sha256: str, tta: str) -> Flag | None:
    """The threshold of a model, if one was found for these weights and this augmentation.

    Args:
        model: name of an embedded model, or a bundle's folder.
        sha256: of its weights.
        tta: name of the test-time augmentation.

    Raises:
        ModelError: if there is a file and it is damaged.
    """
    path = folder_of(model) / FILE
    if not path.is_file():
        return None
    try:
        flags = TypeAdapter(list[Flag]).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelError(f"{path}: cannot be read as thresholds of a model") from error
    fitting = [f for f in flags if f.score in TITLES and (f.model_sha256, f.tta) == (sha256, tta)]
    return fitting[0] if fitting else None


def save_flags(flags: Sequence[Flag], model: str | Path) -> Path:
    """Write the thresholds beside a model's weights; what was there is replaced.

    Raises:
        OutputError: if it cannot be written.
    """
    path = folder_of(model) / FILE
    with replacing(path) as beside:
        beside.write_bytes(TypeAdapter(list[Flag]).dump_json(list(flags), indent=2) + b"\n")
    return path


def folder_of(model: str | Path) -> Path:
    """Where a model lies on disk."""
    if str(model) in embedded_names():
        return Path(str(resources.files("otovox"))) / "models" / str(model)
    return Path(model)
