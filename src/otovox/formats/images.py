"""Image files in and out: NIfTI, NRRD, MetaImage, through SimpleITK, whose world is LPS."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from otovox.errors import InputError, OutputError
from otovox.formats.guards import check_header, check_values
from otovox.formats.writing import replacing
from otovox.volume import Grid, LabelMap, Scan

#: Endings of the image files that are read, longest first.
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")

# SimpleITK's warnings would precede our one sentence.
sitk.ProcessObject.SetGlobalWarningDisplay(False)


def scan_name(path: Path) -> str:
    """A file's name without its image ending; a folder's name."""
    name = path.resolve().name
    for ending in ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def is_image_file(path: Path) -> bool:
    """Whether the ending is one that is read."""
    return path.name.lower().endswith(ENDINGS)


def load_image(path: Path) -> Scan:
    """A scan from an image file.

    Raises:
        InputError: if it is missing, damaged, or no CT volume that can be analysed.
    """
    reader = _opened(path)
    grid = check_header(
        path,
        size=reader.GetSize(),
        spacing=reader.GetSpacing(),
        direction=reader.GetDirection(),
        origin=reader.GetOrigin(),
        pixel=reader.GetPixelID(),
        components=reader.GetNumberOfComponents(),
    )
    values = _pixels(reader, path)
    check_values(path, values)
    return Scan(values.astype(np.float32), grid, scan_name(path), str(path))


def load_label_map(path: Path) -> LabelMap:
    """A label map from an image file.

    Raises:
        InputError: if it cannot be read, or its values are no small whole numbers.
    """
    reader = _opened(path)
    values = _pixels(reader, path)
    if values.ndim != 3 or values.min() < 0 or values.max() > 255 or np.any(values % 1):
        raise InputError(f"{path}: is no label map (whole numbers from 0 to 255 in 3D are needed)")
    grid = grid_of(reader.GetSize(), reader.GetSpacing(), reader.GetDirection(), reader.GetOrigin())
    return LabelMap(values.astype(np.uint8), grid)


def save_label_map(labels: LabelMap, path: Path) -> None:
    """Write a label map, compressed, on its own grid.

    Raises:
        OutputError: if it cannot be written.
    """
    _save(labels.values, labels.grid, path)


def save_volume(values: NDArray[np.float32], grid: Grid, path: Path) -> None:
    """Write a volume of real numbers, compressed.

    Raises:
        OutputError: if it cannot be written.
    """
    _save(values.astype(np.float32), grid, path)


def grid_of(
    size: Iterable[int],
    spacing: Iterable[float],
    direction: Iterable[float],
    origin: Iterable[float],
) -> Grid:
    """A grid from ITK's header: x, y, z are i, j, k."""
    i, j, k = (int(n) for n in size)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(list(direction), (3, 3)) * np.asarray(list(spacing))
    affine[:3, 3] = list(origin)
    return Grid((i, j, k), affine)


def _opened(path: Path) -> sitk.ImageFileReader:
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: is empty")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise InputError(
            f"{path}: cannot be read as an image (damaged, truncated, or not {', '.join(ENDINGS)})"
        ) from error
    return reader


def _pixels(reader: sitk.ImageFileReader, path: Path) -> NDArray:
    try:
        return sitk.GetArrayFromImage(reader.Execute()).T
    except RuntimeError as error:
        raise InputError(f"{path}: its voxels cannot be read (the file is truncated)") from error
    except MemoryError as error:
        raise InputError(f"{path}: does not fit into memory") from error


def _save(values: NDArray, grid: Grid, path: Path) -> None:
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.T))
    image.SetSpacing(grid.spacing_mm.tolist())
    image.SetDirection(grid.directions.ravel().tolist())
    image.SetOrigin(grid.affine[:3, 3].tolist())
    with replacing(path) as beside:
        try:
            sitk.WriteImage(image, str(beside), useCompression=True)
        except RuntimeError as error:
            raise OutputError(f"{path}: cannot be written (disk full or not writable)") from error
