"""`otovox dataset ...`: import, check, split and summarise data sets, add corrected results."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from otovox.cli.errors import refusals
from otovox.errors import ConfigError, OtovoxError

app = typer.Typer(help="Data sets on disk: import, check, split, summary.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a data set.")]
Source = Annotated[Path, typer.Argument(help="Unpacked folder of the release.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for the result.")]
Recipe = Annotated[Path | None, typer.Option(help="Custom recipe (TOML).")]
Side = Annotated[Literal["right", "left"] | None, typer.Option(help="Side of every scan.")]
Sides = Annotated[Path | None, typer.Option(help="CSV with the columns case and side.")]
Labels = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=MEANING",
        help="Meaning of a label (by name or value): right, left, labyrinth or background.",
    ),
]
Validation = Annotated[int, typer.Option(min=0, help="Number of patients for validation.")]
Test = Annotated[int, typer.Option(min=0, help="Number of patients for testing.")]
Seed = Annotated[int, typer.Option(min=0, help="Random seed.")]
Results = Annotated[list[Path], typer.Argument(help="Results folders, corrected in 3D Slicer.")]
Scans = Annotated[Path, typer.Option(help="Folder of the scans that the results belong to.")]
Replace = Annotated[bool, typer.Option(help="Replace cases with the same name.")]


@app.command("import")
@refusals
def import_(
    release: Annotated[str, typer.Argument(help="Name of a release (see `otovox dataset list`).")],
    source: Source,
    output: Output,
    recipe: Recipe = None,
    side: Side = None,
    sides: Sides = None,
    labels: Labels = None,
) -> None:
    """Import a published data set, or a custom one, into otovox's layout."""
    from otovox.dataset.importers import import_release, load_recipe, read_sides
    from otovox.dataset.label_names import read_meanings

    meanings = read_meanings(labels or [])
    chosen = load_recipe(recipe or release)
    all_sides = ({"*": side} if side else {}) | (read_sides(sides) if sides else {})
    for trap in chosen.traps:
        typer.echo(f"note: {trap}")
    counts = {True: 0, False: 0}
    for imported in import_release(chosen, source, output, sides=all_sides, meanings=meanings):
        counts[imported.entry is not None] += 1
        state = "imported" if imported.entry else "skipped"
        typer.echo("; ".join([f"{imported.case}: {state}", *imported.lacking]))
    typer.echo(f"{counts[True]} imported, {counts[False]} skipped: {output}")
    raise typer.Exit(2 if counts[False] else 0)


@app.command("list")
@refusals
def list_() -> None:
    """List the supported releases."""
    from otovox.dataset.importers import load_recipe, recipe_names

    for name in recipe_names():
        recipe = load_recipe(name)
        layout = "" if recipe.layout == "documented" else " (layout assumed, not verified)"
        typer.echo(f"{name}: {recipe.title}{layout}\n  {recipe.source}")


@app.command()
@refusals
def check(folder: Folder) -> None:
    """Check files, grids, sides and landmarks; find duplicates and leaks between splits."""
    from otovox.dataset.checks import check_dataset

    serious = minor = 0
    for finding in check_dataset(folder):
        serious, minor = serious + finding.serious, minor + (not finding.serious)
        kind = "error" if finding.serious else "note"
        typer.echo(f"{kind}: {finding.case or folder}: {finding.text}")
    typer.echo(f"{serious} errors, {minor} notes")
    raise typer.Exit(2 if serious else 0)


@app.command()
@refusals
def split(folder: Folder, validation: Validation = 5, test: Test = 0, seed: Seed = 0) -> None:
    """Draw patients for validation and test; the rest are for training."""
    from otovox.dataset.layout import read_index, split_by_patient, write_index

    entries = split_by_patient(read_index(folder), validation=validation, test=test, seed=seed)
    write_index(folder, entries)
    for name in ("train", "validation", "test"):
        cases = [entry for entry in entries if entry.split == name]
        typer.echo(f"{name}: {len(cases)} cases of {len({e.patient for e in cases})} patients")


@app.command("add-corrections")
@refusals
def add_corrections(
    dataset: Folder,
    results: Results,
    scans: Scans,
    replace: Replace = False,
) -> None:
    """Turn results whose masks or points were corrected in 3D Slicer into training cases."""
    from otovox.results.corrections import add_correction, read_correction

    refused = 0
    for folder in results:
        try:
            correction = read_correction(folder, scans=scans)
            entry = add_correction(dataset, correction, replaced=replace)
        except OtovoxError as error:
            refused += 1
            typer.echo(f"otovox: {error}", err=True)
            continue
        changes = correction.changes or ("nothing was changed",)
        typer.echo("\n  ".join([f"{entry.case}: added", *changes]))
        for warning in correction.warnings:
            typer.echo(f"  note: {warning}")
    typer.echo(f"{len(results) - refused} added, {refused} refused: {dataset}")
    raise typer.Exit(2 if refused else 0)


@app.command()
@refusals
def summary(folder: Folder, output: Output) -> None:
    """Write tables of sizes, volumes and contrast, and a figure of the contrast."""
    from otovox.evaluation.dataset_summary import summarise, training_intensity

    rows = summarise(folder, output)
    if not rows:
        raise ConfigError(f"{folder}: contains no cases")
    for name, value in training_intensity(rows).items():
        typer.echo(f"{name}, training cases: {value:.1f}")
    typer.echo(f"{len(rows)} cases: {output}")
