"""Segments: the labyrinths and their parts, each of one side, with their values in label maps."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from otovox.core.anatomy import LABYRINTH, Side, Structure

Box = tuple[slice, slice, slice]

#: Coding scheme of structures and quantities without a standard code.
PRIVATE_SCHEME = "99OTOVOX"


class Part(IntEnum):
    """Value of a part in the label map of one labyrinth."""

    COCHLEA = 1
    VESTIBULE = 2
    ANTERIOR = 3
    POSTERIOR = 4
    LATERAL = 5
    CRUS = 6


#: Names, colours and codes; Okabe and Ito's palette. No code is known for the common crus.
STRUCTURES = {
    Part.COCHLEA: Structure("cochlea", "Cochlea", (230, 159, 0), "60201", "181187008"),
    Part.VESTIBULE: Structure("vestibule", "Vestibule", (240, 228, 66), "60183", "181188003"),
    Part.ANTERIOR: Structure("anterior_canal", "Anterior canal", (0, 114, 178), "60187"),
    Part.POSTERIOR: Structure("posterior_canal", "Posterior canal", (0, 158, 115), "60190"),
    Part.LATERAL: Structure("lateral_canal", "Lateral canal", (204, 121, 167), "60193"),
    Part.CRUS: Structure("common_crus", "Common crus", (213, 94, 0), ""),
}


@dataclass(frozen=True)
class Segment:
    """A structure of one side.

    Attributes:
        value: its value in the label map of both ears.
        side: of the patient.
        structure: name and title include the side.
        meaning: name without the side, as it is coded.
    """

    value: int
    side: Side
    structure: Structure
    meaning: str

    @property
    def code(self) -> tuple[str, str]:
        """Coding scheme and code value: SNOMED CT, else FMA, else a private code.

        >>> segment = _part(Side.LEFT, Part.CRUS)
        >>> segment.meaning, segment.code
        ('Common crus', ('99OTOVOX', 'common_crus'))
        """
        if self.structure.sct:
            return "SCT", self.structure.sct
        if self.structure.fma:
            return "FMA", self.structure.fma
        return PRIVATE_SCHEME, self.meaning.lower().replace(" ", "_")


def part_value(side: Side, part: Part) -> int:
    """Value of a part in the label map of both ears: 101 to 106 right, 201 to 206 left.

    >>> part_value(Side.LEFT, Part.VESTIBULE)
    202
    """
    return 100 * side.label + part


def _part(side: Side, part: Part) -> Segment:
    plain = STRUCTURES[part]
    title = f"{side.title()} {plain.title.lower()}"
    structure = replace(plain, name=f"{side}_{plain.name}", title=title)
    return Segment(part_value(side, part), side, structure, plain.title)


#: Segments of `segmentation.nii.gz`, and of `parts.nii.gz`; no value is used twice.
LABYRINTHS = tuple(Segment(side.label, side, LABYRINTH[side], "Bony labyrinth") for side in Side)
PARTS = tuple(_part(side, part) for side in Side for part in Part)


def boxes_of(values: NDArray[np.uint8]) -> dict[int, Box]:
    """The slices around the voxels of each label.

    Args:
        values: (i, j, k) label map.

    >>> boxes_of(np.array([[[0, 2, 2]]], np.uint8))
    {2: (slice(0, 1, None), slice(0, 1, None), slice(1, 3, None))}
    """
    # In the order of the array in memory, which is several times faster.
    natural = values.flags.f_contiguous
    boxes = ndimage.find_objects(values.T if natural else values)
    return {
        label: box[::-1] if natural else box
        for label, box in enumerate(boxes, start=1)
        if box is not None
    }


def present(segments: Iterable[Segment], values: NDArray[np.uint8]) -> dict[Segment, Box]:
    """The segments that have voxels in a label map, with the slices around these.

    Args:
        segments: to look for.
        values: (i, j, k) label map.

    >>> [segment.value for segment in present(LABYRINTHS, np.array([[[0, 2]]], np.uint8))]
    [2]
    """
    boxes = boxes_of(values)
    return {one: boxes[one.value] for one in segments if one.value in boxes}
