"""Atomic writes: write to a temporary sibling, then rename."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from otovox.errors import OutputError

#: Extra characters in the name of a temporary folder.
_BESIDE = 10
#: Longest file name if the system does not report it, and longest path (Linux), bytes.
_USUAL_NAME, _LONGEST_PATH = 255, 4095
#: Space reserved for the longest name within a result folder, bytes.
_FILE = 64


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file next to `path`, with the same extensions, renamed to it on success.

    Raises:
        OutputError: if it cannot be written; nothing is left behind.
    """
    with _beside(path) as folder:
        yield folder / path.name
        os.replace(folder / path.name, path)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder next to `path`, renamed to it on success; an old one is replaced.

    Raises:
        OutputError: if it cannot be written; nothing is left behind and the old folder stays.
    """
    with _beside(path) as folder:
        yield folder
        if path.exists():
            shutil.rmtree(path)
        os.replace(folder, path)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A temporary folder next to `path`, deleted on exit; errors inside are reported for `path`."""
    make_folder(path.parent)
    folder: Path | None = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name.strip('.')}-", dir=path.parent))
        folder.chmod(0o755)
        yield folder
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def check_output(output: Path, *, names: Sequence[str], inputs: Sequence[Path]) -> None:
    """Refuse an unsuitable output folder before any processing.

    Args:
        output: folder that will contain a folder per name.
        names: of the result folders.
        inputs: files and folders that are read.

    Raises:
        OutputError: if it is one of the inputs, a result folder would replace an input, or a name
            is too long for the file system.
    """
    there = Path(os.path.realpath(output))
    given = [Path(os.path.realpath(path)) for path in inputs]
    if there in given:
        raise OutputError(f"{output}: is the input itself; choose another --output")
    for name in names:
        folder = there / name
        inside = next((path for path in given if path == folder or folder in path.parents), None)
        if inside is not None:
            raise OutputError(
                f"{output / name}: results would replace this folder, which contains the input "
                f"{inside.name}; choose another --output"
            )
        long = len(os.fsencode(name)) + _BESIDE
        if long > _longest_name(there) or len(os.fsencode(str(folder))) + _FILE > _LONGEST_PATH:
            raise OutputError(
                f"{output / name}: the name is too long for a results folder here; rename the "
                "scan, or pass a link with a shorter name"
            )


def _longest_name(path: Path) -> int:
    """Longest file name allowed in a folder, or in its first existing parent, bytes."""
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        return os.pathconf(path, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        return _USUAL_NAME


def make_folder(path: Path) -> None:
    """Make a folder and its parents, and check that it is writable.

    Raises:
        OutputError: if it cannot.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except FileExistsError as error:
        raise OutputError(f"{path}: is a file; a folder is needed") from error
    except OSError as error:
        raise OutputError(f"{path}: cannot be written to ({error.strerror or error})") from error
