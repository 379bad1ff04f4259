"""The temporal bone around one labyrinth: petrous bone, capsule, air cells, cavities, brain.

Every structure is painted as a fraction of each voxel, in a fixed order, with a random density.
Positions follow five labelled temporal bones (centroids, nearest points and extents in the
canonical frame); the rest is chosen, not measured, and varies widely.
"""

import numpy as np
from scipy import ndimage

from otovox.core.geometry import unit
from otovox.phantom.canvas import UP, Canvas, Field, Region, occupancy
from otovox.phantom.cavities import cavities
from otovox.phantom.disease import implant, lesions, loosened, ossified, soaked
from otovox.phantom.labyrinth import Labyrinth, paint
from otovox.phantom.tissues import Tissues

#: Patient directions in the canonical frame of a mean head.
LATERAL, ANTERIOR = unit((0.54, -0.84, 0.0)), unit((0.83, 0.53, -0.15))
#: Outward normal of the petrous bone's posterior face.
POSTERIOR_FACE = unit((-0.99, 0.08, 0.12))

# Ranges of random values, mm. Chosen, not measured, and intentionally wide.
#: Thickness of the cortex over the marrow, and width of the transition.
CORTEX_MM, MARROW_FADE_MM = (0.4, 1.8), 0.8
#: Grain of the marrow, and of the speckle of all bone.
MARROW_GRAIN_MM, SPECKLE_MM = (0.5, 1.4), 2.5
#: Thickness of the otic capsule before modulation, and width of its outer transition.
CAPSULE_MM, CAPSULE_FADE_MM = (0.6, 2.6), (0.3, 1.5)
#: Minimum thickness of bone around the lumen, and additional distance of air cells.
PLATE_MM, CELL_GAP_MM = (0.15, 0.7), 0.2


def paint_temporal_bone(
    shape: Labyrinth,
    canvas: Canvas,
    tissues: Tissues,
    rng: np.random.Generator,
    *,
    diagnosis: str = "healthy",
) -> tuple[Field, Field]:
    """Paint one temporal bone.

    Args:
        shape: the labyrinth.
        canvas: the grid to paint on.
        tissues: densities.
        rng: all other randomness.
        diagnosis: one of `disease.DIAGNOSES`; already applied to `shape`.

    Returns:
        Densities, HU before the scanner, and the labyrinth's fraction of each voxel, both (i, j,
        k).
    """
    width = canvas.spacing_mm
    tissues = soaked(tissues, diagnosis)
    wall = paint(shape, canvas)
    far = _far_distance(canvas, wall)
    surface, cells = _petrous(canvas, rng)
    hu = _surroundings(canvas, tissues, rng)

    bone = _cortex_and_marrow(canvas, tissues, -surface, rng)
    bone += _capsule_share(canvas, far, rng) * (tissues.capsule - bone)
    bone *= loosened(shape, canvas, diagnosis, far, rng)
    # The capsule is bone everywhere, at least a thin plate.
    plate = rng.uniform(*PLATE_MM)
    bone_share = np.maximum(occupancy(surface, width), occupancy(far - plate, width))
    hu += bone_share * (bone - hu)
    # The plate separates air cells from the labyrinth.
    cell_share = occupancy(np.maximum(cells, plate + CELL_GAP_MM - far), width)
    hu += cell_share * (tissues.cells - hu)

    regions = cavities(shape, canvas, tissues, rng, far)
    for region in [*regions, *lesions(shape, canvas, diagnosis, tissues, rng)]:
        _fill(hu, region, width)
    lumen = occupancy(wall, width) * (1 - ossified(shape, canvas, diagnosis, rng))
    hu += lumen * (tissues.labyrinth - hu)
    _paint_spiral_lamina(shape, canvas, tissues, rng, hu, wall)
    for metal in implant(shape, canvas, diagnosis, rng):
        _fill(hu, metal, width)
    return hu, lumen


def _fill(hu: Field, region: Region, width_mm: float) -> None:
    """Paint a region into the densities, in place."""
    hu += occupancy(region.distance, width_mm) * (region.density - hu)


def _cortex_and_marrow(
    canvas: Canvas, tissues: Tissues, depth: Field, rng: np.random.Generator
) -> Field:
    """Density of solid bone: cortex outside, marrow (or sclerosis) inside, both speckled."""
    shell = rng.uniform(*CORTEX_MM)
    marrow_share = np.clip((depth - shell) / MARROW_FADE_MM, 0, 1)
    grain = canvas.noise(rng, rng.uniform(*MARROW_GRAIN_MM))
    marrow = tissues.marrow * (1 + tissues.marrow_grain * grain)
    bone = tissues.cortex + marrow_share * (marrow - tissues.cortex)
    bone += tissues.cortex * tissues.speckle * canvas.noise(rng, SPECKLE_MM)
    return bone


def _capsule_share(canvas: Canvas, far: Field, rng: np.random.Generator) -> Field:
    """The otic capsule: dense bone around the lumen with a gradual outer border."""
    thick = rng.uniform(*CAPSULE_MM) * (1 + 0.25 * canvas.noise(rng, 3.0))
    return np.clip((thick - far) / rng.uniform(*CAPSULE_FADE_MM) + 0.5, 0, 1)


def _far_distance(canvas: Canvas, wall: Field) -> Field:
    """Distance from the labyrinth's wall, mm, also valid far away."""
    coarse = canvas.coarse(0.5)
    step = [max(1, round(n / m)) for n, m in zip(canvas.grid.shape, coarse.grid.shape, strict=True)]
    thinned = wall[:: step[0], :: step[1], :: step[2]]
    spacing = canvas.grid.spacing_mm * step
    outside = np.asarray(ndimage.distance_transform_edt(thinned > 0.35, sampling=spacing))
    far = canvas.refine(outside + 0.35)
    return np.where(wall < 0.7, wall, np.maximum(far, 0.7))


def _petrous(canvas: Canvas, rng: np.random.Generator) -> tuple[Field, Field]:
    """Signed distances of the petrous and mastoid bone, and of its air cells."""
    low = canvas.coarse(0.8)
    rough = rng.uniform(0.3, 1.2)
    top = low.along(UP) - (9.0 + rng.normal(0, 0.8)) + rough * low.noise(rng, 7.0)
    # The floor of the middle fossa descends towards the front.
    top = top + np.clip(low.along(ANTERIOR), 0, None) * rng.uniform(0.1, 0.6)
    back = low.along(POSTERIOR_FACE) - (7.0 + rng.normal(0, 0.8)) + rough * low.noise(rng, 7.0)
    bottom = -low.along(UP) - (11.0 + rng.normal(0, 2.0)) + rough * low.noise(rng, 6.0)
    front = low.along(ANTERIOR) - (14.0 + rng.normal(0, 2.0)) + rough * low.noise(rng, 6.0)
    bone = np.maximum.reduce([top, back, bottom, front])
    bone = canvas.refine(bone)

    # Pneumatisation: frequent near the mastoid, rarer towards the apex; absent in some bones.
    reach = rng.choice([-30.0, rng.uniform(-8, 0), rng.uniform(0, 30)], p=[0.2, 0.4, 0.4])
    cells = canvas.blank()
    region = low.along(unit(LATERAL - 0.4 * ANTERIOR))
    if reach > -20:
        _paint_cells(canvas, cells, rng)
        border = canvas.refine(-region - reach + 2.5 * low.noise(rng, 5.0))
        cells = np.maximum(cells, np.maximum(border, bone + rng.uniform(0.3, 1.0)))
    return bone, cells


def _paint_cells(canvas: Canvas, cells: Field, rng: np.random.Generator) -> None:
    """Spheres of random size everywhere, later restricted to the pneumatised region."""
    low = canvas.coarse(0.45)
    size = rng.uniform(0.8, 2.8)
    field = low.noise(rng, size) + 0.5 * low.noise(rng, size * 0.5)
    # Level sets of smooth noise: rounded cells with thin walls at a low level.
    level = rng.uniform(0.0, 0.9)
    distance = (level - field) * size * 0.4
    np.minimum(cells, canvas.refine(distance), out=cells)


def _surroundings(canvas: Canvas, tissues: Tissues, rng: np.random.Generator) -> Field:
    """Brain above and behind, soft tissue (or air) below and in front."""
    low = canvas.coarse(1.0)
    above = np.maximum(low.along(UP) - 5.0, low.along(POSTERIOR_FACE) - 5.0)
    brain = np.clip(above / 2.0 + 0.5, 0, 1)
    below = rng.choice([tissues.outside, tissues.soft], p=[0.2, 0.8])
    hu = below + brain * (tissues.brain - below)
    hu = hu + 10.0 * low.noise(rng, 3.0)
    return canvas.refine(hu)


def _paint_spiral_lamina(
    shape: Labyrinth,
    canvas: Canvas,
    tissues: Tissues,
    rng: np.random.Generator,
    hu: Field,
    wall: Field,
) -> None:
    """The osseous spiral lamina: a thin shelf into the lumen, only in the image."""
    tube = shape.cochlea
    if rng.random() < 0.3 or len(tube.points_mm) < 60:  # not resolved, or no real cochlea
        return
    inward = -tube.axes[:, 0]
    count = int(len(tube.points_mm) * 0.85)
    tips = tube.points_mm + inward * tube.radii_mm[:, :1] * 0.15
    roots = tube.points_mm + inward * tube.radii_mm[:, :1]
    lamina = canvas.blank()
    for share in np.linspace(0, 1, 9):
        line = (roots + share * (tips - roots))[:count]
        canvas.paint_tube(lamina, line, np.linspace(0.12, 0.07, count), reach_mm=0.3)
    inside = occupancy(np.maximum(lamina, wall), canvas.spacing_mm)
    density = tissues.labyrinth + (tissues.capsule - tissues.labyrinth) * rng.uniform(0.2, 0.8)
    hu += inside * (density - hu)
