"""Temporary folders whose names contain the process ID, so that later runs can remove them.

A killed process cannot clean up; its unfinished output is identified by the name.
"""

import hashlib
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import psutil

#: Characters of the target's name in the name of a temporary folder: chosen.
_KEPT = 40
#: Age at which a folder of another computer counts as abandoned, s: chosen, far above any writing.
_OLD_S = 24 * 3600.0
#: A process started this much later than the folder has a reused process ID, s: chosen.
_CLOCK_S = 2.0
_NAME = re.compile(r"\..*-otovox-([0-9a-f]{6})-(\d+)-\w+")


@contextmanager
def scratch_folder(parent: Path, name: str) -> Iterator[Path]:
    """A temporary folder, deleted on exit.

    Args:
        parent: an existing folder.
        name: name of the target.

    Raises:
        OSError: if it cannot be made.

    >>> with tempfile.TemporaryDirectory() as parent:
    ...     with scratch_folder(Path(parent), "scan") as folder:
    ...         _ = (folder / "part").write_text("half of the work")
    ...     list(Path(parent).iterdir())
    []
    """
    prefix = f".{name.strip('.')[:_KEPT]}-otovox-{_computer()}-{os.getpid()}-"
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(parent: Path) -> None:
    """Remove the temporary folders of terminated processes, as far as possible."""
    with suppress(OSError):
        for entry in os.scandir(parent):
            match = _NAME.fullmatch(entry.name)
            with suppress(OSError):
                if (
                    match
                    and entry.is_dir(follow_symlinks=False)
                    and _is_left(entry, *match.groups())
                ):
                    shutil.rmtree(entry.path, ignore_errors=True)


def is_scratch(folder: Path) -> bool:
    """Whether a folder is temporary, by its name.

    >>> with tempfile.TemporaryDirectory() as parent:
    ...     with scratch_folder(Path(parent), "scan") as folder:
    ...         is_scratch(folder), is_scratch(Path(parent))
    (True, False)
    """
    return _NAME.fullmatch(folder.name) is not None


def _is_left(entry: "os.DirEntry[str]", computer: str, process: str) -> bool:
    """Whether the process that created a folder has terminated."""
    changed = entry.stat(follow_symlinks=False).st_mtime
    if computer != _computer():
        return time.time() - changed > _OLD_S
    try:
        # The process ID may have been reused.
        return psutil.Process(int(process)).create_time() > changed + _CLOCK_S
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


@cache
def _computer() -> str:
    """Six characters that identify this computer or container, with its own process IDs."""
    try:
        numbers = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        numbers = 0
    return hashlib.sha256(f"{platform.node()} {numbers}".encode()).hexdigest()[:6]
