"""What is usual in healthy inner ears, and where malformations begin, as data with sources.

Ranges published as mean and SD are told as mean +- 2 SD; ranges published as least and greatest
are told as they are. A norm belongs to one definition of a quantity: `definition` tells which.
"""

from dataclasses import dataclass
from typing import Literal

from otovox.landmarks import Landmarks

DELLA_SANTINA = "Della Santina 2005, doi 10.1007/s10162-005-0003-x"
DARCO = "D'Arco 2017"
EARS_72 = "72 labyrinths of Modelling the Human Semicircular Canals, measured anew"
EARS_10 = "10 healthy labyrinths from public data, measured anew"


@dataclass(frozen=True)
class NormRange:
    """A range: values outside are unusual.

    Attributes:
        low, high: its ends; infinite where there is none.
        unit: of both.
        definition: what exactly was measured.
        source: where it was published.
    """

    low: float
    high: float
    unit: Literal["mm", "mm3", "deg", ""]
    definition: str
    source: str


def _spread(
    mean: float, sd: float, unit: Literal["mm", "mm3", "deg", ""], definition: str, source: str
) -> NormRange:
    """Mean +- 2 SD."""
    return NormRange(round(mean - 2 * sd, 4), round(mean + 2 * sd, 4), unit, definition, source)


_CIRCLE = "radius of the circle fitted to the canal's centreline"
_SIGNED = "angle between the signed normals of two canals"
_PART = "volume of this part"

#: By the name of the quantity. Parts and canals bear the names of `anatomy.Part`.
NORMS: dict[str, NormRange] = {
    "anterior_canal_radius": _spread(3.29, 0.20, "mm", _CIRCLE, EARS_72),
    "posterior_canal_radius": _spread(3.31, 0.22, "mm", _CIRCLE, EARS_72),
    "lateral_canal_radius": _spread(2.60, 0.15, "mm", _CIRCLE, EARS_72),
    "anterior_canal_length": _spread(13.4, 0.9, "mm", "length of the centreline", EARS_72),
    "posterior_canal_length": _spread(15.4, 1.0, "mm", "length of the centreline", EARS_72),
    "lateral_canal_length": _spread(11.7, 0.8, "mm", "length of the centreline", EARS_72),
    "anterior_canal_arc": _spread(227.6, 6.8, "deg", "angle of the centreline", EARS_72),
    "posterior_canal_arc": _spread(262.6, 5.5, "deg", "angle of the centreline", EARS_72),
    "lateral_canal_arc": _spread(253.5, 6.0, "deg", "angle of the centreline", EARS_72),
    "anterior_posterior_angle": _spread(94.0, 4.0, "deg", _SIGNED, DELLA_SANTINA),
    "anterior_lateral_angle": _spread(90.6, 6.2, "deg", _SIGNED, DELLA_SANTINA),
    "posterior_lateral_angle": _spread(90.4, 4.9, "deg", _SIGNED, DELLA_SANTINA),
    "anterior_canal_out_of_plane": _spread(
        0.235, 0.039, "mm", "root mean square distance of the centreline from its plane", EARS_72
    ),
    "posterior_canal_out_of_plane": _spread(
        0.180, 0.058, "mm", "root mean square distance of the centreline from its plane", EARS_72
    ),
    "lateral_canal_out_of_plane": _spread(
        0.112, 0.030, "mm", "root mean square distance of the centreline from its plane", EARS_72
    ),
    "cochlea_volume": _spread(73.2, 10.5, "mm3", _PART, EARS_72),
    "vestibule_volume": _spread(59.2, 8.8, "mm3", _PART, EARS_72),
    "anterior_canal_volume": _spread(13.7, 1.9, "mm3", _PART, EARS_72),
    "posterior_canal_volume": _spread(17.6, 2.5, "mm3", _PART, EARS_72),
    "lateral_canal_volume": _spread(16.3, 2.0, "mm3", _PART, EARS_72),
    "common_crus_volume": _spread(3.2, 0.5, "mm3", _PART, EARS_72),
    "labyrinth_volume": NormRange(
        140.0, 265.0, "mm3", "volume of the whole labyrinth, least and greatest", EARS_72
    ),
    "vestibule_and_canals_volume": NormRange(
        88.0, 135.0, "mm3", "volume without the cochlea, least and greatest of 10", EARS_10
    ),
    "oval_to_round_window": NormRange(
        2.3,
        3.8,
        "mm",
        "distance of the landmarks; outside it they are not to be trusted",
        "94 ears of Stebani et al. 2023 (2.43-3.63), a margin around them chosen",
    ),
}

#: Normal ranges beyond which a malformation is to be thought of.
CUT_OFFS: dict[str, NormRange] = {
    "cochlear_height": NormRange(4.3, float("inf"), "mm", "height of the cochlea", DARCO),
    "cochlear_width": NormRange(5.4, float("inf"), "mm", "width of the cochlea", DARCO),
    "lateral_canal_bony_island": NormRange(
        3.0, float("inf"), "mm", "bone within the lateral canal's loop", DARCO
    ),
    "vestibular_aqueduct_midpoint": NormRange(
        0.0, 0.9, "mm", "width of the vestibular aqueduct at its midpoint", DARCO
    ),
    "vestibular_aqueduct_operculum": NormRange(
        0.0, 1.9, "mm", "width of the vestibular aqueduct at the operculum", DARCO
    ),
    "cochlear_canal": NormRange(1.4, 2.5, "mm", "width of the cochlear nerve's canal", DARCO),
}


def side_of_norm(name: str, value: float) -> Literal["", "low", "high"]:
    """Whether a value lies outside its norm or cut-off, and on which side; nan lies inside.

    Raises:
        KeyError: if there is neither a norm nor a cut-off of that name.
    """
    norm = NORMS[name] if name in NORMS else CUT_OFFS[name]
    if value < norm.low:
        return "low"
    return "high" if value > norm.high else ""


def windows_problem(landmarks: Landmarks) -> str:
    """Why the landmarks of the windows are not to be trusted; empty if they may be, or are absent.

    Args:
        landmarks: with `oval_window` and `round_window`, mm.
    """
    if not (landmarks.has("oval_window") and landmarks.has("round_window")):
        return ""
    distance = landmarks.distance_mm("oval_window", "round_window")
    if not side_of_norm("oval_to_round_window", distance):
        return ""
    norm = NORMS["oval_to_round_window"]
    return (
        f"oval and round window are {distance:.1f} mm apart, usually {norm.low:g} to "
        f"{norm.high:g} mm: at least one landmark is off"
    )
