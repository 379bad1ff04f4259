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
    make_folder(path.parent)
    with replacing_folder(path.parent / f".{path.name}.writing", keep=False) as folder:
        yield folder / path.name
        try:
            os.replace(folder / path.name, path)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def replacing_folder(path: Path, *, keep: bool = True) -> Iterator[Path]:
    """A temporary folder beside `path`, renamed to it if all goes well; an old one is replaced.

    Args:
        path: the folder wanted.
        keep: False to remove the temporary folder in any case.

    Raises:
        OutputError: if it cannot be written; nothing is left behind and the old folder stays.
    """
    make_folder(path.parent)
    try:
        beside = Path(tempfile.mkdtemp(prefix=f".{path.name.strip('.')}-", dir=path.parent))
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    try:
        beside.chmod(0o755)
        yield beside
        if keep:
            if path.exists():
                shutil.rmtree(path)
            os.replace(beside, path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


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
