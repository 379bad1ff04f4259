"""Temporary folders that carry their process's number, so that a later run can remove them.

A process that is killed cannot tidy up; what it was writing is worthless, and its name says whose
it was.
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

#: Of the name that a temporary folder was made for, characters that its own name keeps: chosen.
_KEPT = 40
#: Age at which a folder of another computer is a leftover, s: chosen, far above any writing.
_OLD_S = 24 * 3600.0
#: How much later than its folder a process must have begun to be another one, s: chosen.
_CLOCK_S = 2.0
_NAME = re.compile(r"\..*-otovox-([0-9a-f]{6})-(\d+)-\w+")


@contextmanager
def scratch_folder(parent: Path, name: str) -> Iterator[Path]:
    """A temporary folder, gone afterwards.

    Args:
        parent: where it lies; it must be there.
        name: what it is for.

    Raises:
        OSError: if it cannot be made.
    """
    prefix = f".{name.strip('.')[:_KEPT]}-otovox-{_computer()}-{os.getpid()}-"
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_leftovers(parent: Path) -> None:
    """Remove the temporary folders of processes that are gone; what cannot be removed stays."""
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
    """Whether a folder is, by its name, a temporary one."""
    return _NAME.fullmatch(folder.name) is not None


def _is_left(entry: "os.DirEntry[str]", computer: str, process: str) -> bool:
    """Whether the process that made a folder is gone."""
    changed = entry.stat(follow_symlinks=False).st_mtime
    if computer != _computer():
        return time.time() - changed > _OLD_S
    try:
        # A later process may have been given the number.
        return psutil.Process(int(process)).create_time() > changed + _CLOCK_S
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False


@cache
def _computer() -> str:
    """Six characters for this computer, or container, whose processes have numbers of their own."""
    try:
        numbers = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        numbers = 0
    return hashlib.sha256(f"{platform.node()} {numbers}".encode()).hexdigest()[:6]
