"""Nothing half-written: write beside, then rename."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from otovox.errors import OutputError


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
