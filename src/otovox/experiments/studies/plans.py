"""Studies as data: runs that each change some settings of a preset, at any scale."""

import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from otovox.config.registry import kinds
from otovox.config.systems import Settings
from otovox.config.training import (
    SCHEDULES,
    HeatmapStep,
    TrainConfig,
    config_from,
    load_config,
    load_preset,
)
from otovox.errors import ConfigError

#: The section of a scale that applies to every system.
ALL = "all"

Tree = Mapping[str, Any]


class StudyRun(Settings):
    """One run of a study.

    Attributes:
        number: number in the study; 0 is the reference.
        factor: the varied factor.
        level: its level.
        status: "stated" by the paper, or "ours": chosen, not measured.
        preset: the preset to change; the study's reference if empty.
        settings: nested settings that differ from it, as in `config.TrainConfig`.
        published: its system in `published.csv`; empty if there are no published figures.
    """

    number: int = Field(ge=0)
    factor: str
    level: str
    status: Literal["stated", "ours"]
    preset: str = ""
    settings: dict[str, Any] = Field(default_factory=dict)
    published: str = ""

    @property
    def name(self) -> str:
        """Name of its folder: number, factor and level."""
        words = f"{self.number:02d} {self.factor} {self.level if self.number else ''}"
        return re.sub(r"[^a-z0-9.]+", "-", words.lower()).strip("-")


class Study(Settings):
    """Runs that are compared with their first.

    Attributes:
        name: name of the study.
        description: one line.
        reference: preset of run 0, and of all runs without a preset.
        runs: runs by number, from 0.
    """

    name: str
    description: str
    reference: str
    runs: tuple[StudyRun, ...] = Field(min_length=1)

    def chosen(self, only: Sequence[str]) -> tuple[StudyRun, ...]:
        """The runs of some factors, and the reference; all runs if no factor is given.

        Raises:
            ConfigError: if a factor is not varied.
        """
        factors = list(dict.fromkeys(run.factor for run in self.runs))
        if strange := [name for name in only if name not in factors]:
            factor_names = ", ".join(factors)
            raise ConfigError(
                f"{self.name} has no factor {strange[0]!r}; choose one of {factor_names}"
            )
        return tuple(r for r in self.runs if not only or r.factor in only or not r.number)


def study_names() -> tuple[str, ...]:
    """Names of the included studies.

    >>> study_names()
    ('ablations', 'systems', 'view-orders')
    """
    files = (entry.name for entry in (resources.files("otovox.experiments.studies")).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml")))


def load_study(name: str | Path) -> Study:
    """Load an included study or a custom one.

    Args:
        name: name of the study, or path of a TOML file like those in this folder.

    Raises:
        ConfigError: if it does not exist or is not valid.

    >>> len(load_study("ablations").runs)
    45
    """
    if str(name) in study_names():
        text = (resources.files("otovox.experiments.studies") / f"{name}.toml").read_text("utf-8")
    elif Path(name).suffix == ".toml":
        text = _text(Path(name))
    else:
        names = ", ".join(study_names())
        raise ConfigError(f"there is no study {str(name)!r}; choose one of {names}, or a TOML file")
    try:
        study = Study.model_validate(_tree(text, str(name)))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(step) for step in first["loc"])
        raise ConfigError(f"{name}: {key}: {first['msg']}") from error
    if [run.number for run in study.runs] != list(range(len(study.runs))):
        raise ConfigError(f"{name}: runs must be numbered 0, 1, 2, ...")
    return study


def load_scale(path: Path) -> dict[str, Tree]:
    """Load settings that override those of each run, by system.

    Args:
        path: path of a TOML file with a section `all`, and sections per kind of system that apply
            to this kind only.

    Raises:
        ConfigError: if it cannot be read, or has an unknown section.
    """
    scale, sections = _tree(_text(path), str(path)), (ALL, *kinds())
    for name, section in scale.items():
        if name not in sections or not isinstance(section, dict):
            section_names = ", ".join(sections)
            raise ConfigError(
                f"{path}: {name}: is not a section of a scale; choose one of {section_names}"
            )
    return scale


def run_settings(
    study: Study,
    run: StudyRun,
    *,
    base: Path | None = None,
    scale: Mapping[str, Tree] | None = None,
) -> TrainConfig:
    """All settings of a run.

    A run makes the same change at any scale: absolute numbers that depend on the size of a network
        or
    the length of training are scaled in proportion to those of the reference preset.

    - channels: the same number of levels more or fewer (an extra level repeats the last), all
      multiplied by the ratio at the finest level;
    - accumulation: in proportion, at least 1;
    - heatmap schedules: iterations in proportion to the length of training, spreads and amplitudes
      to the first step of the schedule.

    Rates, weight decay, betas and everything else are unchanged. If an accumulation does not divide
    `validate_every`, the nearest interval that it divides is used.

    Args:
        study: the study.
        run: one of its runs.
        base: TOML file that replaces the reference preset.
        scale: from `load_scale`, overrides the preset before the run changes it.

    Raises:
        ConfigError: if the settings are inconsistent.

    >>> study = load_study("ablations")
    >>> run_settings(study, study.runs[0]).optimiser.total_iterations
    75000
    """
    own = not run.preset or run.preset == study.reference
    preset = load_config(base) if base and own else load_preset(run.preset or study.reference)
    given = preset.model_dump()
    for section in (ALL, preset.system.kind):
        given = merged(given, (scale or {}).get(section, {}))
    origin = f"{study.name}, run {run.number} ({run.factor} {run.level})"
    stand_in = config_from(given, origin=origin)
    paper = load_preset(run.preset or study.reference)
    changes = _in_proportion(run.settings, paper, stand_in)
    changed = merged(stand_in.model_dump(), changes)
    changed["validate_every"] = _interval(changed, origin)
    facts = {"name": run.name, "description": f"{study.name}: {run.factor} {run.level}"}
    config = config_from(changed | facts, origin=origin)
    if run.settings and config == stand_in.model_copy(update=facts):
        raise ConfigError(f"{origin}: at this scale it is identical to its base")
    return config


def settled(
    study: Study,
    runs: Sequence[StudyRun],
    *,
    base: Path | None = None,
    scale: Mapping[str, Tree] | None = None,
) -> list[tuple[StudyRun, TrainConfig | str]]:
    """The settings of runs, or why a run is not possible at this scale; see `run_settings`.

    Raises:
        ConfigError: if the reference is not possible.
    """
    run_settings(study, study.runs[0], base=base, scale=scale)
    settings: list[tuple[StudyRun, TrainConfig | str]] = []
    for run in runs:
        try:
            settings.append((run, run_settings(study, run, base=base, scale=scale)))
        except ConfigError as error:
            settings.append((run, str(error)))
    return settings


def merged(under: Tree, over: Tree) -> dict[str, Any]:
    """Nested settings overridden by others; tables are merged, other values replaced.

    >>> merged({"data": {"seed": 1, "workers": 2}}, {"data": {"seed": 3}})
    {'data': {'seed': 3, 'workers': 2}}
    """
    both = dict(under)
    for key, value in over.items():
        below = both.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            both[key] = merged(below, value)
        else:
            both[key] = value
    return both


def _in_proportion(changes: Tree, paper: TrainConfig, stand_in: TrainConfig) -> Tree:
    """The changes of a run, at the scale of the settings that replace the paper's."""
    network, optimiser = changes.get("network", {}), changes.get("optimiser", {})
    scaled: dict[str, Any] = {}
    if "channels" in network:
        own = _channels(network["channels"], paper.network.channels, stand_in.network.channels)
        scaled["network"] = {"channels": own}
    if "accumulation" in optimiser:
        ratio = stand_in.optimiser.accumulation / paper.optimiser.accumulation
        scaled["optimiser"] = {"accumulation": max(1, round(optimiser["accumulation"] * ratio))}
    if isinstance(changes.get("heatmaps"), str):
        scaled["heatmaps"] = _schedule(changes["heatmaps"], paper, stand_in)
    return merged(changes, scaled)


def _channels(level: Sequence[int], paper: Sequence[int], own: Sequence[int]) -> list[int]:
    depth = len(own) + len(level) - len(paper)
    deep = [own[min(n, len(own) - 1)] for n in range(max(depth, 0))]
    return [max(1, round(count * level[0] / paper[0])) for count in deep]


def _schedule(name: str, paper: TrainConfig, stand_in: TrainConfig) -> Any:
    if name not in SCHEDULES:
        return name
    length = stand_in.optimiser.total_iterations / paper.optimiser.total_iterations
    first, like = stand_in.heatmaps[0], paper.heatmaps[0]
    # Steps that coincide in a short training are reduced to the last one.
    steps = {round(step.iteration * length): step for step in SCHEDULES[name]}
    return [
        HeatmapStep(
            iteration=start,
            spread_voxels=step.spread_voxels * first.spread_voxels / like.spread_voxels,
            amplitude=step.amplitude * first.amplitude / like.amplitude,
        ).model_dump()
        for start, step in steps.items()
    ]


def _interval(settings: Tree, origin: str) -> int:
    """The nearest interval that is a multiple of the accumulation and divides the training."""
    wanted, optimiser = settings["validate_every"], settings["optimiser"]
    total, accumulation = optimiser["total_iterations"], optimiser["accumulation"]
    fitting = [n for n in range(accumulation, total + 1, accumulation) if total % n == 0]
    if not fitting:
        raise ConfigError(f"{origin}: {total} iterations are not a multiple of {accumulation}")
    return min(fitting, key=lambda n: abs(n - wanted))


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error


def _tree(text: str, origin: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{origin}: is not valid TOML ({error})") from error
