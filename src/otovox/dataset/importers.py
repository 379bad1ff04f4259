"""Imports published releases into our layout, with one recipe each (`releases.toml`)."""

import csv
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.case import Case
from otovox.core.landmarks import Landmarks
from otovox.core.volume import LabelMap, Scan
from otovox.dataset.checks import misplaced
from otovox.dataset.label_names import Meaning, by_side, meaning_of, read_names
from otovox.dataset.layout import Entry, add_case, start_dataset
from otovox.dataset.points import Points, read_description, read_points
from otovox.errors import ConfigError, InputError, OtovoxError
from otovox.formats.images import load_label_map, segment_values
from otovox.formats.scans import load_scan
from otovox.imaging.resample import resample


class Recipe(BaseModel):
    """File names and conventions of a release; the keys of `releases.toml`.

    Attributes:
        title, source: of the release.
        layout: "assumed" if the release's files have not been inspected.
        image, labels, landmarks: path patterns with a group `case`; images may have `split`.
        points: format of the landmarks, see `points.read_points`.
        ijk_mm: voxel edge of landmarks given in voxels, if it differs from the image's.
        segments: pattern of the segment names that form the labyrinth; all labels if empty.
        names: file next to the label map folder that names their values, such as `dataset.json`.
        scanner, diagnosis: of every case.
        side: of every case except those whose number is in `left`.
        same_person: groups of cases that are the two ears of one person.
        splits: the meaning of the group `split`.
        list: whether pairs come from a JSON list instead of names.
        traps: common pitfalls of this release.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    source: str
    image: str
    layout: Literal["assumed", "documented"] = "documented"
    labels: str = ""
    landmarks: str = ""
    points: Points = "markups"
    ijk_mm: float | None = None
    segments: str = ""
    names: str = ""
    scanner: str = ""
    diagnosis: str = ""
    side: Literal["", "right", "left"] = ""
    left: tuple[str, ...] = ()
    same_person: tuple[tuple[str, ...], ...] = ()
    splits: dict[str, str] = {}
    list: bool = False
    traps: tuple[str, ...] = ()


@dataclass(frozen=True)
class Imported:
    """Outcome of importing one scan.

    Attributes:
        case: name of the scan.
        entry: its row; None if it was skipped.
        lacking: what is missing, or why it was skipped.
    """

    case: str
    entry: Entry | None
    lacking: tuple[str, ...]


@dataclass(frozen=True)
class _Files:
    """The files of one scan."""

    case: str
    image: Path
    labels: Path | None = None
    landmarks: Path | None = None
    split: str = ""
    names: Path | None = None


def recipe_names() -> tuple[str, ...]:
    """Names of the supported releases.

    >>> "wimmer" in recipe_names()
    True
    """
    return tuple(_recipes())


def load_recipe(name: str | Path) -> Recipe:
    """A recipe by name, or from a TOML file.

    Raises:
        ConfigError: if the name is unknown, or the file is not valid.

    >>> load_recipe("wimmer").layout
    'documented'
    """
    if isinstance(name, str):
        if name not in _recipes():
            names = ", ".join(recipe_names())
            raise ConfigError(f"no release is called {name!r}; choose one of {names}")
        return _recipes()[name]
    try:
        return Recipe.model_validate(tomllib.loads(name.read_text("utf-8")))
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, ValidationError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(
            f"{name}: is not a valid recipe ({first}); see docs/datasets.md"
        ) from error


def import_release(
    recipe: Recipe,
    source: Path,
    output: Path,
    *,
    sides: Mapping[str, str] | None = None,
    meanings: Mapping[str, Meaning] | None = None,
) -> Iterator[Imported]:
    """Import a release into our layout, scan by scan; existing cases are kept.

    Args:
        recipe: of the release.
        source: its folder, unpacked.
        output: folder of the data set.
        sides: "right" or "left" by case; `*` means all others.
        meanings: of label names or values that are not self-explanatory.

    Yields:
        The outcome of each scan.

    Raises:
        InputError: if the release's folder contains no scan that matches the recipe.
        OutputError: if the data set cannot be written.
    """
    scans = list(_listed(source)) if recipe.list else list(_named(recipe, source))
    if not scans:
        raise InputError(
            f"{source}: contains no file that matches a scan of this release "
            f"(searched for {recipe.image!r})"
        )
    existing = {
        entry.case for entry in start_dataset(output, name=recipe.title, source=recipe.source)
    }
    for scan_files in scans:
        if scan_files.case in existing:
            continue
        try:
            yield _imported(scan_files, recipe, output, sides or {}, meanings or {})
        except InputError as error:
            yield Imported(scan_files.case, None, (str(error),))


def read_sides(path: Path) -> dict[str, str]:
    """Read sides from a CSV file with the columns case and side.

    Raises:
        InputError: if it cannot be read, or a side is not right or left.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "sides.csv")
    ...     _ = path.write_text("case,side\\nanna,left\\n")
    ...     read_sides(path)
    {'anna': 'left'}
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            sides = {row["case"]: row["side"].strip().lower() for row in csv.DictReader(file)}
    except (OSError, KeyError, AttributeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not a table with the columns case and side") from error
    wrong = sorted(set(sides.values()) - {side.value for side in Side})
    if wrong:
        raise InputError(f"{path}: sides must be right or left, not {', '.join(wrong)}")
    return sides


def _recipes() -> dict[str, Recipe]:
    text = (files("otovox.dataset") / "releases.toml").read_text("utf-8")
    return {name: Recipe.model_validate(keys) for name, keys in tomllib.loads(text).items()}


def _named(recipe: Recipe, source: Path) -> Iterator[_Files]:
    """Files grouped by the case in their names."""
    if not source.is_dir():
        raise InputError(f"{source}: is not a folder")
    paths = sorted(path for path in source.rglob("*") if path.is_file())
    labels = _matches(recipe.labels, paths, source)
    landmarks = _matches(recipe.landmarks, paths, source)
    taken = {path for path, _ in (*labels.values(), *landmarks.values())}
    images = _matches(recipe.image, [path for path in paths if path not in taken], source)
    for case, (image, match) in images.items():
        split = (match.groupdict().get("split") or "").lower()
        yield _Files(
            case,
            image,
            labels[case][0] if case in labels else None,
            landmarks[case][0] if case in landmarks else None,
            recipe.splits.get(split, ""),
            image.parent.parent / recipe.names if recipe.names else None,
        )


def _matches(
    pattern: str, paths: list[Path], source: Path
) -> dict[str, tuple[Path, re.Match[str]]]:
    """The first matching path of each case."""
    first_paths: dict[str, tuple[Path, re.Match[str]]] = {}
    for path in paths if pattern else ():
        match = re.search(pattern, path.relative_to(source).as_posix(), re.IGNORECASE)
        if match:
            first_paths.setdefault(match["case"], (path, match))
    return first_paths


def _listed(source: Path) -> Iterator[_Files]:
    """Pairs from the lists of a Decathlon-style JSON file."""
    lists = [source] if source.is_file() else sorted(source.glob("*.json"))
    for path in lists:
        try:
            content = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: cannot be read as JSON") from error
        if not isinstance(content, dict) or "training" not in content:
            continue
        for key, split in (("training", "train"), ("validation", "validation"), ("test", "test")):
            for item in content.get(key, []):
                pair = {"image": item} if isinstance(item, str) else item
                image = path.parent / pair["image"]
                labels = path.parent / pair["label"] if "label" in pair else None
                yield _Files(image.name.split(".")[0], image, labels, None, split, path)


def _imported(
    source_files: _Files,
    recipe: Recipe,
    output: Path,
    sides: Mapping[str, str],
    meanings: Mapping[str, Meaning],
) -> Imported:
    scan = load_scan(source_files.image)
    scan = replace(scan, name=source_files.case)
    lacking = [*scan.warnings, *([] if source_files.labels else ["no label map"])]
    side = sides.get(source_files.case) or sides.get("*") or recipe.side
    if source_files.case in recipe.left or re.sub(r"\D", "", source_files.case) in recipe.left:
        side = sides.get(source_files.case, "left")
    if not side and recipe.points == "wimmer" and source_files.landmarks is not None:
        side = read_description(source_files.landmarks).side
    labels, side = _labels(source_files, recipe, scan, side, meanings, lacking)
    landmarks = _landmarks(source_files, recipe, scan, side, lacking)
    entry = Entry(
        source_files.case,
        patient=next(
            (group[0] for group in recipe.same_person if source_files.case in group),
            source_files.case,
        ),
        side=side,
        scanner=recipe.scanner,
        diagnosis=recipe.diagnosis,
        split=source_files.split,
    )
    return Imported(
        source_files.case, add_case(output, Case(scan, labels, landmarks), entry), tuple(lacking)
    )


def _labels(
    source_files: _Files,
    recipe: Recipe,
    scan: Scan,
    side: str,
    meanings: Mapping[str, Meaning],
    lacking: list[str],
) -> tuple[LabelMap, str]:
    """The labyrinths on the scan's grid by side, and the side: right, left or both."""
    unknown = InputError(
        f"{source_files.image.name}: neither the release nor an option states its side; "
        "use --side, or --sides with a table"
    )
    if source_files.labels is None:
        if not side:
            raise unknown
        return LabelMap(np.zeros(scan.grid.shape, np.uint8), scan.grid), side
    label_map = load_label_map(source_files.labels)
    values, names = label_map.values, read_names(source_files.names) if source_files.names else {}
    if recipe.segments:
        segment_labels = segment_values(source_files.labels, recipe.segments)
        if not segment_labels:
            raise InputError(
                f"{source_files.labels.name}: has no segment whose name matches {recipe.segments!r}"
            )
        values, names = np.isin(values, segment_labels).astype(np.uint8), {1: "labyrinth"}
    sideless = not any(
        (meanings.get(name.lower()) or meaning_of(name)) in ("right", "left")
        for name in (*names.values(), *map(str, np.unique(values).tolist()))
    )
    if sideless and not side and values.any():
        by_side(
            source_files.labels, values, names, meanings, ""
        )  # reports labels of unknown meaning first
        raise unknown
    values = by_side(source_files.labels, values, names, meanings, side)
    if not label_map.grid.same_as(scan.grid, tolerance_mm=0.01):
        lacking.append("the label map was on a different grid and was resampled")
        moved = resample(values, label_map.grid, scan.grid, order="nearest")
        values = np.rint(moved).astype(np.uint8)
    present = [side for side in Side if (values == side.label).any()]
    labels = LabelMap(values, scan.grid)
    swapped = misplaced(labels)
    if swapped:
        raise InputError(f"{source_files.labels.name}: {swapped}")
    if not present and not side:
        raise unknown
    return labels, "both" if len(present) == 2 else (side or str(present[0]))


def _landmarks(
    source_files: _Files, recipe: Recipe, scan: Scan, side: str, lacking: list[str]
) -> dict[Side, Landmarks]:
    if source_files.landmarks is None or side not in set(Side):
        lacking.append("no landmarks")
        return {}
    try:
        points = read_points(source_files.landmarks, recipe.points, scan.grid, ijk_mm=recipe.ijk_mm)
    except OtovoxError as error:
        lacking.append(str(error))
        return {}
    absent = [name.replace("_", " ") for name in LANDMARK_NAMES if name not in points]
    if absent:
        lacking.append(f"no {', '.join(absent)}")
    rows = [points.get(name, np.full(3, np.nan)) for name in LANDMARK_NAMES]
    return {Side(side): Landmarks(LANDMARK_NAMES, np.stack(rows))} if points else {}
