"""What the values of a label map mean: by the names that a data set gives them, never by guess."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from otovox.core.anatomy import Side
from otovox.errors import ConfigError, InputError
from otovox.formats.segments import names_labyrinth, side_of_segment

#: A side, a labyrinth whose side is told elsewhere, or nothing of interest.
Meaning = Literal["right", "left", "labyrinth", "background"]
MEANINGS: tuple[Meaning, ...] = get_args(Meaning)
_MEANT: dict[str, Meaning] = {str(meaning): meaning for meaning in MEANINGS}
#: Names of what is no structure; "ignore" is nnU-Net's for voxels that nobody labelled.
_BACKGROUND = {"background", "bg", "clear label", "ignore", "unlabeled", "unlabelled"}


def read_meanings(options: Sequence[str]) -> dict[str, Meaning]:
    """What a user wrote behind `--labels`, as `Cochlea=labyrinth` or `2=left`, by small letters.

    Raises:
        ConfigError: if it cannot be understood.
    """
    found: dict[str, Meaning] = {}
    for option in options:
        name, _, text = option.rpartition("=")
        meaning = _MEANT.get(text.strip().lower())
        if not name.strip() or meaning is None:
            raise ConfigError(
                f"--labels {option}: NAME=MEANING is needed, where MEANING is one of "
                f"{', '.join(MEANINGS)}"
            )
        found[name.strip().lower()] = meaning
    return found


def read_names(path: Path) -> dict[int, str]:
    """Names of the label values in the `dataset.json` of nnU-Net, MONAI or the Decathlon.

    Returns:
        Names by value; none if the file is not there or names nothing.

    Raises:
        InputError: if it cannot be read, or its labels overlap.
    """
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON") from error
    labels = content.get("labels") if isinstance(content, dict) else None
    if not isinstance(labels, dict):
        return {}
    try:
        if all(isinstance(name, str) and str(key).isdecimal() for key, name in labels.items()):
            return {int(key): name for key, name in labels.items()}
        return {int(value): str(name) for name, value in labels.items()}
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path}: its labels are regions of several values; one value per label is needed"
        ) from error


def meaning_of(name: str) -> Meaning | None:
    """What a label's name says by itself; None where it does not say."""
    if name.strip().lower() in _BACKGROUND:
        return "background"
    if name.strip().lower() in ("right", "left", "r", "l"):
        return "right" if name.strip().lower()[0] == "r" else "left"
    side = side_of_segment(name) or side_of_segment(f"{name} labyrinth")
    if side is not None:
        return "right" if side is Side.RIGHT else "left"
    return "labyrinth" if names_labyrinth(name) else None


def by_side(
    path: Path,
    values: NDArray,
    names: Mapping[int, str],
    stated: Mapping[str, Meaning],
    side: str,
) -> NDArray[np.uint8]:
    """A label map with `Side.label` for the labyrinth of each side.

    Args:
        path: of the label map, for messages.
        values: its values.
        names: of the values, as far as the data set names them.
        stated: what the user says of names or values, in small letters.
        side: "right" or "left" of the whole scan; empty where it is not known.

    Returns:
        Label values of the sides; where nothing names a side and none is known, 1 for the whole.

    Raises:
        InputError: if a value's meaning is not known, or its side is another than the scan's.
    """
    present = sorted(int(value) for value in np.unique(values) if value)
    meanings: dict[int, Meaning | None] = {}
    for value in present:
        name = names.get(value, "")
        said = stated.get(name.lower()) or stated.get(str(value))
        meanings[value] = said or (meaning_of(name) if name else None)
    named = any(value in names for value in present) or any(meanings.values())
    if not named and (side or len(present) < 2):
        meanings = dict.fromkeys(present, "labyrinth")
    unknown = [names.get(value) or str(value) for value in present if meanings[value] is None]
    if unknown:
        raise InputError(
            f"{path.name}: its labels {', '.join(unknown)} name no side of a labyrinth; say what "
            f"each is by --labels {unknown[0]}=right (or left, labyrinth, background)"
        )
    out = np.zeros(values.shape, np.uint8)
    for value in present:
        meaning = meanings[value]
        if meaning == "background":
            continue
        told = side if meaning == "labyrinth" else str(meaning)
        if side and told != side:
            raise InputError(
                f"{path.name}: its label {names.get(value) or value} is {told}, but the scan is "
                f"said to be of a {side} ear"
            )
        out[values == value] = Side(told).label if told else Side.RIGHT.label
    return out
