"""`otovox measure`: measure a mask that was corrected, or made by another program."""

from pathlib import Path
from typing import Annotated

import typer

from otovox.cli.errors import refusals, set_up_logging
from otovox.cli.outcomes import print_outcomes

Segmentation = Annotated[
    Path,
    typer.Argument(
        help="Mask: image file, DICOM Segmentation, 3D Slicer segmentation, or folder of masks."
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")]
Landmarks = Annotated[Path | None, typer.Option(help="3D Slicer Markups of the landmarks.")]
Scan = Annotated[Path | None, typer.Option(help="The CT scan: image file or DICOM folder.")]
Series = Annotated[
    str | None, typer.Option(help="The DICOM series to take: number, description or UID.")
]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=MEANING",
        help="What a label is (by name or value): right, left, labyrinth or background.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but refusals.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print more, tracebacks too.")]


@refusals
def measure(
    segmentation: Segmentation,
    output: Output,
    landmarks: Landmarks = None,
    scan: Scan = None,
    series: Series = None,
    labels: Labels = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Measure a segmentation that was corrected, or made by another program."""
    from otovox.analysis.measuring import measure_into
    from otovox.analysis.segmentation import Inputs
    from otovox.dataset.label_names import read_meanings
    from otovox.workers import exit_code

    set_up_logging(verbose)
    inputs = Inputs(segmentation, landmarks, scan, series, read_meanings(labels or []))
    outcome = measure_into(inputs, output)
    if outcome.failed:
        typer.echo(f"otovox: {outcome.reason}", err=True)
    print_outcomes([outcome], as_json=as_json, quiet=quiet)
    raise typer.Exit(exit_code([outcome]))
