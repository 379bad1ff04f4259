"""Usual ranges in healthy ears, and cut-offs for malformations, with their sources."""

from dataclasses import dataclass

from otovox.core.landmarks import Landmarks

#: Plausible range of the distance between the windows, mm: chosen around 94 ears of Stebani et al.
#: 2023 (2.43-3.63) and five labelled bones, in which the round window's centre is higher (2.35 on
#: average), as in otovox.
WINDOWS_MM = (1.8, 3.8)


@dataclass(frozen=True)
class Range:
    """A usual range.

    Attributes:
        low: 2.5th percentile or mean minus two SD; None if only high values are unusual.
        high: likewise; None if only low values are unusual.
        unit: mm, mm3, deg or empty.
        source: publication, with the number of ears.
        cut_off: values outside suggest a malformation, not only an unusual ear.
    """

    low: float | None
    high: float | None
    unit: str
    source: str
    cut_off: bool = False

    def side_of_range(self, value: float) -> str:
        """ "low", "high", or empty for a usual value or nan.

        >>> usual = Range(7.6, 10.6, unit="mm", source="an example")
        >>> [usual.side_of_range(value) for value in (7.0, 9.0, float("nan"))]
        ['low', '', '']
        """
        if self.low is not None and value < self.low:
            return "low"
        return "high" if self.high is not None and value > self.high else ""


_SHAPES = "72 labyrinths fitted to clinical CT, mean +- 2 SD"
_SANTINA = "Della Santina et al. 2005, mean +- 2 SD, signed normals"
_ARCO = "D'Arco et al. 2017, normal range in CT"


def _within(mean: float, sd: float, unit: str, source: str) -> Range:
    return Range(round(mean - 2 * sd, 3), round(mean + 2 * sd, 3), unit, source)


#: Usual ranges by the name of the measurement.
NORMS = {
    "A": Range(7.9, 10.8, "mm", "Escude et al. 2006, range"),
    "B": Range(5.84, 7.59, "mm", "Escude et al. 2006, range"),
    "cochlear_height": Range(2.8, 6.9, "mm", "review of cochlear studies, range"),
    "organ_of_corti_length": Range(30.5, 36.87, "mm", "organ of Corti 33.13 +- 2.11, range"),
    "basal_lumen_diameter": Range(1.7, 2.2, "mm", "review of cochlear studies, range"),
    "cochlea_volume": _within(73.2, 10.5, "mm3", _SHAPES),
    "labyrinth_volume": Range(140.0, 265.0, "mm3", "72 labyrinths fitted to clinical CT, range"),
    # The borders between parts are a convention; `parts` uses that of the 72 ears.
    # None for the common crus, whose measured volume is about 8 % larger.
    "vestibule_volume": _within(59.2, 8.8, "mm3", _SHAPES),
    "anterior_canal_volume": _within(13.7, 1.9, "mm3", _SHAPES),
    "posterior_canal_volume": _within(17.6, 2.5, "mm3", _SHAPES),
    "lateral_canal_volume": _within(16.3, 2.0, "mm3", _SHAPES),
    "anterior_canal_arc": _within(13.4, 0.9, "mm", _SHAPES),
    "posterior_canal_arc": _within(15.4, 1.0, "mm", _SHAPES),
    "lateral_canal_arc": _within(11.7, 0.8, "mm", _SHAPES),
    "anterior_canal_coverage": _within(227.6, 6.8, "deg", _SHAPES),
    "posterior_canal_coverage": _within(262.6, 5.5, "deg", _SHAPES),
    "lateral_canal_coverage": _within(253.5, 6.0, "deg", _SHAPES),
    "anterior_canal_radius": _within(3.29, 0.20, "mm", _SHAPES),
    "posterior_canal_radius": _within(3.31, 0.22, "mm", _SHAPES),
    "lateral_canal_radius": _within(2.60, 0.15, "mm", _SHAPES),
    # SDs of five labelled bones, because the lumen of the fitted shapes varies too little.
    "anterior_canal_lumen_radius": _within(0.455, 0.08, "mm", "72 labyrinths; SD of 5 bones"),
    "posterior_canal_lumen_radius": _within(0.541, 0.08, "mm", "72 labyrinths; SD of 5 bones"),
    "lateral_canal_lumen_radius": _within(0.525, 0.08, "mm", "72 labyrinths; SD of 5 bones"),
    "anterior_posterior_angle": _within(94.0, 4.0, "deg", _SANTINA),
    "anterior_lateral_angle": _within(90.6, 6.2, "deg", _SANTINA),
    "lateral_posterior_angle": _within(90.4, 4.9, "deg", _SANTINA),
}

#: Cut-offs of malformations by the name of the measurement.
CUT_OFFS = {
    "cochlear_height": Range(4.3, None, "mm", _ARCO, cut_off=True),
    "cochlear_width": Range(5.4, None, "mm", _ARCO, cut_off=True),
    "lateral_canal_island": Range(3.0, None, "mm", _ARCO, cut_off=True),
    "cochlear_canal_width": Range(1.4, 2.5, "mm", _ARCO, cut_off=True),
    "vestibular_aqueduct_midpoint": Range(None, 0.9, "mm", _ARCO, cut_off=True),
    "vestibular_aqueduct_operculum": Range(None, 1.9, "mm", _ARCO, cut_off=True),
}


def windows_problem(landmarks: Landmarks) -> str:
    """Why the landmarks of the windows are implausible; empty if plausible.

    Args:
        landmarks: with oval_window and round_window, LPS mm.

    >>> at_mm = [[0, 0, 0], [0, 0, 9]]
    >>> windows_problem(Landmarks(("oval_window", "round_window"), at_mm))
    'the windows are 9.00 mm apart, not 1.8 to 3.8 mm: at least one of their landmarks is wrong'
    """
    if not (landmarks.has("oval_window") and landmarks.has("round_window")):
        return ""
    distance = landmarks.distance_mm("oval_window", "round_window")
    low, high = WINDOWS_MM
    if low <= distance <= high:
        return ""
    return (
        f"the windows are {distance:.2f} mm apart, not {low} to {high} mm: "
        "at least one of their landmarks is wrong"
    )
