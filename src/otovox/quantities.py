"""What is measured of an ear: names, units, definitions, and what is usual, with sources."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict

from otovox.measure import FORMULAS, read_electrodes

Unit = Literal["mm", "mm3", "deg", "Hz", ""]

#: Distances between landmarks: name and ends.
DISTANCES = (
    ("helicotrema_to_oval_window", "helicotrema", "oval_window"),
    ("helicotrema_to_round_window", "helicotrema", "round_window"),
    ("oval_to_round_window", "oval_window", "round_window"),
)
#: Angles to which the traced lateral wall's length is told, degrees: one and two turns.
WALL_ANGLES_DEG = (360, 720)


class Norm(BaseModel):
    """What is usual in healthy ears, and where that was published."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    low: float
    high: float
    source: str


@dataclass(frozen=True)
class Quantity:
    """What can be measured: its name in `result.json`, and what is known of it."""

    name: str
    group: str
    unit: Unit
    definition: str
    norm: Norm | None = None


def key_of(array: str) -> str:
    """An electrode array's name as part of a quantity's."""
    return array.replace("/", "_").replace("-", "_").lower()


def _catalogue() -> Iterator[Quantity]:
    """All quantities, in the order of the report."""
    yield Quantity(
        "labyrinth_volume",
        "labyrinth",
        "mm3",
        "volume of the voxels labelled as this labyrinth in segmentation.nii.gz",
        Norm(low=140, high=265, source="71 CT ears of one statistical model"),
    )
    ranges = {
        "helicotrema_to_oval_window": (5.62, 7.97, "94 ears, data of Stebani et al. 2023"),
        "helicotrema_to_round_window": (5.76, 8.21, "94 ears, data of Stebani et al. 2023"),
        # Labelled bones set the round window's middle higher than the paper's readers do.
        "oval_to_round_window": (1.9, 3.8, "94 ears, data of Stebani et al. 2023; labelled bones"),
    }
    for name, first, second in DISTANCES:
        low, high, source = ranges[name]
        ends = f"{first.replace('_', ' ')} and {second.replace('_', ' ')}"
        definition = f"straight distance between the landmarks {ends}"
        yield Quantity(name, "labyrinth", "mm", definition, Norm(low=low, high=high, source=source))
    yield from _cochlear_catalogue()
    yield from _duct_catalogue()
    yield from _electrode_catalogue()


def _cochlear_catalogue() -> Iterator[Quantity]:
    group = "cochlea"
    review = "review of published measurements"
    yield Quantity(
        "cochlea_a", group, "mm",
        "A: round window's centre through the modiolar axis to the opposite lateral wall",
        Norm(low=8.43, high=10.4, source=f"{review}, 2559 ears"),
    )  # fmt: skip
    yield Quantity(
        "cochlea_a_wall", group, "mm", "A, lateral wall to lateral wall at 0 and 180 degrees"
    )
    yield Quantity(
        "cochlea_b", group, "mm",
        "B: lateral wall to lateral wall through the axis, perpendicular to A",
        Norm(low=5.73, high=6.9, source=f"{review}, 908 ears"),
    )  # fmt: skip
    yield Quantity("cochlea_b_to_a", group, "", "B over A; at least 0.75 is a round basal turn")
    yield Quantity(
        "cochlea_height", group, "mm", "H: extent of the lumen along the modiolar axis",
        Norm(low=2.8, high=6.9, source=review),
    )  # fmt: skip
    yield Quantity(
        "cochlea_turns", group, "",
        "turns of the lateral wall from the round window to the end of the duct",
        Norm(low=2.2, high=2.9, source="Erixon et al. 2009"),
    )  # fmt: skip
    yield Quantity(
        "basal_lumen_diameter", group, "mm",
        "mean diameter of the basal turn's lumen, 30 to 330 degrees, of a circle of equal area",
        Norm(low=1.7, high=2.2, source=review),
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
            definition = f"{name}: insertion angle if it lies 0.35 mm inside the lateral wall"
            yield Quantity(f"insertion_angle_{key}", group, "deg", definition)
        at = "there" if electrode.length_mm is not None else "at its default insertion angle"
        definition = f"{name}: insertion angle {at} over the duct's whole angle"
        yield Quantity(f"coverage_{key}", group, "", definition)
        definition = f"{name}: spiral ganglion frequency at the tip {at}, Stakhovskaya et al. 2007"
        yield Quantity(f"tip_frequency_{key}", group, "Hz", definition)


QUANTITIES = tuple(_catalogue())
