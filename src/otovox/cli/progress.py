"""Progress bars on stderr; each failure is printed as it happens."""

import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeVar

from otovox.stages import Stage, reported_to

if TYPE_CHECKING:
    from otovox.workers import Outcome

Job = TypeVar("Job")
Answer = TypeVar("Answer")


def watched(
    outcomes: "Iterable[Outcome[Job, Answer]]",
    total: int,
    *,
    title: str,
    line_of: "Callable[[Outcome[Job, Answer]], str]",
    hidden: bool = False,
) -> "list[Outcome[Job, Answer]]":
    """Collect all outcomes, with a progress bar; a single analysis shows its stages.

    Args:
        outcomes: in order of completion.
        total: number of outcomes.
        title: title of the bar.
        line_of: line to print for an outcome; nothing if empty.
        hidden: do not show the bar.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

    # Keep this stream: the output of a job may be redirected to a log meanwhile.
    console = Console(file=sys.stderr)
    done: list[Outcome[Job, Answer]] = []
    columns = (*Progress.get_default_columns(), MofNCompleteColumn(), TimeElapsedColumn())
    disable = hidden or not console.is_terminal
    stages = list(Stage)
    with Progress(*columns, console=console, transient=True, disable=disable) as progress:
        task = progress.add_task(title, total=total)

        def show(stage: Stage) -> None:
            share = stages.index(stage) / len(stages)
            progress.update(task, description=f"{title}: {stage}", completed=share)

        with reported_to(show) if total == 1 else nullcontext():
            for outcome in outcomes:
                done.append(outcome)
                progress.update(task, completed=len(done))
                if line := line_of(outcome):
                    progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
    return done


def counted(numbers: Sequence[int], title: str) -> Iterable[int]:
    """Iterate over the numbers, with a progress bar."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    return track(numbers, title, console=console, disable=not console.is_terminal)
