"""Options shared by several commands, in groups: a command takes a group as one parameter."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

from otovox.errors import ConfigError

if TYPE_CHECKING:
    from otovox.config.training import TrainConfig
    from otovox.experiments.cross_validation import FoldPlan
    from otovox.experiments.predict import PredictionPlan
    from otovox.learning.hardware import Hardware

Tests = Annotated[
    list[Path],
    typer.Option("--test", metavar="DATASET", help="Test set for every fold's model; repeatable."),
]
Device = Annotated[
    str,
    typer.Option(
        help="Device for prediction, and for training in studies: auto, cpu, torch, cuda or cuda:N."
    ),
]


@dataclass(frozen=True)
class FoldOptions:
    """How a data set is divided into folds."""

    folds: Annotated[int, typer.Option(min=1, help="Number of folds.")] = 3
    validation: Annotated[int, typer.Option(min=1, help="Validation patients per fold.")] = 5
    seed: Annotated[int, typer.Option(min=0, help="Seed for drawing the folds.")] = 0

    def plan(self) -> "FoldPlan":
        from otovox.experiments.cross_validation import FoldPlan

        return FoldPlan(self.folds, self.validation, self.seed)


@dataclass(frozen=True)
class PredictionOptions:
    """How validation and test cases are predicted."""

    test: Tests = field(default_factory=list)
    tta: Annotated[
        Literal["none", "paper", "full"],
        typer.Option(help="Test-time augmentation of the test sets."),
    ] = "paper"
    match: Annotated[
        str,
        typer.Option(
            help="Match the test sets' contrast to the training set: a number of clusters, or the "
            "name of a column."
        ),
    ] = ""
    smooth: Annotated[
        bool,
        typer.Option("--smooth", help="Smooth masks with a Gaussian and Otsu's threshold."),
    ] = False
    device: Device = "auto"

    def plan(self) -> "PredictionPlan":
        from otovox.experiments.predict import PredictionPlan

        return PredictionPlan(
            tests=tuple(self.test),
            tta=self.tta,
            match=self.match,
            smooth=self.smooth,
            device=self.device,
        )


@dataclass(frozen=True)
class SettingsOptions:
    """Training settings."""

    preset: Annotated[str | None, typer.Option(help="Name of included settings.")] = None
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.")] = None
    precision: Annotated[
        Literal["32-true", "16-mixed", "bf16-mixed"] | None,
        typer.Option(help="Arithmetic precision; overrides the settings."),
    ] = None

    def load(self) -> "TrainConfig":
        """Load the named settings.

        Raises:
            ConfigError: if not exactly one preset or file is given, or it is invalid.
        """
        from otovox.config.training import load_config, load_preset, preset_names

        if self.preset is not None and self.config is None:
            settings = load_preset(self.preset)
        elif self.config is not None and self.preset is None:
            settings = load_config(self.config)
        else:
            names = ", ".join(preset_names())
            raise ConfigError(f"either --preset NAME or --config FILE is needed; presets: {names}")
        if self.precision is None:
            return settings
        return settings.model_copy(update={"precision": self.precision})


@dataclass(frozen=True)
class HardwareOptions:
    """Where to train, and whether to continue."""

    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Continue from the last checkpoint.")
    ] = True
    accelerator: Annotated[
        Literal["auto", "cpu", "gpu"], typer.Option(help="Type of device to train on.")
    ] = "auto"
    devices: Annotated[
        str, typer.Option(help="Devices per node: auto, a number, or a list such as 0,1.")
    ] = "auto"
    nodes: Annotated[int, typer.Option(min=1, help="Number of machines.")] = 1
    strategy: Annotated[
        str, typer.Option(help="Lightning's strategy for several devices, such as ddp.")
    ] = "auto"

    def hardware(self) -> "Hardware":
        """These options as the `Hardware` of training.

        Raises:
            ConfigError: if the packages for training are not installed.
        """
        try:
            import otovox.learning.training  # noqa: F401 - needs more than `Hardware` does
            from otovox.learning.hardware import Hardware
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"training needs {error.name}, which is not installed: pip install 'otovox[train]'"
            ) from error
        return Hardware(self.accelerator, self.devices, self.nodes, self.strategy)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Decorate a command that takes groups: a dataclass parameter becomes one option per field."""
    kinds = get_type_hints(command, include_extras=True)
    groups = {
        name: kind for name, kind in kinds.items() if is_dataclass(kind) and isinstance(kind, type)
    }

    @functools.wraps(command)
    def flat(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{one.name: given.pop(one.name) for one in fields(group)})
        command(**given)

    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            parameters += _options(groups[name])
        else:
            parameters.append(
                parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=kinds[name])
            )
    # Read by typer.
    flat.__signature__ = inspect.Signature(parameters)  # pyright: ignore[reportAttributeAccessIssue]
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flat


def _options(group: type) -> list[inspect.Parameter]:
    kinds = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            one.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=_default(one),
            annotation=kinds[one.name],
        )
        for one in fields(group)
    ]


def _default(one: "Field[Any]") -> Any:
    return one.default if one.default_factory is MISSING else one.default_factory()
