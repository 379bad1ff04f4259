"""Cross-validation from a data set to results that `otovox evaluate` reads (S17-S20).

Written to the output: `splits.json`; per fold `fold-N` with its run, its `model` and, under
`results`, its validation cases; `folds.csv` and `learning-curves.png`. What is finished is not done
again.
"""

import csv
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from otovox.anatomy import Side
from otovox.bundle import Bundle, load_bundle
from otovox.case import Prediction
from otovox.config import TrainConfig
from otovox.contrast_sets import bring_into_range, own_scaling
from otovox.dataset import Entry, folds_by_patient, keep_folds, read_index
from otovox.engine import open_engine
from otovox.errors import ConfigError, InputError
from otovox.figures import contrast_matching, learning_curves
from otovox.formats import load_scan, save_label_map, save_volume, write_markups
from otovox.formats.writing import replacing, replacing_folder
from otovox.intensity import Contrast, GreyMap
from otovox.result import FILES, RESULT, describe
from otovox.training import HERE, Machine, is_main, train
from otovox.training_data import disk_datasets
from otovox.volume_inference import PLAIN, TtaName, VolumeOptions, as_prediction, predict_volume

logger = logging.getLogger(__name__)

#: Of the files of a result, those that an evaluation reads.
_KEPT = ("segmentation", "uncertainty", "landmarks")


@dataclass(frozen=True)
class Plan:
    """How a cross-validation goes.

    Attributes:
        folds, validation, seed: see `dataset.folds_by_patient`. Source: Stebani et al. 2023, S19.
        tests: further data sets, predicted by every fold's model into their own folders.
        tta: test-time augmentation of these (S9); validation cases have none.
        match: how these are clustered and matched to the training set (S6): a number, a column of
            their index, or nothing.
        device: where to predict, see `engine.open_engine`.
    """

    folds: int = 3
    validation: int = 5
    seed: int = 0
    tests: tuple[Path, ...] = ()
    tta: TtaName = "paper"
    match: str = ""
    device: str = "auto"


#: Three folds of 38 and 5, no test sets.
PAPER = Plan()


def cross_validate(
    dataset: Path,
    output: Path,
    config: TrainConfig,
    *,
    plan: Plan = PAPER,
    machine: Machine = HERE,
) -> pd.DataFrame:
    """Train every fold, predict what it has not seen, sum up.

    Args:
        dataset: folder of the data set.
        output: folder for everything that is made; going on with what is there.
        config: of every fold.
        plan: folds and test sets.
        machine: where to train.

    Returns:
        A row per fold with the figures of its best model, as in `folds.csv`.

    Raises:
        InputError: if the data set cannot be used.
        ConfigError: if the output holds another cross-validation.
    """
    entries = read_index(dataset)
    folds = folds_by_patient(entries, folds=plan.folds, validation=plan.validation, seed=plan.seed)
    keep_folds(output / "splits.json", folds, seed=plan.seed)
    runs = {f"fold-{number}": output / f"fold-{number}" for number in range(len(folds))}
    for (name, run), fold in zip(runs.items(), folds, strict=True):
        _check_settings(run, config)
        if is_finished(run, config):
            logger.info("%s is trained already", name)
        else:
            logger.info("training %s", name)
            data = disk_datasets(config, dataset, fold, output / "volumes")
            train(config, run, data, machine=machine)
    if not is_main():
        return _table(runs)
    for name, run in runs.items():
        bundle = load_bundle(run / "model")
        held_out = set(bundle.facts["validation_cases"])
        mine = {entry: None for entry in entries if entry.case in held_out}
        predict_cases(bundle, dataset, mine, run / "results", device=plan.device)
        for test in plan.tests:
            folder = output / "tests" / test.resolve().name
            results = folder / name / "results"
            if all((results / entry.case / RESULT).is_file() for entry in read_index(test)):
                continue
            cases = prepared(bundle, test, by=plan.match, picture=folder / f"contrast-{name}.png")
            options = VolumeOptions(tta=plan.tta)
            predict_cases(bundle, test, cases, results, options=options, device=plan.device)
    table = _table(runs)
    with replacing(output / "folds.csv") as beside:
        table.to_csv(beside, index=False)
    curves = {name: run / "validation.csv" for name, run in runs.items()}
    learning_curves(curves, output / "learning-curves.png")
    return table


def is_finished(run: Path, config: TrainConfig) -> bool:
    """Whether a run has reached its last iteration and its model is there."""
    try:
        with (run / "validation.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        load_bundle(run / "model")
    except (OSError, InputError, ConfigError):
        return False
    return bool(rows) and int(rows[-1]["iteration"]) >= config.optimiser.total_iterations


def predict_cases(
    bundle: Bundle,
    dataset: Path,
    cases: Mapping[Entry, GreyMap | None],
    output: Path,
    *,
    options: VolumeOptions = PLAIN,
    device: str = "auto",
) -> None:
    """Predict the cases of a data set with one model, a folder each; those that are there are kept.

    The side is the data set's: the paper's networks do not tell it. Cases of both ears are left
    out, with a word in the log.

    Args:
        bundle: the model.
        dataset: folder of the data set.
        cases: each with what is done to its grey values; None scales as the training set was.
        output: `output`/CASE gets `result.json`, label map, uncertainty and landmarks.
        options: how to predict.
        device: where.
    """
    engine = None
    for entry, scaling in cases.items():
        if (output / entry.case / RESULT).is_file():
            continue
        if entry.side not in set(Side):
            logger.warning("%s: its side is %r, left out", entry.case, entry.side or "unknown")
            continue
        engine = engine or open_engine(bundle, device=device)
        scan = replace(load_scan(dataset / entry.image), name=entry.case)
        found = predict_volume(scan, bundle, engine, options=replace(options, scaling=scaling))
        facts = {
            "models": {bundle.config.name: {"sha256": bundle.sha256}},
            "settings": {
                "tta": options.tta,
                "overlap": round(options.overlap, 4),
                "scaling": "of the training set" if scaling is None else "of its own set",
                # S24: over the whole volume; in `uncertainty` of an ear it is near the labyrinth.
                "volume_mean_sd": found.mean_spread,
            },
        }
        prediction = as_prediction(found, scan, Side(entry.side), provenance=facts)
        write_case_results(prediction, output / entry.case)


def prepared(
    bundle: Bundle, dataset: Path, *, by: str, picture: Path
) -> dict[Entry, GreyMap | None]:
    """The cases of a test set, each with what is done to its grey values (S5, S6).

    Args:
        bundle: the model that will see them; its card tells scaling and contrast of its training.
        dataset: folder of the test set.
        by: clusters that are matched to the training set, see `contrast_sets.bring_into_range`;
            empty to scale the set as a whole and match nothing.
        picture: contrast before and after matching.

    Raises:
        ConfigError: if the model has nothing to match to.
    """
    entries = [entry for entry in read_index(dataset) if entry.image]
    if not bundle.facts.get("scaling"):
        if by:
            raise ConfigError("a model that scales every chunk by itself has no range to match to")
        return dict.fromkeys(entries)
    fractions = bundle.config.data.quantiles
    if not by:
        return dict.fromkeys(entries, own_scaling(dataset, entries, fractions))
    known = bundle.facts["contrast"]
    reference = Contrast(np.array(known["quantiles"]), known["fluid"], known["bone"])
    found = bring_into_range(dataset, entries, reference, by=by, fractions=fractions)
    inside = (known["labyrinth_mean"], known["labyrinth_sd"])
    contrast_matching(found.before, found.after, picture, inside=inside)
    return {entry: found.maps[entry.case] for entry in entries}


def write_case_results(prediction: Prediction, folder: Path) -> None:
    """Write what an evaluation reads of one case, without surfaces, pictures and page."""
    result = describe(prediction)
    result = result.model_copy(update={"files": {name: FILES[name] for name in _KEPT}})
    with replacing_folder(folder) as beside:
        save_label_map(prediction.labels, beside / FILES["segmentation"])
        uncertainty = prediction.uncertainty
        save_volume(uncertainty, prediction.labels.grid, beside / FILES["uncertainty"])
        points = {ear.side: ear.landmarks for ear in prediction.ears}
        write_markups(beside / FILES["landmarks"], points)
        (beside / RESULT).write_text(result.model_dump_json(indent=2) + "\n", "utf-8")


def _check_settings(run: Path, config: TrainConfig) -> None:
    """Refuse to go on with a run of other settings."""
    path = run / "config.json"
    if path.is_file() and path.read_text("utf-8") != config.model_dump_json(indent=2) + "\n":
        raise ConfigError(f"{run}: was trained with other settings; choose another --output")


def _table(runs: dict[str, Path]) -> pd.DataFrame:
    """The best models' figures, a row per fold."""
    rows: list[dict[str, Any]] = []
    for name, run in runs.items():
        facts = load_bundle(run / "model").facts
        rows.append({"fold": name, "iteration": facts["iteration"], **facts["validation"]})
    return pd.DataFrame(rows)


def mean_and_sd(table: pd.DataFrame, measures: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Mean and SD over the folds of those measures that there are."""
    known = {name: table[name].to_numpy(dtype=float) for name in measures if name in table}
    return {
        name: (float(np.mean(v)), float(np.std(v, ddof=1)) if len(v) > 1 else 0.0)
        for name, v in known.items()
    }
