"""The canals of both ears in one head: its frame, and how well each pair of canals works together.

There is no Reid plane in a scan of the temporal bones alone; the frame is drawn from the ears:
x forward, y to the left through both vestibules, z up along the lateral canals' mean normal. It is
pitched against Reid's frame by the lateral canals' own pitch, about 20 degrees.
"""

from dataclasses import dataclass

import numpy as np

from otovox.anatomy import CANALS, Part, Side
from otovox.geometry import FloatArray, Pose, unit
from otovox.measure.canals import Canals

#: Canals that lie in nearly one plane and answer opposite turns: right, left.
#: Source: Della Santina 2005.
SYNERGISTIC = {
    "LARP": (Part.POSTERIOR, Part.ANTERIOR),
    "RALP": (Part.ANTERIOR, Part.POSTERIOR),
    "horizontal": (Part.LATERAL, Part.LATERAL),
}


@dataclass(frozen=True, eq=False)
class HeadPlanes:
    """Both ears' canals in the head.

    Attributes:
        axes: (3, 3) whose rows are forward, left and up, unit, in LPS; None if not known.
        normals: per side and canal the signed normal (3,) in these axes.
        pair_deg: angle between the planes of each synergistic pair, by its name.
        symmetry_deg: per canal, angle between the right normal and the left one mirrored.
        radius_difference_mm: per canal, right minus left.
        between_vestibules_mm: distance of both vestibules.
        problems: sentences: what is withheld, and why.
    """

    axes: FloatArray | None
    normals: dict[Side, dict[Part, FloatArray]]
    pair_deg: dict[str, float]
    symmetry_deg: dict[Part, float]
    radius_difference_mm: dict[Part, float]
    between_vestibules_mm: float
    problems: tuple[str, ...] = ()


def head_planes(right: Canals, left: Canals, right_pose: Pose, left_pose: Pose) -> HeadPlanes:
    """Compare the canals of both ears of one scan.

    Args:
        right, left: measured in the same scan.
        right_pose, left_pose: of the ears; their origins are the vestibules.

    Returns:
        What both ears allow; a canal that was not measured on one side is left out.

    Raises:
        ValueError: if the sides are not right and left.
    """
    if (right.side, left.side) != (Side.RIGHT, Side.LEFT):
        raise ValueError(f"a right and a left ear are needed, not {right.side} and {left.side}")
    ears = {Side.RIGHT: right, Side.LEFT: left}
    across = left_pose.origin_mm - right_pose.origin_mm
    found = {side: {p: c.normal for p, c in ear.canals.items()} for side, ear in ears.items()}
    pairs = {
        name: _between_planes(found[Side.RIGHT][a], found[Side.LEFT][b])
        for name, (a, b) in SYNERGISTIC.items()
        if a in found[Side.RIGHT] and b in found[Side.LEFT]
    }
    both = [part for part in CANALS if part in right.canals and part in left.canals]
    radii = {part: right.canals[part].radius_mm - left.canals[part].radius_mm for part in both}
    distance = float(np.linalg.norm(across))
    problems = [
        f"{side}: the {part.replace('_', ' ')} was not measured"
        for side, ear in ears.items()
        for part in CANALS
        if part not in ear.canals
    ]
    if Part.LATERAL not in both:
        problems.append("without both lateral canals there is no frame of the head")
        return HeadPlanes(None, {}, pairs, {}, radii, distance, tuple(problems))
    # A left turn excites the left lateral canal: its normal points up, the right one's down.
    upward = found[Side.LEFT][Part.LATERAL] - found[Side.RIGHT][Part.LATERAL]
    y = unit(across)
    z = unit(upward - (upward @ y) * y)
    axes = np.stack([np.cross(y, z), y, z])
    normals = {side: {p: axes @ n for p, n in own.items()} for side, own in found.items()}
    # Signed normals are pseudovectors: mirrored through y = 0 they keep y and turn x and z.
    mirror = np.array([-1.0, 1.0, -1.0])
    symmetry = {
        part: _angle_deg(normals[Side.RIGHT][part], mirror * normals[Side.LEFT][part])
        for part in both
    }
    return HeadPlanes(axes, normals, pairs, symmetry, radii, distance, tuple(problems))


def _angle_deg(a: FloatArray, b: FloatArray) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


def _between_planes(a: FloatArray, b: FloatArray) -> float:
    """Angle of two planes by their normals, 0 to 90 degrees."""
    return float(np.degrees(np.arccos(np.clip(abs(a @ b), 0, 1))))
