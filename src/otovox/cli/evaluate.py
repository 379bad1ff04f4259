"""`otovox evaluate`: results against a data set's ground truth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from otovox.cli.errors import refusals
from otovox.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

Results = Annotated[
    list[Path],
    typer.Argument(
        metavar="RESULTS",
        help="Output folders of `otovox analyze`, one per fold, or folders that contain fold-*.",
    ),
]
Data = Annotated[
    list[Path], typer.Option("--data", "-d", help="Data set with the ground truth; repeatable.")
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for tables and figures.")]
Split = Annotated[
    Literal["train", "validation", "test"] | None, typer.Option(help="Only cases of this split.")
]
Name = Annotated[str, typer.Option(help="Name of this system in comparisons.")]
Beside = Annotated[
    list[str], typer.Option(metavar="NAME=EARS.CSV", help="Scores of another system; repeatable.")
]


@refusals
def evaluate(
    results: Results,
    data: Data,
    output: Output,
    split: Split = None,
    name: Name = "otovox",
    beside: Beside = [],  # noqa: B006 - read by typer, never modified
) -> None:
    """Score results against data sets: tables and figures as in Stebani et al. 2023."""
    from otovox.evaluation import report

    others = dict(_named(text) for text in beside)
    done = report.evaluate(results, data, output, split=split or "", name=name, beside=others)
    found = sum(done.table["found"].to_list())
    typer.echo(f"{len(done.table)} ears scored, {found} detected")
    for kind, rows in done.table.groupby("set", sort=False):
        typer.echo(f"{kind}: {_means(rows)}, n {len(rows)}")
    trained = sum(done.table["split"].eq("train").to_list())
    if trained:
        typer.echo(f"note: {trained} of these ears are in the data set's training split")
    if done.missing:
        typer.echo(f"note: {len(done.missing)} cases have no results: {', '.join(done.missing)}")
    typer.echo("\n".join(str(file) for file in done.files))


def _means(rows: "pd.DataFrame") -> str:
    """Mean DSC and landmark error, if the system has them."""
    texts = []
    for column, text in (("dice", "DSC {:.3f}"), ("landmark_mean_mm", "landmarks {:.2f} mm")):
        values = rows[column].dropna().to_numpy()
        texts += [text.format(values.mean())] if len(values) else []
    return ", ".join(texts)


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise ConfigError(f"--beside {text}: needs a name and a file, such as single-task=ears.csv")
    return name, Path(path)
