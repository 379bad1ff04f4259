"""A labyrinth split into its parts: cochlea, vestibule, three canals, common crus.

Each voxel belongs to the tube or body whose wall it lies deepest within, or is nearest to. Canals
are the lines that were traced, with the sections measured along them; crus, cochlea and vestibule
are the mean ear's, put onto this ear by its canals and landmarks.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from otovox.anatomy import CANALS, CANONICAL_MM, Part
from otovox.geometry import FloatArray, Pose
from otovox.landmarks import Landmarks
from otovox.measure.lumen import Lumen, drawn_in, sections
from otovox.measure.template import Line, Template, tangents
from otovox.measure.trace import Traced
from otovox.volume import Grid

#: Least share of a canal's line that is a canal's lumen for the canal to have voxels: chosen.
PRESENT = 0.15
#: Such a lumen lies this far from the vestibule, mm, and is at most so large, mm2: chosen; an
#: ampulla's section is 3.3 mm2 large.
_APART_MM, _AMPULLA_MM2 = 0.5, 3.3
#: Parts that end in a plane across their line, where they open into the vestibule: at which ends.
_OPEN = {
    Part.COCHLEA: (True, False),
    Part.ANTERIOR: (True, False),
    Part.POSTERIOR: (True, False),
    Part.LATERAL: (True, True),
    Part.CRUS: (True, False),
}


def split(
    values: NDArray,
    grid: Grid,
    pose: Pose,
    lines: dict[Part, Line],
    template: Template,
    *,
    level: float = 0.5,
) -> NDArray[np.uint8]:
    """Give every voxel of a labyrinth its part.

    Args:
        values: (i, j, k) probability or mask on `grid`.
        grid: where the voxels lie.
        pose: canonical to LPS.
        lines: of this ear, canonical mm, from `lines_of`; a part without a line has no voxels.
        template: the mean ear put onto this one, for its vestibule.
        level: above it is labyrinth.

    Returns:
        (i, j, k) `Part.label`, 0 outside.
    """
    inside = values > level
    labels = np.zeros(values.shape, dtype=np.uint8)
    ijk = np.argwhere(inside)
    if not len(ijk):
        return labels
    points = pose.to_canonical(grid.to_mm(ijk))
    parts = list(lines)
    depths = [_from_tube(points, lines[part], _OPEN[part]) for part in parts]
    depths.append(_from_vestibule(points, template))
    owners = np.array([part.label for part in (*parts, Part.VESTIBULE)], dtype=np.uint8)
    labels[inside] = owners[np.argmin(depths, axis=0)]
    return labels


def lines_of(
    lumen: Lumen, template: Template, traced: dict[Part, Traced], landmarks_mm: Landmarks
) -> dict[Part, Line]:
    """The tubes of an ear, canonical mm.

    Args:
        lumen: the field.
        template: the mean ear put onto this one.
        traced: the canals' lines.
        landmarks_mm: in the canonical frame; nan where absent.
    """
    lines: dict[Part, Line] = {}
    for part in CANALS:
        line = traced[part]
        own = line.seen & (line.areas_mm2 <= _AMPULLA_MM2)
        own &= _from_vestibule(line.points_mm, template) > _APART_MM
        if own.mean() >= PRESENT:
            radii = np.where(line.seen, np.sqrt(line.areas_mm2 / np.pi), 0.3)
            lines[part] = Line(line.points_mm, radii)
    if Part.ANTERIOR in lines or Part.POSTERIOR in lines:
        lines[Part.CRUS] = _crus(lumen, template, lines)
    lines[Part.COCHLEA] = _cochlea(template, landmarks_mm)
    return lines


def _crus(lumen: Lumen, template: Template, lines: dict[Part, Line]) -> Line:
    """The crus' line, its top moved with the ends of the canals that it parts into."""
    line = template.lines[Part.CRUS]
    ends = [
        lines[part].points_mm[-1] - template.lines[part].points_mm[-1]
        for part in (Part.ANTERIOR, Part.POSTERIOR)
        if part in lines
    ]
    rise = np.linspace(0, 1, len(line.points_mm))[:, None]
    points = line.points_mm + rise * np.mean(ends, axis=0)
    points, _ = drawn_in(lumen, points, tangents(points), 0.9)
    areas = sections(lumen, points, tangents(points)).areas_mm2
    # Where crus and vestibule or canals run together the section tells nothing of the crus.
    usual = (areas > 0.3) & (areas < 4.0)
    return Line(points, np.where(usual, np.sqrt(areas / np.pi), line.radii_mm))


def _cochlea(template: Template, landmarks_mm: Landmarks) -> Line:
    """The cochlea's line, moved with the round window at its base, the helicotrema at its apex."""
    line = template.lines[Part.COCHLEA]
    rise = np.linspace(0, 1, len(line.points_mm))[:, None]
    points = line.points_mm
    for name, share in (("round_window", 1 - rise), ("helicotrema", rise)):
        if landmarks_mm.has(name):
            usual = template.place(np.array([CANONICAL_MM[name]]))[0]
            points = points + share * (landmarks_mm[name] - usual)
    return Line(points, line.radii_mm)


def _from_tube(points: FloatArray, line: Line, open_ends: tuple[bool, bool]) -> FloatArray:
    """Distance of (n, 3) points from a tube's wall, negative inside; far beyond an open end."""
    distance, nearest = KDTree(line.points_mm).query(points)
    depth = distance - line.radii_mm[nearest]
    forward = tangents(line.points_mm)
    for end, sign, is_open in ((0, -1.0, open_ends[0]), (-1, 1.0, open_ends[1])):
        if is_open:
            index = end % len(line.points_mm)
            beyond = sign * (points - line.points_mm[index]) @ forward[index] > 0
            depth[(nearest == index) & beyond] += 5.0
    return depth


def _from_vestibule(points: FloatArray, template: Template) -> FloatArray:
    """Distance of (n, 3) points from the vestibule's ellipsoid, to first order."""
    local = (points - template.place.shift) @ template.vestibule_axes.T
    radii = template.vestibule_radii_mm
    near = np.sqrt(np.sum((local / radii) ** 2, axis=1))
    steep = np.sqrt(np.sum((local / radii**2) ** 2, axis=1))
    return np.where(steep > 1e-6, near * (near - 1) / np.maximum(steep, 1e-6), -radii.min())
