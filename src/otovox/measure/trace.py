"""Canals followed through a field: from the mean ear's place to the lumen's own middle.

1. In the half-planes about each canal's axis the lumen is drawn in to its middle and a circle
   fitted, from wide to narrow: this finds arcs that lie up to 2 mm and 15 degrees off.
2. The mean ear is put onto all arcs at once; it tells where each canal's ends lie.
3. Planes across each line are centred on the lumen they cut, and the line is smoothed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_smoothing_spline

from otovox.anatomy import CANALS, CANONICAL_MM, Part
from otovox.geometry import FloatArray
from otovox.landmarks import Landmarks
from otovox.measure.circle import Circle, fit_circle
from otovox.measure.lumen import Lumen, drawn_in, sections
from otovox.measure.template import (
    STEP_MM,
    Similarity,
    Template,
    along,
    fit_similarity,
    mean_template,
    resampled,
    tangents,
)

#: Reach of the discs while arcs are sought, mm: chosen, from the spread of a pose to a lumen.
_SEEK_MM = (1.8, 1.4, 1.1, 1.1)
#: Reach of the discs while a line is centred, mm: chosen, an ampulla's radius is 1.0.
_CENTRE_MM = (1.1, 1.0, 0.9)
#: Least lumen that a disc must hold to count, mm2: chosen, a radius of 0.2 mm.
LEAST_MM2 = 0.13
#: Largest section of a canal, mm2: chosen, a radius of 1.35 mm; ampullae have 1.0.
_MOST_MM2 = 5.7
#: Share of an arc that must be seen for it to place the mean ear: chosen.
_SEEN = 0.4
#: A line this much longer than the mean ear's has strayed: chosen, 5 SD of 72 labyrinths.
_STRAYED = 1.35
#: Penalty of the smoothing spline over stations `STEP_MM` apart: chosen, takes out voxel steps.
_SMOOTH = 3e-3


@dataclass(frozen=True, eq=False)
class Traced:
    """A canal's line, canonical mm, from the ampulla on.

    Attributes:
        points_mm: (n, 3) smoothed middle of the lumen; the mean ear's where there is none.
        areas_mm2: (n,) of the lumen across the line; 0 where there is none.
    """

    points_mm: FloatArray
    areas_mm2: FloatArray

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(n,) where there is lumen."""
        return self.areas_mm2 >= LEAST_MM2

    @property
    def middle_seen(self) -> float:
        """Share of the line's middle half, far from the vestibule, that has lumen."""
        quarter = len(self.points_mm) // 4
        return float(self.seen[quarter : len(self.points_mm) - quarter].mean())


def trace(lumen: Lumen, landmarks_mm: Landmarks) -> tuple[Template, dict[Part, Traced]]:
    """Follow all canals.

    Args:
        lumen: the field.
        landmarks_mm: in the canonical frame; nan where absent.

    Returns:
        The mean ear put onto this one, and each canal's line, whether there is a lumen or not.
    """
    template = mean_template()
    arcs = {part: _arc(lumen, template.lines[part].points_mm) for part in CANALS}
    placed = template.moved(_placed(template, arcs, landmarks_mm))
    lines = {part: _followed(lumen, placed.lines[part].points_mm, arcs[part]) for part in CANALS}
    return placed, lines


def _arc(lumen: Lumen, line: FloatArray) -> FloatArray:
    """(n, 3) middles of the lumen along a canal's arc; nan where there is none."""
    points = resampled(line, count=28)
    circle = fit_circle(points)
    found = np.ones(len(points), dtype=bool)
    for reach in _SEEK_MM:
        normals = _half_planes(points, circle)
        for _ in range(2):
            points, area = drawn_in(lumen, points, normals, reach)
            found = area >= LEAST_MM2
        if found.mean() < _SEEN:
            return np.full_like(points, np.nan)
        circle = fit_circle(points[found])
        # Where nothing was found the circle goes on.
        points = np.where(found[:, None], points, _onto(circle, points))
    height, radial = circle.residuals_mm(points)
    found &= (np.abs(height) < 1.2) & (np.abs(radial) < 1.2)
    return np.where(found[:, None], points, np.nan)


def _half_planes(points: FloatArray, circle: Circle) -> FloatArray:
    """Normals of the planes through a circle's axis and each point."""
    return np.asarray(tangent_to(circle, points))


def tangent_to(circle: Circle, points: FloatArray) -> FloatArray:
    """(n, 3) unit directions around a circle's axis at each point."""
    around = np.cross(circle.normal, points - circle.centre_mm)
    return around / np.maximum(np.linalg.norm(around, axis=1, keepdims=True), 1e-9)


def _onto(circle: Circle, points: FloatArray) -> FloatArray:
    """The nearest points of a circle."""
    away = points - circle.centre_mm
    away = away - (away @ circle.normal)[:, None] * circle.normal
    away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)
    return circle.centre_mm + circle.radius_mm * away


def _placed(
    template: Template, arcs: dict[Part, FloatArray], landmarks_mm: Landmarks
) -> Similarity:
    """The similarity that puts the mean ear's canals onto the arcs found."""
    source = [resampled(template.lines[part].points_mm, count=28) for part in CANALS]
    target = [arcs[part] for part in CANALS]
    weights = [np.ones(28) for _ in CANALS]
    known = [name for name in landmarks_mm.names if landmarks_mm.has(name)]
    known = [name for name in known if name in CANONICAL_MM]
    if known:
        source.append(np.array([CANONICAL_MM[name] for name in known]))
        target.append(np.stack([landmarks_mm[name] for name in known]))
        # Chosen: a landmark counts as three stations of a canal, of which there are 28.
        weights.append(np.full(len(known), 3.0))
    a, b, w = np.concatenate(source), np.concatenate(target), np.concatenate(weights)
    kept = np.isfinite(b).all(axis=1)
    if kept.sum() < 12:
        return Similarity(1.0, np.eye(3), np.zeros(3))
    place = fit_similarity(a[kept], b[kept], w[kept])
    curves = [arc[np.isfinite(arc).all(axis=1)] for arc in arcs.values()]
    for _ in range(5):
        moved = place(a)
        pairs = b.copy()
        for index, curve in enumerate(curves):
            if len(curve):
                rows = slice(28 * index, 28 * index + 28)
                pairs[rows] = _nearest_on(moved[rows], curve)
        kept = np.isfinite(pairs).all(axis=1)
        place = fit_similarity(a[kept], pairs[kept], w[kept])
    return place


def _nearest_on(points: FloatArray, curve: FloatArray) -> FloatArray:
    """The nearest points of a polyline, nan beyond its ends."""
    fine = resampled(curve, count=200)
    nearest = np.linalg.norm(points[:, None] - fine[None], axis=2).argmin(axis=1)
    found = fine[nearest].copy()
    found[(nearest == 0) | (nearest == len(fine) - 1)] = np.nan
    return found


def _followed(lumen: Lumen, guess: FloatArray, arc: FloatArray) -> Traced:
    """The lumen's middle along a line, from a guess of the line and the arc found near it."""
    points = _bent(guess, arc)
    for reach in _CENTRE_MM:
        points, area = drawn_in(lumen, points, tangents(points), reach)
        points = _smoothed(points, area >= LEAST_MM2)
    cut = sections(lumen, points, tangents(points))
    usual = (cut.areas_mm2 >= LEAST_MM2) & (cut.areas_mm2 <= _MOST_MM2)
    points = _smoothed(np.where(usual[:, None], cut.centres_mm, points), cut.areas_mm2 > 0)
    if along(points)[-1] > _STRAYED * along(guess)[-1]:
        points = guess
    cut = sections(lumen, points, tangents(points))
    return Traced(points, np.minimum(cut.areas_mm2, _MOST_MM2))


def _bent(guess: FloatArray, arc: FloatArray) -> FloatArray:
    """A guessed line moved by what its arc tells, smoothly, nothing where it tells nothing."""
    known = arc[np.isfinite(arc).all(axis=1)]
    if len(known) < 4:
        return guess
    shift = _nearest_on(guess, known) - guess
    told = np.isfinite(shift).all(axis=1)
    if told.sum() < 4:
        return guess
    at = along(guess)
    # Beyond the arc's ends the last shifts hold.
    return guess + np.stack([np.interp(at, at[told], axis[told]) for axis in shift.T], axis=1)


def _smoothed(points: FloatArray, known: NDArray[np.bool_]) -> FloatArray:
    """A line through points, resampled to equal steps; unknown ones weigh little."""
    at = along(points)
    at = at + np.arange(len(at)) * 1e-6
    weights = np.where(known, 1.0, 0.05)
    spline = make_smoothing_spline(at, points, w=weights, lam=_SMOOTH, axis=0)
    fine = np.asarray(spline(np.linspace(0, at[-1], 4 * len(points))))
    return resampled(fine, count=max(round(float(along(fine)[-1]) / STEP_MM) + 1, 8))
