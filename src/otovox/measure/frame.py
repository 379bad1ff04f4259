"""The consensus cochlear coordinate system: a cylinder about the modiolus.

Source: Verbist et al. 2010, 10.1097/MAO.0b013e3181d279e0.
"""

from dataclasses import dataclass

import numpy as np

from otovox.core.geometry import FloatArray, unit


@dataclass(frozen=True, eq=False)
class CochlearFrame:
    """Cylindrical coordinates of a cochlea.

    Attributes:
        origin_mm: (3,) canonical, on the axis at the height of the helicotrema: z = 0.
        axis: (3,) modiolar axis, base to apex.
        zero: (3,) unit vector perpendicular to the axis, towards the round window: 0 degrees.
    """

    origin_mm: FloatArray
    axis: FloatArray
    zero: FloatArray

    def to_canonical(
        self, theta_deg: FloatArray, radius_mm: FloatArray, height_mm: FloatArray
    ) -> FloatArray:
        """Cylindrical (...,) to canonical (..., 3); angles increase from base to apex."""
        angle = np.radians(theta_deg)[..., None]
        across = np.cos(angle) * self.zero + np.sin(angle) * np.cross(self.axis, self.zero)
        return (
            self.origin_mm
            + np.asarray(radius_mm)[..., None] * across
            + np.asarray(height_mm)[..., None] * self.axis
        )

    def from_canonical(self, points_mm: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Canonical (n, 3) to angle (-180 to 180 degrees), radius and height (n,).

        >>> axis, apex, window = np.array([0, 0, 1.0]), np.zeros(3), np.array([4.0, 0, -3])
        >>> frame = cochlear_frame(axis, apex, apex, window)
        >>> theta_deg, radius_mm, height_mm = frame.from_canonical(np.array([[4.0, 0, -3]]))
        >>> radius_mm.tolist(), height_mm.tolist()
        ([4.0], [-3.0])
        """
        offset = np.asarray(points_mm, dtype=float) - self.origin_mm
        x, y = offset @ self.zero, offset @ np.cross(self.axis, self.zero)
        return np.degrees(np.arctan2(y, x)), np.hypot(x, y), offset @ self.axis


def cochlear_frame(
    axis: FloatArray, point_mm: FloatArray, helicotrema_mm: FloatArray, round_window_mm: FloatArray
) -> CochlearFrame:
    """The consensus coordinate system: z along the modiolus, 0 degrees at the round window.

    Args:
        axis: (3,) canonical, base to apex.
        point_mm: (3,) canonical, anywhere on the axis.
        helicotrema_mm, round_window_mm: (3,) canonical.

    Source: Verbist et al. 2010; the canonical frame mirrors left ears, so signs are the same for
        both sides.

    >>> z = np.array([0.0, 0, 1])
    >>> window_mm = np.array([4.0, 0, 0])
    >>> frame = cochlear_frame(z, 0 * z, helicotrema_mm=3 * z, round_window_mm=window_mm)
    >>> frame.origin_mm.tolist(), frame.zero.tolist()
    ([0.0, 0.0, 3.0], [1.0, 0.0, 0.0])
    """
    origin = point_mm + float((helicotrema_mm - point_mm) @ axis) * axis
    across = round_window_mm - origin
    return CochlearFrame(origin, axis, unit(across - float(across @ axis) * axis))
