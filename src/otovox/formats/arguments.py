"""Command-line arguments: paths, patterns and lists of paths. Each is refused on its own."""

import codecs
import os
from collections.abc import Iterator, Sequence
from glob import glob, has_magic
from pathlib import Path

from otovox.errors import InputError

#: Encodings of lists by their byte order marks; UTF-8 without one.
_MARKS = {
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    codecs.BOM_UTF8: "utf-8-sig",
}


def expanded(arguments: Sequence[Path]) -> tuple[list[Path], list[tuple[Path, str]]]:
    """Resolve arguments to paths.

    Args:
        arguments: paths, patterns (`scans/*.nii.gz`), or text files (`.txt`) that list such
            arguments line by line, relative to the list's own folder.

    Returns:
        The paths; and the unusable arguments, each with the reason in one sentence.
    """
    paths: list[Path] = []
    refused: list[tuple[Path, str]] = []
    waiting = [(argument, ()) for argument in reversed(arguments)]
    while waiting:
        argument, within = waiting.pop()
        try:
            if argument.suffix.lower() == ".txt" and os.path.isfile(argument):
                listed = list(_listed(argument, within))
                waiting += [(path, (*within, _real(argument))) for path in reversed(listed)]
            else:
                paths += _matches(argument)
        except InputError as error:
            refused.append((argument, str(error)))
    return paths, refused


def check_name(path: Path) -> None:
    """Refuse a path whose name cannot be used for results.

    Raises:
        InputError: if it is not written in UTF-8.
    """
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{printable(path)}: the name is not UTF-8 (but a legacy encoding such as Latin-1); "
            "rename it"
        ) from error


def printable(text: object) -> str:
    r"""A path or sentence as valid UTF-8 text; other bytes are escaped.

    >>> print(printable("caf\udce9"))
    caf\udce9
    """
    return str(text).encode("utf-8", "backslashreplace").decode("utf-8")


def _listed(path: Path, within: tuple[str, ...]) -> Iterator[Path]:
    """The arguments in a list file."""
    if _real(path) in within:
        raise InputError(f"{path}: is a list that contains itself")
    try:
        content = path.read_bytes()
        encoding = next(
            (name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8"
        )
        text = content.decode(encoding)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 or UTF-16 text; save it as UTF-8") from error
    if "\0" in text:
        raise InputError(f"{path}: is UTF-16 without a byte order mark; save it as UTF-8")
    for line in map(str.strip, text.splitlines()):
        if line and not line.startswith("#"):
            yield path.parent / line


def _matches(argument: Path) -> list[Path]:
    """The files matching a pattern; otherwise the argument itself."""
    if not has_magic(str(argument)) or os.path.lexists(argument):
        return [argument]
    matches = sorted(glob(str(argument), recursive=True))
    if not matches:
        raise InputError(f"{argument}: matches no file")
    return [Path(match) for match in matches]


def _real(path: Path) -> str:
    return os.path.realpath(path)
