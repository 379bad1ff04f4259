"""Clinical names of the measured quantities, for reports, tables and figures."""

from collections.abc import Iterator
from functools import cache

from otovox.measure.duct import FORMULAS
from otovox.measure.electrodes import read_electrodes
from otovox.measure.quantities import CANAL_MEASURES, DISTANCES, WALL_ANGLES_DEG, key_of
from otovox.measure.tori import CANALS

_TITLES = {
    "labyrinth_volume": "labyrinth volume",
    "completeness_likert": "completeness (Likert score)",
    "cochlea_a": "A value (basal turn diameter)",
    "cochlea_a_wall": "A value, between the lateral walls",
    "cochlea_b": "B value (basal turn width)",
    "cochlea_b_to_a": "B/A ratio",
    "cochlea_height": "cochlear height (H value)",
    "cochlea_turns": "cochlear turns",
    "basal_lumen_diameter": "lumen diameter of the basal turn",
    "duct_length_lw": "cochlear duct length, lateral wall",
    "duct_length_center": "cochlear duct length, centre of the lumen",
    "lateral_canal_island": "bony island of the lateral canal, width",
    "cochlea_volume": "volume of the cochlea",
    "vestibule_volume": "volume of the vestibule",
    "common_crus_volume": "volume of the common crus",
    "expected_dsc": "expected DSC of the segmentation",
    "expected_landmark_error": "expected landmark error",
}
#: Surgeons say superior canal, anatomists anterior canal.
_CANAL = {"anterior": "superior (anterior)", "posterior": "posterior", "lateral": "lateral"}
_CANAL_MEASURE = {
    "radius": "radius of curvature",
    "arc": "arc length",
    "coverage": "arc angle",
    "lumen_radius": "lumen radius",
    "non_planarity": "deviation from its plane",
}
_ROUTE = {"LW": "lateral wall", "OC": "organ of Corti", "electrode": "electrode path"}
#: Pairs of canals that lie in nearly parallel planes.
_PAIRS = {
    "RALP": "right superior (anterior) and left posterior canal",
    "LARP": "left superior (anterior) and right posterior canal",
    "horizontal": "both lateral canals",
}
_UNIT = {"mm3": "mm³", "deg": "°"}


def title_of(quantity: str) -> str:
    """The clinical name of a quantity.

    Args:
        quantity: its name in `result.json`.

    >>> title_of("duct_length_lw")
    'cochlear duct length, lateral wall'
    """
    return _titles().get(quantity) or quantity.replace("_", " ")


def unit_of(unit: str) -> str:
    """A unit as printed.

    >>> unit_of("mm3")
    'mm³'
    """
    return _UNIT.get(unit, unit)


def pair_title(name: str) -> str:
    """The clinical name of a pair of canals, or of a canal.

    >>> pair_title("horizontal")
    'both lateral canals'
    """
    return _PAIRS.get(name) or f"{_CANAL.get(name, name)} canal"


@cache
def _titles() -> dict[str, str]:
    return _TITLES | dict(_of_lengths()) | dict(_of_arrays()) | dict(_of_canals())


def _of_lengths() -> Iterator[tuple[str, str]]:
    for name, first, second in DISTANCES:
        yield name, f"{first.replace('_', ' ')} to {second.replace('_', ' ')}"
    for angle in WALL_ANGLES_DEG:
        yield f"duct_length_lw_{angle}", f"cochlear duct length, lateral wall, to {angle}°"
    for formula in FORMULAS:
        end = "" if formula.to == "apex" else f", to {formula.to.replace(' deg', '°')}"
        title = f"cochlear duct length, {_ROUTE[formula.route]}{end} ({formula.source})"
        yield f"duct_length_{formula.name}", title


def _of_arrays() -> Iterator[tuple[str, str]]:
    for electrode in read_electrodes():
        array, key = electrode.array, key_of(electrode.array)
        yield f"insertion_angle_{key}", f"{array}: insertion angle"
        yield f"coverage_{key}", f"{array}: cochlear coverage"
        yield f"tip_frequency_{key}", f"{array}: frequency at the tip"


def _of_canals() -> Iterator[tuple[str, str]]:
    for name in CANALS:
        yield f"{name}_canal_volume", f"volume of the {_CANAL[name]} canal"
        for measure in CANAL_MEASURES:
            title = f"{_CANAL[name]} canal: {_CANAL_MEASURE[measure]}"
            yield f"{name}_canal_{measure}", title
    for pair in ("anterior_posterior", "anterior_lateral", "lateral_posterior"):
        first, second = pair.split("_")
        yield f"{pair}_angle", f"angle between {_CANAL[first]} and {_CANAL[second]} canal"
