"""The mean labyrinth as lines with radii, and its place in an ear: where to look for what.

A template only guides: it tells where along a canal its ends lie, and which structure is meant.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from otovox.anatomy import CANALS, Part
from otovox.geometry import FloatArray, unit
from otovox.phantom.labyrinth import (
    APEX_MM,
    AXIS,
    ROUND_WINDOW_AZIMUTH_DEG,
    statistics,
)

#: The cochlea begins this far before the round window. Source: cochlea's border with the vestibule
#: at an azimuth of 24.8 degrees, the round window's at 32.5, in 72 labyrinths.
COCHLEA_FROM_DEG = 24.8 - ROUND_WINDOW_AZIMUTH_DEG
#: Distance between neighbouring points of a line, mm: chosen, below a lumen's radius.
STEP_MM = 0.25


@dataclass(frozen=True, eq=False)
class Line:
    """A tube: points about `STEP_MM` apart, and the lumen's radius at each.

    Attributes:
        points_mm: (n, 3).
        radii_mm: (n,).
    """

    points_mm: FloatArray
    radii_mm: FloatArray

    def moved(self, place: "Similarity") -> "Line":
        """The line where a similarity puts it."""
        return Line(place(self.points_mm), self.radii_mm * place.scale)


@dataclass(frozen=True, eq=False)
class Similarity:
    """x -> scale * rotation x + shift, on rows."""

    scale: float
    rotation: FloatArray
    shift: FloatArray

    def __call__(self, points: FloatArray) -> FloatArray:
        return self.scale * points @ self.rotation.T + self.shift


@dataclass(frozen=True, eq=False)
class Template:
    """A labyrinth's lines, canonical mm.

    Attributes:
        lines: canals from the ampulla on, the crus from the vestibule up, the cochlea from its
            border with the vestibule to its apex.
        vestibule_axes: (3, 3) whose rows are the axes of an ellipsoid about the origin.
        vestibule_radii_mm: (3,) its half-axes.
        place: from the mean ear to this one.
    """

    lines: dict[Part, Line]
    vestibule_axes: FloatArray
    vestibule_radii_mm: FloatArray
    place: Similarity

    def moved(self, place: Similarity) -> "Template":
        """The mean template where a similarity puts it."""
        lines = {part: line.moved(place) for part, line in self.lines.items()}
        return Template(
            lines,
            self.vestibule_axes @ place.rotation.T,
            self.vestibule_radii_mm * place.scale,
            place,
        )


@cache
def mean_template() -> Template:
    """The mean of 72 labyrinths.

    Source: `phantom/statistics.json`; a canal's line is the mean centreline of 21 points, the
    cochlea's the mean radius and height at each angle about the modiolar axis.
    """
    data = statistics()
    lines = {}
    for part in CANALS:
        canal = data["canals"][part.removesuffix("_canal")]
        line = np.asarray(canal["centreline_mm"])
        points = resampled(line, count=_count(line))
        radii = np.interp(
            np.linspace(0, 1, len(points)), np.linspace(0, 1, len(line)), canal["radius_mm"]
        )
        lines[part] = Line(points, radii)
    crus = np.array([data["common_crus"]["start_mm"], data["common_crus"]["end_mm"]])
    points = resampled(crus, count=_count(crus))
    lines[Part.CRUS] = Line(points, np.full(len(points), data["common_crus"]["radius_mm"]))
    lines[Part.COCHLEA] = _cochlea()
    vestibule = data["vestibule"]
    axes = np.asarray(vestibule["axes"], dtype=float)
    still = Similarity(1.0, np.eye(3), np.zeros(3))
    return Template(lines, axes, np.asarray(vestibule["half_axes_mm"], dtype=float), still)


def resampled(line: FloatArray, *, count: int) -> FloatArray:
    """A polyline at `count` points at equal distances along it, ends kept."""
    length = along(line)
    at = np.linspace(0, length[-1], count)
    return np.stack([np.interp(at, length, axis) for axis in line.T], axis=1)


def along(line: FloatArray) -> FloatArray:
    """(n,) length of a polyline up to each of its points."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])


def tangents(line: FloatArray) -> FloatArray:
    """(n, 3) unit directions along a polyline."""
    forward = np.gradient(line, axis=0)
    return forward / np.maximum(np.linalg.norm(forward, axis=1, keepdims=True), 1e-9)


def fit_similarity(source: FloatArray, target: FloatArray, weights: NDArray) -> Similarity:
    """The similarity that puts (n, 3) points onto others with the least weighted squares.

    Source: Umeyama 1991.
    """
    share = weights / weights.sum()
    a, b = share @ source, share @ target
    u, s, vt = np.linalg.svd((target - b).T @ ((source - a) * share[:, None]))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs) @ vt
    scale = float((s * signs).sum() / (share @ np.sum((source - a) ** 2, axis=1)))
    return Similarity(scale, rotation, b - scale * rotation @ a)


def _cochlea() -> Line:
    data = statistics()["cochlea"]
    theta = np.arange(COCHLEA_FROM_DEG, data["theta_deg"][-1], 5.0)
    radius, height, wide, tall = (
        np.interp(theta, data["theta_deg"], data[name])
        for name in ("r_mm", "z_mm", "half_width_mm", "half_height_mm")
    )
    first = unit(-APEX_MM - np.dot(-APEX_MM, AXIS) * AXIS)
    second = np.cross(AXIS, first)
    azimuth = np.radians(theta + ROUND_WINDOW_AZIMUTH_DEG)
    across = np.cos(azimuth)[:, None] * first + np.sin(azimuth)[:, None] * second
    points = APEX_MM + radius[:, None] * across + height[:, None] * AXIS
    return Line(points, np.sqrt(wide * tall))


def _count(line: FloatArray) -> int:
    return round(float(along(line)[-1]) / STEP_MM) + 1
