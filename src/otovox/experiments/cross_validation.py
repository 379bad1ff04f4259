"""Training on a data set on disk, fold by fold (S19); the splits are by patient and stored."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from otovox.config.training import TrainConfig, config_from
from otovox.dataset.layout import Entry, read_index, read_info
from otovox.dataset.prepared import Prepared, prepare
from otovox.errors import ConfigError, InputError
from otovox.formats.writing import make_folder, replacing
from otovox.imaging.intensity import (
    Statistics,
    histogram,
    intensity_statistics,
    standardise,
    tissue_sample,
)
from otovox.learning.bundle import Bundle, load_bundle
from otovox.systems.interface import TrainingInput
from otovox.systems.registry import system_of

if TYPE_CHECKING:
    from otovox.learning.training import TrainingOptions

#: File of the folds, in their common folder; file that marks a finished fold, in its folder.
SPLITS, FINISHED = "splits.json", "finished"

Fold = dict[str, list[str]]


#: Validation patients per fold, if there are enough for all folds. Source: Stebani et al. 2023,
#: Methods: "For each fold, we randomly selected N = 38 datasets for training and N = 5 datasets for
#: validation" (S19).
USUAL_VALIDATION = 5


@dataclass(frozen=True)
class FoldPlan:
    """Settings for drawing folds.

    Attributes:
        folds: number of folds.
        validation: validation patients per fold; None for `USUAL_VALIDATION`, or, with too few
            patients, for a division of all patients into folds that differ by at most one.
        seed: the same seed draws the same folds.
    """

    folds: int = 3
    validation: int | None = None
    seed: int = 0


def draw_folds(entries: Sequence[Entry], plan: FoldPlan = FoldPlan()) -> list[Fold]:
    """Draw validation patients, different ones in every fold; all others are for training.

    Args:
        entries: entries of a data set; those of its split "test" are excluded.
        plan: settings of the folds.

    Returns:
        For each fold the names of the cases under "train" and "validation".

    Raises:
        InputError: if there are too few patients.

    Source: Stebani et al. 2023, random 38/5 splits in 3 folds (S19); the main author's public code
    uses no patient twice for validation. Hussain et al. 2021, fourfold cross-validation of 17
    patients (H9), which needs uneven folds.

    >>> entries = [Entry(case=f"ear-{n}", patient=f"p{n}") for n in range(6)]
    >>> folds = draw_folds(entries, FoldPlan(folds=3, validation=2))
    >>> sorted(case for fold in folds for case in fold["validation"])
    ['ear-0', 'ear-1', 'ear-2', 'ear-3', 'ear-4', 'ear-5']
    """
    entries = [entry for entry in entries if entry.split != "test"]
    patients = sorted({entry.patient for entry in entries})
    drawn = np.random.default_rng(plan.seed).permutation(patients)
    folds: list[Fold] = []
    for group in _parts(drawn, plan):
        held = set(group.tolist())
        folds.append(
            {
                "train": sorted(e.case for e in entries if e.patient not in held),
                "validation": sorted(e.case for e in entries if e.patient in held),
            }
        )
    return folds


def _parts(drawn: NDArray, plan: FoldPlan) -> list[NDArray]:
    """The validation patients of each fold.

    Raises:
        InputError: if there are too few patients.
    """
    size = plan.validation or USUAL_VALIDATION
    if plan.folds * size <= len(drawn) and size < len(drawn):
        return [drawn[fold * size : (fold + 1) * size] for fold in range(plan.folds)]
    if plan.validation is not None:
        raise InputError(
            f"{len(drawn)} patients are too few for {plan.folds} folds with {size} different "
            "validation patients each"
        )
    if not 2 <= plan.folds <= len(drawn):
        raise InputError(f"{len(drawn)} patients cannot be divided into {plan.folds} folds")
    return np.array_split(drawn, plan.folds)


def keep_folds(folder: Path, output: Path, folds: list[Fold]) -> None:
    """Write the folds to `output`/splits.json; an existing file must contain the same ones.

    Raises:
        ConfigError: if it contains others.
        OutputError: if it cannot be written.
    """
    path = output / SPLITS
    make_folder(output)
    wanted = {"dataset": read_info(folder).get("name", ""), "folds": folds}
    if path.is_file():
        if json.loads(path.read_text("utf-8")) != wanted:
            raise ConfigError(f"{path}: contains different folds; choose another --output")
        return
    with replacing(path) as beside:
        beside.write_text(json.dumps(wanted, indent=2) + "\n", "utf-8")


def train_fold(
    folder: Path,
    config: TrainConfig,
    output: Path,
    number: int,
    *,
    run: "TrainingOptions | None" = None,
) -> Bundle:
    """Train on one fold of `output`/splits.json; resume it, or load its model if it is finished.

    Args:
        folder: folder of the data set.
        config: all settings.
        output: folder of all folds; this one is in `fold-N`, resampled volumes in `volumes`.
        number: number of the fold, from 0.
        run: training options. A fold that stops before the last iteration of its settings is not
            finished: it continues the next time.

    Returns:
        Its best model so far.

    Raises:
        ConfigError: if there is no such fold, or it was started with different settings.
        OtovoxError: if a case cannot be read.
    """
    splits = json.loads((output / SPLITS).read_text("utf-8"))
    if not 0 <= number < len(splits["folds"]):
        raise ConfigError(f"there is no fold {number}; there are 0 to {len(splits['folds']) - 1}")
    from otovox.learning.training import TrainingOptions, intervals

    run = run or TrainingOptions()
    intervals(config, run.iterations)
    place = output / f"fold-{number}"
    if run.resume and _is_finished(place, config):
        return load_bundle(place / "model")
    (place / FINISHED).unlink(missing_ok=True)
    entries = {entry.case: entry for entry in read_index(folder)}
    training, validation = (
        prepare(
            folder,
            [entries[case] for case in splits["folds"][number][share]],
            output / "volumes",
            spacing_mm=config.data.spacing_mm,
            shape=config.data.shape,
            landmarks=config.network.landmarks,
        )
        for share in ("train", "validation")
    )
    scaling = None
    origin: dict[str, Any] = {
        "training_data": f"{splits['dataset']}: {len(training)} cases, fold {number}",
        "validation_data": f"{splits['dataset']}: {len(validation)} whole volumes",
        "fold": splits["folds"][number],
    }
    if config.data.normalisation == "dataset":
        scaling = intensity_statistics(case.image for case in training)
        origin["intensity"] = asdict(scaling)
        origin["contrast"] = _contrast(training, scaling)
    course = TrainingInput(
        training, validation, scaling, origin, run.resume, run.hardware, run.iterations
    )
    bundle = system_of(config).train(config, place, course)
    if run.iterations is None or run.iterations >= config.optimiser.total_iterations:
        (place / FINISHED).touch()
    return bundle


def _is_finished(place: Path, config: TrainConfig) -> bool:
    """Whether a fold is finished; one that was started with different settings is refused."""
    settings = place / "config.json"
    if not settings.is_file():
        return False
    earlier = config_from(json.loads(settings.read_text("utf-8")), origin=str(settings))
    if earlier != config:
        raise ConfigError(f"{place}: was started with different settings; choose another --output")
    return (place / FINISHED).is_file()


def _contrast(cases: Sequence[Prepared], scaling: Statistics) -> dict[str, Any]:
    """Contrast of the training set, to which test sets are matched (S6)."""
    tissues, inside = [], []
    for case in cases:
        scaled = standardise(case.image, scaling)
        tissues.append(tissue_sample(scaled, case.grid.spacing_mm))
        inside.append(scaled[case.labels > 0])
    tissue, labyrinths = histogram(tissues), np.concatenate(inside)
    return {
        "quantiles": tissue.quantiles.tolist(),
        "modes": list(tissue.modes),
        "labyrinth": [float(labyrinths.mean()), float(labyrinths.std())],
    }
