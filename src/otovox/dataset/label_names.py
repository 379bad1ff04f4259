"""The meaning of label values, from the names in a data set; never guessed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from otovox.core.anatomy import Side
from otovox.errors import ConfigError, InputError
from otovox.formats.segments import names_labyrinth, side_of_segment

#: A side, a labyrinth whose side is given elsewhere, or background.
Meaning = Literal["right", "left", "labyrinth", "background"]
MEANINGS: tuple[Meaning, ...] = get_args(Meaning)
_MEANT: dict[str, Meaning] = {str(meaning): meaning for meaning in MEANINGS}
#: Names for background; nnU-Net calls unlabelled voxels "ignore".
_BACKGROUND = {"background", "bg", "clear label", "ignore", "unlabeled", "unlabelled"}


def read_meanings(options: Sequence[str]) -> dict[str, Meaning]:
    """Parse the values of `--labels`, such as `Cochlea=labyrinth`, `2=left` or `right=1,left=2`.

    Returns:
        Meanings by name or value, lowercase.

    Raises:
        ConfigError: if a value is invalid, or a label has two meanings.

    >>> read_meanings(["right=1,left=2", "Facial nerve=background"])
    {'1': 'right', '2': 'left', 'facial nerve': 'background'}
    """
    meanings: dict[str, Meaning] = {}
    for option in options:
        pairs = option.split(",")
        for pair in pairs if all("=" in each for each in pairs) else [option]:
            name, meaning = _read_meaning(pair)
            if meanings.setdefault(name, meaning) != meaning:
                raise ConfigError(f"--labels {option}: {name} has two meanings")
    return meanings


def _read_meaning(pair: str) -> tuple[str, Meaning]:
    """Name and meaning of NAME=MEANING; a value may come second, as in `right=1`."""
    name, _, text = (word.strip().lower() for word in pair.rpartition("="))
    if text.isdecimal() and name in _MEANT:
        name, text = text, name
    meaning = _MEANT.get(text)
    if not name or meaning is None:
        raise ConfigError(
            f"--labels {pair}: NAME=MEANING is needed, where MEANING is one of "
            f"{', '.join(MEANINGS)}"
        )
    return name, meaning


def read_names(path: Path) -> dict[int, str]:
    """Names of the label values in the `dataset.json` of nnU-Net, MONAI or the Decathlon.

    Returns:
        Names by value; empty if the file does not exist or has no names.

    Raises:
        InputError: if it cannot be read, or its labels overlap.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "dataset.json")
    ...     _ = path.write_text('{"labels": {"background": 0, "left": 1, "right": 2}}')
    ...     read_names(path)
    {0: 'background', 1: 'left', 2: 'right'}
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
    """The meaning of a label's name alone; None if unclear.

    >>> meaning_of("left inner ear"), meaning_of("mandible")
    ('left', None)
    """
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
        path: of the label map, used in messages.
        values: its values.
        names: of the values, if the data set names them.
        stated: meanings that the user gives for names or values, lowercase.
        side: "right" or "left" for the whole scan; empty if unknown.

    Returns:
        Label values of the sides; 1 for everything if no side is named or known.

    Raises:
        InputError: if a value's meaning is unknown, or its side differs from the scan's.
    """
    present = sorted(int(value) for value in np.unique(values) if value)
    meanings: dict[int, Meaning | None] = {}
    for value in present:
        name = names.get(value, "")
        meaning_stated = stated.get(name.lower()) or stated.get(str(value))
        meanings[value] = meaning_stated or (meaning_of(name) if name else None)
    named = any(value in names for value in present) or any(meanings.values())
    if not named and (side or len(present) < 2):
        meanings = dict.fromkeys(present, "labyrinth")
    unknown = [names.get(value) or str(value) for value in present if meanings[value] is None]
    if unknown:
        raise InputError(
            f"{path.name}: its labels {', '.join(unknown)} have no known meaning; state each one "
            f"with --labels {unknown[0]}=right (or left, labyrinth, background)"
        )
    out = np.zeros(values.shape, np.uint8)
    for value in present:
        meaning = meanings[value]
        if meaning == "background":
            continue
        label_side = side if meaning == "labyrinth" else str(meaning)
        if side and label_side != side:
            raise InputError(
                f"{path.name}: its label {names.get(value) or value} is {label_side}, but the scan "
                f"is listed as a {side} ear"
            )
        out[values == value] = Side(label_side).label if label_side else Side.RIGHT.label
    return out
