"""The measured quantities of an ear: names, units, definitions, and norms with sources."""

from collections.abc import Iterator
from dataclasses import dataclass

from otovox.measure.duct import FORMULAS
from otovox.measure.electrodes import read_electrodes
from otovox.measure.norms import CUT_OFFS, NORMS, WINDOWS_MM
from otovox.measure.tori import CANALS
from otovox.measure.values import Norm, Unit

#: Groups that mean nothing where the cochlea is malformed. Source: D'Arco et al. 2017, of A.
COCHLEAR_GROUPS = ("cochlea", "cochlear duct length", "electrode arrays")
#: Measurements of each canal.
CANAL_MEASURES = ("radius", "arc", "coverage", "lumen_radius", "non_planarity")

#: Distances between landmarks: name and ends.
DISTANCES = (
    ("helicotrema_to_oval_window", "helicotrema", "oval_window"),
    ("helicotrema_to_round_window", "helicotrema", "round_window"),
    ("oval_to_round_window", "oval_window", "round_window"),
)
#: Angles up to which the length of the traced lateral wall is reported, degrees: one and two turns.
WALL_ANGLES_DEG = (360, 720)


@dataclass(frozen=True)
class Quantity:
    """A measurable quantity: its name in `result.json`, unit, definition and norm."""

    name: str
    group: str
    unit: Unit
    definition: str
    norm: Norm | None = None


def key_of(array: str) -> str:
    """The name of an electrode array as part of a quantity's name.

    >>> key_of("Flex28/Pro-1")
    'flex28_pro_1'
    """
    return array.replace("/", "_").replace("-", "_").lower()


def _catalogue() -> Iterator[Quantity]:
    """All quantities, in the order of the report."""
    yield Quantity(
        "labyrinth_volume",
        "labyrinth",
        "mm3",
        "volume of the voxels labelled as this labyrinth in segmentation.nii.gz",
        usual("labyrinth_volume"),
    )
    ranges = {
        "helicotrema_to_oval_window": (5.62, 7.97, "94 ears, data of Stebani et al. 2023"),
        "helicotrema_to_round_window": (5.76, 8.21, "94 ears, data of Stebani et al. 2023"),
        # In labelled bones the round window's centre is higher than for the paper's readers.
        "oval_to_round_window": (*WINDOWS_MM, "94 ears of Stebani et al. 2023; labelled bones"),
    }
    for name, first, second in DISTANCES:
        low, high, source = ranges[name]
        ends = f"{first.replace('_', ' ')} and {second.replace('_', ' ')}"
        definition = f"straight distance between the landmarks {ends}"
        yield Quantity(name, "labyrinth", "mm", definition, Norm(low=low, high=high, source=source))
    yield Quantity(
        "completeness_likert", "labyrinth", "",
        "1 complete; 2, 3, 4: one, two, three or more of cochlea, vestibule and three canals are "
        "missing or disorganised (Lim et al. 2024)",
        Norm(low=1, high=1, source="Lim et al. 2024"),
    )  # fmt: skip
    yield from _cochlear_catalogue()
    yield from _duct_catalogue()
    yield from _electrode_catalogue()
    yield from _vestibular_catalogue()


def _cochlear_catalogue() -> Iterator[Quantity]:
    group = "cochlea"
    yield Quantity(
        "cochlea_a", group, "mm",
        "A: centre of the round window through the modiolar axis to the opposite lateral wall",
        usual("A"),
    )  # fmt: skip
    yield Quantity(
        "cochlea_a_wall", group, "mm", "A between the lateral walls at 0 and 180 degrees"
    )
    yield Quantity(
        "cochlea_b", group, "mm",
        "B: between the lateral walls through the axis, perpendicular to A",
        usual("B"),
    )  # fmt: skip
    yield Quantity(
        "cochlea_b_to_a", group, "", "B divided by A; at least 0.75 means a round basal turn"
    )
    yield Quantity(
        "cochlea_height", group, "mm", "H: extent of the lumen along the modiolar axis",
        usual("cochlear_height"),
    )  # fmt: skip
    yield Quantity(
        "cochlea_turns", group, "",
        "turns of the lateral wall from the round window to the end of the duct",
        Norm(low=2.2, high=2.9, source="Erixon et al. 2009"),
    )  # fmt: skip
    yield Quantity(
        "basal_lumen_diameter", group, "mm",
        "mean lumen diameter of the basal turn, 30 to 330 degrees, as a circle of equal area",
        usual("basal_lumen_diameter"),
    )  # fmt: skip


def _duct_catalogue() -> Iterator[Quantity]:
    group = "cochlear duct length"
    traced = "traced along the lateral wall from the round window"
    yield Quantity(
        "duct_length_lw", group, "mm", f"{traced} to the end of the duct",
        Norm(low=30.8, high=43.2, source="published lateral wall lengths"),
    )  # fmt: skip
    for angle in WALL_ANGLES_DEG:
        yield Quantity(f"duct_length_lw_{angle}", group, "mm", f"{traced} to {angle} degrees")
    yield Quantity(
        "duct_length_center", group, "mm",
        "traced along the centre of the lumen from the round window to the end of the duct",
    )  # fmt: skip
    routes = {"LW": "lateral wall", "OC": "organ of Corti", "electrode": "electrode's path"}
    for formula in FORMULAS:
        needs = "A and B" if formula.name.startswith("eca") else "A"
        to = formula.to.replace("apex", "the apex").replace("deg", "degrees")
        definition = f"{routes[formula.route]} to {to}, from {needs} by {formula.source}"
        yield Quantity(f"duct_length_{formula.name}", group, "mm", definition)


def _electrode_catalogue() -> Iterator[Quantity]:
    group = "electrode arrays"
    for electrode in read_electrodes():
        key, name = key_of(electrode.array), electrode.array
        if electrode.length_mm is not None:
            definition = f"{name}: insertion angle along a path 0.35 mm inside the lateral wall"
            yield Quantity(f"insertion_angle_{key}", group, "deg", definition)
        at = "there" if electrode.length_mm is not None else "at its default insertion angle"
        definition = f"{name}: insertion angle {at} divided by the duct's total angle"
        yield Quantity(f"coverage_{key}", group, "", definition)
        definition = f"{name}: spiral ganglion frequency at the tip {at}, Stakhovskaya et al. 2007"
        yield Quantity(f"tip_frequency_{key}", group, "Hz", definition)


def _vestibular_catalogue() -> Iterator[Quantity]:
    group = "parts"
    parts = [("cochlea", "cochlea"), ("vestibule", "vestibule")]
    parts += [(f"{name}_canal", f"{name} canal with its ampulla") for name in CANALS]
    for name, title in (*parts, ("common_crus", "common crus")):
        yield Quantity(
            f"{name}_volume", group, "mm3", f"volume of the {title}", usual(f"{name}_volume")
        )
    definitions: dict[str, tuple[Unit, str]] = {
        "radius": ("mm", "radius of the circle fitted to the centres of the lumen's sections"),
        "arc": (
            "mm",
            "length of the centreline between the canal's ends, as defined by the mean of 72 ears",
        ),
        "coverage": ("deg", "angle covered by the centreline about the circle's centre"),
        "lumen_radius": ("mm", "mean radius of the lumen in the middle half of the arc"),
        "non_planarity": ("mm", "root mean square distance of the centreline from its plane"),
    }
    for name in CANALS:
        for what in CANAL_MEASURES:
            unit, definition = definitions[what]
            key = f"{name}_canal_{what}"
            yield Quantity(key, "canals", unit, f"{name} canal: {definition}", usual(key))
    island = CUT_OFFS["lateral_canal_island"]
    yield Quantity(
        "lateral_canal_island", "canals", "mm",
        "width of the bone within the lateral canal: twice the circle's radius minus the lumen's",
        Norm(low=island.low or 0, high=6, source=island.source),
    )  # fmt: skip
    for pair in ("anterior_posterior", "anterior_lateral", "lateral_posterior"):
        first, second = pair.split("_")
        definition = f"angle between the signed normals of the {first} and the {second} canal"
        yield Quantity(f"{pair}_angle", "canals", "deg", definition, usual(f"{pair}_angle"))


def usual(name: str) -> Norm | None:
    """The published range of a measurement, if there is one with both limits.

    >>> usual("labyrinth_volume")
    Norm(low=140.0, high=265.0, source='72 labyrinths fitted to clinical CT, range')
    """
    norm = NORMS.get(name)
    if norm is None or norm.low is None or norm.high is None:
        return None
    return Norm(low=norm.low, high=norm.high, source=norm.source)


QUANTITIES = tuple(_catalogue())
