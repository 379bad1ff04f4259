"""Atomic writes: write to a temporary sibling, then rename."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from otovox.errors import OutputError
from otovox.formats.leftovers import scratch_folder

#: Name of a folder's lock file.
_LOCK = ".otovox.lock"
#: Longest name of a file where the system does not say, and longest path (Linux), bytes.
_USUAL_NAME, _LONGEST_PATH = 255, 4095
#: Space reserved for the longest path within a temporary results folder, bytes.
_FILE = 160


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file next to `path`, with the same extensions, renamed to it on success.

    Raises:
        OutputError: if it cannot be written; nothing is left behind.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "scan.nii.gz")
    ...     with replacing(path) as beside:
    ...         _ = beside.write_text("whole")
    ...         early = path.exists()
    ...     early, path.read_text()
    (False, 'whole')
    """
    with _beside(path) as folder:
        yield folder / path.name
        os.replace(folder / path.name, path)


@contextmanager
def replacing_folder(path: Path, check: Callable[[], None] | None = None) -> Iterator[Path]:
    """A temporary folder next to `path`, renamed to it on success; an old one is replaced.

    Args:
        path: the folder.
        check: called just before the renaming, while the parent folder is locked; may raise.

    Raises:
        OutputError: if it cannot be written; nothing is left behind and the old folder stays.

    >>> with tempfile.TemporaryDirectory() as parent:
    ...     with replacing_folder(Path(parent, "scan")) as folder:
    ...         _ = (folder / "result.json").write_text("{}")
    ...     [path.name for path in Path(parent, "scan").iterdir()]
    ['result.json']
    """
    with _beside(path) as folder:
        yield folder
        with locked(path.parent), _beside(path) as aside:
            if check is not None:
                check()
            old = aside / path.name
            if path.exists():
                os.replace(path, old)
            try:
                os.replace(folder, path)
            except OSError:
                if old.exists():
                    os.replace(old, path)
                raise


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder; other processes and threads wait for it.

    Raises:
        OutputError: if the lock file cannot be written.
    """
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire()
    except OSError as error:
        raise OutputError(f"{folder}: cannot be locked ({error.strerror or error})") from error
    try:
        yield
    finally:
        # Removed while held: waiting processes notice this and create a new one.
        with suppress(OSError):
            os.unlink(folder / _LOCK)
        lock.release()


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A temporary folder next to `path`, deleted on exit; errors inside are reported for `path`."""
    make_folder(path.parent)
    try:
        with scratch_folder(path.parent, path.name) as folder:
            folder.chmod(0o755)
            yield folder
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from error


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
        if (
            len(os.fsencode(name)) > _longest_name(there)
            or len(os.fsencode(str(folder))) + _FILE > _LONGEST_PATH
        ):
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

    >>> with tempfile.TemporaryDirectory() as parent:
    ...     make_folder(Path(parent, "results", "first"))
    ...     Path(parent, "results", "first").is_dir()
    True
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except FileExistsError as error:
        raise OutputError(f"{path}: is a file; a folder is needed") from error
    except OSError as error:
        raise OutputError(f"{path}: cannot be written to ({error.strerror or error})") from error
