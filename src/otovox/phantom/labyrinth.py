"""The shape of one inner ear: centrelines, radii, windows and landmarks in the canonical frame.

The mean shape is that of 72 measured labyrinths (`ear_statistics.json`); the cochlea's lateral wall
varies with the polynomial spiral model and its covariance; the rest varies with a smooth random
deformation, canal tilts and lumen widths. Ranges are intentionally wider than measured, because a
network trained on too little variation fails on real ears.
"""

from dataclasses import dataclass, replace

import numpy as np

from otovox.core.ear_statistics import ear_statistics
from otovox.core.geometry import FloatArray, unit
from otovox.core.landmarks import Landmarks
from otovox.phantom.canals import draw_canal
from otovox.phantom.canvas import Canvas, Field, smooth_union
from otovox.phantom.spiral import ROUND_WINDOW_MM, draw_cochlea
from otovox.phantom.tubes import Tube, extended, resampled_line, round_tube

#: Outward normals of the windows. Source: five labelled temporal bones.
OVAL_WINDOW_NORMAL = unit((0.59, -0.63, -0.48))
ROUND_WINDOW_NORMAL = unit((-0.57, -0.54, -0.61))
OVAL_WINDOW_MM = np.array([1.0, -0.23, -1.54])
#: Position of the round window's centre relative to the nearest wall, mm: fitted so that
#: the openings are 2.35 mm apart, as in five labelled temporal bones.
ROUND_WINDOW_SHIFT_MM = np.array([-0.03, -0.02, -0.18])
#: Offset from the centre of each opening in those bones to the experts' mark, canonical mm. Source:
#: mean offsets in nine ears of Wimmer et al. 2019; both are in the window's plane, and give a
#: distance of 2.9 mm, as in the 94 ears of Stebani et al. 2023.
MARK_OFFSET_MM = {
    "oval_window": np.array([0.41, 0.10, 0.31]),
    "round_window": np.array([0.30, -0.01, -0.38]),
}
#: Position of the experts' helicotrema: on the apical wall of the lumen, at this distance from the
#: modiolar axis, mm towards the vestibule and perpendicular. Source: nine ears of Wimmer et al.
#: 2019.
HELICOTREMA_ASIDE_MM = (0.08, 0.27)

#: Canals in drawing order.
CANALS = ("anterior", "posterior", "lateral")
#: SD of the ear's size, relative. Source: centroid sizes of 72 labyrinths.
SIZE_SD = 0.039
#: SD of the smooth random deformation, mm: chosen; together with size variation similar to 72 ears.
WARP_SD_MM = 0.150
#: Half-axes of the vestibule's ellipsoid as a fraction of the measured ones: chosen; ampullae and
#: hook are added. The hook: centre and half-axes of a second ellipsoid, chosen.
VESTIBULE_SHARE = 0.88
HOOK_MM, HOOK_HALF_AXES_MM = (0.4, 0.9, -1.2), (1.35, 1.35, 1.25)
#: Width of the fillet where canals, cochlea and vestibule meet, mm: chosen, not measured.
FILLET_MM = 0.5


@dataclass(frozen=True, eq=False)
class Labyrinth:
    """One simulated inner ear, canonical mm.

    Attributes:
        cochlea: lumen of all turns.
        canals: anterior, posterior, lateral, each with tails into vestibule or crus.
        crus: the common crus.
        vestibule_mm, vestibule_axes, vestibule_radii_mm: ellipsoids (n, 3), (n, 3, 3), (n, 3).
        landmarks: reported and pose landmarks; windows are on the lumen's wall.
        axis: (3,) modiolar axis, base to apex.
        apex_mm: (3,) point of the axis at the apex.
        facts: random parameters.
    """

    cochlea: Tube
    canals: dict[str, Tube]
    crus: Tube
    vestibule_mm: FloatArray
    vestibule_axes: FloatArray
    vestibule_radii_mm: FloatArray
    landmarks: Landmarks
    axis: FloatArray
    apex_mm: FloatArray
    facts: dict[str, float]


def draw_labyrinth(rng: np.random.Generator, spread: float = 1.25) -> Labyrinth:
    """Draw one right inner ear in the canonical frame.

    Args:
        rng: all randomness.
        spread: factor on the measured SDs; 1 follows the measured population.
    """
    scale = float(np.exp(rng.normal(0, SIZE_SD * spread)))
    warp = _draw_warp(rng, WARP_SD_MM * spread)
    lumen = float(np.exp(rng.normal(-0.02, 0.09)))  # chosen: mean radii of the sources vary
    canals = {
        name: draw_canal(name, rng, lumen * float(np.exp(rng.normal(0, 0.05)))) for name in CANALS
    }
    arcs = np.stack([tube.points_mm[len(tube.points_mm) // 2] for tube in canals.values()])
    crus = _crus(lumen)
    canals = _with_tails(canals)
    cochlea = draw_cochlea(rng, spread, lumen)
    half_axes = np.asarray(ear_statistics()["vestibule"]["half_axes_mm"]) * VESTIBULE_SHARE
    half_axes = half_axes * np.exp(rng.normal(0, 0.04 * spread, 3))

    def place(points: FloatArray) -> FloatArray:
        return scale * (points + warp(points))

    def placed(tube: Tube) -> Tube:
        return Tube(place(tube.points_mm), tube.radii_mm * scale, tube.axes)

    shape = Labyrinth(
        cochlea=placed(cochlea.tube),
        canals={name: placed(tube) for name, tube in canals.items()},
        crus=placed(crus),
        vestibule_mm=place(np.array([[0.0, 0.0, 0.0], HOOK_MM])),
        vestibule_axes=np.array([ear_statistics()["vestibule"]["axes"], np.eye(3)], dtype=float),
        vestibule_radii_mm=np.array([half_axes, HOOK_HALF_AXES_MM]) * scale,
        landmarks=Landmarks((), np.zeros((0, 3))),
        axis=cochlea.axis,
        apex_mm=place(cochlea.apex_mm[None])[0],
        # Distance of an opening from its mark, as a fraction of `MARK_OFFSET_MM`: it is unclear
        # which of the two sources is right, so everything in between is simulated.
        facts={
            "scale": scale,
            "lumen": lumen,
            "opening_aside": float(rng.uniform(0, 1)),
            **cochlea.facts,
        },
    )
    windows = np.stack([OVAL_WINDOW_MM, ROUND_WINDOW_MM])
    return _with_landmarks(shape, place(windows), place(arcs), rng)


def _crus(lumen: float) -> Tube:
    """The common crus, from inside the vestibule to the fork of the canals."""
    data = ear_statistics()["common_crus"]
    line = np.array([data["start_mm"], data["end_mm"]])
    line = np.vstack([line[0] * 0.75, line])
    return round_tube(resampled_line(line), data["radius_mm"] * lumen)


def _with_tails(canals: dict[str, Tube]) -> dict[str, Tube]:
    """The canals with tails into vestibule and common crus, of chosen length."""
    crus_end = np.asarray(ear_statistics()["common_crus"]["end_mm"])
    joined = dict(canals)
    for name in ("anterior", "posterior"):
        joined[name] = extended(joined[name], crus_end, at_start=False)
        joined[name] = extended(joined[name], joined[name].points_mm[0] * 0.62, at_start=True)
    for at_start in (True, False):
        end = joined["lateral"].points_mm[0 if at_start else -1]
        joined["lateral"] = extended(joined["lateral"], end * 0.6, at_start=at_start)
    return joined


def paint(shape: Labyrinth, canvas: Canvas, reach_mm: float = 0.8) -> Field:
    """Signed distance to the labyrinth's wall, mm, negative inside; exact near the wall only.

    Args:
        shape: the ear.
        canvas: the grid.
        reach_mm: range outside the wall in which the distance is valid.
    """
    vestibule = canvas.blank()
    canvas.paint_ellipsoids(
        vestibule, shape.vestibule_mm, shape.vestibule_axes, shape.vestibule_radii_mm, reach_mm
    )
    canals = canvas.blank()
    for tube in (*shape.canals.values(), shape.crus):
        canvas.paint_ellipsoids(canals, tube.points_mm, tube.axes, tube.radii_mm, reach_mm)
    cochlea = canvas.blank()
    canvas.paint_ellipsoids(
        cochlea, shape.cochlea.points_mm, shape.cochlea.axes, shape.cochlea.radii_mm, reach_mm
    )
    return smooth_union(smooth_union(vestibule, canals, FILLET_MM), cochlea, FILLET_MM)


def distance_at(shape: Labyrinth, points_mm: FloatArray) -> FloatArray:
    """Signed distance to the wall at (n, 3) canonical points, without the fillets.

    >>> shape = draw_labyrinth(np.random.default_rng(0))
    >>> inside, outside = distance_at(shape, np.array([[0.0, 0, 0], [30, 0, 0]])) < 0
    >>> bool(inside), bool(outside)
    (True, False)
    """
    best = np.full(len(points_mm), np.inf)
    groups = [(t.points_mm, t.axes, t.radii_mm) for t in (*shape.canals.values(), shape.crus)]
    groups.append((shape.cochlea.points_mm, shape.cochlea.axes, shape.cochlea.radii_mm))
    groups.append((shape.vestibule_mm, shape.vestibule_axes, shape.vestibule_radii_mm))
    for centers, axes, radii in groups:
        local = np.einsum("nab,mnb->mna", axes, points_mm[:, None] - centers[None])
        near = np.sqrt(np.sum((local / radii) ** 2, axis=2))
        steep = np.sqrt(np.sum((local / radii**2) ** 2, axis=2))
        distance = near * (near - 1) / np.maximum(steep, 1e-9)
        best = np.minimum(best, distance.min(axis=1))
    return best


def _with_landmarks(
    shape: Labyrinth, windows: FloatArray, arcs: FloatArray, rng: np.random.Generator
) -> Labyrinth:
    """Project the windows onto the wall along their normals, and collect all landmarks."""
    jitter = rng.normal(0, 0.04, (2, 3))  # chosen: below the interobserver spread of about 0.5 mm
    scale = shape.facts["scale"]
    oval = _onto_wall(shape, windows[0] + jitter[0], OVAL_WINDOW_NORMAL)
    oval = oval + scale * MARK_OFFSET_MM["oval_window"]
    round_ = _onto_wall(shape, windows[1] + jitter[1], ROUND_WINDOW_NORMAL)
    round_ = round_ + ROUND_WINDOW_SHIFT_MM + scale * MARK_OFFSET_MM["round_window"]
    points = {
        "helicotrema": _helicotrema(shape),
        "oval_window": _onto_wall(shape, oval, OVAL_WINDOW_NORMAL),
        "round_window": round_,
        "common_crus": shape.crus.points_mm[-1],
    }
    points |= dict(zip(("anterior_arc", "posterior_arc", "lateral_arc"), arcs, strict=True))
    landmarks = Landmarks(tuple(points), np.stack(list(points.values())))
    return replace(shape, landmarks=landmarks)


def _helicotrema(shape: Labyrinth) -> FloatArray:
    """Position marked by experts: the apical wall next to the modiolar axis."""
    first = unit(-shape.apex_mm + float(shape.apex_mm @ shape.axis) * shape.axis)
    towards, across = HELICOTREMA_ASIDE_MM
    aside = towards * first + across * np.cross(shape.axis, first)
    return _onto_wall(shape, shape.apex_mm + aside, shape.axis)


def _onto_wall(shape: Labyrinth, start: FloatArray, normal: FloatArray) -> FloatArray:
    """Outermost crossing of the wall along a line through `start`, within 1.5 mm."""
    steps = np.linspace(1.5, -1.5, 121)
    inside = distance_at(shape, start + steps[:, None] * normal) < 0
    if not inside.any():
        return start
    return start + steps[int(np.argmax(inside))] * normal


def _draw_warp(rng: np.random.Generator, sd_mm: float):
    """A smooth random displacement with SD `sd_mm` per axis and a reach of about 5 mm (chosen)."""
    waves = rng.normal(0, 1 / 5.0, (24, 3))
    phases = rng.uniform(0, 2 * np.pi, 24)
    sizes = rng.normal(0, sd_mm * np.sqrt(2 / 24), (24, 3))

    def warp(points: FloatArray) -> FloatArray:
        return np.cos(points @ waves.T + phases) @ sizes

    return warp
