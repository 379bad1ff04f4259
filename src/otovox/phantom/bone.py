"""The temporal bone around one labyrinth: nerves, vessels, middle ear, cells, capsule, brain.

Every structure is painted as a share of each voxel, in a fixed order, and given a density drawn at
random. Positions follow five labelled temporal bones (centroids, nearest points and extents in the
canonical frame); the rest is chosen, not measured, and varied widely.
"""

import numpy as np
from scipy import ndimage

from otovox.core.geometry import FloatArray, unit
from otovox.phantom.canvas import Canvas, Field, occupancy, smooth_union
from otovox.phantom.disease import implant, lesions, loosened, ossified, soaked
from otovox.phantom.labyrinth import (
    MARK_OFFSET_MM,
    OVAL_WINDOW_MM,
    OVAL_WINDOW_NORMAL,
    ROUND_WINDOW_MM,
    ROUND_WINDOW_NORMAL,
    Labyrinth,
    paint,
)
from otovox.phantom.tissues import Tissues

#: Patient directions in the canonical frame of a mean head.
LATERAL, ANTERIOR, UP = (
    unit((0.54, -0.84, 0.0)),
    unit((0.83, 0.53, -0.15)),
    unit((0.12, 0.08, 0.99)),
)
#: Outward normal of the petrous bone's posterior face.
POSTERIOR_FACE = unit((-0.99, 0.08, 0.12))


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
        rng: everything that varies besides.
        diagnosis: one of `disease.DIAGNOSES`; `shape` has it already.

    Returns:
        Densities, HU before the scanner, and the labyrinth's share of each voxel, both (i, j, k).
    """
    width = canvas.spacing_mm
    tissues = soaked(tissues, diagnosis)
    wall = paint(shape, canvas)
    lumen = occupancy(wall, width)
    far = _far_distance(canvas, wall)

    bone_distance, cells = _petrous(canvas, rng)
    hu = _surroundings(canvas, tissues, rng)

    # Solid bone: cortex outside, marrow (or sclerosis) within, both speckled.
    share = occupancy(bone_distance, width)
    depth = -bone_distance
    shell = rng.uniform(0.4, 1.8)
    marrow_share = np.clip((depth - shell) / 0.8, 0, 1)
    grain = canvas.noise(rng, rng.uniform(0.5, 1.4))
    marrow = tissues.marrow * (1 + tissues.marrow_grain * grain)
    bone = tissues.cortex + marrow_share * (marrow - tissues.cortex)
    bone += tissues.cortex * tissues.speckle * canvas.noise(rng, 2.5)

    # The otic capsule: dense bone around the lumen, its outer border fading.
    thick = rng.uniform(0.6, 2.6) * (1 + 0.25 * canvas.noise(rng, 3.0))
    capsule_share = np.clip((thick - far) / rng.uniform(0.3, 1.5) + 0.5, 0, 1)
    bone += capsule_share * (tissues.capsule - bone)
    bone *= loosened(shape, canvas, diagnosis, far, rng)
    # Wherever the capsule is, there is bone, at least a thin plate.
    plate = rng.uniform(0.15, 0.7)
    share = np.maximum(share, occupancy(far - plate, width))
    hu += share * (bone - hu)

    # Air cells keep off the labyrinth by a plate of bone.
    cell_share = occupancy(np.maximum(cells, plate + 0.2 - far), width)
    hu += cell_share * (tissues.cells - hu)

    parts = _cavities(shape, canvas, tissues, rng, far)
    ill = lesions(shape, canvas, diagnosis, tissues, rng)
    for distance, density in [*parts, *((part.distance, part.density) for part in ill)]:
        inside = occupancy(distance, width)
        hu += inside * (density - hu)

    lumen = lumen * (1 - ossified(shape, canvas, diagnosis, rng))
    hu += lumen * (tissues.labyrinth - hu)
    _paint_inside(shape, canvas, tissues, rng, hu, wall)
    for metal in implant(shape, canvas, diagnosis, rng):
        hu += occupancy(metal.distance, width) * (metal.density - hu)
    return hu, lumen


def _far_distance(canvas: Canvas, wall: Field) -> Field:
    """Distance from the labyrinth's wall, mm, right far away too."""
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
    # The middle fossa's floor falls towards the front.
    top = top + np.clip(low.along(ANTERIOR), 0, None) * rng.uniform(0.1, 0.6)
    back = low.along(POSTERIOR_FACE) - (7.0 + rng.normal(0, 0.8)) + rough * low.noise(rng, 7.0)
    bottom = -low.along(UP) - (11.0 + rng.normal(0, 2.0)) + rough * low.noise(rng, 6.0)
    front = low.along(ANTERIOR) - (14.0 + rng.normal(0, 2.0)) + rough * low.noise(rng, 6.0)
    bone = np.maximum.reduce([top, back, bottom, front])
    bone = canvas.refine(bone)

    # Pneumatisation: dense near the mastoid, rarer towards the apex; some bones have none.
    reach = rng.choice([-30.0, rng.uniform(-8, 0), rng.uniform(0, 30)], p=[0.2, 0.4, 0.4])
    cells = canvas.blank()
    region = low.along(unit(LATERAL - 0.4 * ANTERIOR))
    if reach > -20:
        _paint_cells(canvas, cells, rng)
        border = canvas.refine(-region - reach + 2.5 * low.noise(rng, 5.0))
        cells = np.maximum(cells, np.maximum(border, bone + rng.uniform(0.3, 1.0)))
    return bone, cells


def _paint_cells(canvas: Canvas, cells: Field, rng: np.random.Generator) -> None:
    """Balls of random size all over the field: later cut to the pneumatised region."""
    low = canvas.coarse(0.45)
    size = rng.uniform(0.8, 2.8)
    field = low.noise(rng, size) + 0.5 * low.noise(rng, size * 0.5)
    # Level sets of smooth noise: rounded cells with thin walls where the level is low.
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


def _bezier(points: FloatArray, count: int = 120) -> FloatArray:
    """A smooth curve near a polyline (Catmull-Rom through cubic interpolation of its points)."""
    at = np.linspace(0, 1, len(points))
    fine = np.linspace(0, 1, count)
    line = np.stack([np.interp(fine, at, points[:, axis]) for axis in range(3)], axis=1)
    return ndimage.gaussian_filter1d(line, count / len(points) * 0.35, axis=0, mode="nearest")


def _tube(
    canvas: Canvas, points: list[tuple[float, ...]], radii: list[float], rng: np.random.Generator
) -> Field:
    """Distance of a tube through jittered canonical points."""
    line = np.asarray(points, dtype=float)
    line = line + rng.normal(0, 0.35, line.shape)
    curve = _bezier(line)
    radius = np.interp(np.linspace(0, 1, len(curve)), np.linspace(0, 1, len(radii)), radii)
    field = canvas.blank()
    canvas.paint_tube(field, curve, radius * rng.uniform(0.8, 1.25))
    return field


def _ball(canvas: Canvas, center: FloatArray, radii: FloatArray) -> Field:
    field = canvas.blank()
    canvas.paint_ellipsoids(
        field, np.asarray(center)[None], np.eye(3)[None], np.asarray(radii, dtype=float)[None]
    )
    return field


def _cavities(
    shape: Labyrinth,
    canvas: Canvas,
    tissues: Tissues,
    rng: np.random.Generator,
    far: Field,
) -> list[tuple[Field, float]]:
    """Everything that is not bone and not labyrinth, in painting order, with its density."""
    scale = shape.facts["scale"]
    keep = rng.uniform(0.05, 0.3) - far  # cavities stay outside a thin plate around the lumen
    jitter = lambda sd, n=3: rng.normal(0, sd, n)  # noqa: E731
    parts: list[tuple[Field, float]] = []

    def cavity(distance: Field, density: float, plate: bool = True) -> None:
        parts.append((np.maximum(distance, keep) if plate else distance, density))

    # Internal auditory canal: porus behind, fundus at the vestibule; its nerves are as dense as it.
    fundus = np.array([0.3, 3.7, -0.2]) * scale + jitter(0.2)
    porus = fundus + np.array([-7.4, 7.6, 1.2]) * rng.uniform(0.9, 1.3)
    width = rng.uniform(1.5, 3.2)
    canal = _tube(
        canvas,
        [tuple(fundus), tuple((fundus + porus) / 2), tuple(porus)],
        [1.5, width, width * 1.3],
        rng,
    )
    cavity(canal, tissues.fluid)
    # Cochlear nerve canal, from the fundus to the modiolus.
    base = shape.apex_mm - 4.0 * scale * shape.axis
    nerve = _tube(canvas, [tuple(fundus), tuple(base)], [1.0, rng.uniform(0.4, 0.9)], rng)
    cavity(nerve, tissues.fluid)

    if rng.random() < 0.9:  # facial nerve: labyrinthine, tympanic, mastoid segments
        path = [(0.0, 4.2, 1.0), (2.5, 3.4, 0.9), (5.0, 4.0, 0.4), (3.7, -0.5, 0.2)]
        path += [(1.6, -4.2, -0.7), (-0.8, -7.2, -2.5), (-2.2, -8.2, -7.0), (-4.0, -9.2, -16.0)]
        cavity(_tube(canvas, path, [0.45, 0.5, 0.8, 0.6, 0.6, 0.8, 0.9, 0.9], rng), tissues.soft)
    carotid = [(0.5, 10.5, -22.0), (1.5, 9.8, -9.5), (0.5, 12.5, -8.5), (-5.0, 22.0, -9.0)]
    cavity(_tube(canvas, carotid, [2.6, 2.6, 2.6, 2.6], rng), tissues.soft)
    high = rng.uniform(-14, -7)
    bulb = np.array([-4.5, 1.0, high]) + jitter(1.0)
    vein = smooth_union(
        _ball(canvas, bulb, rng.uniform(2.5, 5.0, 3)),
        _tube(canvas, [tuple(bulb), (-6.0, -1.0, -24.0)], [3.0, 4.0], rng),
        1.0,
    )
    cavity(vein, tissues.soft)
    sinus = [(-9.0, -16.0, 10.0), (-11.0, -14.0, 0.0), (-9.0, -9.0, -12.0), tuple(bulb)]
    cavity(_tube(canvas, sinus, [4.5, 5.0, 4.5, 3.0], rng), tissues.soft)
    # Aqueducts and the subarcuate canal.
    duct = [(-1.6, -0.6, 1.6), (-4.2, -1.2, 2.0), (-6.6, -3.7, 0.3), (-8.6, -5.5, -1.0)]
    cavity(_tube(canvas, duct, [0.2, 0.3, 0.4, 0.7], rng), tissues.fluid, plate=False)
    round_window = _window(shape, "round_window")
    duct = [tuple(round_window + np.array([-0.4, 0.9, -0.3])), (-3.0, 4.5, -6.0), (-6.5, 8.5, -8.0)]
    cavity(_tube(canvas, duct, [0.1, 0.3, 1.1], rng), tissues.fluid)
    if rng.random() < 0.7:
        arch = [(0.5, -1.5, 5.0), (-2.0, 1.0, 5.3), (-5.5, 3.5, 5.5)]
        cavity(_tube(canvas, arch, [0.3, 0.4, 0.5], rng), tissues.fluid)

    # Middle ear: tympanic cavity, attic, antrum, niches, external canal.
    filling = tissues.middle_ear
    grow = rng.uniform(0.8, 1.25)
    drum = smooth_union(
        _ball(canvas, np.array([4.6, -2.6, -4.4]) + jitter(0.5), np.array([3.2, 3.0, 5.0]) * grow),
        _ball(canvas, np.array([6.3, -3.4, 0.8]) + jitter(0.5), np.array([3.0, 2.8, 3.0]) * grow),
        1.0,
    )
    drum = smooth_union(
        drum, _ball(canvas, np.array([2.6, -9.0, 3.2]) + jitter(0.8), rng.uniform(2, 4.5, 3)), 1.5
    )
    sinus_tympani = _ball(
        canvas, np.array([0.6, -2.4, -3.9]) + jitter(0.3), np.array([1.4, 1.3, 1.6])
    )
    drum = smooth_union(drum, sinus_tympani, 0.8)
    tube = _tube(
        canvas, [(6.0, 0.5, -6.5), (7.5, 7.0, -9.0), (7.0, 18.0, -14.0)], [1.8, 1.0, 1.2], rng
    )
    drum = smooth_union(drum, tube, 0.8)
    promontory = rng.uniform(0.4, 1.4) - far
    drum = np.maximum(drum, promontory)
    oval = _window(shape, "oval_window")
    for window, normal, size in (
        (oval, OVAL_WINDOW_NORMAL, (0.7, rng.uniform(0.5, 1.1))),
        (round_window, ROUND_WINDOW_NORMAL, (rng.uniform(0.6, 0.95), rng.uniform(0.7, 1.3))),
    ):
        # Niches start a membrane's thickness off the lumen and open into the cavity.
        start, end = window + 0.25 * normal, window + rng.uniform(1.6, 3.0) * normal
        niche = canvas.blank()
        canvas.paint_tube(niche, _bezier(np.array([start, end]), 20), np.linspace(*size, 20))
        # Without its membrane a window is open: the niche then reaches the lumen.
        gap = rng.uniform(0.05, 0.35) if tissues.membranes else -0.3
        drum = np.minimum(drum, np.maximum(niche, gap - far))
    parts.append((drum, filling))
    ear_canal = [(9.0, -5.0, -7.5), (12.5, -12.0, -9.0), (17.0, -22.0, -10.0)]
    cavity(_tube(canvas, ear_canal, [3.3, 3.0, 3.6], rng), tissues.middle_ear)
    if rng.random() < (0.9 if tissues.membranes else 0.3):
        parts.extend(_ossicles(shape, canvas, tissues, rng))
    return parts


def _ossicles(
    shape: Labyrinth, canvas: Canvas, tissues: Tissues, rng: np.random.Generator
) -> list[tuple[Field, float]]:
    """Malleus, incus, stapes with its footplate on the oval window, and the drum."""
    oval = _window(shape, "oval_window")
    head = np.array([7.4, -2.2, 0.1]) + rng.normal(0, 0.3, 3)
    body = np.array([6.7, -4.0, 0.0]) + rng.normal(0, 0.3, 3)
    joint = oval + 2.6 * OVAL_WINDOW_NORMAL
    malleus = smooth_union(
        _ball(canvas, head, np.array([1.2, 1.1, 1.3])),
        _tube(canvas, [tuple(head), (6.8, -1.8, -2.5), (5.2, -1.6, -5.5)], [0.8, 0.5, 0.4], rng),
        0.4,
    )
    incus = smooth_union(
        _ball(canvas, body, np.array([1.3, 1.3, 1.2])),
        _tube(canvas, [tuple(body), (4.6, -4.2, -2.2), tuple(joint)], [0.8, 0.5, 0.35], rng),
        0.4,
    )
    across = unit(np.cross(OVAL_WINDOW_NORMAL, UP))
    stapes = canvas.blank()
    for sign in (-1, 1):
        foot = oval + 0.2 * OVAL_WINDOW_NORMAL + sign * 1.0 * across
        canvas.paint_tube(stapes, _bezier(np.array([joint, foot]), 30), 0.18)
    plate = np.stack([across, np.cross(OVAL_WINDOW_NORMAL, across), OVAL_WINDOW_NORMAL])
    canvas.paint_ellipsoids(
        stapes,
        (oval + 0.15 * OVAL_WINDOW_NORMAL)[None],
        plate[None],
        np.array([[1.5, 0.8, rng.uniform(0.1, 0.22)]]),
    )
    drum = canvas.blank()
    canvas.paint_ellipsoids(
        drum,
        np.array([[7.6, -4.2, -5.6]]),
        np.stack([unit((0.3, 0.3, -0.9)), unit((0.75, -0.65, 0.03)), unit((0.6, 0.7, 0.4))])[None],
        np.array([[4.2, 4.0, 0.12]]),
    )
    bones = np.minimum(np.minimum(malleus, incus), stapes)
    parts = [(drum, tissues.soft), (bones, tissues.ossicle)]
    return parts if tissues.membranes else parts[1:]


def _window(shape: Labyrinth, name: str) -> FloatArray:
    """Middle of a window's opening, between where five labelled bones and where experts put it.

    Its usual place where the labyrinth lacks the window: the middle ear is there.
    """
    usual = {"oval_window": OVAL_WINDOW_MM, "round_window": ROUND_WINDOW_MM}
    if not shape.landmarks.has(name):
        return usual[name]
    share = shape.facts["opening_aside"] * shape.facts["scale"]
    return shape.landmarks[name] - share * MARK_OFFSET_MM[name]


def _paint_inside(
    shape: Labyrinth,
    canvas: Canvas,
    tissues: Tissues,
    rng: np.random.Generator,
    hu: Field,
    wall: Field,
) -> None:
    """The osseous spiral lamina: a thin shelf into the lumen, in the image alone."""
    tube = shape.cochlea
    if rng.random() < 0.3 or len(tube.points_mm) < 60:  # none resolved, or no cochlea to speak of
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
