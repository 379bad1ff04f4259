"""The command line.

Exit codes: 0 success; 1 internal error; 2 refused; 3 no inner ear; 130 Ctrl-C.
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from otovox._version import __version__
from otovox.cli.dataset import app as dataset_app
from otovox.cli.errors import escape_unencodable, refusals, set_up_logging
from otovox.cli.evaluate import evaluate
from otovox.cli.measure import measure
from otovox.cli.outcomes import ears_of, print_outcomes, watched_outcomes
from otovox.cli.progress import counted
from otovox.cli.serve import serve
from otovox.cli.study import app as study_app
from otovox.cli.train import cross_validate, train

if TYPE_CHECKING:
    from otovox.analysis.scan import ScanOutcome
    from otovox.core.case import Case

app = typer.Typer(
    help="Automated inner ear analysis from CT scans. Research use only, not a medical device.",
    no_args_is_help=True,
    # Inherited by all commands.
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.add_typer(dataset_app, name="dataset")
app.add_typer(study_app, name="study")
app.command()(evaluate)
app.command()(measure)
app.command()(serve)
app.command()(train)
app.command("cross-validate")(cross_validate)

Scans = Annotated[
    list[Path],
    typer.Argument(
        metavar="SCAN",
        help="Image files, DICOM, zip files, folders of these, patterns, or lists (.txt).",
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")]
Series = Annotated[
    str | None, typer.Option(help="DICOM series to analyse: number, description or UID.")
]
Space = Annotated[
    str | None,
    typer.Option(
        metavar="LPS|RAS", help="Directions of x, y, z in image files that do not define them."
    ),
]
Spacing = Annotated[
    str | None,
    typer.Option(metavar="X,Y,Z", help="Voxel size, mm, of image files that do not define it."),
]
Device = Annotated[str, typer.Option(help="auto, cpu (OpenVINO), torch, cuda, cuda:N or mps.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads; all cores by default.")]
Tta = Annotated[
    Literal["none", "fast", "paper", "full"],
    typer.Option(help="Test-time samples per ear, for the uncertainty: 1, 5, 10 or 24."),
]
Model = Annotated[str, typer.Option(help="Trained model: name of an embedded one, or a folder.")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Analyse finished and unchanged scans again.")]
Anonymous = Annotated[
    bool, typer.Option("--anonymous", help="Leave out patient and series IDs, and DICOM results.")
]
WorkerCount = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Local processes; limited by cores and memory."),
]
Scheduler = Annotated[
    str | None, typer.Option(help="Address of a dask.distributed scheduler: tcp://host:8786.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Print details and tracebacks.")]
Seed = Annotated[int, typer.Option(min=0, help="Random seed of the (first) phantom.")]
Cases = Annotated[int, typer.Option(min=1, help="Number of phantoms, with consecutive seeds.")]
Kind = Annotated[Literal["ear", "head"], typer.Option(help="One temporal bone or a whole head.")]
Scanner = Annotated[str, typer.Option(help="Kind of scanner, such as fpvct-clinical or msct.")]
Diagnosis = Annotated[str, typer.Option(help="Disease or variant, such as otosclerosis.")]


def main() -> None:
    """Entry point of `otovox` and `python -m otovox`."""
    escape_unencodable()
    app(prog_name="otovox")


@app.callback(invoke_without_command=True)
def program(
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(f"otovox {__version__}")
        raise typer.Exit


@app.command()
@refusals
def analyze(
    scan: Scans,
    output: Output,
    series: Series = None,
    space: Space = None,
    spacing: Spacing = None,
    device: Device = "auto",
    threads: Threads = None,
    tta: Tta = "fast",
    model: Model = "labyrinth",
    fresh: Fresh = False,
    anonymous: Anonymous = False,
    workers: WorkerCount = None,
    scheduler: Scheduler = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Find, segment and measure the inner ears in CT scans."""
    from otovox.analysis import cohort
    from otovox.analysis import scan as analysis
    from otovox.formats.placement import stated
    from otovox.workers import Workers, exit_code

    set_up_logging(verbose)
    geometry = stated(space, spacing)
    options = analysis.Options(series, device, threads, tta, model, fresh, anonymous, geometry)
    jobs = analysis.plan(scan, output, series=series)
    outcomes = cohort.run(jobs, output, options, Workers(workers, scheduler))
    done = watched_outcomes(outcomes, len(jobs), hidden=quiet or as_json)
    print_outcomes(done, as_json=as_json, quiet=quiet)
    raise typer.Exit(exit_code(done))


@app.command()
@refusals
def phantom(
    output: Output,
    seed: Seed = 0,
    cases: Cases = 1,
    kind: Kind = "ear",
    scanner: Scanner = "msct",
    diagnosis: Diagnosis = "healthy",
) -> None:
    """Render synthetic temporal bones or heads, with ground truth, as a data set."""
    from otovox.dataset.layout import Entry, add_case, start_dataset
    from otovox.phantom.cases import case_name, check_case, make_case

    check_case(kind=kind, scanner=scanner, diagnosis=diagnosis)
    there = {e.case for e in start_dataset(output, name="phantom", source="otovox phantom")}
    numbers = range(seed, seed + cases)
    names = {n: case_name(n, kind=kind, scanner=scanner, diagnosis=diagnosis) for n in numbers}
    missing = [number for number in numbers if names[number] not in there]
    for number in counted(missing, "Rendering"):
        case = make_case(number, kind=kind, scanner=scanner, diagnosis=diagnosis)
        patient = f"phantom-{number:04d}"
        entry = Entry(case.scan.name, patient, scanner=scanner, diagnosis=diagnosis)
        add_case(output, case, entry)
    typer.echo(f"{cases} cases ({cases - len(missing)} already existed): {output}")


@app.command()
@refusals
def demo(output: Output, seed: Seed = 0) -> None:
    """Render a phantom head, analyse it, and compare the result with the ground truth."""
    from otovox.analysis import cohort
    from otovox.analysis import scan as analysis
    from otovox.dataset.layout import write_case
    from otovox.phantom.cases import make_case
    from otovox.workers import exit_code

    typer.echo(f"Rendering a phantom head from seed {seed} ...")
    case = make_case(seed, kind="head", scanner="msct")
    write_case(case, output / "phantom")
    jobs = analysis.plan([output / "phantom" / "scan.nii.gz"], output)
    done = watched_outcomes(cohort.run(jobs, output, analysis.Options()), 1)
    print_outcomes(done)
    _print_distances(done[0], case)
    typer.echo(f"Overview: {jobs[0].folder / 'overview.png'}")
    typer.echo(f"Report: {jobs[0].folder / 'report.html'}")
    raise typer.Exit(exit_code(done))


@app.command()
@refusals
def models() -> None:
    """List the included trained models."""
    from otovox.learning.bundle import embedded, embedded_names

    for name in embedded_names():
        bundle = embedded(name)
        typer.echo(f"{name}: {bundle.config.description}\n  sha256: {bundle.sha256}")
        for fact, value in bundle.facts.items():
            typer.echo(f"  {fact}: {value}")


def _print_distances(outcome: "ScanOutcome", case: "Case") -> None:
    """Print the distances between detected and true landmarks of a phantom."""
    from otovox.core.anatomy import LANDMARKS

    for ear in ears_of(outcome):
        truth, distances = case.landmarks[ear.side], []
        for structure in LANDMARKS:
            if (point := ear.landmarks[structure.name].mm) is not None:
                distance = math.dist(point, truth[structure.name])
                distances.append(f"{structure.title} {distance:.2f}")
        typer.echo(f"Landmark errors of the {ear.side} ear, mm: {', '.join(distances)}")
