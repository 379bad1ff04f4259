"""Canals from end to end: centre and sections of the lumen between the canal's ends.

The torus traces the separate tube; near its ends a canal merges with vestibule and crus, so its
sections do not define the ends. The mean ear, fitted to the traced canals, does.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_smoothing_spline

from otovox.core.geometry import FloatArray
from otovox.imaging.components import pieces
from otovox.measure.mean_ear import (
    STEP_MM,
    Centreline,
    Similarity,
    along_mm,
    mean_canal,
    mean_crus,
    nearest_on,
    resampled,
    tangents,
)
from otovox.measure.tori import CanalTrace, Sampler

#: Radii of the discs in which a line is moved to the lumen's centre, mm: chosen, an ampulla's
#: radius is 1.0.
CENTRE_MM = (1.1, 1.0, 0.9)
#: The same for the common crus, mm: chosen, its radius is 0.7.
CRUS_CENTRE_MM = 0.9
#: Distance between samples of a section, mm: chosen, half a working voxel.
SAMPLE_MM = 0.1
#: Half-width of a sampled section, mm: chosen, above an ampulla's radius of 1.0.
REACH_MM = 1.5
#: Maximum distance of a line from its lumen, mm: chosen, a canal's radius.
OFF_MM = 0.5
#: Smallest and largest section of a canal, mm2: chosen, radii of 0.2 and 1.35 mm; ampullae have
#: 1.0.
AREA_MM2 = (0.13, 5.7)
#: Sections that contain only the crus, mm2: chosen, its mean is 1.55.
CRUS_MM2 = (0.3, 4.0)
#: A line this much longer than the mean ear's is wrong: chosen, 5 SD of 72 labyrinths.
STRAYED = 1.35
#: Penalty of the smoothing spline over stations `STEP_MM` apart: chosen, removes voxel steps.
SMOOTHING = 3e-3


@dataclass(frozen=True, eq=False)
class Course:
    """A canal from the opening of its ampulla to its other end, canonical mm.

    Attributes:
        points_mm: (n, 3) smoothed centre of the lumen; that of the mean ear where there is no
            lumen.
        area_mm2: (n,) area of the section across the line; 0 where there is no lumen.
    """

    points_mm: FloatArray
    area_mm2: FloatArray

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(n,) where there is lumen."""
        return self.area_mm2 >= AREA_MM2[0]

    @property
    def radius_mm(self) -> FloatArray:
        """(n,) radius of the circle with the section's area."""
        return np.sqrt(self.area_mm2 / np.pi)


def follow_canal(read: Sampler, name: str, trace: CanalTrace, place: Similarity) -> Course:
    """Follow a canal's lumen from end to end.

    Args:
        read: field 0..1 at canonical points.
        name: name of the canal.
        trace: its trace.
        place: transform of the mean ear to this one.
    """
    guess = place(mean_canal(name).points_mm)
    points = _bent(guess, trace.points_mm)
    for reach in CENTRE_MM:
        points, area = _drawn_in(read, points, reach)
        points = _smoothed(points, area >= AREA_MM2[0])
    centres, areas = _sections(read, points)
    usual = (areas >= AREA_MM2[0]) & (areas <= AREA_MM2[1])
    points = _smoothed(np.where(usual[:, None], centres, points), areas > 0)
    if along_mm(points)[-1] > STRAYED * along_mm(guess)[-1]:
        points = guess
    return Course(points, np.minimum(_sections(read, points)[1], AREA_MM2[1]))


def follow_crus(
    read: Sampler, courses: dict[str, Course | None], place: Similarity
) -> Centreline | None:
    """The common crus, its top moved with the ends of the canals that it splits into.

    Args:
        read: field 0..1 at canonical points.
        courses: courses of the canals; None where unavailable.
        place: transform of the mean ear to this one.

    Returns:
        Canonical line from the vestibule upward; None without anterior and posterior canal.
    """
    line = place.moved(mean_crus())
    ends = [
        course.points_mm[-1] - place(mean_canal(name).points_mm[-1:])[0]
        for name in ("anterior", "posterior")
        if (course := courses[name]) is not None
    ]
    if not ends:
        return None
    rise = np.linspace(0, 1, len(line.points_mm))[:, None]
    points, _ = _drawn_in(read, line.points_mm + rise * np.mean(ends, axis=0), CRUS_CENTRE_MM)
    area = _sections(read, points)[1]
    # Where the crus merges with vestibule or canals, its section includes them.
    usual = (area > CRUS_MM2[0]) & (area < CRUS_MM2[1])
    return Centreline(points, np.where(usual, np.sqrt(area / np.pi), line.radius_mm))


def _across(directions: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Two unit vectors (n, 3) at right angles to each direction and to each other; 0 without one.

    A point of a coarse scan's line that coincides with its neighbours has no direction.
    """
    helper = np.eye(3)[np.argmin(np.abs(directions), axis=1)]
    first = np.asarray(np.cross(directions, helper), dtype=float)
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    return first, np.asarray(np.cross(directions, first), dtype=float)


def _drawn_in(read: Sampler, line: FloatArray, reach_mm: float) -> tuple[FloatArray, FloatArray]:
    """Move a line's points within the planes across it to the centre of the lumen.

    Returns:
        (n, 3) weighted means of discs, the point itself if its disc is empty; (n,) mm2 of
        lumen in each disc.

    Source: mean shift (Comaniciu and Meer 2002).
    """
    step = 2 * SAMPLE_MM
    steps = np.arange(-np.floor(reach_mm / step), np.floor(reach_mm / step) + 1) * step
    u, v = np.meshgrid(steps, steps)
    kept = np.hypot(u, v) <= reach_mm
    first, second = _across(tangents(line))
    shifts = u[kept][:, None] * first[:, None] + v[kept][:, None] * second[:, None]
    weights = read(line[:, None] + shifts)
    total = weights.sum(axis=1)
    moved = np.einsum("nk,nkc->nc", weights, shifts) / np.maximum(total, 1e-6)[:, None]
    area = total * step**2
    return line + np.where(area[:, None] > 1e-3, moved, 0.0), area


def _sections(read: Sampler, line: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Centre (n, 3) and area (n,) of the lumen section nearest to the line in each plane."""
    steps = np.arange(-REACH_MM, REACH_MM + 1e-9, SAMPLE_MM)
    u, v = np.meshgrid(steps, steps, indexing="ij")
    first, second = _across(tangents(line))
    shifts = u[..., None] * first[:, None, None] + v[..., None] * second[:, None, None]
    inside = (read(line[:, None, None] + shifts) > 0.5) & (np.hypot(u, v) <= REACH_MM)
    in_plane = np.zeros((3, 3, 3), dtype=bool)
    in_plane[1] = True
    own = pieces(inside, in_plane)[0].reshape(len(line), -1)
    distance = np.where(inside, np.hypot(u, v), np.inf).reshape(len(line), -1)
    rows, nearest = np.arange(len(line)), distance.argmin(axis=1)
    piece = (own == own[rows, nearest][:, None]) & (distance[rows, nearest] < OFF_MM)[:, None]
    count = piece.sum(axis=1)
    mean = np.einsum("nk,nkc->nc", piece.astype(float), shifts.reshape(len(line), -1, 3))
    return line + mean / np.maximum(count, 1)[:, None], count * SAMPLE_MM**2


def _bent(guess: FloatArray, points: FloatArray) -> FloatArray:
    """An initial line shifted to the found points; beyond these the last shift is used."""
    shift = nearest_on(guess, points) - guess
    finite = np.isfinite(shift).all(axis=1)
    if np.count_nonzero(finite) < 4:
        return guess
    at = along_mm(guess)
    return guess + np.stack([np.interp(at, at[finite], axis[finite]) for axis in shift.T], axis=1)


def _smoothed(points: FloatArray, seen: NDArray[np.bool_]) -> FloatArray:
    """A line through points, resampled to equal steps; unseen ones have low weight."""
    at = along_mm(points) + np.arange(len(points)) * 1e-6
    weights = np.where(seen, 1.0, 0.05)
    spline = make_smoothing_spline(at, points, w=weights, lam=SMOOTHING, axis=0)
    fine = np.asarray(spline(np.linspace(0, at[-1], 4 * len(points))))
    return resampled(fine, count=max(round(float(along_mm(fine)[-1]) / STEP_MM) + 1, 8))
