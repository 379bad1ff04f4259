"""An ear's pose and side from the landmarks of a look, or from a mean head if there are too few."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from otovox.core.anatomy import VOLUME_RANGE_MM3, Side
from otovox.core.geometry import MIDDLE_MM, FloatArray, Pose, cube_turns, fit_pose, mean_pose
from otovox.imaging.components import main_piece
from otovox.inference.confidence import GOOD_FIT_MM, fit_quality
from otovox.inference.looks import Look

#: Landmarks needed for a pose: three are in a plane, which has no handedness.
POSE_LANDMARKS = 4
#: With this many landmarks, one that contradicts all others can be identified: chosen; the five
#: others determine position, orientation and side with one to spare.
ROBUST_LANDMARKS = 6
#: A first look with a higher score than this ends the search for a better one: chosen.
GOOD_LOOK = 0.45
#: A labyrinth whose pose must be assumed needs this many landmarks with peaks above this fraction
#: of a full heatmap, and at most this fraction of stray voxels: chosen, not measured.
CLEAR_LANDMARKS, CLEAR_PEAK, MOST_STRAY = 2, 0.5, 0.05


def fit_sides(names: tuple[str, ...], points_mm: FloatArray) -> tuple[Pose, Pose] | None:
    """Poses of both sides, the better fit first; None if there are too few landmarks.

    If neither fits well, the landmark that contradicts the others most is excluded.

    Args:
        names: names of the n landmarks.
        points_mm: (n, 3) LPS; nan where absent.

    >>> from otovox.core.anatomy import CANONICAL_MM
    >>> names, points_mm = tuple(CANONICAL_MM), np.array(list(CANONICAL_MM.values()))
    >>> better, worse = fit_sides(names, points_mm)
    >>> better.side, round(better.residual_mm, 6), worse.residual_mm > 1
    (<Side.RIGHT: 'right'>, 0.0, True)
    """
    present = np.isfinite(points_mm[:, 0]).sum()
    if present < POSE_LANDMARKS:
        return None
    poses = [fit_pose(names, points_mm, side) for side in Side]
    if present >= ROBUST_LANDMARKS and min(pose.residual_mm for pose in poses) > GOOD_FIT_MM:
        poses = [_fit_without_outlier(names, points_mm, side) for side in Side]
    better, worse = sorted(poses, key=lambda pose: pose.residual_mm)
    return better, worse


def _fit_without_outlier(names: tuple[str, ...], points_mm: FloatArray, side: Side) -> Pose:
    """The best of the poses that each exclude one landmark."""
    poses = []
    for left_out in np.flatnonzero(np.isfinite(points_mm[:, 0])):
        others = points_mm.copy()
        others[left_out] = np.nan
        poses.append(fit_pose(names, others, side))
    return min(poses, key=lambda pose: pose.residual_mm)


def usual_views() -> tuple[FloatArray, ...]:
    """Frames of the first looks: a mean right ear and a mean left ear.

    >>> [round(float(np.linalg.det(view))) for view in usual_views()]
    [1, -1]
    """
    return tuple(mean_pose(side).matrix for side in (Side.RIGHT, Side.LEFT))


def turned_views() -> Iterator[FloatArray]:
    """All other rotations of a cube, for headers that do not give the patient's orientation.

    >>> len(list(turned_views()))
    23
    """
    right = mean_pose(Side.RIGHT).matrix
    for turn in cube_turns("full")[1:]:
        yield right @ turn


@dataclass(frozen=True, eq=False)
class FirstLooks:
    """The first looks at a candidate.

    Attributes:
        pose: the best of their poses; None if none was fitted.
        looks: in the frames of a mean right and a mean left ear, without those after a good one.
        is_good: whether `pose` is so good that no other frame needs a look.
    """

    pose: Pose | None
    looks: tuple[Look, ...]
    is_good: bool


def first_looks(looks: Iterable[Look], names: tuple[str, ...]) -> FirstLooks:
    """Look at a candidate in several frames, up to the first good look.

    Args:
        looks: made one by one, so that those after a good one are not made.
        names: landmarks of the network.
    """
    best, worth, seen = None, 0.0, ()
    for look in looks:
        seen = (*seen, look)[: len(Side)]
        poses = fit_sides(names, look.points_mm)
        if poses is None:
            continue
        pose = poses[0]
        value = fit_quality(pose.residual_mm) * look.clarity
        if best is None or value > worth:
            best, worth = pose, value
        if pose.residual_mm < GOOD_FIT_MM and value > GOOD_LOOK:
            return FirstLooks(best, seen, is_good=True)
    return FirstLooks(best, seen, is_good=False)


def assumed_pose(looks: Sequence[Look]) -> Pose | None:
    """The pose of a mean ear for a labyrinth without landmarks, such as a common cavity.

    Args:
        looks: in the frames of a mean right and a mean left ear, so that the side follows from
            the orientation in the file.

    Returns:
        The pose of the side with the clearer landmarks; None if neither look shows a labyrinth.
    """
    look, side = max(zip(looks, Side, strict=True), key=lambda pair: pair[0].clarity)
    inside = look.probability > 0.5
    labyrinth = main_piece(inside)
    voxels = np.count_nonzero(labyrinth)
    low, high = VOLUME_RANGE_MM3
    if not low <= float(voxels) * look.grid.voxel_mm3 <= high:
        return None
    if np.count_nonzero(inside) - voxels > MOST_STRAY * voxels:
        return None
    if np.count_nonzero(look.peaks > CLEAR_PEAK) < CLEAR_LANDMARKS:
        return None
    pose = mean_pose(side, look.grid.to_mm(np.argwhere(labyrinth).mean(axis=0)))
    return replace(pose, origin_mm=pose.origin_mm - pose.matrix @ MIDDLE_MM)
