"""`otovox train` and `otovox cross-validate`."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from otovox.cli.errors import refusals, set_up_logging
from otovox.cli.options import Device, Folds, Match, Seed, Smooth, Tests, Tta, Validation
from otovox.errors import ConfigError

if TYPE_CHECKING:
    from otovox.config.training import TrainConfig
    from otovox.experiments.phantom_training import RealEars

Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for models and curves.")]
Preset = Annotated[str | None, typer.Option(help="Settings that come with otovox, by name.")]
Config = Annotated[Path | None, typer.Option(help="Settings from a TOML file.")]
Resume = Annotated[bool, typer.Option("--resume/--fresh", help="Go on from the last checkpoint.")]
Iterations = Annotated[int | None, typer.Option(min=1, help="Stop after so many iterations.")]
Accelerator = Annotated[Literal["auto", "cpu", "gpu"], typer.Option(help="Where to train.")]
Devices = Annotated[str, typer.Option(help="Devices per node: auto, a number, or as in 0,1.")]
Nodes = Annotated[int, typer.Option(min=1, help="Machines that train together.")]
Strategy = Annotated[str, typer.Option(help="Lightning's strategy for several, such as ddp.")]
Precision = Annotated[
    Literal["32-true", "16-mixed", "bf16-mixed"] | None,
    typer.Option(help="Arithmetic, if not that of the settings."),
]
Data = Annotated[
    Path | None, typer.Option("--data", "-d", help="Data set on disk; phantoms if not given.")
]
Dataset = Annotated[Path, typer.Argument(metavar="DATASET", help="Data set on disk.")]
Fold = Annotated[
    int | None,
    typer.Option(min=0, help="Which fold of the data set; with --ears, all of it if not given."),
]
From = Annotated[
    str | None,
    typer.Option("--from", help="Start from a model's weights: a name or a folder."),
]
Ears = Annotated[Path | None, typer.Option(help="Data set of real ears to mix into the phantoms.")]
Anatomies = Annotated[
    Path | None, typer.Option(help="Folder in which rendered phantoms are kept, to be shared.")
]


@refusals
def train(
    output: Output,
    preset: Preset = None,
    config: Config = None,
    data: Data = None,
    ears: Ears = None,
    start: From = None,
    anatomies: Anatomies = None,
    fold: Fold = None,
    folds: Folds = 3,
    validation: Validation = 5,
    seed: Seed = 0,
    resume: Resume = True,
    iterations: Iterations = None,
    accelerator: Accelerator = "auto",
    devices: Devices = "auto",
    nodes: Nodes = 1,
    strategy: Strategy = "auto",
    precision: Precision = None,
) -> None:
    """Train a network on phantoms or one fold of a data set; go on where the last run stopped."""
    settings = _settings(preset, config, precision)
    if fold is not None and fold >= folds:
        raise ConfigError(f"there is no fold {fold}; there are 0 to {folds - 1}")
    if data is not None and (ears or start or anatomies):
        raise ConfigError("--ears, --from and --anatomies go with phantoms, not with --data")
    if data is not None and iterations is not None:
        raise ConfigError("--iterations is for phantoms; set total_iterations in a --config file")
    set_up_logging(verbose=True)
    training = _training()
    hardware = training.Hardware(accelerator, devices, nodes, strategy)
    if data is None:
        from otovox.experiments.phantom_training import train_on_phantoms
        from otovox.learning.bundle import load_bundle

        begun = load_bundle(start) if start else None
        run = training.TrainingOptions(resume, hardware, iterations, begun)
        mixed = _mixed(ears, fold, (folds, validation, seed)) if ears else None
        train_on_phantoms(settings, output, run=run, ears=mixed, anatomies=anatomies)
        return
    _folds(data, output, (folds, validation, seed))
    _train_folds(data, settings, output, [fold or 0], (resume, hardware))


@refusals
def cross_validate(
    dataset: Dataset,
    output: Output,
    preset: Preset = None,
    config: Config = None,
    folds: Folds = 3,
    validation: Validation = 5,
    seed: Seed = 0,
    test: Tests = [],  # noqa: B006 - typer reads it, nobody changes it
    tta: Tta = "paper",
    match: Match = "",
    smooth: Smooth = False,
    device: Device = "auto",
    resume: Resume = True,
    accelerator: Accelerator = "auto",
    devices: Devices = "auto",
    nodes: Nodes = 1,
    strategy: Strategy = "auto",
    precision: Precision = None,
) -> None:
    """Train every fold of a data set, predict what it has not seen; what is done is kept."""
    settings = _settings(preset, config, precision)
    set_up_logging(verbose=True)
    hardware = _training().Hardware(accelerator, devices, nodes, strategy)
    _folds(dataset, output, (folds, validation, seed))
    _train_folds(dataset, settings, output, range(folds), (resume, hardware))
    from otovox.experiments.predict import PredictionPlan, predict_fold

    how = PredictionPlan(tests=tuple(test), tta=tta, match=match, smooth=smooth, device=device)
    for fold in range(folds):
        predict_fold(dataset, output, fold, how=how)
    sets = " ".join(f"--data {path}" for path in (dataset, *test))
    typer.echo(f"Next: otovox evaluate {output} {sets} --output {output / 'scores'}")


def _settings(preset: str | None, config: Path | None, precision: str | None) -> "TrainConfig":
    from otovox.config.training import load_config, load_preset, preset_names

    if (preset is None) == (config is None):
        names = ", ".join(preset_names())
        raise ConfigError(f"either --preset NAME or --config FILE is needed; presets: {names}")
    settings = load_preset(preset) if preset is not None else load_config(config or Path())
    return settings.model_copy(update={"precision": precision}) if precision else settings


def _training():
    try:
        from otovox.learning import training
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"training needs {error.name}, which is not installed; pip install 'otovox[train]'"
        ) from error
    return training


def _mixed(folder: Path, fold: int | None, how: tuple[int, int, int]) -> "RealEars":
    """The ears of a data set that train: all, or those of one fold, split by patient."""
    from otovox.dataset.layout import read_index, read_info
    from otovox.experiments.cross_validation import draw_folds
    from otovox.experiments.phantom_training import RealEars

    folds, validation, seed = how
    entries = [entry for entry in read_index(folder) if entry.split != "test"]
    if fold is not None:
        drawn = draw_folds(entries, folds=folds, validation=validation, seed=seed)[fold]
        entries = [entry for entry in entries if entry.case in drawn["train"]]
    return RealEars(folder, tuple(entries), str(read_info(folder).get("name", "")))


def _folds(dataset: Path, output: Path, how: tuple[int, int, int]) -> None:
    """Draw the folds and write them down."""
    from otovox.dataset.layout import read_index
    from otovox.experiments.cross_validation import draw_folds, keep_folds

    folds, validation, seed = how
    drawn = draw_folds(read_index(dataset), folds=folds, validation=validation, seed=seed)
    keep_folds(dataset, output, drawn)


def _train_folds(
    dataset: Path, settings: "TrainConfig", output: Path, folds: Sequence[int], how: tuple
) -> None:
    """Train, say what each fold reached, and draw the curves."""
    from otovox.evaluation.figures import learning_curves
    from otovox.experiments.cross_validation import train_fold

    resume, hardware = how
    curves: dict[str, Path] = {}
    for fold in folds:
        bundle = train_fold(dataset, settings, output, fold, resume=resume, hardware=hardware)
        figures = ", ".join(f"{k} {v:.3g}" for k, v in bundle.facts["validation"].items())
        typer.echo(f"fold {fold}, iteration {bundle.facts['iteration']}: {figures}")
        curves[f"fold {fold}"] = output / f"fold-{fold}" / "validation.csv"
    learning_curves(curves, output / "learning-curves.png")
    typer.echo(f"Curves: {output / 'learning-curves.png'}")
