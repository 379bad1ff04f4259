"""Diseases and variants: changes of the labyrinth's shape and of the surrounding bone.

All sizes are chosen according to textbook descriptions (Sennaroglu's classification for
malformations), not measured. Structures missing in a variant have no landmark: the point is nan.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from otovox.core.geometry import FloatArray, random_rotation
from otovox.core.landmarks import Landmarks
from otovox.phantom.canvas import UP, Canvas, Field, Region, occupancy, smooth_union
from otovox.phantom.labyrinth import Labyrinth
from otovox.phantom.tissues import Tissues
from otovox.phantom.tubes import Tube

#: Possible diagnoses of a case; the first is the default.
DIAGNOSES = (
    "healthy",
    "otosclerosis",
    "ossificans",
    "canal_dehiscence",
    "incomplete_partition",
    "hypoplasia",
    "common_cavity",
    "absent_lateral_canal",
    "enlarged_aqueduct",
    "otitis_media",
    "mastoidectomy",
    "implant",
    "cut_field",
)
#: Fraction of healthy ears among training anatomies; the diseases are equally frequent. Chosen.
HEALTHY = 0.5
#: Maximum density of platinum contacts in a scan, HU. Chosen: above any bone.
METAL_HU = 20_000.0
#: Course of an implant's lead through the mastoid.
_LEAD_MM = ((6.0, -12.0, 4.0), (9.0, -24.0, 6.0))


def draw_diagnosis(rng: np.random.Generator) -> str:
    """Draw a diagnosis for a training anatomy.

    >>> draw_diagnosis(np.random.default_rng(0)) in DIAGNOSES
    True
    """
    if rng.random() < HEALTHY:
        return DIAGNOSES[0]
    # A cut field of view is drawn for every sample, not for the anatomy.
    return str(rng.choice([name for name in DIAGNOSES[1:] if name != "cut_field"]))


# --- shape -----------------------------------------------------------------------------------


def malformed(shape: Labyrinth, diagnosis: str, rng: np.random.Generator) -> Labyrinth:
    """The labyrinth of a variant; most diagnoses do not change the shape."""
    return _SHAPES.get(diagnosis, lambda shape, _: shape)(shape, rng)


def _incomplete_partition(shape: Labyrinth, rng: np.random.Generator) -> Labyrinth:
    """Mondini (IP-II): a basal turn, then one cystic space; wide vestibule and aqueduct."""
    tube = shape.cochlea
    kept = _points_to(tube, float(rng.uniform(400, 540)))
    cyst = tube.points_mm[kept:].mean(axis=0)
    size = rng.uniform(1.4, 2.1) * rng.uniform(0.85, 1.15, 3)
    radii = shape.vestibule_radii_mm * np.array([[rng.uniform(1.0, 1.3)], [1.0]])
    shape = replace(shape, cochlea=_part(tube, kept), vestibule_radii_mm=radii)
    return _without(_with_cavity(shape, cyst, size, rng), "helicotrema")


def _hypoplasia(shape: Labyrinth, rng: np.random.Generator) -> Labyrinth:
    """A small cochlea of about one turn."""
    tube = _part(shape.cochlea, _points_to(shape.cochlea, float(rng.uniform(220, 430))))
    root, factor = shape.landmarks["round_window"], rng.uniform(0.65, 0.9)
    points = root + factor * (tube.points_mm - root)
    shape = replace(shape, cochlea=Tube(points, tube.radii_mm * factor**0.5, tube.axes))
    top = points[-1] + tube.radii_mm[-1, 1] * factor**0.5 * shape.axis
    return _moved(shape, "helicotrema", top)


def _common_cavity(shape: Labyrinth, rng: np.random.Generator) -> Labyrinth:
    """Cochlea and vestibule as one cavity, without windows or turns; canals may be stunted."""
    middle = 0.45 * shape.cochlea.points_mm.mean(axis=0)
    size = rng.uniform(2.4, 3.6) * rng.uniform(0.8, 1.2, 3)
    shape = replace(shape, cochlea=_part(shape.cochlea, 8))
    shape = _with_cavity(shape, middle, size, rng)
    for name in list(shape.canals):
        if rng.random() < 0.4:
            shape = _without_canal(shape, name)
    return _without(shape, "helicotrema", "oval_window", "round_window")


def _absent_lateral_canal(shape: Labyrinth, rng: np.random.Generator) -> Labyrinth:
    """No lateral canal; the vestibule often bulges in its place."""
    shape = _without_canal(shape, "lateral")
    if rng.random() < 0.5:
        bulge = np.array([0.9, -1.6, 0.6]) * shape.facts["scale"]
        shape = _with_cavity(shape, bulge, rng.uniform(1.2, 1.9, 3), rng)
    return shape


def _points_to(tube: Tube, angle_deg: float) -> int:
    """Number of points of the cochlear tube up to an angle, in steps of 2.5 degrees."""
    return int(np.clip((angle_deg + 7) / 2.5, 2, len(tube.points_mm) - 1))


def _part(tube: Tube, count: int) -> Tube:
    return Tube(tube.points_mm[:count], tube.radii_mm[:count], tube.axes[:count])


def _with_cavity(
    shape: Labyrinth, center_mm: FloatArray, radii_mm: FloatArray, rng: np.random.Generator
) -> Labyrinth:
    return replace(
        shape,
        vestibule_mm=np.vstack([shape.vestibule_mm, center_mm]),
        vestibule_axes=np.concatenate([shape.vestibule_axes, random_rotation(rng)[None]]),
        vestibule_radii_mm=np.vstack([shape.vestibule_radii_mm, radii_mm]),
    )


def _without_canal(shape: Labyrinth, name: str) -> Labyrinth:
    canals = {key: tube for key, tube in shape.canals.items() if key != name}
    return _without(replace(shape, canals=canals), f"{name}_arc")


def _without(shape: Labyrinth, *names: str) -> Labyrinth:
    for name in names:
        shape = _moved(shape, name, np.full(3, np.nan))
    return shape


def _moved(shape: Labyrinth, name: str, point_mm: FloatArray) -> Labyrinth:
    points = shape.landmarks.points_mm.copy()
    points[shape.landmarks.names.index(name)] = point_mm
    return replace(shape, landmarks=Landmarks(shape.landmarks.names, points))


_SHAPES: dict[str, Callable[[Labyrinth, np.random.Generator], Labyrinth]] = {
    "incomplete_partition": _incomplete_partition,
    "hypoplasia": _hypoplasia,
    "common_cavity": _common_cavity,
    "absent_lateral_canal": _absent_lateral_canal,
}


# --- density ---------------------------------------------------------------------------------


def soaked(tissues: Tissues, diagnosis: str) -> Tissues:
    """Otitis media: middle ear and cells full of fluid or granulation."""
    if diagnosis != "otitis_media":
        return tissues
    return replace(tissues, middle_ear=tissues.soft, cells=tissues.soft)


def loosened(
    shape: Labyrinth, canvas: Canvas, diagnosis: str, far: Field, rng: np.random.Generator
) -> Field | float:
    """Otosclerosis: a factor on the bone's density, below 1 in foci of the otic capsule.

    Foci are anterior to the oval window (fissula ante fenestram), some also around the cochlea.
    """
    if diagnosis != "otosclerosis":
        return 1.0
    site = shape.landmarks["oval_window"] + np.array([0.6, 1.6, 0.2]) + rng.normal(0, 0.4, 3)
    focus = _blob(canvas, site, rng.uniform(0.9, 2.2, 3), rng)
    if rng.random() < 0.5:
        middle = shape.cochlea.points_mm.mean(axis=0)
        halo = np.maximum(
            np.abs(far - 0.8) - rng.uniform(0.2, 0.5), _blob(canvas, middle, 5.5, rng)
        )
        focus = np.minimum(focus, halo)
    return 1 - rng.uniform(0.3, 0.65) * occupancy(focus, 0.4)


def ossified(
    shape: Labyrinth, canvas: Canvas, diagnosis: str, rng: np.random.Generator
) -> Field | float:
    """Labyrinthitis ossificans: the fraction of the lumen that has ossified.

    Ossification starts in the basal turn or a canal, where the ground truth has no labyrinth.
    """
    if diagnosis != "ossificans":
        return 0.0
    tube = shape.cochlea
    if rng.random() < 0.35:
        tube = shape.canals[str(rng.choice(list(shape.canals)))]
    start = int(rng.uniform(0, 0.3) * len(tube.points_mm))
    stop = int(start + rng.uniform(0.08, 0.3) * len(tube.points_mm)) + 2
    region = canvas.blank()
    stretch = slice(start, stop)
    canvas.paint_ellipsoids(
        region, tube.points_mm[stretch], tube.axes[stretch], tube.radii_mm[stretch] * 1.15, 0.6
    )
    return occupancy(region + 0.15 * canvas.noise(rng, 0.8), 0.3)


def lesions(
    shape: Labyrinth, canvas: Canvas, diagnosis: str, tissues: Tissues, rng: np.random.Generator
) -> list[Region]:
    """Regions that replace bone, in painting order, before the lumen is painted."""
    if diagnosis == "canal_dehiscence" and "anterior" in shape.canals:
        line = shape.canals["anterior"].points_mm
        top = line[int(np.argmax(line @ UP))]
        hole = canvas.blank()
        way = top + np.linspace(0.1, 7, 40)[:, None] * UP
        canvas.paint_tube(hole, way, np.linspace(rng.uniform(0.6, 1.6), 3.0, 40))
        return [Region(hole, tissues.brain)]
    if diagnosis in ("enlarged_aqueduct", "incomplete_partition"):
        way = np.array([(-1.6, -0.6, 1.6), (-4.2, -1.2, 2.0), (-6.6, -3.7, 0.3), (-8.6, -5.5, -1)])
        at = np.linspace(0, 3, 60)
        line = np.stack([np.interp(at, np.arange(4), axis) for axis in way.T], axis=1)
        duct = canvas.blank()
        wide = rng.uniform(0.75, 1.7)
        canvas.paint_tube(duct, line, np.interp(at, [0, 1, 3], [0.35, wide, 1.6 * wide]))
        return [Region(duct, tissues.fluid)]
    if diagnosis == "mastoidectomy":
        site = np.array([6.5, -14.0, 3.0]) + rng.normal(0, 1.0, 3)
        bowl = _blob(canvas, site, rng.uniform(5.0, 8.0, 3), rng)
        bowl = smooth_union(bowl, _blob(canvas, site + np.array([4, -8, 0]), 8.0, rng), 1.0)
        return [Region(bowl, tissues.soft if rng.random() < 0.3 else tissues.air)]
    return []


def implant(
    shape: Labyrinth, canvas: Canvas, diagnosis: str, rng: np.random.Generator
) -> list[Region]:
    """A cochlear implant's electrode array along the outer wall, and its lead."""
    if diagnosis != "implant":
        return []
    tube = shape.cochlea
    last = _points_to(tube, float(rng.uniform(270, 600)))
    line = tube.points_mm + 0.45 * tube.radii_mm[:, :1] * tube.axes[:, 0]
    line = line[4:last]
    contacts = line[:: max(int(len(line) / rng.integers(12, 23)), 1)]
    metal = canvas.blank()
    canvas.paint_tube(metal, contacts, rng.uniform(0.14, 0.26))
    wire = canvas.blank()
    canvas.paint_tube(wire, line, 0.1)
    window = shape.landmarks["round_window"]
    lead = np.array([line[0], window, window + np.array([4.0, -3.5, 1.0]), *_LEAD_MM])
    at = np.linspace(0, 4, 160)
    way = np.stack([np.interp(at, np.arange(5), axis) for axis in lead.T], axis=1)
    canvas.paint_tube(wire, way, 0.25)
    return [Region(wire, METAL_HU * rng.uniform(0.15, 0.4)), Region(metal, METAL_HU)]


def _blob(
    canvas: Canvas, center_mm: FloatArray, radii_mm: FloatArray | float, rng: np.random.Generator
) -> Field:
    """Distance from a sphere with an uneven border, also valid far outside."""
    radii = np.broadcast_to(np.asarray(radii_mm, dtype=float), 3)
    near = sum(
        (canvas.along(axis, center_mm) / radius) ** 2
        for axis, radius in zip(np.eye(3), radii, strict=True)
    )
    return (np.sqrt(near) - 1) * float(radii.min()) + 0.15 * radii.min() * canvas.noise(rng, 1.5)
