"""Densities of the specimen, HU before scanning: living, frozen, embalmed, cast, dry or other."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

#: Preparation of a temporal bone before scanning.
Specimen = Literal["patient", "frozen", "embalmed", "resin", "dry", "any"]


@dataclass(frozen=True)
class Tissues:
    """Densities of one scanned specimen, HU before the scanner.

    Attributes:
        air, soft, brain, fluid: outside the bone, in nerve canals and vessels; `fluid` fills
            the internal auditory canal and the aqueducts.
        labyrinth: density inside the labyrinth.
        capsule, cortex, marrow: types of bone; `marrow_grain` and `speckle` are relative SDs.
        ossicle, modiolus: bone that most scans do not resolve.
        middle_ear, cells, outside: contents of the tympanic cavity, the mastoid cells, and the
            space below and anterior to the bone.
        membranes: whether windows and eardrum are closed; absent in dry bones.
    """

    air: float
    soft: float
    brain: float
    fluid: float
    labyrinth: float
    capsule: float
    cortex: float
    marrow: float
    marrow_grain: float
    speckle: float
    ossicle: float
    modiolus: float
    middle_ear: float
    cells: float
    outside: float
    membranes: bool = True


def draw_tissues(rng: np.random.Generator, specimen: Specimen = "any") -> Tissues:
    """Draw densities.

    Args:
        rng: all randomness.
        specimen: type of specimen; "any" is for training: mostly plausible patients, otherwise
            arbitrary densities, including implausible ones.

    Source of the plausible means: published HU (otic capsule above 2187 anterior to the oval
    window, canal bone 1155 +- 360, malleus 1413, incus 714); spreads are chosen, not measured.
    """
    if specimen == "any":
        kinds: tuple[Specimen, ...] = ("patient", "frozen", "embalmed", "resin", "dry")
        share = rng.random()
        if share < 0.25:
            return _wild(_living(rng), rng)
        specimen = "patient" if share < 0.75 else kinds[int(rng.integers(1, 5))]
    living = _living(rng)
    if specimen == "patient":
        return living
    return _kept(living, specimen, rng)


def _living(rng: np.random.Generator) -> Tissues:
    """A patient of any age, with or without a healthy middle ear."""
    air = -1000.0 + abs(rng.normal(0, 30))
    fluid = rng.normal(20, 30)
    soft = rng.normal(50, 30)
    cortex = max(rng.normal(1300, 250), 850.0)
    capsule = cortex + rng.uniform(100, 1000)
    labyrinth = fluid + rng.normal(20, 30)
    opaque = rng.random() < 0.15
    speckle = rng.uniform(0, 0.08)
    return Tissues(
        air=air,
        soft=soft,
        brain=soft * 0.7 + rng.normal(0, 15),
        fluid=fluid,
        labyrinth=labyrinth,
        capsule=capsule,
        cortex=cortex,
        marrow=rng.uniform(100, 0.8 * cortex),
        marrow_grain=float(rng.uniform(0, 0.6)),
        speckle=speckle,
        ossicle=cortex * rng.uniform(0.5, 1.15),
        modiolus=labyrinth + (capsule - labyrinth) * rng.uniform(0.15, 0.8),
        middle_ear=soft if opaque else air,
        cells=soft if opaque or rng.random() < 0.1 else air,
        outside=air,
    )


def _kept(living: Tissues, specimen: Specimen, rng: np.random.Generator) -> Tissues:
    """The densities of a specimen outside the body. All chosen, not measured."""
    air = living.air
    if specimen == "dry":  # macerated bone: air in every space, membranes gone
        return replace(
            living, soft=air, brain=air, fluid=air, labyrinth=air, middle_ear=air, cells=air,
            membranes=False,
        )  # fmt: skip
    if specimen == "frozen":  # thawing water and ice, air where fluid has leaked
        fluid = rng.uniform(-80, 40)
        brain = float(rng.choice([air, living.soft], p=[0.7, 0.3]))
        return replace(living, fluid=fluid, labyrinth=rng.uniform(-60, 60), brain=brain)
    if specimen == "embalmed":  # formalin or Thiel: denser or fatty fluids, or none
        fluid = rng.uniform(-60, 200)
        brain = float(rng.choice([air, living.soft]))
        middle = float(rng.choice([air, fluid], p=[0.6, 0.4]))
        # Source: in nine ears of Wimmer et al. 2019 the lumen contains air in all six formalin ones
        # (-870 to -790 HU as scanned), and fluid in the three Thiel ones (155 to 172 HU).
        inside = air if rng.random() < 0.5 else fluid + rng.normal(0, 30)
        return replace(
            living, fluid=fluid, labyrinth=inside, brain=brain, soft=rng.uniform(-80, 120),
            middle_ear=middle, cells=middle,
        )  # fmt: skip
    resin = rng.uniform(0, 350)  # cast: all open spaces are filled
    inside = float(rng.choice([resin, living.fluid], p=[0.5, 0.5]))
    return replace(
        living, soft=resin, brain=resin, fluid=inside, labyrinth=inside, middle_ear=resin,
        cells=float(rng.choice([resin, air])), outside=float(rng.choice([resin, air])),
    )  # fmt: skip


def _wild(living: Tissues, rng: np.random.Generator) -> Tissues:
    """Densities beyond any patient: wide ranges, or few values as in models of segmentations."""
    air = living.air
    cortex = rng.uniform(500, 2600)
    capsule = cortex * rng.uniform(0.85, 1.5)
    marrow = cortex * rng.uniform(0.05, 1.0)
    wide = replace(living, cortex=cortex, capsule=capsule, marrow=marrow)
    wide = replace(wide, ossicle=cortex * rng.uniform(0.5, 1.15))
    kind = rng.random()
    if kind < 0.2:
        return wide
    if kind < 0.4:  # contrast-like fluids
        fluid = cortex * rng.uniform(-0.2, 0.35)
        return replace(wide, labyrinth=fluid, fluid=fluid, soft=cortex * rng.uniform(-0.15, 0.3))
    # Model-like: bone of one density, other spaces with few densities.
    labyrinth = float(rng.choice([cortex * rng.uniform(-0.3, 0.3), air], p=[0.8, 0.2]))
    few = [air, living.soft, labyrinth]
    soft, fluid, outside, brain, middle, cells = (float(rng.choice(few)) for _ in range(6))
    if kind < 0.6:  # only the labyrinth in solid bone
        soft = fluid = outside = brain = middle = cells = cortex
    return replace(
        wide, capsule=cortex, marrow=cortex, modiolus=cortex, labyrinth=labyrinth, soft=soft,
        fluid=fluid, outside=outside, brain=brain, middle_ear=middle, cells=cells,
        speckle=0.0, marrow_grain=0.0, membranes=rng.random() < 0.5,
    )  # fmt: skip
