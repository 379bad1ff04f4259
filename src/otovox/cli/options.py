"""Options that several commands share: folds, test sets, and how these are predicted."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Folds = Annotated[int, typer.Option(min=1, help="How many folds.")]
Validation = Annotated[int, typer.Option(min=1, help="Patients that validate in each fold.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the draw of the folds.")]
Tests = Annotated[
    list[Path], typer.Option("--test", metavar="DATASET", help="Data set for every fold's model.")
]
Tta = Annotated[
    Literal["none", "paper", "full"], typer.Option(help="Test-time augmentation of the test sets.")
]
Match = Annotated[
    str, typer.Option(help="Match the test sets' contrast: how many clusters, or a column's name.")
]
Smooth = Annotated[
    bool, typer.Option("--smooth", help="Smooth masks by a Gaussian and Otsu's threshold.")
]
Device = Annotated[
    str,
    typer.Option(help="Where to predict, and studies to train: auto, cpu, torch, cuda or cuda:N."),
]
