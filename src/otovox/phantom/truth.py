"""True measurements of a simulated cochlea, from its centreline and radii, without a mask."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from otovox.core.geometry import FloatArray, rotation_from_vector
from otovox.phantom.labyrinth import Labyrinth

#: Start angle of the centreline from the round window, and its step.
_START_DEG, _STEP_DEG = -7.0, 2.5


@dataclass(frozen=True, eq=False)
class CochleaTruth:
    """Measurements of a simulated cochlea, canonical frame, mm and degrees.

    Attributes:
        axis: (3,) modiolar axis, base to apex.
        point_mm: (3,) its point at the apex.
        theta_deg: (n,) angles from the round window's landmark.
        wall_mm: (n, 3) lateral wall at those angles.
        centre_mm: (n, 3) centre of the lumen.
        a_mm: between the lateral walls through the axis, at 0 and 180 degrees.
        a_round_window_mm: round window to axis plus axis to wall at 180 degrees.
        b_mm: the same as `a_mm` at 90 and 270 degrees.
        height_mm: extent of the lumen along the axis.
        turns: from the round window to the lumen's end.
        length_mm: length of the lateral wall from 0 degrees to the end.
        length_2_turns_mm: length of the lateral wall from 0 to 720 degrees; nan if it ends before.
        centre_length_mm: length of the lumen's centre from 0 degrees to the end.
    """

    axis: FloatArray
    point_mm: FloatArray
    theta_deg: FloatArray
    wall_mm: FloatArray
    centre_mm: FloatArray
    a_mm: float
    a_round_window_mm: float
    b_mm: float
    height_mm: float
    turns: float
    length_mm: float
    length_2_turns_mm: float
    centre_length_mm: float


def cochlea_truth(shape: Labyrinth) -> CochleaTruth:
    """Measure a simulated cochlea analytically.

    The random deformation slightly bends the axis. The true axis is the one about which the
    centreline keeps its original azimuths: the rigid motion that minimises the points' offsets
        along
    their original directions.

    Args:
        shape: a labyrinth from `draw_labyrinth`, with any diagnosis that has a cochlea.
    """
    tube = shape.cochlea
    travel, points = tube.axes[:, 2], tube.points_mm

    def offsets(motion: NDArray) -> NDArray:
        turned = travel @ rotation_from_vector(motion[:3]).T
        return np.einsum("ij,ij->i", points - shape.apex_mm - motion[3:], turned)

    # A shift along the axis has no effect, which "lm" does not allow.
    motion = least_squares(offsets, np.zeros(6)).x
    turn = rotation_from_vector(motion[:3])
    axis, origin = turn @ shape.axis, shape.apex_mm + motion[3:]
    theta = _START_DEG + _STEP_DEG * np.arange(len(points), dtype=float)
    outward = tube.axes[:, 0] @ turn.T
    window = shape.landmarks["round_window"]
    # Angle of the window on the original spiral, from the outward direction at 0.5 degrees.
    if np.isfinite(window).all():  # a common cavity has none: its spiral is unchanged
        theta = theta - theta[3] - _ahead_deg(window - origin, outward[3], axis)
    wall = points + tube.radii_mm[:, :1] * outward
    from_axis = np.linalg.norm(_across(wall - origin, axis), axis=1)
    along = (points - origin) @ axis
    tall = tube.radii_mm[:, 1]

    def radius(angle_deg: float) -> float:
        return float(np.interp(angle_deg, theta, from_axis, right=np.nan))

    def length(path: FloatArray, stop_deg: float) -> float:
        if stop_deg > theta[-1]:
            return float("nan")
        at = np.append(np.arange(0.0, stop_deg, 1.0), stop_deg)
        line = np.stack([np.interp(at, theta, column) for column in path.T], axis=1)
        return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum())

    return CochleaTruth(
        axis=axis,
        point_mm=origin + axis * float((points[-1] - origin) @ axis),
        theta_deg=theta,
        wall_mm=wall,
        centre_mm=points,
        a_mm=radius(0) + radius(180),
        a_round_window_mm=float(np.linalg.norm(_across(window - origin, axis))) + radius(180),
        b_mm=radius(90) + radius(270),
        height_mm=float((along + tall).max() - (along - tall)[theta >= 0].min()),
        turns=float(theta[-1] / 360),
        length_mm=length(wall, float(theta[-1])),
        length_2_turns_mm=length(wall, 720.0),
        centre_length_mm=length(points, float(theta[-1])),
    )


def _ahead_deg(offset: FloatArray, zero: FloatArray, axis: FloatArray) -> float:
    """Angle about the axis from a direction, the start of the spiral, to a point."""
    across = _across(offset, axis)
    zero = _across(zero, axis)
    return float(np.degrees(np.arctan2(np.cross(zero, across) @ axis, zero @ across)))


def _across(vectors: FloatArray, axis: FloatArray) -> FloatArray:
    return vectors - np.asarray(vectors @ axis)[..., None] * axis
