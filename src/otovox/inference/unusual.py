"""Unusual ears, flagged without ground truth by a score of the prediction.

The threshold is valid for one model and one type of test-time augmentation; it is determined on
healthy phantoms (`benchmarks/calibration.py`) and stored next to the model's weights.
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

#: Descriptions of the scores for users. All are higher in unusual ears.
TITLES = {
    "uncertainty": "mean voxel SD in and near the labyrinth",
    "landmark_spread_mm": "mean spread of the landmarks, mm",
    "pose_residual_mm": "misfit of the landmarks to an average ear, mm",
    "disagreement": "1 - lowest Dice of a test-time sample with the mean",
    "doubt": "1 - confidence",
}


class Flag(BaseModel):
    """A threshold and its origin.

    Attributes:
        model_sha256, tta: the model and augmentation for which it is valid.
        score: a name of `TITLES`.
        threshold: value above which an ear is unusual.
        false_alarms: intended fraction of healthy ears that exceed it.
        usual, unusual: numbers of healthy and unusual ears used to determine it.
        auc: area under the ROC curve on these.
        data, software: source of the ears, and the software that analysed them.
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
    """All scores of an ear, by the names of `TITLES`; nan where undefined."""
    spreads = ear.landmark_sd_mm[np.isfinite(ear.landmark_sd_mm)]
    return {
        "uncertainty": float(ear.uncertainty),
        "landmark_spread_mm": float(spreads.mean()) if len(spreads) else float("nan"),
        "pose_residual_mm": float(ear.pose.residual_mm),
        "disagreement": 1.0 - float(ear.agreement),
        "doubt": 1.0 - float(ear.confidence),
    }


def is_unusual(ear: EarPrediction, flag: Flag) -> bool:
    """Whether an ear exceeds the threshold; an ear without that score does not."""
    return unusual_scores(ear)[flag.score] > flag.threshold


def sentence(ear: EarPrediction, flag: Flag) -> str:
    """The warning about an unusual ear."""
    score = unusual_scores(ear)[flag.score]
    return (
        f"the {ear.side} ear is unusual ({TITLES[flag.score]}: {score:.3g}; "
        f"{1 - flag.false_alarms:.0%} of healthy phantoms are below {flag.threshold:.3g}); "
        "check its outline in the planes"
    )


def load_flag(model: str | Path, *, sha256: str, tta: str) -> Flag | None:
    """The threshold of a model, if there is one for these weights and this augmentation.

    Args:
        model: name of an embedded model, or a bundle's folder.
        sha256: hash of its weights.
        tta: name of the test-time augmentation.

    Raises:
        ModelError: if the file exists and is damaged.

    >>> load_flag("labyrinth", sha256="of other weights", tta="fast") is None
    True
    """
    path = folder_of(model) / FILE
    if not path.is_file():
        return None
    try:
        flags = TypeAdapter(list[Flag]).validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelError(f"{path}: is not a list of thresholds for unusual ears") from error
    matching = [f for f in flags if f.score in TITLES and (f.model_sha256, f.tta) == (sha256, tta)]
    return matching[0] if matching else None


def save_flags(flags: Sequence[Flag], model: str | Path) -> Path:
    """Write the thresholds next to a model's weights, replacing existing ones.

    Raises:
        OutputError: if it cannot be written.
    """
    path = folder_of(model) / FILE
    with replacing(path) as beside:
        beside.write_bytes(TypeAdapter(list[Flag]).dump_json(list(flags), indent=2) + b"\n")
    return path


def folder_of(model: str | Path) -> Path:
    """Folder of a model on disk.

    >>> folder_of("runs/mine/model").as_posix(), folder_of("labyrinth").name
    ('runs/mine/model', 'labyrinth')
    """
    if str(model) in embedded_names():
        return Path(str(resources.files("otovox"))) / "models" / str(model)
    return Path(model)
