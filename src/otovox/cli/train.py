"""`otovox train` and `otovox cross-validate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otovox.cli.errors import refusals, set_up_logging
from otovox.cli.options import (
    FoldOptions,
    HardwareOptions,
    PredictionOptions,
    SettingsOptions,
    grouped,
)
from otovox.errors import ConfigError

if TYPE_CHECKING:
    from otovox.config.training import TrainConfig
    from otovox.experiments.cross_validation import FoldPlan
    from otovox.experiments.phantom_training import RealEars
    from otovox.learning.training import TrainingOptions

Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for models and curves.")]
Iterations = Annotated[
    int | None,
    typer.Option(
        min=1, help="Stop after this many iterations; the same command without it continues."
    ),
]
Data = Annotated[
    Path | None, typer.Option("--data", "-d", help="Data set on disk; phantoms by default.")
]
Dataset = Annotated[Path, typer.Argument(metavar="DATASET", help="Data set on disk.")]
Fold = Annotated[
    int | None,
    typer.Option(min=0, help="Fold of the data set; with --ears, the whole set by default."),
]
From = Annotated[
    str | None,
    typer.Option("--from", help="Start from the weights of a model: a name or a folder."),
]
Ears = Annotated[Path | None, typer.Option(help="Data set of real ears to mix into the phantoms.")]
Anatomies = Annotated[
    Path | None, typer.Option(help="Folder for rendered phantoms, shared between runs.")
]


@grouped
@refusals
def train(
    settings: SettingsOptions,
    folds: FoldOptions,
    hardware: HardwareOptions,
    output: Output,
    data: Data = None,
    ears: Ears = None,
    start: From = None,
    anatomies: Anatomies = None,
    fold: Fold = None,
    iterations: Iterations = None,
) -> None:
    """Train a network on phantoms or one fold of a data set; continue an unfinished run."""
    config = settings.load()
    if fold is not None and fold >= folds.folds:
        raise ConfigError(f"there is no fold {fold}; there are 0 to {folds.folds - 1}")
    if data is not None and (ears or start or anatomies):
        raise ConfigError(
            "--ears, --from and --anatomies are for phantoms; they cannot be used with --data"
        )
    set_up_logging(verbose=True)
    options = _training(hardware, iterations, start)
    if data is None:
        from otovox.experiments.phantom_training import train_on_phantoms

        mixed = _mixed(ears, fold, folds.plan()) if ears else None
        train_on_phantoms(config, output, run=options, ears=mixed, anatomies=anatomies)
        return
    from otovox.learning.training import intervals

    intervals(config, iterations)
    _keep_folds(data, output, folds.plan())
    _train_folds(data, config, output, [fold or 0], options)


@grouped
@refusals
def cross_validate(
    dataset: Dataset,
    output: Output,
    settings: SettingsOptions,
    folds: FoldOptions,
    prediction: PredictionOptions,
    hardware: HardwareOptions,
) -> None:
    """Train every fold of a data set and predict its held-out cases; finished work is kept."""
    config = settings.load()
    set_up_logging(verbose=True)
    options, plan = _training(hardware), prediction.plan()
    _keep_folds(dataset, output, folds.plan())
    _train_folds(dataset, config, output, range(folds.folds), options)
    from otovox.experiments.predict import predict_fold

    for fold in range(folds.folds):
        predict_fold(dataset, output, fold, plan=plan)
    sets = " ".join(f"--data {path}" for path in (dataset, *prediction.plain, *prediction.test))
    typer.echo(f"Next: otovox evaluate {output} {sets} --output {output / 'scores'}")


def _training(
    options: HardwareOptions, iterations: int | None = None, start: str | None = None
) -> "TrainingOptions":
    hardware = options.hardware()
    from otovox.learning.bundle import load_bundle
    from otovox.learning.training import TrainingOptions

    bundle = load_bundle(start) if start else None
    return TrainingOptions(options.resume, hardware, iterations, bundle)


def _mixed(folder: Path, fold: int | None, plan: "FoldPlan") -> "RealEars":
    """The training ears of a data set: all, or those of one fold, split by patient."""
    from otovox.dataset.layout import read_index, read_info
    from otovox.experiments.cross_validation import draw_folds
    from otovox.experiments.phantom_training import RealEars

    entries = [entry for entry in read_index(folder) if entry.split != "test"]
    if fold is not None:
        drawn = draw_folds(entries, plan)[fold]
        entries = [entry for entry in entries if entry.case in drawn["train"]]
    info = read_info(folder)
    return RealEars(folder, tuple(entries), str(info.get("name", "")), str(info.get("source", "")))


def _keep_folds(dataset: Path, output: Path, plan: "FoldPlan") -> None:
    """Draw the folds and write them to the output."""
    from otovox.dataset.layout import read_index
    from otovox.experiments.cross_validation import draw_folds, keep_folds

    keep_folds(dataset, output, draw_folds(read_index(dataset), plan))


def _train_folds(
    dataset: Path,
    config: "TrainConfig",
    output: Path,
    folds: Sequence[int],
    options: "TrainingOptions",
) -> None:
    """Train, print the validation metrics of each fold, and plot the learning curves."""
    from otovox.evaluation.figures import learning_curves
    from otovox.experiments.cross_validation import train_fold

    curves: dict[str, Path] = {}
    for fold in folds:
        bundle = train_fold(dataset, config, output, fold, run=options)
        metrics = ", ".join(f"{k} {v:.3g}" for k, v in bundle.facts["validation"].items())
        typer.echo(f"fold {fold}, iteration {bundle.facts['iteration']}: {metrics}")
        curves[f"fold {fold}"] = output / f"fold-{fold}" / "validation.csv"
    learning_curves(curves, output / "learning-curves.png")
    typer.echo(f"Curves: {output / 'learning-curves.png'}")
