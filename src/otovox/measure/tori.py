"""Semicircular canals as bent tori, located near their average position and traced by sections.

A canal is unrolled about its axis: half-planes every few degrees, each with the
sections of the lumen. Tube sections (small, and completely inside the window) are chained along the
angle; the torus is fitted to their centres, and the canal is unrolled again about the better torus.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.optimize import least_squares

from otovox.core.geometry import FloatArray, Pose, unit
from otovox.core.volume import Grid
from otovox.imaging.components import pieces

Sampler = Callable[[FloatArray], FloatArray]

#: Canals in the order of every table.
CANALS = ("anterior", "posterior", "lateral")

#: Degrees between neighbouring half-planes: chosen, 0.2 mm along a canal.
STEP_DEG = 4.0
#: Half-width of the unrolled window, mm: chosen, an ampulla (1.03 mm) displaced by 1 mm.
WINDOW_MM = 2.1
#: Distance of samples within a half-plane, mm: chosen, below the working voxel.
SAMPLE_MM = 0.15
#: Section areas of a tube, mm2: chosen; mean lumen radii are 0.44-0.54 mm, at least
#: 0.25 mm in single ears, and an ampulla of mean and largest radius has 3.3 and 4.2 mm2.
AREA_MM2 = (0.12, 5.2)
#: Minimum degrees of a chain that counts as a piece of a canal: chosen.
LEAST_PIECE_DEG = 24.0
#: Tolerance for a canal that ends before its usual end without being open there, degrees: chosen.
SHORT_DEG = 16.0
#: Search range beyond the usual ends of a canal, degrees: chosen, three SD of its arc.
BEYOND_DEG = 20.0
#: Pieces are selected by their span minus this per mm of median distance from the circle, until one
#: shares more of its angles with earlier ones or is farther from the circle than this: chosen.
OFF_COST_DEG, MOST_SHARED, MOST_OFF_MM = 30.0, 0.25, 1.4
#: Minimum number of sections of a canal: chosen, one more than a circle in space needs.
LEAST_SECTIONS = 6
#: Samples around a chain's end in which the next half-plane is searched: chosen, 0.45 mm.
NEAR = 3


@dataclass(frozen=True, eq=False)
class Torus:
    """Circle in space, canonical mm.

    Attributes:
        center_mm: (3,).
        normal: (3,) unit.
        radius_mm: radius of the circle through the lumen's centres.
        reference: (3,) unit, in the plane: from the centre away from the vestibule, angle 0.
    """

    center_mm: FloatArray
    normal: FloatArray
    radius_mm: float
    reference: FloatArray

    @property
    def across(self) -> FloatArray:
        """(3,) unit in the plane, at angle 90 degrees.

        >>> USUAL["lateral"].across.round(2).tolist()
        [0.98, 0.19, -0.0]
        """
        return np.cross(self.normal, self.reference)

    def at(self, angle_deg: ArrayLike, out_mm: ArrayLike = 0.0, up_mm: ArrayLike = 0.0):
        """Canonical points (..., 3) from angle, distance outward of the circle, and height.

        >>> ring = Torus(np.zeros(3), np.array([0, 0, 1.0]), 2.0, np.array([1.0, 0, 0]))
        >>> ring.at([0.0, 90.0], out_mm=0.5).round(6).tolist()
        [[2.5, 0.0, 0.0], [0.0, 2.5, 0.0]]
        """
        angle = np.radians(angle_deg)[..., None]
        radial = np.cos(angle) * self.reference + np.sin(angle) * self.across
        around = self.center_mm + (self.radius_mm + np.asarray(out_mm))[..., None] * radial
        return around + np.asarray(up_mm)[..., None] * self.normal

    def angles_deg(self, points_mm: FloatArray) -> FloatArray:
        """Angle of (n, 3) canonical points about the axis, -180 to 180.

        >>> ring = Torus(np.zeros(3), np.array([0, 0, 1.0]), 2.0, np.array([1.0, 0, 0]))
        >>> ring.angles_deg(np.array([[2.0, 0, 0], [0, 2.0, 0]])).tolist()
        [0.0, 90.0]
        """
        moved = points_mm - self.center_mm
        return np.degrees(np.arctan2(moved @ self.across, moved @ self.reference))


@dataclass(frozen=True, eq=False)
class CanalTrace:
    """A traced canal, canonical mm; sections in order of angle.

    Attributes:
        torus: fitted circle.
        angle_deg: (n,) angles of the sections.
        points_mm: (n, 3) their centres.
        radius_mm: (n,) radius of the circle with the section's area.
        closed: an unbroken chain runs from the vestibule to the vestibule or the common crus.
        gap_deg: angles without a tube between the first and last section.
    """

    torus: Torus
    angle_deg: FloatArray
    points_mm: FloatArray
    radius_mm: FloatArray
    closed: bool
    gap_deg: float


def _usual(center: ArrayLike, normal: ArrayLike, radius_mm: float) -> Torus:
    center_mm, axis = np.asarray(center, dtype=float), unit(normal)
    away = center_mm - (center_mm @ axis) * axis
    return Torus(center_mm, axis, radius_mm, unit(away))


#: Usual circles in the canonical right-ear frame. Source: 72 labyrinths fitted to clinical CT.
USUAL = {
    "anterior": _usual((0.46, -0.80, 4.52), (0.101, 0.994, 0.046), 3.29),
    "posterior": _usual((-3.57, -3.58, 1.25), (0.993, -0.117, 0.016), 3.31),
    "lateral": _usual((0.64, -3.38, 1.11), (0.0, 0.0, 1.0), 2.60),
}
#: Usual start (at the ampulla) and end of a canal, canonical mm. Source: ends of the mean
#: centrelines of the same 72 labyrinths.
ENDS_MM = {
    "anterior": ((2.599, -0.438, 2.307), (-3.022, -1.011, 4.448)),
    "posterior": ((-2.790, -0.798, -1.151), (-3.544, -1.839, 3.929)),
    "lateral": ((2.476, -1.414, 0.992), (-2.014, -2.047, 0.833)),
}


def sampler(values: NDArray[Any], grid: Grid, pose: Pose) -> Sampler:
    """Trilinear interpolator of a field at canonical points; 0 outside its grid.

    >>> grid = Grid.centred((0, 0, 0), (3, 3, 3), spacing_mm=1)
    >>> from otovox.core.anatomy import Side
    >>> read = sampler(np.ones(grid.shape), grid, Pose(Side.RIGHT, np.eye(3), np.zeros(3)))
    >>> read(np.array([[0.0, 0, 0], [9, 0, 0]])).tolist()
    [1.0, 0.0]
    """
    linear = np.linalg.inv(grid.affine[:3, :3])
    step = linear @ pose.matrix
    start = linear @ (pose.origin_mm - grid.affine[:3, 3])
    field = np.ascontiguousarray(values, dtype=np.float32)

    def read(points_mm: FloatArray) -> FloatArray:
        where = np.moveaxis(points_mm @ step.T + start, -1, 0)
        return ndimage.map_coordinates(field, where, order=1, mode="constant", cval=0.0)

    return read


def trace_canal(read: Sampler, name: str) -> CanalTrace | None:
    """Trace one canal.

    Args:
        read: field 0..1 at canonical points; see `sampler`.
        name: name of the canal, one of `CANALS`.

    Returns:
        The trace; None if no lumen is found at the expected position.

    >>> def around(points_mm):
    ...     x, y, z = np.moveaxis(points_mm - USUAL["lateral"].center_mm, -1, 0)
    ...     return (np.hypot(np.hypot(x, y) - 2.6, z) < 0.5).astype(float)
    >>> trace = trace_canal(around, "lateral")
    >>> round(trace.torus.radius_mm, 1), round(float(trace.radius_mm.mean()), 1)
    (2.6, 0.5)
    """
    torus, trace = USUAL[name], None
    for _ in range(3):
        chain = _chain(read, torus, name)
        if chain is None:
            return trace
        trace = chain
        torus = chain.torus
    return trace


def fit_torus(points_mm: FloatArray, like: Torus) -> Torus:
    """Robust circle in space through points: least squares with soft-L1 from a start by SVD.

    Args:
        points_mm: (n, 3), n >= 5.
        like: torus that gives the normal's sign and the reference direction.

    Returns:
        The circle with the smallest distance to the points, in and out of its plane.

    >>> angle = np.linspace(0, 5, 40)
    >>> ring = np.stack([3 * np.cos(angle), 3 * np.sin(angle), 0 * angle], axis=1)
    >>> start = Torus(np.zeros(3), np.array([0.0, 0, 1]), 2.0, np.array([1.0, 0, 0]))
    >>> round(fit_torus(ring, start).radius_mm, 3)
    3.0
    """
    middle = points_mm.mean(axis=0)
    normal = np.linalg.svd(points_mm - middle)[2][2]
    normal = normal if normal @ like.normal > 0 else -normal
    first = unit(like.reference - (like.reference @ normal) * normal)
    second = np.cross(normal, first)
    flat = (points_mm - middle) @ np.stack([first, second]).T
    # Kasa's linear circle fit as a start.
    rows = np.column_stack([2 * flat, np.ones(len(flat))])
    a, b, c = np.linalg.lstsq(rows, (flat**2).sum(axis=1), rcond=None)[0]
    start = np.array([a, b, 0.0, 0.0, 0.0, np.sqrt(max(c + a * a + b * b, 0.01))])

    def placed(p: FloatArray) -> tuple[FloatArray, FloatArray]:
        center = middle + p[0] * first + p[1] * second + p[2] * normal
        return center, unit(normal + p[3] * first + p[4] * second)

    def residuals(p: FloatArray) -> FloatArray:
        center, axis = placed(p)
        moved = points_mm - center
        up = moved @ axis
        out = np.linalg.norm(moved - up[:, None] * axis, axis=1) - p[5]
        return np.concatenate([up, out])

    def slopes(p: FloatArray) -> FloatArray:
        """Derivatives of the residuals, several times faster than differences of them."""
        center, axis = placed(p)
        moved = points_mm - center
        up = moved @ axis
        radial = moved - up[:, None] * axis
        radial /= np.maximum(np.linalg.norm(radial, axis=1), 1e-9)[:, None]
        shifts = np.stack([first, second, normal], axis=1)
        tilts = shifts[:, :2] - np.outer(axis, axis @ shifts[:, :2])
        tilts /= np.linalg.norm(normal + p[3] * first + p[4] * second)
        slope = np.zeros((2 * len(moved), 6))
        slope[: len(moved), :3] = -axis @ shifts
        slope[: len(moved), 3:5] = moved @ tilts
        slope[len(moved) :, :3] = -radial @ shifts
        slope[len(moved) :, 3:5] = -up[:, None] * (radial @ tilts)
        slope[len(moved) :, 5] = -1
        return slope

    # SciPy's types do not know derivatives given as a function.
    jac: Any = slopes
    best = least_squares(residuals, start, jac=jac, loss="soft_l1", f_scale=0.3).x
    center, axis = placed(best)
    reference = unit(like.reference - (like.reference @ axis) * axis)
    return Torus(center, axis, float(best[5]), reference)


def _chain(read: Sampler, torus: Torus, name: str) -> CanalTrace | None:
    angles = np.arange(-180.0, 180.0, STEP_DEG)
    steps = np.arange(-WINDOW_MM, WINDOW_MM + SAMPLE_MM / 2, SAMPLE_MM)
    angle, out, up = np.meshgrid(angles, steps, steps, indexing="ij", sparse=True)
    values = read(torus.at(angle, out, up))
    flat = np.zeros((3, 3, 3), dtype=bool)
    flat[1] = True
    sections, count = pieces(values > 0.5, flat)
    if count == 0:
        return None
    area = np.bincount(sections.ravel(), minlength=count + 1)[1:] * SAMPLE_MM**2
    border = np.ones(values.shape[1:], dtype=bool)
    border[1:-1, 1:-1] = False
    touching = np.bincount(sections[:, border].ravel(), minlength=count + 1)[1:] > 0
    tube = (area > AREA_MM2[0]) & (area < AREA_MM2[1]) & ~touching
    keep = np.concatenate([[False], tube])[sections]
    chains = pieces(keep)[0]
    piece_of = np.zeros(count, dtype=int)
    flat_ids = sections.ravel()
    piece_of[flat_ids[flat_ids > 0] - 1] = chains.ravel()[flat_ids > 0]
    weights = values.astype(float)
    total = np.bincount(sections.ravel(), weights.ravel())[1:]
    out_mm = np.bincount(sections.ravel(), (weights * out).ravel())[1:] / total
    up_mm = np.bincount(sections.ravel(), (weights * up).ravel())[1:] / total
    at = np.zeros(count, dtype=int)
    at[flat_ids[flat_ids > 0] - 1] = np.repeat(np.arange(len(angles)), steps.size**2)[flat_ids > 0]
    low, high = usual_range(torus, name)
    within = (angles[at] > low - BEYOND_DEG) & (angles[at] < high + BEYOND_DEG)
    chosen = _chosen(piece_of * tube, at, np.hypot(out_mm, up_mm), within)
    if chosen is None:
        return None
    order = chosen[np.argsort(at[chosen])]
    where = at[order]
    points = torus.at(angles[where], out_mm[order], up_mm[order])
    radius = np.sqrt(area[order] / np.pi)
    gaps = np.diff(where) - 1
    reached = [angles[where[0]] - low < SHORT_DEG, high - angles[where[-1]] < SHORT_DEG]
    ends = [
        _beyond(sections, tube, int(index) + shift, out_mm=float(out_mm[i]), up_mm=float(up_mm[i]))
        for index, shift, i in ((where[0], -1, order[0]), (where[-1], 1, order[-1]))
    ]
    gap_deg = float(gaps.sum() * STEP_DEG)
    return CanalTrace(
        torus=fit_torus(points, torus),
        angle_deg=angles[where],
        points_mm=points,
        radius_mm=radius,
        closed=gap_deg == 0 and all(np.logical_or(ends, reached)),
        gap_deg=gap_deg,
    )


def usual_range(torus: Torus, name: str) -> tuple[float, float]:
    """Usual range of a canal's angles about a torus, degrees, the lower first.

    Args:
        torus: fitted or usual circle.
        name: name of the canal.

    >>> [round(angle) for angle in usual_range(USUAL["lateral"], "lateral")]
    [-127, 126]
    """
    first, second = torus.angles_deg(np.asarray(ENDS_MM[name]))
    return float(min(first, second)), float(max(first, second))


def _chosen(
    piece: NDArray[Any], at: NDArray[Any], off_mm: FloatArray, within: NDArray[np.bool_]
) -> NDArray[Any] | None:
    """Sections of the canal: from its pieces, one per angle, the nearest to the circle.

    Args:
        piece: (n,) number of the piece that each section belongs to; 0 for none.
        at: (n,) index of its angle.
        off_mm: (n,) distance of its centre from the circle.
        within: (n,) whether the canal may run at its angle.
    """
    kept: list[int] = []
    taken: set[int] = set()
    numbers = [int(n) for n in np.unique(piece[piece > 0])]
    scored = []
    for number in numbers:
        members = np.flatnonzero((piece == number) & within)
        span = len(np.unique(at[members])) * STEP_DEG
        if span < LEAST_PIECE_DEG:
            continue
        scored.append((span - OFF_COST_DEG * float(np.median(off_mm[members])), number, members))
    for _, _, members in sorted(scored, key=lambda item: -item[0]):
        here = set(at[members].tolist())
        if len(here & taken) > MOST_SHARED * len(here):
            continue
        if float(np.median(off_mm[members])) > MOST_OFF_MM:
            continue
        for index in here - taken:
            same = members[at[members] == index]
            kept.append(int(same[np.argmin(off_mm[same])]))
        taken |= here
    return np.array(kept, dtype=int) if len(kept) >= LEAST_SECTIONS else None


def _beyond(
    sections: NDArray[Any], tube: NDArray[Any], index: int, *, out_mm: float, up_mm: float
) -> bool:
    """Whether the next half-plane contains a wider space at the end of the chain."""
    if not 0 <= index < len(sections):
        return True
    plane = sections[index]
    i, j = (round((float(v) + WINDOW_MM) / SAMPLE_MM) for v in (out_mm, up_mm))
    spot = plane[max(i - NEAR, 0) : i + NEAR + 1, max(j - NEAR, 0) : j + NEAR + 1]
    seen = np.unique(spot[spot > 0])
    return bool(len(seen)) and not tube[seen - 1].all()
