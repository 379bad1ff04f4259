"""`otovox study ...`: many runs with one command."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from otovox.cli.errors import refusals, set_up_logging
from otovox.cli.options import FoldOptions, PredictionOptions, Tests, grouped
from otovox.cli.progress import watched

if TYPE_CHECKING:
    from otovox.config.training import TrainConfig
    from otovox.experiments.studies.fold import FoldOutcome
    from otovox.experiments.studies.plans import Study, StudyRun

app = typer.Typer(help="Studies: many runs that each change one thing.", no_args_is_help=True)

Name = Annotated[
    str, typer.Argument(metavar="STUDY", help="ablations, systems, or a TOML file like these.")
]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a study.")]
Data = Annotated[
    Path, typer.Option("--data", "-d", help="Data set from which the folds are drawn.")
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for all runs.")]


@dataclass(frozen=True)
class RunOptions:
    """Which runs of a study, and at what scale."""

    base: Annotated[
        Path | None, typer.Option(help="TOML file to use instead of the reference preset.")
    ] = None
    scale: Annotated[
        Path | None, typer.Option(help="TOML file of settings that override those of every run.")
    ] = None
    only: Annotated[
        list[str], typer.Option("--only", metavar="FACTOR", help="Only runs of this factor.")
    ] = field(default_factory=list)


@dataclass(frozen=True)
class WorkerOptions:
    """Local workers or a scheduler."""

    workers: Annotated[
        int | None, typer.Option(min=1, help="Local processes; by default one per GPU.")
    ] = None
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a dask.distributed scheduler: tcp://host:8786.")
    ] = None


Dry = Annotated[bool, typer.Option("--dry-run", help="Only print the runs and the estimate.")]
Estimated = Annotated[bool, typer.Option("--estimate/--no-estimate", help="Time a step first.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Recompute all scores.")]


@app.command("list")
@grouped
@refusals
def list_(study: Name, choice: RunOptions) -> None:
    """Print the runs of a study."""
    _, settings = _settled(study, choice)
    _print_runs(settings)


@app.command()
@grouped
@refusals
def run(
    study: Name,
    data: Data,
    output: Output,
    choice: RunOptions,
    folds: FoldOptions,
    prediction: PredictionOptions,
    workers: WorkerOptions,
    dry_run: Dry = False,
    estimate: Estimated = True,
) -> None:
    """Train and predict every fold of every run; finished work is kept."""
    from otovox.dataset.layout import read_index
    from otovox.experiments.studies import running
    from otovox.workers import Workers, exit_code

    set_up_logging(verbose=True)
    plan, settings = _settled(study, choice)
    _print_runs(settings)
    # Checked before minutes are spent on an estimate.
    predictions = prediction.plan()
    for dataset in (data, *prediction.plain, *prediction.test):
        read_index(dataset)
    if estimate:
        share = 1 if workers.scheduler else workers.workers or running.gpu_workers()
        _print_estimate([one for _, one in settings], folds.folds, share, prediction.device)
    if dry_run:
        return
    jobs = running.plan_jobs(
        plan, settings, data, output, folds=folds.plan(), prediction=predictions
    )
    outcomes = running.run_jobs(jobs, Workers(workers.workers, workers.scheduler))
    done = watched(outcomes, len(jobs), title="Folds", line_of=_line_of)
    failed = sum(outcome.failed for outcome in done)
    typer.echo(f"{len(done) - failed} of {len(done)} folds done, {failed} failed")
    sets = "".join(f" --test {path}" for path in (*prediction.plain, *prediction.test))
    typer.echo(f"Next: otovox study report {output} --data {data}{sets}")
    raise typer.Exit(exit_code(done))


@app.command()
@refusals
def report(
    folder: Folder,
    data: Data,
    test: Tests = [],  # noqa: B006
    fresh: Fresh = False,
) -> None:
    """Score every run, compare it with the reference, and plot every factor."""
    from otovox.experiments.studies.report import write_report

    done = write_report(folder, data, test, fresh=fresh)
    typer.echo(f"{done.table['run'].nunique()} runs scored")
    if done.missing:
        typer.echo(f"note: {len(done.missing)} have no results: {', '.join(done.missing)}")
    typer.echo("\n".join(str(file) for file in done.files))


def _settled(
    study: str, choice: RunOptions
) -> "tuple[Study, list[tuple[StudyRun, TrainConfig | str]]]":
    """A study, and the settings of the chosen runs."""
    from otovox.experiments.studies.plans import load_scale, load_study, settled

    plan = load_study(study)
    scale = load_scale(choice.scale) if choice.scale else None
    return plan, settled(plan, plan.chosen(choice.only), base=choice.base, scale=scale)


def _print_runs(settings: "Sequence[tuple[StudyRun, TrainConfig | str]]") -> None:
    """Print one line per run: number, factor, level, status, changes."""
    for one, config in settings:
        changes = ", ".join(_leaves(one.settings)) or one.preset or "the reference"
        refused = f"; cannot be run: {config}" if isinstance(config, str) else ""
        line = f"{one.number:>3}  {one.factor:<20} {one.level:<24} {one.status:<7} {changes}"
        typer.echo(line + refused)


def _leaves(tree: dict, above: str = "") -> Iterable[str]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key} = {value}"


def _print_estimate(
    configs: "Sequence[TrainConfig | str]", folds: int, workers: int, device: str
) -> None:
    """Print time and memory, estimated from one step of each system on this machine."""
    import torch

    from otovox.experiments.studies.estimate import costs

    runnable = [config for config in configs if not isinstance(config, str)]
    cuda = torch.cuda.is_available() and device not in ("cpu", "torch")
    typer.echo("Timing a training step of each system")
    by_system = costs(runnable, "cuda" if cuda else "cpu", workers)
    for name, each in by_system.items():
        typer.echo(
            f"{name}: {each.step_s:.3g} s per step, {each.hours:.3g} h per fold, "
            f"{each.memory_gib:.1f} GiB"
        )
    every = [by_system[config.system.variant] for config in runnable]
    hours = folds * sum(each.hours for each in every) / workers
    memory = max((each.memory_gib for each in every), default=0.0)
    typer.echo(
        f"Estimate, from a training step on this machine: {hours:.3g} h for {folds} folds of "
        f"{len(runnable)} runs with {workers} workers, {memory:.1f} GiB each, without validation, "
        "prediction and data preparation; runs of the same system are assumed to cost the same"
    )


def _line_of(outcome: "FoldOutcome") -> str:
    """Line that is printed when a fold ends."""
    return f"{outcome.job.run.name}, fold {outcome.job.fold}: {outcome.reason or outcome.status}"
