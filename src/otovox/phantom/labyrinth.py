"""The shape of one inner ear: centrelines, radii, windows and landmarks in the canonical frame.

The mean shape is that of 72 measured labyrinths (`ear_statistics.json`); the cochlea's lateral wall
varies with the polynomial spiral model and its covariance; the rest varies by a smooth random
deformation, canal tilts and lumen widths. Ranges are wider than measured on purpose: a network
trained on too narrow a world fails on real ears.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from otovox.core.anatomy import MODIOLAR_AXIS
from otovox.core.ear_statistics import ear_statistics
from otovox.core.geometry import FloatArray, rotation_from_vector, unit
from otovox.core.landmarks import Landmarks
from otovox.phantom.canvas import Canvas, Field, smooth_union

#: Modiolar axis, base to apex, and the apical point it passes. Source: 72 labyrinths.
AXIS = np.array(MODIOLAR_AXIS)
APEX_MM = np.array([3.6782, 5.4286, -3.2747])

#: Azimuth of the round window about the axis, from the vestibule; same source.
ROUND_WINDOW_AZIMUTH_DEG = 32.5
#: Round window in the canonical frame, same source.
ROUND_WINDOW_MM = np.array([-0.43, -0.05, -3.24])

#: Outward normals of the windows. Source: five labelled temporal bones.
OVAL_WINDOW_NORMAL = unit((0.59, -0.63, -0.48))
ROUND_WINDOW_NORMAL = unit((-0.57, -0.54, -0.61))
OVAL_WINDOW_MM = np.array([1.0, -0.23, -1.54])
#: Where the round window's middle lies seen from the nearest wall of the lumen, mm: fitted so that
#: the openings are 2.35 mm apart, as in five labelled temporal bones.
ROUND_WINDOW_SHIFT_MM = np.array([-0.03, -0.02, -0.18])
#: From the middle of each opening in those bones to where experts mark the window, canonical mm.
#: Source: mean offsets in nine ears of Wimmer et al. 2019; both lie in the window's plane, and set
#: the marks 2.9 mm apart, as in the 94 ears of Stebani et al. 2023.
MARK_OFFSET_MM = {
    "oval_window": np.array([0.41, 0.10, 0.31]),
    "round_window": np.array([0.30, -0.01, -0.38]),
}
#: Where experts mark the helicotrema: on the apical wall of the lumen, this far from the modiolar
#: axis, mm towards the vestibule and across. Source: nine ears of Wimmer et al. 2019.
HELICOTREMA_ASIDE_MM = (0.08, 0.27)

#: Spiral of the lateral wall: rows are coefficients of phi^n, columns of (1, A1, B1, A2, B2).
SPIRAL_R = np.array(
    [
        [-0.0972007, 0.745408, 0.349941, 0.0567728, -0.0613995],
        [0.0652778, -0.297796, -0.0488174, 0.115931, 0.170503],
        [0.00579010, 0.0353079, 0.00235713, -0.0170604, -0.0267553],
        [-4.10053e-4, -1.257747e-3, -3.38189e-5, 6.05305e-4, 1.115729e-3],
    ]
)
SPIRAL_Z = np.array(
    [
        [-2.025562, -0.483934, 0.0936907, 0.437216, 0.198843],
        [0.308685, 0.150263, 0.0485929, -0.609467, 0.0706539],
        [-0.0245971, -0.0249701, -0.0111389, 0.147019, -0.0490270],
        [9.37435e-4, 1.841128e-3, 8.52543e-4, -0.01234547, 5.536125e-3],
        [-6.49143e-6, -4.68697e-5, -2.39666e-5, 3.41806e-4, -1.780361e-4],
    ]
)
SPIRAL_EXTENT_DEG = np.array([963.166, 6.37773, -26.9585, -36.3954, 66.9416])
SPIRAL_MEAN = np.array([5.97, 3.95, 3.26, 2.85])
SPIRAL_SD = np.array([0.36, 0.35, 0.28, 0.33])
SPIRAL_CORRELATION = np.array(
    [
        [1.0, 0.535, -0.124, -0.073],
        [0.535, 1.0, 0.117, -0.437],
        [-0.124, 0.117, 1.0, 0.578],
        [-0.073, -0.437, 0.578, 1.0],
    ]
)

#: Distance between neighbouring spheres along a tube, mm: chosen, not measured.
STEP_MM = 0.12
#: Width of the fillet where canals, cochlea and vestibule meet, mm: chosen, not measured.
FILLET_MM = 0.5


@dataclass(frozen=True, eq=False)
class Tube:
    """A tube of elliptic section.

    Attributes:
        points_mm: (n, 3) canonical centreline.
        radii_mm: (n, 3) half-axes along the rows of `axes`.
        axes: (n, 3, 3) unit rows: two across the tube, the third along it.
    """

    points_mm: FloatArray
    radii_mm: FloatArray
    axes: FloatArray


@dataclass(frozen=True, eq=False)
class Labyrinth:
    """One drawn inner ear, canonical mm.

    Attributes:
        cochlea: lumen of all turns.
        canals: anterior, posterior, lateral, each with tails into vestibule or crus.
        crus: the common crus.
        vestibule_mm, vestibule_axes, vestibule_radii_mm: ellipsoids (n, 3), (n, 3, 3), (n, 3).
        landmarks: reported and pose landmarks; windows lie on the lumen's wall.
        axis: (3,) modiolar axis, base to apex.
        apex_mm: (3,) point of the axis at the apex.
        facts: drawn parameters.
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


def spiral(parameters: ArrayLike, angle_deg: ArrayLike) -> tuple[NDArray, NDArray, float]:
    """The polynomial spiral of the cochlear lateral wall.

    Args:
        parameters: (A1, B1, A2, B2), mm.
        angle_deg: (n,) angles from the round window.

    Returns:
        Radius (n,) mm, height (n,) mm (0 near the apex), and the angle of the apex, degrees.
    """
    row = np.concatenate([[1.0], np.asarray(parameters, dtype=float)])
    phi = np.radians(np.asarray(angle_deg, dtype=float))
    radius = np.polynomial.polynomial.polyval(phi, SPIRAL_R @ row)
    height = np.polynomial.polynomial.polyval(phi, SPIRAL_Z @ row)
    return np.asarray(radius), np.asarray(height), float(SPIRAL_EXTENT_DEG @ row)


def draw_spiral(rng: np.random.Generator, spread: float = 1.0) -> FloatArray:
    """Draw (A1, B1, A2, B2) from their multivariate normal, SDs times `spread`, cut at 3 SD."""
    covariance = SPIRAL_CORRELATION * np.outer(SPIRAL_SD, SPIRAL_SD)
    drawn = rng.multivariate_normal(np.zeros(4), covariance) * spread
    return SPIRAL_MEAN + np.clip(drawn, -3 * spread * SPIRAL_SD, 3 * spread * SPIRAL_SD)


def draw_labyrinth(rng: np.random.Generator, spread: float = 1.25) -> Labyrinth:
    """Draw one right inner ear in the canonical frame.

    Args:
        rng: all randomness.
        spread: factor on the measured SDs; 1 follows the measured population.
    """
    scale = float(np.exp(rng.normal(0, 0.039 * spread)))  # centroid size varies by 3.9 %
    warp = _draw_warp(rng, 0.150 * spread)
    lumen = float(
        np.exp(rng.normal(-0.02, 0.09))
    )  # chosen: the sources' mean radii span 0.4-0.7 mm
    data = ear_statistics()

    canals = {
        name: _canal(data["canals"][name], name, rng, lumen * float(np.exp(rng.normal(0, 0.05))))
        for name in ("anterior", "posterior", "lateral")
    }
    arcs = np.stack([tube.points_mm[len(tube.points_mm) // 2] for tube in canals.values()])
    crus_data = data["common_crus"]
    crus_line = np.array([crus_data["start_mm"], crus_data["end_mm"]])
    crus_line = np.vstack([crus_line[0] * 0.75, crus_line])
    crus = _round_tube(_resampled(crus_line), crus_data["radius_mm"] * lumen)
    crus_end = np.asarray(crus_data["end_mm"])
    for name in ("anterior", "posterior"):
        canals[name] = _extended(canals[name], crus_end, at_start=False)
        canals[name] = _extended(canals[name], canals[name].points_mm[0] * 0.62, at_start=True)
    for at_start in (True, False):
        end = canals["lateral"].points_mm[0 if at_start else -1]
        canals["lateral"] = _extended(canals["lateral"], end * 0.6, at_start=at_start)

    cochlea, cochlea_facts, axis, apex_mm = _cochlea(rng, spread, lumen)

    vestibule = data["vestibule"]
    half_axes = (
        np.asarray(vestibule["half_axes_mm"]) * 0.88
    )  # ampullae and hook add their own share
    half_axes = half_axes * np.exp(rng.normal(0, 0.04 * spread, 3))
    centers = np.array([[0.0, 0.0, 0.0], [0.4, 0.9, -1.2]])
    axes = np.array([vestibule["axes"], np.eye(3)], dtype=float)
    radii = np.array([half_axes, [1.35, 1.35, 1.25]])

    windows = np.stack([OVAL_WINDOW_MM, ROUND_WINDOW_MM])

    def place(points: FloatArray) -> FloatArray:
        return scale * (points + warp(points))

    def placed(tube: Tube) -> Tube:
        return Tube(place(tube.points_mm), tube.radii_mm * scale, tube.axes)

    cochlea, crus = placed(cochlea), placed(crus)
    canals = {name: placed(tube) for name, tube in canals.items()}
    centers, radii = place(centers), radii * scale
    shape = Labyrinth(
        cochlea=cochlea,
        canals=canals,
        crus=crus,
        vestibule_mm=centers,
        vestibule_axes=axes,
        vestibule_radii_mm=radii,
        landmarks=Landmarks((), np.zeros((0, 3))),
        axis=axis,
        apex_mm=place(apex_mm[None])[0],
        # How far an opening lies from its mark, as a share of `MARK_OFFSET_MM`: nobody knows which
        # of the two sources is right, so the network sees everything between.
        facts={
            "scale": scale,
            "lumen": lumen,
            "opening_aside": float(rng.uniform(0, 1)),
            **cochlea_facts,
        },
    )
    return _with_landmarks(shape, place(windows), place(arcs), rng)


def paint(shape: Labyrinth, canvas: Canvas, reach_mm: float = 0.8) -> Field:
    """Signed distance to the labyrinth's wall, mm, negative inside; exact near the wall only.

    Args:
        shape: the ear.
        canvas: where to paint.
        reach_mm: how far outside the wall the distance is right.
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
    """Signed distance to the wall at (n, 3) canonical points, without the fillets."""
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
    """Put the windows onto the wall along their normals, and collect all landmarks."""
    jitter = rng.normal(0, 0.04, (2, 3))  # chosen: below the observers' spread of about 0.5 mm
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
    return Labyrinth(**{**shape.__dict__, "landmarks": landmarks})


def _helicotrema(shape: Labyrinth) -> FloatArray:
    """Where experts mark it: the apical wall beside the modiolar axis."""
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


def _cochlea(
    rng: np.random.Generator, spread: float, lumen: float
) -> tuple[Tube, dict[str, float], FloatArray, FloatArray]:
    """The cochlear lumen: mean profile, varied by the ratio of a drawn spiral to the mean one."""
    data = ear_statistics()["cochlea"]
    parameters = draw_spiral(rng, spread)
    mean_end = spiral(SPIRAL_MEAN, [0.0])[2]
    extent = spiral(parameters, [0.0])[2] - mean_end
    # The lumen can be followed to 865-957 degrees; beyond it the drawn apex adds its own angle.
    end_deg = float(np.clip(925 + extent + rng.normal(0, 15), 780, 1010))
    theta = np.arange(-7.0, end_deg, 2.5)
    inside = np.clip(theta, 0, 945)
    table = {key: np.interp(inside, data["theta_deg"], data[key]) for key in data}
    wall, height, _ = spiral(parameters, np.clip(theta, 0, mean_end))
    mean_wall, mean_height, _ = spiral(SPIRAL_MEAN, np.clip(theta, 0, mean_end))
    # A share of the spiral model's own mean shape, so that both published means are in the world.
    share = float(rng.uniform(0, 0.6))
    tube = 0.6 + 0.5 * (1 - inside / mean_end)
    r_mean = (1 - share) * table["r_mm"] + share * np.maximum(mean_wall - tube, 0.25)
    z_mean = (1 - share) * table["z_mm"] + share * mean_height
    # At its base the lumen varies less than the wall's model: it is held by the vestibule.
    free = np.clip(0.35 + theta / 90, 0.35, 1)
    radius = r_mean * np.clip(wall / mean_wall, 0.75, 1.3) ** free
    steeper = 1 + rng.normal(0, 0.075 * spread)  # SD of z in 72 ears
    z = steeper * z_mean + free * (height - mean_height)
    z = z - np.interp(end_deg, theta, height - mean_height)
    radius = radius + np.clip(-theta, 0, None) * 0.02  # the hook widens towards the vestibule
    z = z - np.clip(-theta, 0, None) * 0.012
    taper = np.clip((end_deg - theta) / 60, 0.35, 1)  # the tip closes
    radius = radius * np.clip((end_deg - theta) / 90, 0.5, 1)
    width = ((1 - share) * table["half_width_mm"] + share * tube) * taper
    tall = ((1 - share) * table["half_height_mm"] + share * tube) * taper
    growth = float(np.exp(rng.normal(0, 0.04 * spread))) * lumen**0.5
    width, tall = np.maximum(width * growth, 0.25), np.maximum(tall * growth, 0.25)

    tilt = rotation_from_vector(np.radians(rng.normal(0, 4.3 * spread, 3)))
    axis = unit(tilt @ AXIS)
    # The cochlea tilts about its base, which stays fixed to the vestibule.
    apex = ROUND_WINDOW_MM + tilt @ (APEX_MM - ROUND_WINDOW_MM)
    apex = apex - (steeper - 1) * float(np.interp(0, theta, z_mean)) * axis
    e1 = tilt @ unit(-APEX_MM - np.dot(-APEX_MM, AXIS) * AXIS)
    e2 = np.cross(axis, e1)

    def at(r: FloatArray, angle_deg: FloatArray, height_mm: FloatArray) -> FloatArray:
        azimuth = np.radians(angle_deg + ROUND_WINDOW_AZIMUTH_DEG)
        across = np.cos(azimuth)[:, None] * e1 + np.sin(azimuth)[:, None] * e2
        return apex + r[:, None] * across + height_mm[:, None] * axis

    points = at(radius, theta, z)
    azimuth = np.radians(theta + ROUND_WINDOW_AZIMUTH_DEG)
    outward = np.cos(azimuth)[:, None] * e1 + np.sin(azimuth)[:, None] * e2
    forward = np.cross(axis, outward)
    axes = np.stack([outward, np.broadcast_to(axis, outward.shape), forward], axis=1)
    along = np.maximum(0.5 * (width + tall), 0.3)
    facts = {
        "turns": end_deg / 360,
        "spiral_share": share,
        **dict(zip(("A1", "B1", "A2", "B2"), map(float, parameters), strict=True)),
    }
    tube_ = Tube(points, np.stack([width, tall, along], axis=1), axes)
    return tube_, facts, axis, apex


def _canal(data: dict[str, Any], name: str, rng: np.random.Generator, lumen: float) -> Tube:
    """One canal: mean centreline, tilted and bent, with measured elliptic sections."""
    line = np.asarray(data["centreline_mm"])
    middle = line.mean(axis=0)
    tilt = rotation_from_vector(np.radians(rng.normal(0, 2.5, 3)))
    size = float(np.exp(rng.normal(0, 0.03)))
    bent = middle + size * (line - middle) @ tilt.T
    # Ends stay where they meet the vestibule and the crus; the arc moves.
    hold = np.sin(np.linspace(0, np.pi, len(line)))[:, None] ** 0.5
    line = line + hold * (bent - line) + _waves(line, rng)
    fine = _resampled(line)
    along = np.linspace(0, 1, len(line)), np.linspace(0, 1, len(fine))
    aspect = float(rng.uniform(0, 1.2))  # 0 round, 1 as measured: chosen range
    radius = np.asarray(data["radius_mm"])
    major = np.interp(along[1], along[0], radius * (data["semi_major_mm"] / radius) ** aspect)
    minor = np.interp(along[1], along[0], radius * (data["semi_minor_mm"] / radius) ** aspect)
    # Canals narrow and widen along their way: smooth noise of 5 % (chosen).
    ripple = np.interp(along[1], np.linspace(0, 1, 6), np.exp(rng.normal(0, 0.05, 6)))
    normal = unit(np.linalg.svd(fine - fine.mean(axis=0))[2][2])
    forward = np.gradient(fine, axis=0)
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    outward = np.cross(forward, normal)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    # The section's long axis lies in the canal's plane.
    axes = np.stack([outward, np.cross(forward, outward), forward], axis=1)
    radii = np.stack([major, minor, minor], axis=1) * lumen * ripple[:, None]
    return Tube(fine, radii, axes)


def _waves(line: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A random bend out of a canal's plane and within it, none at its ends.

    SDs fitted so that the residuals from plane and circle vary as in 72 ears.
    """
    along = np.linspace(0, np.pi, len(line))
    plane = np.linalg.svd(line - line.mean(axis=0))[2]
    outward = unit(line[len(line) // 2] - (line[0] + line[-1]) / 2)
    sizes = rng.normal(0, 1, (2, 2)) * [[0.09], [0.125]]
    shapes = np.stack([np.sin(2 * along), np.sin(3 * along)])
    return np.outer(sizes[0] @ shapes, plane[2]) + np.outer(sizes[1] @ shapes, outward)


def _round_tube(points: FloatArray, radius: float) -> Tube:
    axes = np.broadcast_to(np.eye(3), (len(points), 3, 3))
    return Tube(points, np.full((len(points), 3), radius), axes)


def _extended(tube: Tube, to_mm: FloatArray, *, at_start: bool) -> Tube:
    """The tube with a straight tail of its end's section to a point."""
    end = 0 if at_start else -1
    tail = _resampled(np.array([tube.points_mm[end], to_mm]))[1:]
    radii = np.broadcast_to(tube.radii_mm[end].mean(), (len(tail), 3))
    axes = np.broadcast_to(np.eye(3), (len(tail), 3, 3))
    parts = [(tube.points_mm, tail), (tube.radii_mm, radii), (tube.axes, axes)]
    if at_start:
        return Tube(*(np.concatenate([b[::-1], a]) for a, b in parts))
    return Tube(*(np.concatenate([a, b]) for a, b in parts))


def _resampled(line: FloatArray) -> FloatArray:
    """A polyline with points about STEP_MM apart, ends kept."""
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    at = np.linspace(0, length[-1], max(int(length[-1] / STEP_MM), 2))
    return np.stack([np.interp(at, length, line[:, axis]) for axis in range(3)], axis=1)


def _draw_warp(rng: np.random.Generator, sd_mm: float):
    """A smooth random displacement with SD `sd_mm` per axis and a reach of about 5 mm (chosen)."""
    waves = rng.normal(0, 1 / 5.0, (24, 3))
    phases = rng.uniform(0, 2 * np.pi, 24)
    sizes = rng.normal(0, sd_mm * np.sqrt(2 / 24), (24, 3))

    def warp(points: FloatArray) -> FloatArray:
        return np.cos(points @ waves.T + phases) @ sizes

    return warp
