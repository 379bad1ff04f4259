"""Whether a scan's files are still the same: a checksum over their content."""

import hashlib
from pathlib import Path

from otovox.errors import InputError
from otovox.formats.images import is_image_file

#: Headers whose voxels lie in a file beside them.
_DETACHED = (".mhd", ".nhdr")


def fingerprint(path: Path) -> str:
    """SHA-256 over the names and contents of the files that a scan is read from.

    Args:
        path: an image file, with the files of the same name beside it if its voxels lie there; a
            DICOM folder; or one file of a DICOM series, which stands for its folder.

    Raises:
        InputError: if a file cannot be read.
    """
    checksum = hashlib.sha256()
    try:
        for file in _files(path):
            checksum.update(file.name.encode())
            with file.open("rb") as stream:
                checksum.update(hashlib.file_digest(stream, "sha256").digest())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return checksum.hexdigest()


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(file for file in path.iterdir() if file.is_file())
    if path.suffix.lower() in _DETACHED:
        return sorted(file for file in path.parent.glob(f"{path.stem}.*") if file.is_file())
    return [path] if is_image_file(path) else _files(path.parent)
