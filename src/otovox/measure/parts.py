"""The labyrinth's parts: cochlea, vestibule, three canals and common crus, voxel by voxel.

The borders are those of 72 labyrinths, whose mean ear is fitted to each ear. A canal ends at the
planes across the ends of its centreline, where it opens into the vestibule; at the crus, and
everywhere else, a voxel belongs to the tube or body inside which it is deepest. The cochlea begins
at a half-plane through the modiolar axis, a few degrees to the vestibular side of the round window.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from otovox.core.anatomy import CANONICAL_MM, MODIOLAR_AXIS
from otovox.core.ear_statistics import ear_statistics
from otovox.core.geometry import FloatArray, Pose, unit
from otovox.core.landmarks import Landmarks
from otovox.core.segments import Part, boxes_of
from otovox.core.volume import Grid
from otovox.imaging.components import box_around, nearest, pieces
from otovox.measure._courses import Course, follow_canal, follow_crus
from otovox.measure.mean_ear import Centreline, Similarity, place_mean_ear, tangents
from otovox.measure.tori import CANALS, CanalTrace, sampler, trace_canal

#: Part of each canal.
PART_OF: dict[str, Part] = dict(
    zip(CANALS, (Part.ANTERIOR, Part.POSTERIOR, Part.LATERAL), strict=True)
)

#: Azimuths about the modiolar axis, from the vestibule's centre, degrees: round window and the
#: border between cochlea and vestibule. Source: 72 labyrinths.
ROUND_WINDOW_DEG = 32.5
BORDER_DEG = 24.8
#: Voxels closer to the axis than this are cochlea at any azimuth, mm: chosen, between the second
#: turn's outer wall (2.28) and the basal turn's inner wall (3.5) at the round window.
INNER_MM = 2.9
#: The same on the far side of the axis, where only the posterior ampulla is close, mm: chosen,
#: beyond the basal turn's outer wall (3.5) there.
INNER_FAR_MM = 4.3
#: Voxels farther than this are not cochlea, mm: chosen, the basal turn's outer wall is at
#: 5.96 +- 0.3.
OUTER_MM = 7.0
#: Maximum distance of a landmark from its usual position to be used for the border, mm: chosen.
TRUSTED_MM = 2.0
#: Depth subtracted beyond a tube's open end, mm: chosen, more than any lumen's radius.
BEYOND_MM = 5.0


@dataclass(frozen=True, eq=False)
class Parts:
    """The labyrinth in parts.

    Attributes:
        labels: (i, j, k) uint8, `Part` values, 0 outside.
        grid: position of the voxels.
        traces: trace of each canal; None if not found.
        courses: course of each canal from end to end; None without a trace.
        crus: line of the common crus; None without anterior and posterior canal.
        volumes_mm3: volume of each part.
    """

    labels: NDArray[np.uint8]
    grid: Grid
    traces: dict[str, CanalTrace | None]
    courses: dict[str, Course | None]
    crus: Centreline | None
    volumes_mm3: dict[Part, float]

    def part_at(self, points_mm: FloatArray) -> NDArray[np.uint8]:
        """The `Part` that points lie in, or else the nearest one; 0 if there is none.

        Args:
            points_mm: (n, 3) LPS.
        """
        values, grid = self._nearest
        ijk = np.rint(grid.to_ijk(points_mm)).astype(int)
        return values[tuple(np.clip(ijk, 0, np.asarray(grid.shape) - 1).T)]

    @cached_property
    def _nearest(self) -> tuple[NDArray[np.uint8], Grid]:
        """Each voxel's nearest part, in a box around the labyrinth, and the grid of the box."""
        inside = np.argwhere(self.labels)
        if not len(inside):
            return np.zeros((1, 1, 1), np.uint8), self.grid.crop((0, 0, 0), (1, 1, 1))
        box = box_around(inside, 2)
        values = self.labels[box]
        i, j, k = values.shape
        crop = self.grid.crop([axis.start for axis in box], (i, j, k))
        return values[nearest(values > 0, crop.spacing_mm)], crop


def split(values: NDArray[Any], grid: Grid, landmarks: Landmarks, pose: Pose) -> Parts:
    """Assign each voxel of a labyrinth to one of its parts.

    Args:
        values: (i, j, k) mask or probability, 0..1; above 0.5 is labyrinth.
        grid: position of the voxels.
        landmarks: helicotrema and round window, if present, define the cochlea's border.
        pose: pose of the ear.

    Returns:
        Labels on the same grid; every labyrinth voxel has one.
    """
    inside = np.asarray(values) > 0.5
    labels = np.zeros(inside.shape, dtype=np.uint8)
    read = sampler(values, grid, pose)
    traces = {name: trace_canal(read, name) if inside.any() else None for name in CANALS}
    seen = Landmarks(landmarks.names, pose.to_canonical(landmarks.points_mm))
    place = place_mean_ear(traces, seen)
    courses = {
        name: None if trace is None else follow_canal(read, name, trace, place)
        for name, trace in traces.items()
    }
    crus = follow_crus(read, courses, place)
    if inside.any():
        ijk = np.argwhere(inside)
        box = box_around(ijk, 2)
        points = pose.to_canonical(grid.to_mm(ijk))
        part_of = _deepest(points, courses, crus, place)
        cochlear = is_cochlear(points, landmarks, pose)
        part_of[cochlear & (part_of == Part.VESTIBULE)] = Part.COCHLEA
        labels[tuple(ijk.T)] = part_of
        labels[box] = _tidied(labels[box], grid.spacing_mm)
    voxels = np.bincount(labels.ravel(), minlength=7)
    volumes = {part: float(voxels[part]) * grid.voxel_mm3 for part in Part}
    return Parts(labels, grid, traces, courses, crus, volumes)


def is_cochlear(points_mm: FloatArray, landmarks: Landmarks, pose: Pose) -> NDArray[np.bool_]:
    """Which canonical points are on the cochlear side of the border with the vestibule.

    Args:
        points_mm: (n, 3) canonical.
        landmarks: LPS; helicotrema and round window are used if near their usual positions.
        pose: pose of the ear.

    >>> landmarks = Landmarks(tuple(CANONICAL_MM), np.array(list(CANONICAL_MM.values())))
    >>> from otovox.core.anatomy import Side
    >>> pose = Pose(Side.RIGHT, np.eye(3), np.zeros(3))
    >>> points_mm = np.array([CANONICAL_MM["helicotrema"], (0, 0, 0)])
    >>> is_cochlear(points_mm, landmarks, pose).tolist()
    [True, False]
    """
    apex = _near_usual("helicotrema", landmarks, pose)
    window = _near_usual("round_window", landmarks, pose)
    axis = np.asarray(MODIOLAR_AXIS)
    first = unit(-apex - (-apex @ axis) * axis)
    second = np.cross(axis, first)

    def polar(points: FloatArray) -> tuple[FloatArray, FloatArray]:
        x, y = (points - apex) @ first, (points - apex) @ second
        return np.hypot(x, y), np.degrees(np.arctan2(y, x))

    border = polar(window[None])[1][0] - ROUND_WINDOW_DEG + BORDER_DEG
    radius, azimuth = polar(points_mm)
    azimuth = (azimuth - border + 180) % 360 - 180
    inner = np.where(azimuth > -90, INNER_MM, INNER_FAR_MM)
    vestibular = (azimuth < 0) & (radius > inner)
    return ~vestibular & (radius < OUTER_MM)


def _near_usual(name: str, landmarks: Landmarks, pose: Pose) -> FloatArray:
    usual = np.asarray(CANONICAL_MM[name])
    if not landmarks.has(name):
        return usual
    own = pose.to_canonical(landmarks[name])
    return own if np.linalg.norm(own - usual) < TRUSTED_MM else usual


def _deepest(
    points_mm: FloatArray,
    courses: dict[str, Course | None],
    crus: Centreline | None,
    place: Similarity,
) -> NDArray[np.uint8]:
    """Part of (n, 3) canonical points, disregarding the cochlea."""
    owners, depths = [Part.VESTIBULE], [_from_vestibule(points_mm, place)]
    for name, course in courses.items():
        if course is not None:
            line = Centreline(course.points_mm, course.radius_mm)
            owners.append(PART_OF[name])
            depths.append(_from_tube(points_mm, line, both_open=name == "lateral"))
    if crus is not None:
        owners.append(Part.CRUS)
        depths.append(_from_tube(points_mm, crus, both_open=False))
    return np.array(owners, dtype=np.uint8)[np.argmin(depths, axis=0)]


def _from_tube(points_mm: FloatArray, line: Centreline, *, both_open: bool) -> FloatArray:
    """Distance of (n, 3) points from a tube's wall, negative inside; large beyond its open ends."""
    distance, found_at = KDTree(line.points_mm).query(points_mm)
    index = np.asarray(found_at)
    depth = np.asarray(distance) - line.radius_mm[index]
    forward = tangents(line.points_mm)
    for end, outward in ((0, -1.0), (len(line.points_mm) - 1, 1.0))[: 2 if both_open else 1]:
        beyond = outward * ((points_mm - line.points_mm[end]) @ forward[end]) > 0
        depth[(index == end) & beyond] += BEYOND_MM
    return depth


def _from_vestibule(points_mm: FloatArray, place: Similarity) -> FloatArray:
    """Distance of (n, 3) points from the mean vestibule's ellipsoid, to first order."""
    data = ear_statistics()["vestibule"]
    axes = np.asarray(data["axes"]) @ place.rotation.T
    radii = np.asarray(data["half_axes_mm"]) * place.scale
    local = (points_mm - place.shift) @ axes.T
    near = np.sqrt(np.sum((local / radii) ** 2, axis=1))
    steep = np.sqrt(np.sum((local / radii**2) ** 2, axis=1))
    return np.where(steep > 1e-6, near * (near - 1) / np.maximum(steep, 1e-6), -radii.min())


def _tidied(labels: NDArray[np.uint8], spacing_mm: FloatArray) -> NDArray[np.uint8]:
    """Assign small fragments of each part to the nearest part."""
    kept = np.zeros(labels.shape, dtype=bool)
    for part, box in boxes_of(labels).items():
        numbers, _ = pieces(labels[box] == part)
        sizes = np.bincount(numbers.ravel())
        sizes[0] = 0
        # A canal may consist of pieces (bone inside it); fragments are small relative to the part.
        large = sizes > 0.15 * sizes.sum()
        kept[box] |= large[numbers]
    crumbs = (labels > 0) & ~kept
    if not crumbs.any() or not kept.any():
        return labels
    tidy = labels.copy()
    tidy[crumbs] = labels[tuple(axis[crumbs] for axis in nearest(kept, spacing_mm))]
    return tidy
