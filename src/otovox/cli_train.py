"""`otovox train` and `otovox cross-validate`."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from otovox.errors import ConfigError
from otovox.refusing import refusals

if TYPE_CHECKING:
    from otovox.config import TrainConfig

Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for the run.")]
Dataset = Annotated[Path, typer.Argument(metavar="DATASET", help="Folder of a data set.")]
Data = Annotated[
    Path | None, typer.Option("--data", "-d", help="Data set to train on; without it, phantoms.")
]
Preset = Annotated[str | None, typer.Option(help="Settings that come with otovox, by name.")]
Config = Annotated[Path | None, typer.Option(help="Settings from a TOML file.")]
Resume = Annotated[bool, typer.Option("--resume/--fresh", help="Go on from the last checkpoint.")]
Iterations = Annotated[int | None, typer.Option(min=1, help="Stop after so many iterations.")]
FoldNumber = Annotated[
    int | None, typer.Option(min=0, help="Fold to train; without it, the data set's own split.")
]
Folds = Annotated[int, typer.Option(min=1, help="How many folds.")]
Validation = Annotated[int, typer.Option(min=1, help="Patients that validate in each fold.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the folds.")]
Tests = Annotated[
    list[Path], typer.Option("--test", metavar="DATASET", help="Data set for every fold's model.")
]
Tta = Annotated[
    Literal["none", "fast", "paper", "full"],
    typer.Option(help="Test-time augmentation of the test sets."),
]
Match = Annotated[
    str, typer.Option(help="Match the test sets' contrast: how many clusters, or a column's name.")
]
Device = Annotated[str, typer.Option(help="Where to predict: auto, cpu, torch, cuda or cuda:N.")]
Accelerator = Annotated[Literal["auto", "cpu", "gpu"], typer.Option(help="Where to train.")]
Devices = Annotated[str, typer.Option(help="How many devices per node, which (0,2), or auto.")]
Nodes = Annotated[int, typer.Option(min=1, help="Machines that train together.")]
Strategy = Annotated[str, typer.Option(help="Lightning's strategy, such as ddp or fsdp.")]
Precision = Annotated[
    Literal["32-true", "bf16-mixed", "16-mixed"] | None,
    typer.Option(help="Arithmetic, if not the settings'."),
]


@refusals
def train(
    output: Output,
    preset: Preset = None,
    config: Config = None,
    data: Data = None,
    fold: FoldNumber = None,
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
    """Train a network on phantoms or a data set; go on where the last run stopped."""
    settings = _settings(preset, config, precision)
    if data is None and fold is not None:
        raise ConfigError("--fold needs a data set: give its folder with --data")
    training = _training()
    machine = training.Machine(accelerator, devices, nodes, strategy)
    if data is None:
        training.train_preset(
            settings, output, resume=resume, iterations=iterations, machine=machine
        )
        return
    from otovox.dataset import folds_by_patient, marked_fold, read_index
    from otovox.training_data import disk_datasets

    entries = read_index(data)
    if fold is None:
        chosen = marked_fold(entries)
    elif fold < folds:
        chosen = folds_by_patient(entries, folds=folds, validation=validation, seed=seed)[fold]
    else:
        raise ConfigError(f"--fold {fold}: of {folds} folds the last is {folds - 1}")
    datasets = disk_datasets(settings, data, chosen, output / "volumes")
    training.train(
        settings, output, datasets, resume=resume, iterations=iterations, machine=machine
    )


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
    device: Device = "auto",
    accelerator: Accelerator = "auto",
    devices: Devices = "auto",
    nodes: Nodes = 1,
    strategy: Strategy = "auto",
    precision: Precision = None,
) -> None:
    """Train every fold, predict what it has not seen; go on with what is there."""
    settings = _settings(preset, config, precision)
    training = _training()
    from otovox.cross_validation import Plan, cross_validate, mean_and_sd

    machine = training.Machine(accelerator, devices, nodes, strategy)
    plan = Plan(folds, validation, seed, tuple(test), tta, match, device)
    table = cross_validate(dataset, output, settings, plan=plan, machine=machine)
    if not training.is_main():
        return
    for name, (mean, sd) in mean_and_sd(table, ("dsc", "iou", "landmark_mm")).items():
        typer.echo(f"{name}: {mean:.3f}, SD over {len(table)} folds {sd:.3f}")
    typer.echo(f"next: otovox evaluate {output} --data {dataset} --output {output / 'scores'}")


def _settings(preset: str | None, config: Path | None, precision: str | None) -> "TrainConfig":
    from otovox.config import load_config, load_preset, preset_names

    if preset is not None and config is None:
        settings = load_preset(preset)
    elif config is not None and preset is None:
        settings = load_config(config)
    else:
        names = ", ".join(preset_names())
        raise ConfigError(f"either --preset NAME or --config FILE is needed; presets: {names}")
    return settings.model_copy(update={"precision": precision}) if precision else settings


def _training():
    """The training module, whose libraries are not installed by default."""
    logging.captureWarnings(True)
    logging.basicConfig(format="otovox: %(message)s", level=logging.WARNING)
    logging.getLogger("otovox").setLevel(logging.INFO)
    try:
        from otovox import training
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"training needs {error.name}, which is not installed; pip install 'otovox[train]'"
        ) from error
    return training
