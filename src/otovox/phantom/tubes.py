"""Tubes of elliptic section, the elements of canals and cochlea."""

from dataclasses import dataclass

import numpy as np

from otovox.core.geometry import FloatArray

#: Distance between neighbouring spheres along a tube, mm: chosen, not measured.
STEP_MM = 0.12


@dataclass(frozen=True, eq=False)
class Tube:
    """A tube of elliptic section.

    Attributes:
        points_mm: (n, 3) canonical centreline.
        radii_mm: (n, 3) half-axes along the rows of `axes`.
        axes: (n, 3, 3) unit rows: two perpendicular to the tube, the third along it.
    """

    points_mm: FloatArray
    radii_mm: FloatArray
    axes: FloatArray


def round_tube(points: FloatArray, radius: float) -> Tube:
    """A tube of circular section."""
    axes = np.broadcast_to(np.eye(3), (len(points), 3, 3))
    return Tube(points, np.full((len(points), 3), radius), axes)


def extended(tube: Tube, to_mm: FloatArray, *, at_start: bool) -> Tube:
    """The tube extended to a point by a straight tail with the section of its end."""
    end = 0 if at_start else -1
    tail = resampled_line(np.array([tube.points_mm[end], to_mm]))[1:]
    radii = np.broadcast_to(tube.radii_mm[end].mean(), (len(tail), 3))
    axes = np.broadcast_to(np.eye(3), (len(tail), 3, 3))
    parts = [(tube.points_mm, tail), (tube.radii_mm, radii), (tube.axes, axes)]
    if at_start:
        return Tube(*(np.concatenate([b[::-1], a]) for a, b in parts))
    return Tube(*(np.concatenate([a, b]) for a, b in parts))


def resampled_line(line: FloatArray) -> FloatArray:
    """A polyline resampled to points about STEP_MM apart, including its ends.

    >>> line = resampled_line(np.array([[0.0, 0, 0], [1, 0, 0]]))
    >>> bool(np.isclose(np.linalg.norm(np.diff(line, axis=0), axis=1), STEP_MM, rtol=0.2).all())
    True
    """
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    at = np.linspace(0, length[-1], max(int(length[-1] / STEP_MM), 2))
    return np.stack([np.interp(at, length, line[:, axis]) for axis in range(3)], axis=1)
