"""Segmentations of other programs as ours: which label is a labyrinth, and of which side.

Supported are otovox's own values, segments of 3D Slicer and of DICOM, the names in nnU-Net's
`dataset.json`, those that TotalSegmentator writes into a NIfTI header, a folder with a mask per
structure, and meanings that the user states.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otovox.core.anatomy import Side
from otovox.core.segments import PARTS
from otovox.core.volume import LabelMap
from otovox.dataset.label_names import Meaning, meaning_of, read_names
from otovox.errors import InputError
from otovox.formats.dicom_segments import DicomSegment, DicomSegmentation, is_dicom_file
from otovox.formats.images import is_image_file, load_label_map, scan_name
from otovox.formats.segments import read_segments

#: Value of a labyrinth whose side nothing states.
SIDELESS = 3
_VALUES: dict[Meaning, int] = {
    "background": 0,
    "right": Side.RIGHT.label,
    "left": Side.LEFT.label,
    "labyrinth": SIDELESS,
}
#: A label in the header extension that Connectome Workbench and TotalSegmentator write.
_LABEL = re.compile(r'<Label\s[^>]*?Key="(\d+)"[^>]*>\s*(?:<!\[CDATA\[)?([^<\]]*)')
#: Titles of the parts that otovox writes beside the labyrinths, which they overlap.
_PART_TITLES = {segment.structure.title for segment in PARTS}
#: Names that a message lists: chosen.
_LISTED = 8


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Labyrinths in a file.

    Attributes:
        labels: `Side.label`, or `SIDELESS` where nothing states the side.
        left_out: names of labels that are no labyrinths; the value of a label without a name.
        assumed: neither names nor the user state the labels; they were read as otovox writes them.
    """

    labels: LabelMap
    left_out: tuple[str, ...] = ()
    assumed: bool = False


def read_segmentation(
    path: Path, stated: Mapping[str, Meaning], *, empty: bool = False
) -> Segmentation:
    """Read the labyrinths of a segmentation.

    Args:
        path: an image file, a DICOM Segmentation, a 3D Slicer segmentation (`.seg.nrrd`), or a
            folder with one mask per structure.
        stated: what the user states of names or values, in small letters; see `read_meanings`.
        empty: whether a segmentation without a labyrinth is accepted.

    Raises:
        InputError: if it cannot be read, or none of its labels is known to be a labyrinth.
    """
    segmentation = _from_masks(path, stated) if path.is_dir() else _from_file(path, stated)
    if not (empty or segmentation.labels.values.any()):
        raise InputError(f"{path}: is empty; there is nothing to measure")
    return segmentation


def _from_file(path: Path, stated: Mapping[str, Meaning]) -> Segmentation:
    if is_dicom_file(path):
        return _from_dicom(path, stated)
    if path.name.lower().endswith(".seg.nrrd") and not stated:
        return Segmentation(read_segments(path))
    labels = load_label_map(path)
    present = [int(value) for value in np.unique(labels.values) if value]
    names = read_names(path.parent / "dataset.json") or _names_in_header(path)
    if not (names or stated) and set(present) <= {side.label for side in Side}:
        return Segmentation(labels, assumed=True)
    values = np.zeros(labels.values.shape, np.uint8)
    left_out = []
    for value in present:
        name = names.get(value, str(value))
        meaning = stated.get(name.lower()) or stated.get(str(value)) or meaning_of(name)
        if meaning is None:
            left_out.append(name)
        else:
            values[labels.values == value] = _VALUES[meaning]
    meanings = {*stated.values(), *map(meaning_of, names.values())}
    if left_out and not values.any() and meanings <= {None, "background"}:
        raise _unknown(path, left_out)
    return Segmentation(LabelMap(values, labels.grid), tuple(left_out))


def _from_dicom(path: Path, stated: Mapping[str, Meaning]) -> Segmentation:
    """The segments of a DICOM Segmentation; parts that otovox wrote are skipped."""
    document = DicomSegmentation(path)
    meanings = {one: _meaning_of_segment(path, one, stated) for one in document.segments}
    left_out = [one.label for one, meaning in meanings.items() if meaning is None]
    left_out = [name for name in left_out if name not in _PART_TITLES]
    ears: dict[int, Meaning] = {
        one.number: meaning
        for one, meaning in meanings.items()
        if meaning in ("right", "left", "labyrinth")
    }
    if not ears:
        raise _unknown(path, left_out or [one.label for one in document.segments])
    masks, grid = document.masks(list(ears))
    values = np.zeros(grid.shape, np.uint8)
    for mask, meaning in zip(np.moveaxis(masks, -1, 0), ears.values(), strict=True):
        value = _VALUES[meaning]
        if ((values[mask] != 0) & (values[mask] != value)).any():
            raise InputError(f"{path}: its labyrinths of different sides overlap")
        values[mask] = value
    return Segmentation(LabelMap(values, grid), tuple(left_out))


def _meaning_of_segment(
    path: Path, segment: DicomSegment, stated: Mapping[str, Meaning]
) -> Meaning | None:
    """The meaning of a segment by what is stated, by its label, or else by its codes.

    Raises:
        InputError: if label and codes give different sides.
    """
    given = stated.get(segment.label.lower()) or stated.get(str(segment.number))
    if given is not None:
        return given
    named, coded = meaning_of(segment.label), meaning_of(segment.coded)
    sides: set[Meaning] = {one for one in (named, coded) if one == "right" or one == "left"}
    if len(sides) > 1:
        raise InputError(
            f"{path}: its segment {segment.label!r} is named {named} but coded {coded}; state its "
            f"side, as in --labels {segment.number}={named}"
        )
    return sides.pop() if sides else named or coded


def _from_masks(folder: Path, stated: Mapping[str, Meaning]) -> Segmentation:
    """One mask per structure, named by its file, as TotalSegmentator writes them."""
    values: NDArray[np.uint8] | None = None
    grid, left_out = None, []
    for path, name in _masks(folder):
        meaning = stated.get(name.lower()) or meaning_of(name)
        if meaning is None or meaning == "background":
            left_out.append(name)
            continue
        mask = load_label_map(path)
        if values is None or grid is None:
            values, grid = np.zeros(mask.values.shape, np.uint8), mask.grid
        elif not mask.grid.same_as(grid):
            raise InputError(f"{path}: lies on another voxel grid than the other masks")
        if (values[mask.values > 0] > 0).any():
            raise InputError(f"{path}: overlaps with another labyrinth of the folder")
        values[mask.values > 0] = _VALUES[meaning]
    if values is None or grid is None:
        raise _unknown(folder, left_out) if left_out else InputError(f"{folder}: holds no masks")
    return Segmentation(LabelMap(values, grid), tuple(left_out))


def _masks(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.iterdir()):
        if path.is_file() and is_image_file(path):
            yield path, scan_name(path)


def _names_in_header(path: Path) -> dict[int, str]:
    """Names of the label values in a NIfTI header; none in other files."""
    from nibabel.filebasedimages import ImageFileError
    from nibabel.nifti1 import load

    if not path.name.lower().endswith((".nii", ".nii.gz")):
        return {}
    try:
        extensions = load(path).header.extensions
        text = " ".join(str(extension.get_content()) for extension in extensions)
    except (OSError, ValueError, ImageFileError):
        return {}
    return {int(value): name.strip() for value, name in _LABEL.findall(text)}


def _unknown(path: Path, names: list[str]) -> InputError:
    listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
    return InputError(
        f"{path}: none of its labels ({listed}) is known to be a labyrinth; say which are, as in "
        f"--labels {names[0]}=right (or left, labyrinth, background)"
    )
