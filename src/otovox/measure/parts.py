"""The labyrinth's parts: cochlea, vestibule, three canals and common crus, voxel by voxel.

The cochlea begins at a half-plane through the modiolar axis, a few degrees vestibular of the round
window. Canals and crus are what lies around their traced lines up to where the lumen opens into
the vestibule: where a ball somewhat smaller than the vestibule fits. What remains is the vestibule.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from otovox.anatomy import CANONICAL_MM, Structure
from otovox.geometry import FloatArray, Pose, unit
from otovox.landmarks import Landmarks
from otovox.measure.tori import CANALS, ENDS_MM, Sampler, Trace, sampler, trace_canal
from otovox.measure.voxels import box_around, depth_mm, nearest, pieces
from otovox.volume import Grid


class Part(IntEnum):
    """Value of a part in a label map."""

    COCHLEA = 1
    VESTIBULE = 2
    ANTERIOR = 3
    POSTERIOR = 4
    LATERAL = 5
    CRUS = 6


#: Names, colours and codes; Okabe and Ito's palette. The common crus has no code that we know.
STRUCTURES = {
    Part.COCHLEA: Structure("cochlea", "Cochlea", (230, 159, 0), "60201", "181187008"),
    Part.VESTIBULE: Structure("vestibule", "Vestibule", (240, 228, 66), "60183", "181188003"),
    Part.ANTERIOR: Structure("anterior_canal", "Anterior canal", (0, 114, 178), "60187"),
    Part.POSTERIOR: Structure("posterior_canal", "Posterior canal", (0, 158, 115), "60190"),
    Part.LATERAL: Structure("lateral_canal", "Lateral canal", (204, 121, 167), "60193"),
    Part.CRUS: Structure("common_crus", "Common crus", (213, 94, 0), ""),
}

#: Part of each canal.
PART_OF: dict[str, Part] = dict(
    zip(CANALS, (Part.ANTERIOR, Part.POSTERIOR, Part.LATERAL), strict=True)
)

#: Modiolar axis, base to apex, in the canonical right-ear frame. Source: 72 labyrinths.
MODIOLUS = np.array([0.9338, 0.0, -0.3578])
#: Azimuths about it, from the vestibule's centre, degrees: round window and the border between
#: cochlea and vestibule. Source: the same 72 labyrinths.
ROUND_WINDOW_DEG = 32.5
BORDER_DEG = 24.8
#: What lies nearer to the axis than this is cochlea at any azimuth, mm: chosen, between the second
#: turn's outer wall (2.28) and the basal turn's inner wall (3.5) at the round window.
INNER_MM = 2.9
#: The same on the far side of the axis, where only the posterior ampulla comes near, mm: chosen,
#: beyond the basal turn's outer wall (3.5) there.
INNER_FAR_MM = 4.3
#: What lies farther is not, mm: chosen, the basal turn's outer wall is at 5.96 +- 0.3.
OUTER_MM = 7.0
#: How far a landmark may be from its usual place to be trusted for the border, mm: chosen.
TRUSTED_MM = 2.0
#: The ball that fits into the vestibule but into no canal, as a share of the largest ball that fits
#: into the vestibule, and its least and largest radius, mm: chosen; ampullae have least half-axes
#: of 0.9, the vestibule of 1.8 (72 labyrinths).
DOOR_SHARE, DOOR_MM = 0.8, (1.0, 1.5)
#: Where the vestibule is looked for, canonical mm from its usual middle, and the step: chosen.
ROOM_MM, ROOM_STEP_MM = 5.0, 0.12
#: How near to it the largest ball is looked for: chosen, short of the cochlea.
MIDDLE_MM = 2.5
#: How far from a canal's line its voxels lie, in local radii: chosen; sections' aspect is 1.4.
REACH = 1.7


@dataclass(frozen=True, eq=False)
class Parts:
    """The labyrinth in parts.

    Attributes:
        labels: (i, j, k) uint8, `Part` values, 0 outside.
        grid: where the voxels lie.
        traces: per canal its trace; None where none was found.
        fork_mm: (3,) canonical point where anterior and posterior canal meet; nan if unknown.
        volumes_mm3: per part.
    """

    labels: NDArray[np.uint8]
    grid: Grid
    traces: dict[str, Trace | None]
    fork_mm: FloatArray
    volumes_mm3: dict[Part, float]


def split(values: NDArray, grid: Grid, landmarks: Landmarks, pose: Pose) -> Parts:
    """Give each voxel of a labyrinth to one of its parts.

    Args:
        values: (i, j, k) mask or probability, 0..1; above 0.5 is labyrinth.
        grid: where the voxels lie.
        landmarks: helicotrema and round window, if present, place the cochlea's border.
        pose: of the ear.

    Returns:
        Labels on the same grid; every labyrinth voxel has one.
    """
    inside = np.asarray(values) > 0.5
    labels = np.zeros(inside.shape, dtype=np.uint8)
    read = sampler(values, grid, pose)
    traces = {name: trace_canal(read, name) if inside.any() else None for name in CANALS}
    fork = _fork(traces)
    if inside.any():
        ijk = np.argwhere(inside)
        box = box_around(ijk, 2)
        points = pose.to_canonical(grid.to_mm(ijk))
        found = _canal_parts(points, open_room(read).holds(points), traces, fork)
        cochlear = is_cochlear(points, landmarks, pose)
        found[cochlear & (found == Part.VESTIBULE)] = Part.COCHLEA
        labels[tuple(ijk.T)] = found
        labels[box] = _tidied(labels[box], grid.spacing_mm)
    voxels = np.bincount(labels.ravel(), minlength=7)
    volumes = {part: float(voxels[part]) * grid.voxel_mm3 for part in Part}
    return Parts(labels, grid, traces, fork, volumes)


def is_cochlear(points_mm: FloatArray, landmarks: Landmarks, pose: Pose) -> NDArray[np.bool_]:
    """Which canonical points lie on the cochlea's side of its border with the vestibule.

    Args:
        points_mm: (n, 3) canonical.
        landmarks: LPS; helicotrema and round window are used where near their usual place.
        pose: of the ear.
    """
    apex = _near_usual("helicotrema", landmarks, pose)
    window = _near_usual("round_window", landmarks, pose)
    first = unit(-apex - (-apex @ MODIOLUS) * MODIOLUS)
    second = np.cross(MODIOLUS, first)

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
    found = pose.to_canonical(landmarks[name])
    return found if np.linalg.norm(found - usual) < TRUSTED_MM else usual


@dataclass(frozen=True, eq=False)
class Room:
    """Where a ball fits that fits into no canal: the lumen's opening by that ball.

    Attributes:
        wide: (n, n, n) on a canonical lattice of `ROOM_STEP_MM` about the origin.
        ball_mm: radius of the ball; nan where nothing is wide.
    """

    wide: NDArray[np.bool_]
    ball_mm: float

    def holds(self, points_mm: FloatArray) -> NDArray[np.bool_]:
        """Which canonical points (n, 3) lie in it."""
        ijk = np.rint((points_mm + ROOM_MM) / ROOM_STEP_MM).astype(int)
        known = np.all((ijk >= 0) & (ijk < len(self.wide)), axis=1)
        held = np.zeros(len(points_mm), dtype=bool)
        held[known] = self.wide[tuple(ijk[known].T)]
        return held


def open_room(read: Sampler) -> Room:
    """Find the vestibule as the place that is wider than any canal.

    Args:
        read: field 0..1 at canonical points.
    """
    steps = np.arange(-ROOM_MM, ROOM_MM + ROOM_STEP_MM / 2, ROOM_STEP_MM)
    lattice = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
    inside = read(lattice) > 0.5
    spacing = np.full(3, ROOM_STEP_MM)
    # Depth counts from one point of the lattice to the next; the wall lies half a step nearer.
    depth = depth_mm(inside, spacing) - ROOM_STEP_MM / 2 if inside.any() else np.zeros(inside.shape)
    middle = np.linalg.norm(lattice, axis=-1) < MIDDLE_MM
    ball = float(np.clip(DOOR_SHARE * depth[middle].max(), *DOOR_MM))
    centres = depth >= ball
    if not centres.any():
        return Room(centres, float("nan"))
    return Room(inside & (depth_mm(~centres, spacing) <= ball), ball)


def _fork(traces: dict[str, Trace | None]) -> FloatArray:
    """Where the crus begins: between the ends of the anterior and posterior canal."""
    usual = np.asarray(CANONICAL_MM["common_crus"])
    ends = []
    for name in ("anterior", "posterior"):
        trace = traces[name]
        if trace is None:
            continue
        tips = trace.points_mm[[0, -1]]
        ends.append(tips[np.argmin(np.linalg.norm(tips - usual, axis=1))])
    if not ends:
        return np.full(3, np.nan)
    fork = np.mean(ends, axis=0)
    return fork if np.linalg.norm(fork - usual) < 2 * TRUSTED_MM else np.full(3, np.nan)


def _canal_parts(
    points_mm: FloatArray,
    wide: NDArray[np.bool_],
    traces: dict[str, Trace | None],
    fork_mm: FloatArray,
) -> NDArray[np.uint8]:
    """Part of every voxel as if there were no cochlea."""
    lines, radii, parts = [], [], []
    for name, trace in traces.items():
        if trace is None:
            continue
        line, radius = _lengthened(trace, name)
        lines.append(line)
        radii.append(radius)
        parts.append(np.full(len(line), PART_OF[name]))
    if np.isfinite(fork_mm).all():
        # The crus leads from the fork straight into the vestibule's middle.
        way = np.linspace(0, 1, 24)[:, None]
        lines.append(fork_mm + 0.2 * unit(-fork_mm) + way * (0.7 * -fork_mm))
        radii.append(np.full(24, 0.75))
        parts.append(np.full(24, Part.CRUS))
    found = np.full(len(points_mm), Part.VESTIBULE, dtype=np.uint8)
    if not lines:
        return found
    line, radius, part = np.concatenate(lines), np.concatenate(radii), np.concatenate(parts)
    distance, found_at = KDTree(line).query(points_mm)
    index = np.asarray(found_at)
    near = (distance < REACH * radius[index] + 0.2) & ~wide
    found[near] = part[index[near]]
    return found


def _lengthened(trace: Trace, name: str) -> tuple[FloatArray, FloatArray]:
    """A canal's line with tails to where its ends usually are."""
    line, radius = trace.points_mm, trace.radius_mm
    for end, tip, near in ((0, line[0], line[3]), (-1, line[-1], line[-4])):
        ends = np.asarray(ENDS_MM[name])
        goal = ends[np.argmin(np.linalg.norm(ends - tip, axis=1))]
        ahead = (goal - tip) @ unit(tip - near)
        if not 0.2 < ahead < 2.0:
            continue
        tail = tip + np.linspace(0, 1, 8)[1:, None] * (ahead * unit(tip - near))
        wide = np.full(len(tail), float(radius[end]))
        if end == 0:
            line, radius = np.vstack([tail[::-1], line]), np.concatenate([wide, radius])
        else:
            line, radius = np.vstack([line, tail]), np.concatenate([radius, wide])
    return line, radius


def _tidied(labels: NDArray[np.uint8], spacing_mm: FloatArray) -> NDArray[np.uint8]:
    """Each part's crumbs given to the part they lie nearest to."""
    kept = np.zeros(labels.shape, dtype=bool)
    for part in Part:
        numbers, count = pieces(labels == part)
        if count == 0:
            continue
        sizes = np.bincount(numbers.ravel())
        sizes[0] = 0
        # A canal may lie in pieces (bone within it); crumbs are small against the part.
        large = sizes > 0.15 * sizes.sum()
        kept |= large[numbers]
    crumbs = (labels > 0) & ~kept
    if not crumbs.any() or not kept.any():
        return labels
    tidy = labels.copy()
    tidy[crumbs] = labels[tuple(axis[crumbs] for axis in nearest(kept, spacing_mm))]
    return tidy
