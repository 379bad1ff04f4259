"""Options shared by several commands: folds, test sets and inference."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Folds = Annotated[int, typer.Option(min=1, help="Number of folds.")]
Validation = Annotated[int, typer.Option(min=1, help="Validation patients in each fold.")]
Seed = Annotated[int, typer.Option(min=0, help="Random seed for drawing the folds.")]
Tests = Annotated[
    list[Path],
    typer.Option("--test", metavar="DATASET", help="Data set to test every fold's model on."),
]
Tta = Annotated[
    Literal["none", "paper", "full"], typer.Option(help="Test-time augmentation of the test sets.")
]
Match = Annotated[
    str, typer.Option(help="Match the test sets' contrast: number of clusters, or a column name.")
]
Smooth = Annotated[
    bool, typer.Option("--smooth", help="Smooth masks with a Gaussian and Otsu's threshold.")
]
Device = Annotated[
    str,
    typer.Option(
        help="Device for inference (and training in studies): auto, cpu, torch, cuda or cuda:N."
    ),
]
