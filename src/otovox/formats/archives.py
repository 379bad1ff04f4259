"""Zip files, unpacked to a temporary folder within limits on size and content."""

import os
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from otovox.errors import InputError
from otovox.formats.leftovers import remove_leftovers, scratch_folder

#: Largest unpacked size (bytes) and number of files of a zip file: chosen, far above a study.
LARGEST, MOST_FILES = 32 * 2**30, 200_000
#: Highest compression ratio of a zip file: chosen, far above that of a CT.
_RATIO = 500
#: Share of the free disk space that may be used: chosen.
_FREE = 0.9


def is_archive(path: Path) -> bool:
    """Whether a path is a zip file, by its extension.

    >>> from tempfile import NamedTemporaryFile
    >>> with NamedTemporaryFile(suffix=".ZIP") as file:
    ...     is_archive(Path(file.name))
    True
    """
    return path.suffix.lower() == ".zip" and os.path.isfile(path)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Unpack a zip file into a temporary folder, which is deleted on exit.

    Raises:
        InputError: if it is damaged, encrypted or too large, or would write outside the folder.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "scans.zip")
    ...     with zipfile.ZipFile(path, "w") as archive:
    ...         archive.writestr("anna/scan.nii.gz", b"")
    ...     with unpacked(path) as inside:
    ...         [found.name for found in sorted(inside.rglob("*.gz"))]
    ['scan.nii.gz']
    """
    place = Path(tempfile.gettempdir())
    remove_leftovers(place)
    with scratch_folder(place, path.name) as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                _check(path, archive.infolist(), folder)
                for member in archive.infolist():
                    if not member.is_dir():
                        archive.extract(member, folder)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
            raise InputError(f"{path}: is damaged or not a supported zip file ({error})") from error
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(f"{path}: cannot be unpacked ({reason})") from error
        yield folder


def _check(path: Path, members: list[zipfile.ZipInfo], folder: Path) -> None:
    size = sum(member.file_size for member in members)
    limit = min(LARGEST, _FREE * shutil.disk_usage(folder).free)
    packed = max(1, path.stat().st_size)
    if size > limit or size > _RATIO * packed + 2**20 or len(members) > MOST_FILES:
        raise InputError(
            f"{path}: unpacks to {size / 2**30:.1f} GiB in {len(members)} files, which exceeds "
            "the limit; unpack it yourself and pass the folder"
        )
    for member in members:
        name = PurePosixPath(member.filename.replace("\\", "/"))
        link = stat.S_ISLNK(member.external_attr >> 16)
        if link or name.is_absolute() or ".." in name.parts or ":" in member.filename:
            raise InputError(
                f"{path}: contains {member.filename!r}, which would be written outside the folder; "
                "unpack it yourself and pass the folder"
            )
        if member.flag_bits & 1:
            raise InputError(f"{path}: is encrypted; unpack it yourself and pass the folder")
