"""Folds of a cross-validation (S19): patients drawn, validation sets disjoint."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otovox.dataset.layout import Entry
from otovox.errors import ConfigError, InputError
from otovox.formats.writing import replacing


@dataclass(frozen=True)
class Fold:
    """Names of the cases that train, and of those that validate."""

    train: tuple[str, ...]
    validation: tuple[str, ...]


def folds_by_patient(
    entries: Sequence[Entry], *, folds: int = 3, validation: int = 5, seed: int = 0
) -> list[Fold]:
    """Draw folds; a patient's cases stay together, and cases marked as test are in none.

    Args:
        entries: all cases; those without labels are left out.
        folds: how many.
        validation: patients that validate in each fold; no patient does so twice.
        seed: the same seed draws the same folds.

    Raises:
        InputError: if there are too few patients.

    Source: Stebani et al. 2023: 3 folds, 38 of 43 train and 5 validate; disjoint sets (chosen).
    """
    usable = [entry for entry in entries if entry.labels and entry.split != "test"]
    patients = sorted({entry.patient for entry in usable})
    if folds * validation > len(patients) or validation >= len(patients):
        raise InputError(
            f"{len(patients)} patients with labels are too few for {folds} folds with {validation}"
            " in validation each"
        )
    drawn = np.random.default_rng(seed).permutation(patients).tolist()
    parts = [set(drawn[n * validation : (n + 1) * validation]) for n in range(folds)]
    return [_fold(usable, part) for part in parts]


def marked_fold(entries: Sequence[Entry]) -> Fold:
    """The one fold that the data set's own column `split` tells.

    Raises:
        InputError: if no case is marked to train, or none to validate.
    """
    fold = Fold(*(_cases(entries, name) for name in ("train", "validation")))
    if not (fold.train and fold.validation):
        raise InputError(
            "no case of the data set is marked to train and to validate; run `otovox dataset split`"
            " or choose a fold"
        )
    return fold


def keep_folds(path: Path, folds: Sequence[Fold], *, seed: int) -> None:
    """Write the folds, or see that they are those that are there.

    Args:
        path: `splits.json` of a cross-validation.
        folds: as drawn.
        seed: they were drawn with.

    Raises:
        ConfigError: if other folds are there.
    """
    parts = [{"train": list(f.train), "validation": list(f.validation)} for f in folds]
    facts = {"seed": seed, "folds": parts}
    try:
        there = json.loads(path.read_text("utf-8")) if path.exists() else facts
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if there != facts:
        raise ConfigError(
            f"{path}: holds other folds, of another seed, number or data set; "
            "choose another --output"
        )
    with replacing(path) as beside:
        beside.write_text(json.dumps(facts, indent=2) + "\n", "utf-8")


def _fold(entries: Sequence[Entry], validating: set[str]) -> Fold:
    train = tuple(e.case for e in entries if e.patient not in validating)
    return Fold(train, tuple(e.case for e in entries if e.patient in validating))


def _cases(entries: Sequence[Entry], split: str) -> tuple[str, ...]:
    return tuple(entry.case for entry in entries if entry.labels and entry.split == split)
