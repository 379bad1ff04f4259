"""Measurements of the semicircular canals: planes, circles, arcs, lumen, angles, both ears.

Normals are signed so that a head rotation about them, by the right-hand rule, excites the canal
(Della Santina et al. 2005): right anterior forward and left, right posterior forward and right,
right lateral down; left ears mirrored.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otovox.core.anatomy import Side
from otovox.core.geometry import FloatArray, Pose, unit
from otovox.core.landmarks import Landmarks
from otovox.core.segments import Part
from otovox.core.volume import Grid
from otovox.measure.mean_ear import along_mm
from otovox.measure.parts import Parts, split
from otovox.measure.tori import CANALS, fit_torus

#: Pairs of canals for which the angle between planes is reported.
PAIRS = (("anterior", "posterior"), ("anterior", "lateral"), ("lateral", "posterior"))
#: Pairs of canals, right and left, that are nearly coplanar.
SYNERGISTIC = {
    "RALP": ("anterior", "posterior"),
    "LARP": ("posterior", "anterior"),
    "horizontal": ("lateral", "lateral"),
}
#: Minimum fraction of a canal's course with lumen to determine its plane: chosen; from 70 % of an
#: arc, which is not planar, a normal had an error of 11 degrees.
LEAST_SEEN = 0.8
#: Maximum residual of a canal from its circle, root mean square, mm: chosen; in 72 ears the
#: residuals out of plane are at most 0.57 mm and those in plane 0.2 +- 0.05.
MOST_RESIDUAL_MM = 0.6
#: Minimum distance between the ears of a head, mm: chosen, about 70 to 90 in adults.
LEAST_HEAD_MM = 30.0


@dataclass(frozen=True, eq=False)
class Canal:
    """One canal; values that cannot be measured are nan.

    Attributes:
        name: anterior, posterior or lateral.
        line_mm: (n, 3) LPS centreline, starting at the ampulla; empty if not found.
        center_mm: (3,) LPS centre of the fitted circle.
        normal: (3,) LPS unit, signed by excitation.
        radius_mm: radius of the circle through the lumen's centres.
        arc_mm: length of the centreline between its ends, as defined by the mean ear of 72
            labyrinths fitted to this ear's canals.
        coverage_deg: angle covered by the centreline about the circle's centre.
        lumen_radius_mm: mean radius of the sections in the middle half of the arc, each of a
            circle with the section's area.
        non_planarity_mm: root mean square distance of the centreline from the plane.
        closed: the lumen is continuous from end to end.
        problem: reason for withheld values; empty if there are none.
    """

    name: str
    line_mm: FloatArray
    center_mm: FloatArray
    normal: FloatArray
    radius_mm: float
    arc_mm: float
    coverage_deg: float
    lumen_radius_mm: float
    non_planarity_mm: float
    closed: bool
    problem: str = ""


@dataclass(frozen=True, eq=False)
class Canals:
    """Vestibule and canals of one ear.

    Attributes:
        side: side of the ear.
        canals: the three canals, by name.
        angles_deg: between signed normals, by "anterior_posterior", "anterior_lateral" and
            "lateral_posterior"; nan where a plane is unknown.
        volumes_mm3: volume of every part, nan if undetermined.
        parts: the label map and its origin.
        problems: reasons for withheld values.
    """

    side: Side
    canals: dict[str, Canal]
    angles_deg: dict[str, float]
    volumes_mm3: dict[Part, float]
    parts: Parts
    problems: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class HeadPlanes:
    """Canal planes of both ears in a head frame defined by the ears.

    The frame: Y from the right to the left vestibule, Z closest to the mean upward normal of the
    lateral canals, X = Y x Z forward. It is not Reid's plane.

    Attributes:
        axes: (3, 3) rows X, Y, Z in LPS.
        normals: signed normal in that frame (x, y, z) per side and canal; nan if unknown.
        pairs_deg: angle between the two planes of each synergistic pair, 0 if coplanar.
        sides_deg: angle between the right normal and the mirrored left one, per canal.
        sides_mm: right radius minus left radius, per canal.
        problems: reasons for withheld values.
    """

    axes: FloatArray
    normals: dict[tuple[Side, str], FloatArray]
    pairs_deg: dict[str, float]
    sides_deg: dict[str, float]
    sides_mm: dict[str, float]
    problems: tuple[str, ...]


def measure_canals(
    values: NDArray[Any],
    grid: Grid,
    landmarks: Landmarks,
    pose: Pose,
    *,
    parts: Parts | None = None,
) -> Canals:
    """Measure vestibule and canals of one ear.

    Args:
        values: (i, j, k) mask or probability of the labyrinth, 0..1.
        grid: position of the voxels.
        landmarks: LPS; helicotrema and round window define the cochlea's border.
        pose: pose of the ear.
        parts: result of `split` for the same field, if available.

    Returns:
        The measurements; nan with a reason if unavailable.

    Source: robust torus fit to section centres; signs after Della Santina et al. 2005.
    """
    parts = split(values, grid, landmarks, pose) if parts is None else parts
    canals = {name: _canal(name, parts, pose) for name in CANALS}
    angles = {
        f"{first}_{second}": _angle_deg(canals[first].normal, canals[second].normal)
        for first, second in PAIRS
    }
    problems = [canal.problem for canal in canals.values() if canal.problem]
    volumes = dict(parts.volumes_mm3)
    if not np.any(parts.labels):
        problems.insert(0, "no labyrinth in the field of view")
        volumes = dict.fromkeys(volumes, float("nan"))
    for name in CANALS:
        if parts.traces[name] is None:
            volumes[Part[name.upper()]] = float("nan")
    if parts.crus is None:
        volumes[Part.CRUS] = float("nan")
        problems.append("the common crus is not measured: no canal leading to it was found")
    return Canals(pose.side, canals, angles, volumes, parts, tuple(problems))


def head_planes(right: Canals, left: Canals) -> HeadPlanes:
    """Canal planes in head coordinates, and comparison of the two sides.

    Args:
        right: the right ear.
        left: the left ear.

    Raises:
        ValueError: if the sides are not right and left.
    """
    if (right.side, left.side) != (Side.RIGHT, Side.LEFT):
        raise ValueError("head planes need a right and a left ear, in this order")
    ears = {Side.RIGHT: right, Side.LEFT: left}
    problems = []
    ups = [-right.canals["lateral"].normal, left.canals["lateral"].normal]
    ups = [up for up in ups if np.isfinite(up).all()]
    ends = [_middle_mm(ear) for ear in (right, left)]
    if ups and np.isfinite(ends).all() and np.linalg.norm(ends[1] - ends[0]) > LEAST_HEAD_MM:
        y = unit(ends[1] - ends[0])
        up = np.mean(ups, axis=0)
        z = unit(up - (up @ y) * y)
        axes = np.stack([np.cross(y, z), y, z])
    else:
        axes = np.full((3, 3), np.nan)
        problems.append(
            "no head frame: it needs both vestibules, far enough apart, and a lateral canal"
        )
    normals = {
        (side, name): axes @ ear.canals[name].normal
        for side, ear in ears.items()
        for name in CANALS
    }
    # Excitation of one canal is inhibition of its partner: their signed normals are opposite.
    pairs = {
        name: _angle_deg(right.canals[first].normal, -left.canals[second].normal)
        for name, (first, second) in SYNERGISTIC.items()
    }
    # A normal is an axial vector: mirroring left to right inverts its components in the plane.
    mirror = np.array([-1.0, 1.0, -1.0])
    sides = {
        name: _angle_deg(normals[Side.RIGHT, name], mirror * normals[Side.LEFT, name])
        for name in CANALS
    }
    radii = {name: right.canals[name].radius_mm - left.canals[name].radius_mm for name in CANALS}
    for name, value in pairs.items():
        if not np.isfinite(value):
            problems.append(f"the {name} angle is withheld: a plane of the pair is unknown")
    return HeadPlanes(axes, normals, pairs, sides, radii, tuple(problems))


def _middle_mm(ear: Canals) -> FloatArray:
    """LPS centre of the vestibule."""
    ijk = np.argwhere(ear.parts.labels == Part.VESTIBULE)
    return ear.parts.grid.to_mm(ijk.mean(axis=0)) if len(ijk) else np.full(3, np.nan)


def _canal(name: str, parts: Parts, pose: Pose) -> Canal:
    nothing = np.full(3, np.nan)
    trace, course = parts.traces[name], parts.courses[name]
    if trace is None or course is None:
        reason = (
            f"the {name} canal is not measured: no canal lumen was found at its expected position"
        )
        nan, none = float("nan"), np.empty((0, 3))
        return Canal(
            name, none, nothing, nothing, nan, nan, nan, nan, nan, closed=False, problem=reason
        )
    line, seen = course.points_mm, course.seen
    torus = fit_torus(line[seen], trace.torus) if np.count_nonzero(seen) > 5 else trace.torus
    moved = line[seen] - torus.center_mm
    up = moved @ torus.normal
    out = np.linalg.norm(moved - np.outer(up, torus.normal), axis=1) - torus.radius_mm
    flatness = float(np.sqrt(np.mean(up**2)))
    residual = float(np.sqrt(np.mean(up**2 + out**2)))
    turned = np.unwrap(np.radians(torus.angles_deg(line)))
    coverage = float(np.degrees(abs(turned[-1] - turned[0])))
    arc = float(along_mm(line)[-1])
    quarter = len(line) // 4
    middle = slice(quarter, len(line) - quarter)
    lumen = course.radius_mm[middle][seen[middle]]
    center_mm, radius = pose.to_lps(torus.center_mm[None])[0], torus.radius_mm
    normal = excitation_normal(name, torus.normal, pose)
    problem = ""
    if seen.mean() < LEAST_SEEN or residual > MOST_RESIDUAL_MM:
        share = f"{seen.mean():.0%} of its course has a lumen"
        problem = (
            f"plane and circle of the {name} canal are withheld: {share}, {residual:.2f} mm "
            "deviation from a circle"
        )
        center_mm, normal, radius, flatness = nothing, nothing, float("nan"), float("nan")
    if not trace.closed:
        problem = problem or f"the {name} canal's arc is withheld: its loop is not closed"
        arc = coverage = float("nan")
    return Canal(
        name,
        pose.to_lps(line),
        center_mm,
        normal,
        float(radius),
        arc,
        coverage,
        float(lumen.mean()) if len(lumen) else float("nan"),
        flatness,
        trace.closed,
        problem,
    )


def excitation_normal(name: str, normal: FloatArray, pose: Pose) -> FloatArray:
    """A canal's LPS normal, signed by excitation, from its canonical one.

    Args:
        name: name of the canal.
        normal: (3,) canonical: anterior towards +Y, posterior towards +X, lateral towards +Z.
        pose: pose of the ear; a mirror inverts axial vectors.

    Source: Della Santina et al. 2005 (sign); the canonical frame of `anatomy`.

    >>> up, right = np.array([0.0, 0, 1]), Pose(Side.RIGHT, np.eye(3), np.zeros(3))
    >>> [float(excitation_normal(name, up, right)[2]) for name in ("posterior", "lateral")]
    [1.0, -1.0]
    """
    sign = -1.0 if name == "lateral" else 1.0
    return sign * float(np.sign(np.linalg.det(pose.matrix))) * (pose.matrix @ normal)


def _angle_deg(first: FloatArray, second: FloatArray) -> float:
    """Angle between unit vectors; nan if one is unknown."""
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(first, second)), first @ second)))
