"""`otovox evaluate`: results against a data set's ground truth."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from otovox.cli.errors import refusals
from otovox.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from otovox.evaluation.label_maps import LabelMaps

Results = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="RESULTS",
        help="Output folders of `otovox analyze`, one per fold, or folders that contain fold-*.",
    ),
]
Predictions = Annotated[
    list[Path],
    typer.Option(
        metavar="FOLDER",
        help="Label maps of any program instead of RESULTS: CASE.nii.gz, or CASE/ with one mask "
        "per structure; repeatable, one per fold.",
    ),
]
Labels = Annotated[
    list[str],
    typer.Option(
        metavar="NAME=MEANING",
        help="Meaning of a label (name or value) of --predictions: right, left, labyrinth or "
        "background; also as in right=1,left=2.",
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
Readers = Annotated[
    Path | None,
    typer.Option(
        metavar="SCORES.CSV",
        help="Likert scores of blinded readers: columns case, side, likert, and optionally reader "
        "and fold.",
    ),
]


@refusals
def evaluate(
    data: Data,
    output: Output,
    results: Results = None,
    predictions: Predictions = [],  # noqa: B006 - read by typer, never modified
    labels: Labels = [],  # noqa: B006
    split: Split = None,
    name: Name = "otovox",
    beside: Beside = [],  # noqa: B006
    readers: Readers = None,
) -> None:
    """Score results against data sets: tables and figures as in Stebani et al. 2023."""
    from otovox.evaluation import report

    maps = _label_maps(labels) if predictions else None
    if bool(results) == bool(predictions):
        raise ConfigError("either RESULTS of otovox or --predictions FOLDER is needed")
    if labels and maps is None:
        raise ConfigError("--labels explains the label maps of --predictions")
    others = dict(_named(text) for text in beside)
    plan = report.EvaluationPlan(
        split=split or "", name=name, beside=others, maps=maps, readers=readers
    )
    done = report.evaluate(results or predictions, data, output, plan)
    detected = sum(done.table["found"].to_list())
    typer.echo(f"{len(done.table)} ears scored, {detected} detected")
    for kind, rows in done.table.groupby("set", sort=False):
        typer.echo(f"{kind}: {_means(rows)}, n {len(rows)}")
    trained = sum(done.table["split"].eq("train").to_list())
    if trained:
        typer.echo(f"note: {trained} of these ears are in the data set's training split")
    if done.missing:
        typer.echo(f"note: {len(done.missing)} cases have no results: {', '.join(done.missing)}")
    for note in done.notes:
        typer.echo(f"note: {note}")
    typer.echo("\n".join(str(file) for file in done.files))


def _label_maps(labels: list[str]) -> "LabelMaps":
    from otovox.dataset.label_names import read_meanings
    from otovox.evaluation.label_maps import LabelMaps

    return LabelMaps(read_meanings(labels))


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
