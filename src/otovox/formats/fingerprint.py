"""A checksum of a scan's files, to detect changes."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from otovox.errors import InputError
from otovox.formats.detached import image_files


def fingerprint(path: Path, files: Iterable[Path] = ()) -> str:
    """SHA-256 of the names and contents of the files that a scan is read from.

    Args:
        path: an image file; the voxel data files that its header names are included.
        files: of a DICOM series; `path` then only appears in messages.

    Raises:
        InputError: if a file cannot be read.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "scan.nii.gz")
    ...     _ = path.write_bytes(b"first")
    ...     before = fingerprint(path)
    ...     _ = path.write_bytes(b"later")
    ...     before == fingerprint(path)
    False
    """
    checksum = hashlib.sha256()
    try:
        for file in sorted(files) or image_files(path):
            checksum.update(file.name.encode("utf-8", "surrogateescape"))
            with file.open("rb") as stream:
                checksum.update(hashlib.file_digest(stream, "sha256").digest())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return checksum.hexdigest()
