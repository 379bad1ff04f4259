"""Nothing half-written: write beside, then rename."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from otovox.errors import OutputError

#: Characters that a temporary folder's name has more than that of its results.
_BESIDE = 10
#: Longest name of a file where the system does not say, and longest path (Linux), bytes.
_USUAL_NAME, _LONGEST_PATH = 255, 4095
#: Room that the longest name within a result folder takes, bytes.
_FILE = 64


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, with its endings, renamed to it if all goes well.

    Raises:
        OutputError: if it cannot be written; nothing is left behind.
    """
    with _beside(path) as folder:
        yield folder / path.name
        os.replace(folder / path.name, path)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path`, renamed to it if all goes well; an old one is replaced.

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
    """A temporary folder beside `path`, gone afterwards; what fails within is told of `path`."""
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
    """Refuse, before any work, a folder into which results cannot go or must not.

    Args:
        output: folder that will hold a folder per name.
        names: of the result folders.
        inputs: files and folders that are read.

    Raises:
        OutputError: if it is one of the inputs, a result folder would replace one, or a name is too
            long for the file system.
    """
    there = Path(os.path.realpath(output))
    given = [Path(os.path.realpath(path)) for path in inputs]
    if there in given:
        raise OutputError(f"{output}: is what is to be analysed; choose another --output")
    for name in names:
        folder = there / name
        inside = next((path for path in given if path == folder or folder in path.parents), None)
        if inside is not None:
            raise OutputError(
                f"{output / name}: would take the results, but {inside.name}, which is to be "
                "analysed, lies there; choose another --output"
            )
        long = len(os.fsencode(name)) + _BESIDE
        if long > _longest_name(there) or len(os.fsencode(str(folder))) + _FILE > _LONGEST_PATH:
            raise OutputError(
                f"{output / name}: the name is too long for a folder of results here; rename the "
                "scan, or give a link with a shorter name"
            )


def _longest_name(path: Path) -> int:
    """Longest name in a folder, or in the first above it that is there, bytes."""
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        return os.pathconf(path, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        return _USUAL_NAME


def make_folder(path: Path) -> None:
    """Make a folder, parents too, and see that it can be written to.

    Raises:
        OutputError: if it cannot.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except FileExistsError as error:
        raise OutputError(f"{path}: is a file, a folder is needed") from error
    except OSError as error:
        raise OutputError(f"{path}: cannot be written to ({error.strerror or error})") from error
