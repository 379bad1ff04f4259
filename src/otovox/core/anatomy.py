"""Names of sides, structures and landmarks: the single registry that all files and figures use.

Sources: FMA identifiers from the Foundational Model of Anatomy; SNOMED CT codes from DICOM CID 7151
and pydicom's dictionaries. Reported landmarks after Stebani et al. 2023 (S3). The pose landmarks
are ours: they give the ear's orientation and side.
"""

from dataclasses import dataclass
from enum import StrEnum


class Side(StrEnum):
    """Side of the patient's body, determined by anatomy."""

    RIGHT = "right"
    LEFT = "left"

    @property
    def label(self) -> int:
        """Value of this side's labyrinth in a label map.

        >>> [side.label for side in Side]
        [1, 2]
        """
        return 1 if self is Side.RIGHT else 2

    @property
    def other(self) -> "Side":
        """The opposite side.

        >>> Side.LEFT.other.value
        'right'
        """
        return Side.LEFT if self is Side.RIGHT else Side.RIGHT


@dataclass(frozen=True)
class Structure:
    """A named structure: display name, colour (RGB, 0-255) and codes."""

    name: str
    title: str
    rgb: tuple[int, int, int]
    fma: str
    sct: str | None = None


# Colours: Okabe and Ito's palette, readable by colour-blind people.
LABYRINTH = {
    Side.RIGHT: Structure(
        "right_labyrinth", "Right bony labyrinth", (230, 159, 0), "60179", "279727008"
    ),
    Side.LEFT: Structure(
        "left_labyrinth", "Left bony labyrinth", (86, 180, 233), "60179", "279727008"
    ),
}

HELICOTREMA = Structure("helicotrema", "Helicotrema", (213, 94, 0), "61275", "279775003")
OVAL_WINDOW = Structure("oval_window", "Oval window", (0, 158, 115), "56913")
ROUND_WINDOW = Structure("round_window", "Round window", (204, 121, 167), "56932")

#: Landmarks that are reported (Stebani et al. 2023, S3).
LANDMARKS = (HELICOTREMA, OVAL_WINDOW, ROUND_WINDOW)
LANDMARK_NAMES = tuple(structure.name for structure in LANDMARKS)

#: Landmarks used only for the pose: centres of the three canals' arcs, fork of the common crus.
POSE_NAMES = ("anterior_arc", "posterior_arc", "lateral_arc", "common_crus")

#: Mean position of every landmark in the canonical right-ear frame, mm: origin at the vestibule's
#: centroid, Z along the lateral canal's normal (up), X along the modiolar axis within that plane
#: (base to apex, anterolateral), Y = Z x X (anteromedial).
#: Source: statistics of 72 labyrinths (common crus; helicotrema and round window before they were
#: moved) and of five labelled temporal bones (oval window likewise); the three reported landmarks
#: are moved by the mean offsets of the experts' points in nine ears of Wimmer et al. 2019
#: (`benchmarks/real_ears.py`); arcs are the midpoints of the mean canal centrelines.
CANONICAL_MM = {
    "helicotrema": (3.67, 5.02, -3.62),
    "oval_window": (1.44, -0.17, -1.23),
    "round_window": (-0.13, -0.06, -3.62),
    "anterior_arc": (1.76, -1.06, 7.51),
    "posterior_arc": (-3.89, -6.95, 0.74),
    "lateral_arc": (1.03, -5.99, 1.00),
    "common_crus": (-3.16, -1.29, 3.63),
}

#: Volume of a human labyrinth, mm3. Source: 140-265 in 71 ears, widened by a third.
VOLUME_RANGE_MM3 = (95.0, 355.0)
#: Two ears whose centres are closer than this are one, mm: chosen, a little less than the length of
#: a labyrinth, far less than the distance between the two ears of a head.
SAME_EAR_MM = 15.0

#: Modiolar axis from base to apex in the canonical frame, of unit length. Source: mean over 72
#: labyrinths.
MODIOLAR_AXIS = (0.9338, 0.0, -0.3578)

#: Rows: the canonical axes X, Y, Z of a mean right ear in LPS. Source: mean over 72 ears.
CANONICAL_AXES_LPS = (
    (-0.5408, -0.8320, 0.1234),
    (0.8411, -0.5350, 0.0792),
    (0.0001, 0.1466, 0.9892),
)
