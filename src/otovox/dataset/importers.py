"""Published releases into our layout: one engine, and a recipe per release (`releases.toml`)."""

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
    """What a release's files are called and what their numbers mean; keys of `releases.toml`.

    Attributes:
        title, source: of the release.
        layout: "assumed" where nobody has seen the release's files.
        image, labels, landmarks: patterns of paths, with a group `case`; images may have `split`.
        points: format of the landmarks, see `points.read_points`.
        ijk_mm: voxel edge of landmarks in voxels, if it is not the image's.
        segments: pattern of the segments' names that make the labyrinth; without it, all labels.
        names: file beside the folder of label maps that names their values, as `dataset.json`.
        scanner, diagnosis: of every case.
        side: of every case but those whose number is in `left`.
        same_person: groups of cases that are two ears of one person.
        splits: what the group `split` means.
        list: pairs come from a JSON list, not from names.
        traps: what is easily done wrong with this release.
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
    """What became of one scan.

    Attributes:
        case: its name.
        entry: its row, None if it was left out.
        lacking: what was not found, or why it was left out.
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
    """Releases that are known by name."""
    return tuple(_recipes())


def load_recipe(name: str | Path) -> Recipe:
    """A recipe by name, or of a TOML file.

    Raises:
        ConfigError: if there is none of the name, or the file does not fit.
    """
    if isinstance(name, str):
        if name not in _recipes():
            known = ", ".join(recipe_names())
            raise ConfigError(f"no release is called {name!r}; choose one of {known}")
        return _recipes()[name]
    try:
        return Recipe.model_validate(tomllib.loads(name.read_text("utf-8")))
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, ValidationError, UnicodeDecodeError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"{name}: is no recipe ({first}); see docs/datasets.md") from error


def import_release(
    recipe: Recipe,
    source: Path,
    output: Path,
    *,
    sides: Mapping[str, str] | None = None,
    meanings: Mapping[str, Meaning] | None = None,
) -> Iterator[Imported]:
    """Bring a release into our layout, scan by scan; what is there already is left alone.

    Args:
        recipe: of the release.
        source: its folder, unpacked.
        output: folder of the data set.
        sides: "right" or "left" by case; `*` stands for all others.
        meanings: what the names or values of labels mean, where they do not say it themselves.

    Yields:
        What became of each scan.

    Raises:
        InputError: if the release's folder holds no scan that the recipe knows.
        OutputError: if the data set cannot be written.
    """
    found = list(_listed(source)) if recipe.list else list(_named(recipe, source))
    if not found:
        raise InputError(
            f"{source}: holds no file that looks like a scan of this release "
            f"(searched for {recipe.image!r})"
        )
    there = {entry.case for entry in start_dataset(output, name=recipe.title, source=recipe.source)}
    for one in found:
        if one.case in there:
            continue
        try:
            yield _brought_in(one, recipe, output, sides or {}, meanings or {})
        except InputError as error:
            yield Imported(one.case, None, (str(error),))


def read_sides(path: Path) -> dict[str, str]:
    """Sides from a CSV file with the columns case and side.

    Raises:
        InputError: if it cannot be read, or holds anything but right and left.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            sides = {row["case"]: row["side"].strip().lower() for row in csv.DictReader(file)}
    except (OSError, KeyError, AttributeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no table with the columns case and side") from error
    wrong = sorted(set(sides.values()) - {side.value for side in Side})
    if wrong:
        raise InputError(f"{path}: sides are right or left, not {', '.join(wrong)}")
    return sides


def _recipes() -> dict[str, Recipe]:
    text = (files("otovox.dataset") / "releases.toml").read_text("utf-8")
    return {name: Recipe.model_validate(keys) for name, keys in tomllib.loads(text).items()}


def _named(recipe: Recipe, source: Path) -> Iterator[_Files]:
    """Files tied together by the case in their names."""
    if not source.is_dir():
        raise InputError(f"{source}: is no folder")
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
    """The first path of each case."""
    found: dict[str, tuple[Path, re.Match[str]]] = {}
    for path in paths if pattern else ():
        match = re.search(pattern, path.relative_to(source).as_posix(), re.IGNORECASE)
        if match:
            found.setdefault(match["case"], (path, match))
    return found


def _listed(source: Path) -> Iterator[_Files]:
    """Pairs from the lists of a decathlon-like JSON file."""
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


def _brought_in(
    one: _Files,
    recipe: Recipe,
    output: Path,
    sides: Mapping[str, str],
    meanings: Mapping[str, Meaning],
) -> Imported:
    scan = load_scan(one.image)
    scan = replace(scan, name=one.case)
    lacking = [*scan.warnings, *([] if one.labels else ["no label map"])]
    side = sides.get(one.case) or sides.get("*") or recipe.side
    if one.case in recipe.left or re.sub(r"\D", "", one.case) in recipe.left:
        side = sides.get(one.case, "left")
    if not side and recipe.points == "wimmer" and one.landmarks is not None:
        side = read_description(one.landmarks).side
    labels, side = _labels(one, recipe, scan, side, meanings, lacking)
    landmarks = _landmarks(one, recipe, scan, side, lacking)
    entry = Entry(
        one.case,
        patient=next((group[0] for group in recipe.same_person if one.case in group), one.case),
        side=side,
        scanner=recipe.scanner,
        diagnosis=recipe.diagnosis,
        split=one.split,
    )
    return Imported(
        one.case, add_case(output, Case(scan, labels, landmarks), entry), tuple(lacking)
    )


def _labels(
    one: _Files,
    recipe: Recipe,
    scan: Scan,
    side: str,
    meanings: Mapping[str, Meaning],
    lacking: list[str],
) -> tuple[LabelMap, str]:
    """The labyrinths on the scan's grid by side, and the side: right, left or both."""
    unknown = InputError(
        f"{one.image.name}: which side it is, neither the release nor you say; "
        "give --side, or --sides with a table"
    )
    if one.labels is None:
        if not side:
            raise unknown
        return LabelMap(np.zeros(scan.grid.shape, np.uint8), scan.grid), side
    found = load_label_map(one.labels)
    values, names = found.values, read_names(one.names) if one.names else {}
    if recipe.segments:
        wanted = segment_values(one.labels, recipe.segments)
        if not wanted:
            raise InputError(
                f"{one.labels.name}: has no segment whose name matches {recipe.segments!r}"
            )
        values, names = np.isin(values, wanted).astype(np.uint8), {1: "labyrinth"}
    sideless = not any(
        (meanings.get(name.lower()) or meaning_of(name)) in ("right", "left")
        for name in (*names.values(), *map(str, np.unique(values).tolist()))
    )
    if sideless and not side and values.any():
        by_side(one.labels, values, names, meanings, "")  # labels of no known meaning come first
        raise unknown
    values = by_side(one.labels, values, names, meanings, side)
    if not found.grid.same_as(scan.grid, tolerance_mm=0.01):
        lacking.append("the label map lay on another grid and was resampled")
        moved = resample(values, found.grid, scan.grid, order="nearest")
        values = np.rint(moved).astype(np.uint8)
    present = [side for side in Side if (values == side.label).any()]
    labels = LabelMap(values, scan.grid)
    swapped = misplaced(labels)
    if swapped:
        raise InputError(f"{one.labels.name}: {swapped}")
    if not present and not side:
        raise unknown
    return labels, "both" if len(present) == 2 else (side or str(present[0]))


def _landmarks(
    one: _Files, recipe: Recipe, scan: Scan, side: str, lacking: list[str]
) -> dict[Side, Landmarks]:
    if one.landmarks is None or side not in set(Side):
        lacking.append("no landmarks")
        return {}
    try:
        points = read_points(one.landmarks, recipe.points, scan.grid, ijk_mm=recipe.ijk_mm)
    except OtovoxError as error:
        lacking.append(str(error))
        return {}
    absent = [name.replace("_", " ") for name in LANDMARK_NAMES if name not in points]
    if absent:
        lacking.append(f"no {', '.join(absent)}")
    rows = [points.get(name, np.full(3, np.nan)) for name in LANDMARK_NAMES]
    return {Side(side): Landmarks(LANDMARK_NAMES, np.stack(rows))} if points else {}
