"""Scans of any format: read, and searched for in folders."""

from pathlib import Path

from otovox.core.volume import Scan
from otovox.errors import InputError
from otovox.formats.dicom import is_dicom_folder, load_dicom, series_of
from otovox.formats.images import is_image_file, load_image


def load_scan(path: str | Path, *, series: str | None = None) -> Scan:
    """Read a CT: NIfTI, NRRD, MetaImage, or a folder (or one file) of a DICOM series.

    Args:
        path: file or folder.
        series: which DICOM series of a folder: UID, number or description; a file stands for its
            own series.

    Raises:
        InputError: saying in one sentence why it cannot be used.
    """
    path = Path(path)
    if path.is_dir():
        return load_dicom(path, series)
    if path.is_file() and not is_image_file(path):
        own = series_of(path)
        if own is not None:
            return load_dicom(path.parent, series or own)
    return load_image(path)


def find_scans(paths: list[Path]) -> list[Path]:
    """Expand folders: a DICOM folder is one scan, other folders are searched one level deep.

    Raises:
        InputError: if a path does not exist or holds no scan.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        scans = _scans_in(path)
        if not scans:
            raise InputError(f"{path}: holds no scan (NIfTI, NRRD, MetaImage or DICOM)")
        found += scans
    return list(dict.fromkeys(found))


def _scans_in(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error})") from error
    images = [entry for entry in entries if entry.is_file() and is_image_file(entry)]
    if images:
        return images
    if is_dicom_folder(folder):
        return [folder]
    return [entry for entry in entries if entry.is_dir() and is_dicom_folder(entry)]
