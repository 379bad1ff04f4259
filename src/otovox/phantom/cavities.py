"""Cavities of the temporal bone: nerves, vessels, aqueducts, the middle ear and its ossicles.

Positions follow five labelled temporal bones (centroids, nearest points and extents in the
canonical frame); radii, probabilities and all variation are chosen, not measured, and intentionally
wide.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

from otovox.core.geometry import FloatArray, unit
from otovox.phantom.canvas import UP, Canvas, Field, Region, smooth_union
from otovox.phantom.labyrinth import (
    MARK_OFFSET_MM,
    OVAL_WINDOW_MM,
    OVAL_WINDOW_NORMAL,
    ROUND_WINDOW_NORMAL,
    Labyrinth,
)
from otovox.phantom.spiral import ROUND_WINDOW_MM
from otovox.phantom.tissues import Tissues


@dataclass(frozen=True)
class TubeCourse:
    """Course of a tube, canonical mm.

    Attributes:
        points_mm: points along its axis.
        radii_mm: radii at evenly spaced positions from its first to its last point.
    """

    points_mm: Sequence[Sequence[float]]
    radii_mm: Sequence[float]


#: Internal auditory canal: its fundus at the vestibule, and its course to the porus.
FUNDUS_MM, TO_PORUS_MM = np.array([0.3, 3.7, -0.2]), np.array([-7.4, 7.6, 1.2])
#: Labyrinthine, tympanic and mastoid segments of the facial nerve.
FACIAL_NERVE = TubeCourse(
    (
        (0.0, 4.2, 1.0),
        (2.5, 3.4, 0.9),
        (5.0, 4.0, 0.4),
        (3.7, -0.5, 0.2),
        (1.6, -4.2, -0.7),
        (-0.8, -7.2, -2.5),
        (-2.2, -8.2, -7.0),
        (-4.0, -9.2, -16.0),
    ),
    (0.45, 0.5, 0.8, 0.6, 0.6, 0.8, 0.9, 0.9),
)
CAROTID = TubeCourse(
    ((0.5, 10.5, -22.0), (1.5, 9.8, -9.5), (0.5, 12.5, -8.5), (-5.0, 22.0, -9.0)),
    (2.6, 2.6, 2.6, 2.6),
)
#: Jugular bulb without its height, which varies most; the vein below; the sigmoid sinus above.
BULB_MM, BULB_HEIGHT_MM = (-4.5, 1.0), (-14.0, -7.0)
JUGULAR_END_MM = (-6.0, -1.0, -24.0)
SIGMOID_SINUS_MM = ((-9.0, -16.0, 10.0), (-11.0, -14.0, 0.0), (-9.0, -9.0, -12.0))
VESTIBULAR_AQUEDUCT = TubeCourse(
    ((-1.6, -0.6, 1.6), (-4.2, -1.2, 2.0), (-6.6, -3.7, 0.3), (-8.6, -5.5, -1.0)),
    (0.2, 0.3, 0.4, 0.7),
)
#: Start of the cochlear aqueduct relative to the round window.
AQUEDUCT_START_MM = np.array([-0.4, 0.9, -0.3])
COCHLEAR_AQUEDUCT_MM = ((-3.0, 4.5, -6.0), (-6.5, 8.5, -8.0))
SUBARCUATE_CANAL = TubeCourse(
    ((0.5, -1.5, 5.0), (-2.0, 1.0, 5.3), (-5.5, 3.5, 5.5)), (0.3, 0.4, 0.5)
)
#: Tympanic cavity and attic: centre and half-axes; the antrum and the sinus tympani likewise.
TYMPANUM = (np.array([4.6, -2.6, -4.4]), np.array([3.2, 3.0, 5.0]))
ATTIC = (np.array([6.3, -3.4, 0.8]), np.array([3.0, 2.8, 3.0]))
ANTRUM_MM = np.array([2.6, -9.0, 3.2])
SINUS_TYMPANI = (np.array([0.6, -2.4, -3.9]), np.array([1.4, 1.3, 1.6]))
EUSTACHIAN_TUBE = TubeCourse(
    ((6.0, 0.5, -6.5), (7.5, 7.0, -9.0), (7.0, 18.0, -14.0)), (1.8, 1.0, 1.2)
)
EAR_CANAL = TubeCourse(
    ((9.0, -5.0, -7.5), (12.5, -12.0, -9.0), (17.0, -22.0, -10.0)), (3.3, 3.0, 3.6)
)
#: Head of the malleus and body of the incus: centre and half-axes; the eardrum's centre.
MALLEUS = (np.array([7.4, -2.2, 0.1]), np.array([1.2, 1.1, 1.3]))
INCUS = (np.array([6.7, -4.0, 0.0]), np.array([1.3, 1.3, 1.2]))
EARDRUM_MM = (7.6, -4.2, -5.6)
#: Distance of the incudostapedial joint from the oval window.
STAPES_HEIGHT_MM = 2.6


@dataclass(frozen=True, eq=False)
class _Site:
    """Context for painting cavities.

    Attributes:
        far: (i, j, k) distance from the lumen's wall, mm.
        plate: signed distance from a thin plate around the lumen, which cavities do not enter.
    """

    shape: Labyrinth
    canvas: Canvas
    tissues: Tissues
    rng: np.random.Generator
    far: Field
    plate: Field

    def jitter(self, sd_mm: float) -> FloatArray:
        return self.rng.normal(0, sd_mm, 3)

    def beyond_plate(self, distance: Field, density: float) -> Region:
        return Region(np.maximum(distance, self.plate), density)

    def tube(self, points_mm: Sequence[ArrayLike], radii_mm: Sequence[float]) -> Field:
        """Distance from a tube through jittered points with varied width."""
        line = np.asarray(points_mm, dtype=float)
        line = line + self.rng.normal(0, 0.35, line.shape)
        curve = _smooth(line)
        places = np.linspace(0, 1, len(radii_mm))
        radius = np.interp(np.linspace(0, 1, len(curve)), places, radii_mm)
        field = self.canvas.blank()
        self.canvas.paint_tube(field, curve, radius * self.rng.uniform(0.8, 1.25))
        return field

    def course(self, course: TubeCourse) -> Field:
        return self.tube(course.points_mm, course.radii_mm)

    def ball(self, center_mm: FloatArray, half_axes_mm: FloatArray) -> Field:
        field = self.canvas.blank()
        center, half_axes = np.asarray(center_mm)[None], np.asarray(half_axes_mm, dtype=float)[None]
        self.canvas.paint_ellipsoids(field, center, np.eye(3)[None], half_axes)
        return field


def cavities(
    shape: Labyrinth, canvas: Canvas, tissues: Tissues, rng: np.random.Generator, far: Field
) -> list[Region]:
    """Everything except bone and labyrinth, in painting order.

    Args:
        shape: the labyrinth.
        canvas: the grid to paint on.
        tissues: densities.
        rng: all randomness.
        far: (i, j, k) distance from the lumen's wall, mm.
    """
    site = _Site(shape, canvas, tissues, rng, far, plate=rng.uniform(0.05, 0.3) - far)
    regions = [*_nerves(site), *_vessels(site), *_aqueducts(site)]
    regions += [Region(_middle_ear(site), tissues.middle_ear)]
    regions += [site.beyond_plate(site.course(EAR_CANAL), tissues.middle_ear)]
    if rng.random() < (0.9 if tissues.membranes else 0.3):
        regions += _ossicles(site)
    return regions


def _nerves(site: _Site) -> Iterator[Region]:
    """Internal auditory canal, cochlear nerve canal, facial nerve; nerves are as dense as fluid."""
    shape, rng, scale = site.shape, site.rng, site.shape.facts["scale"]
    fundus = FUNDUS_MM * scale + site.jitter(0.2)
    porus = fundus + TO_PORUS_MM * rng.uniform(0.9, 1.3)
    width = rng.uniform(1.5, 3.2)
    canal = site.tube([fundus, (fundus + porus) / 2, porus], [1.5, width, width * 1.3])
    yield site.beyond_plate(canal, site.tissues.fluid)
    modiolus = shape.apex_mm - 4.0 * scale * shape.axis
    nerve = site.tube([fundus, modiolus], [1.0, rng.uniform(0.4, 0.9)])
    yield site.beyond_plate(nerve, site.tissues.fluid)
    if rng.random() < 0.9:
        yield site.beyond_plate(site.course(FACIAL_NERVE), site.tissues.soft)


def _vessels(site: _Site) -> Iterator[Region]:
    """Carotid artery, jugular vein with its bulb, sigmoid sinus."""
    soft, rng = site.tissues.soft, site.rng
    yield site.beyond_plate(site.course(CAROTID), soft)
    height = rng.uniform(*BULB_HEIGHT_MM)
    bulb = np.array([*BULB_MM, height]) + site.jitter(1.0)
    vein = smooth_union(
        site.ball(bulb, rng.uniform(2.5, 5.0, 3)),
        site.tube([bulb, JUGULAR_END_MM], [3.0, 4.0]),
        1.0,
    )
    yield site.beyond_plate(vein, soft)
    yield site.beyond_plate(site.tube([*SIGMOID_SINUS_MM, bulb], [4.5, 5.0, 4.5, 3.0]), soft)


def _aqueducts(site: _Site) -> Iterator[Region]:
    """Vestibular aqueduct, which opens into the lumen; cochlear aqueduct; subarcuate canal."""
    fluid = site.tissues.fluid
    yield Region(site.course(VESTIBULAR_AQUEDUCT), fluid)
    start = _window(site.shape, "round_window") + AQUEDUCT_START_MM
    aqueduct = site.tube([start, *COCHLEAR_AQUEDUCT_MM], [0.1, 0.3, 1.1])
    yield site.beyond_plate(aqueduct, fluid)
    if site.rng.random() < 0.7:
        yield site.beyond_plate(site.course(SUBARCUATE_CANAL), fluid)


def _middle_ear(site: _Site) -> Field:
    """Tympanic cavity, attic, antrum, sinus tympani, Eustachian tube and the windows' niches."""
    rng = site.rng
    grow = rng.uniform(0.8, 1.25)
    tympanum = site.ball(TYMPANUM[0] + site.jitter(0.5), TYMPANUM[1] * grow)
    attic = site.ball(ATTIC[0] + site.jitter(0.5), ATTIC[1] * grow)
    space = smooth_union(tympanum, attic, 1.0)
    antrum = site.ball(ANTRUM_MM + site.jitter(0.8), rng.uniform(2, 4.5, 3))
    space = smooth_union(space, antrum, 1.5)
    sinus = site.ball(SINUS_TYMPANI[0] + site.jitter(0.3), SINUS_TYMPANI[1])
    space = smooth_union(space, sinus, 0.8)
    space = smooth_union(space, site.course(EUSTACHIAN_TUBE), 0.8)
    promontory = rng.uniform(0.4, 1.4) - site.far
    return _with_niches(site, np.maximum(space, promontory))


def _with_niches(site: _Site, space: Field) -> Field:
    """The middle ear with the niches that lead to the two windows."""
    rng, shape = site.rng, site.shape
    oval = (0.7, rng.uniform(0.5, 1.1))
    round_ = (rng.uniform(0.6, 0.95), rng.uniform(0.7, 1.3))
    for window, normal, radii_mm in (
        (_window(shape, "oval_window"), OVAL_WINDOW_NORMAL, oval),
        (_window(shape, "round_window"), ROUND_WINDOW_NORMAL, round_),
    ):
        # Niches start at the thickness of a membrane from the lumen and open into the cavity.
        start, end = window + 0.25 * normal, window + rng.uniform(1.6, 3.0) * normal
        niche = site.canvas.blank()
        line = _smooth(np.array([start, end]), 20)
        site.canvas.paint_tube(niche, line, np.linspace(*radii_mm, 20))
        # Without its membrane a window is open, and the niche reaches the lumen.
        gap = rng.uniform(0.05, 0.35) if site.tissues.membranes else -0.3
        space = np.minimum(space, np.maximum(niche, gap - site.far))
    return space


def _ossicles(site: _Site) -> list[Region]:
    """Malleus, incus, stapes with its footplate on the oval window, and the eardrum."""
    oval = _window(site.shape, "oval_window")
    head = MALLEUS[0] + site.jitter(0.3)
    body = INCUS[0] + site.jitter(0.3)
    joint = oval + STAPES_HEIGHT_MM * OVAL_WINDOW_NORMAL
    malleus = smooth_union(
        site.ball(head, MALLEUS[1]),
        site.tube([head, (6.8, -1.8, -2.5), (5.2, -1.6, -5.5)], [0.8, 0.5, 0.4]),
        0.4,
    )
    incus = smooth_union(
        site.ball(body, INCUS[1]),
        site.tube([body, (4.6, -4.2, -2.2), joint], [0.8, 0.5, 0.35]),
        0.4,
    )
    bones = np.minimum(np.minimum(malleus, incus), _stapes(site, oval, joint))
    regions = [Region(_eardrum(site), site.tissues.soft), Region(bones, site.tissues.ossicle)]
    return regions if site.tissues.membranes else regions[1:]


def _stapes(site: _Site, oval: FloatArray, joint: FloatArray) -> Field:
    """Two crura from the joint to the oval window, and the footplate."""
    across = unit(np.cross(OVAL_WINDOW_NORMAL, UP))
    stapes = site.canvas.blank()
    for sign in (-1, 1):
        foot = oval + 0.2 * OVAL_WINDOW_NORMAL + sign * 1.0 * across
        site.canvas.paint_tube(stapes, _smooth(np.array([joint, foot]), 30), 0.18)
    axes = np.stack([across, np.cross(OVAL_WINDOW_NORMAL, across), OVAL_WINDOW_NORMAL])
    half_axes = np.array([[1.5, 0.8, site.rng.uniform(0.1, 0.22)]])
    center = (oval + 0.15 * OVAL_WINDOW_NORMAL)[None]
    site.canvas.paint_ellipsoids(stapes, center, axes[None], half_axes)
    return stapes


def _eardrum(site: _Site) -> Field:
    drum = site.canvas.blank()
    axes = np.stack([unit((0.3, 0.3, -0.9)), unit((0.75, -0.65, 0.03)), unit((0.6, 0.7, 0.4))])
    half_axes = np.array([[4.2, 4.0, 0.12]])
    site.canvas.paint_ellipsoids(drum, np.array([EARDRUM_MM]), axes[None], half_axes)
    return drum


def _smooth(points: FloatArray, count: int = 120) -> FloatArray:
    """A smooth curve near a polyline: linear interpolation, then smoothing."""
    at = np.linspace(0, 1, len(points))
    fine = np.linspace(0, 1, count)
    line = np.stack([np.interp(fine, at, points[:, axis]) for axis in range(3)], axis=1)
    return ndimage.gaussian_filter1d(line, count / len(points) * 0.35, axis=0, mode="nearest")


def _window(shape: Labyrinth, name: str) -> FloatArray:
    """Centre of a window's opening, between its positions in five labelled bones and by experts.

    The usual position if the labyrinth lacks the window, because the middle ear still exists.
    """
    usual = {"oval_window": OVAL_WINDOW_MM, "round_window": ROUND_WINDOW_MM}
    if not shape.landmarks.has(name):
        return usual[name]
    share = shape.facts["opening_aside"] * shape.facts["scale"]
    return shape.landmarks[name] - share * MARK_OFFSET_MM[name]
