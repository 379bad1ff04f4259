"""A circle in space, fitted robustly: a canal's plane, centre and radius."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from otovox.geometry import FloatArray, unit

#: Residuals beyond this count less than their square, mm: chosen, the out-of-plane RMS of 72
#: anterior canals (0.235 mm).
SOFT_MM = 0.235


@dataclass(frozen=True, eq=False)
class Circle:
    """A circle in space.

    Attributes:
        centre_mm: (3,).
        normal: (3,) unit; its sign means nothing here.
        radius_mm: of the circle.
    """

    centre_mm: FloatArray
    normal: FloatArray
    radius_mm: float

    def residuals_mm(self, points_mm: FloatArray) -> tuple[FloatArray, FloatArray]:
        """How far (n, 3) points lie out of the plane, and outside the circle within it."""
        away = points_mm - self.centre_mm
        height = away @ self.normal
        return height, np.linalg.norm(away - height[:, None] * self.normal, axis=1) - self.radius_mm

    def angles_deg(self, points_mm: FloatArray, reference_mm: FloatArray) -> FloatArray:
        """Angles of (n, 3) points about the centre, from a reference point, -180 to 180."""
        first = reference_mm - self.centre_mm
        first = unit(first - (first @ self.normal) * self.normal)
        away = points_mm - self.centre_mm
        return np.degrees(np.arctan2(away @ np.cross(self.normal, first), away @ first))


def fit_circle(points_mm: FloatArray, weights: NDArray | None = None) -> Circle:
    """The circle nearest to points, in the plane and out of it at once.

    A torus whose tube is drawn in to its centreline; soft-L1 loss, started from the plane of the
    singular value decomposition and the algebraic circle within it.

    Args:
        points_mm: (n, 3), n at least 4, on an arc.
        weights: (n,) of the points, by default alike.

    Raises:
        ValueError: if the points are too few, or lie on a line.
    """
    if len(points_mm) < 4:
        raise ValueError(f"{len(points_mm)} points are too few for a circle")
    share = np.sqrt(np.ones(len(points_mm)) if weights is None else weights)
    middle = points_mm.mean(axis=0)
    _, size, axes = np.linalg.svd(points_mm - middle, full_matrices=False)
    if size[1] < 1e-6 * max(size[0], 1e-9):
        raise ValueError("points on a line lie on no circle")
    flat = (points_mm - middle) @ axes[:2].T
    rows = np.column_stack([2 * flat, np.ones(len(flat))])
    a, b, c = np.linalg.lstsq(rows, np.sum(flat**2, axis=1), rcond=None)[0]
    centre = middle + a * axes[0] + b * axes[1]

    def moved(parameters: FloatArray) -> Circle:
        normal = unit(axes[2] + parameters[3] * axes[0] + parameters[4] * axes[1])
        return Circle(centre + parameters[:3], normal, float(parameters[5]))

    def residuals(parameters: FloatArray) -> FloatArray:
        height, radial = moved(parameters).residuals_mm(points_mm)
        return np.concatenate([share * height, share * radial])

    start = np.array([0, 0, 0, 0, 0, np.sqrt(max(c + a * a + b * b, 1e-6))])
    # The centre's place along the axes is free, and so held by the residuals out of the plane.
    found = least_squares(residuals, start, loss="soft_l1", f_scale=SOFT_MM, max_nfev=60)
    return moved(found.x)
