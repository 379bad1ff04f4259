"""The modiolar axis: axis of the spiral motion under which the cochlear wall maps to itself.

Source: Wimmer et al. 2019, 10.1007/978-3-030-32254-0_1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from otovox.core.anatomy import CANONICAL_MM, MODIOLAR_AXIS
from otovox.core.geometry import FloatArray, Pose, unit
from otovox.core.landmarks import Landmarks
from otovox.imaging.surfaces import FaceArray

#: Iterations of the reweighted fit, which has then converged. Source: as published, about 15.
ITERATIONS = 15
#: Degrees of freedom of the Student-t weights: chosen, heavy tails for necks and vestibule.
_FREEDOM = 3.0
#: Weight of a point's error relative to its normal's, the published w_p; chosen.
_POINT_WEIGHT = 0.1
#: Maximum number of faces; more change the axis by hundredths of a degree only. Chosen.
_MOST_FACES = 16000
#: A cochlea has more faces than this: chosen, a sphere of 1 mm has about 400 at 0.2 mm.
_LEAST_FACES = 200
#: Maximum distance of the wall from the axis, mm: chosen, a wide basal turn reaches 6.5.
_REACH_MM = 6.5
#: Minimum distance from the axis used for weights, mm: chosen, the helicotrema's radius.
_LEAST_RADIUS_MM = 0.5
#: The cochlea's extent along the axis, below and above its apex, mm; chosen around H 2.8-6.9.
_BELOW_MM, _ABOVE_MM = 6.5, 2.0
#: The hook region is not part of the spiral: from the vestibule to this angle after the round
#: window, walls farther than this from the axis are excluded. Source: the statistics of the
#: canonical cochlea exclude 5 mm of wall from the vestibule's border; the second turn reaches 2.3
#: mm there.
_HOOK_DEG, _HOOK_MM = (-110.0, 85.0), 2.6
#: An axis that deviates more than this from the one expected from the pose is rejected, degrees:
#: chosen; its SD over ears is 4.3.
MOST_ASTRAY_DEG = 20.0
#: An axis farther than this from the helicotrema is rejected, mm: chosen; 0.4 is usual.
MOST_ASIDE_MM = 1.5


@dataclass(frozen=True, eq=False)
class Modiolus:
    """The modiolar axis, canonical frame.

    Attributes:
        axis: (3,) unit vector, base to apex.
        point_mm: (3,) fixed point of the spiral motion, on the axis.
        pitch: gamma / |c|, contraction of the spiral per radian; negative.
        residual_mm: robust deviation of the wall from the motion.
    """

    axis: FloatArray
    point_mm: FloatArray
    pitch: float
    residual_mm: float


def fit_spiral_motion(
    points_mm: FloatArray, normals: FloatArray, weights: FloatArray | None = None
) -> Modiolus:
    """The spiral motion v(p) = c x p + cbar + gamma p under which a surface slides along itself.

    Args:
        points_mm: (n, 3) on the surface.
        normals: (n, 3) unit normals there.
        weights: (n,) area of each point; equal by default.

    Returns:
        The axis, oriented so that gamma is negative: the spiral winds about +axis as it closes.

    Source: Wimmer et al. 2019; the convergence point solves ([c]x + gamma I) p = -cbar exactly.
    """
    middle = points_mm.mean(axis=0)
    size = float(np.ptp(points_mm, axis=0).max())
    p = (points_mm - middle) / size
    area = np.ones(len(p)) if weights is None else weights / weights.mean()
    design = np.hstack([np.cross(p, normals), normals, np.einsum("ij,ij->i", p, normals)[:, None]])
    gradients = _gradients(p, normals)
    grams = np.matmul(gradients.swapaxes(1, 2), gradients).reshape(len(p), 49)
    # The least squares start: smallest eigenvector of the 7 x 7 matrix of sums.
    solution = np.linalg.eigh((design * area[:, None]).T @ design)[1][:, 0]
    spread = 0.0
    for _ in range(ITERATIONS):
        error = design @ solution
        slope = np.maximum(grams @ np.outer(solution, solution).ravel(), 1e-12)
        squared = error**2 / slope
        spread = _robust_square(squared)
        trust = area * (_FREEDOM + 1) / (_FREEDOM + squared / spread)
        left = (design * (trust / slope)[:, None]).T @ design
        right = ((trust * error**2 / slope**2) @ grams).reshape(7, 7)
        right += 1e-12 * np.trace(right) * np.eye(7)
        _, vectors = eigh(left, right, subset_by_index=[0, 0])
        solution = unit(vectors[:, 0])
    if solution[6] > 0:
        solution = -solution
    return _modiolus(solution, middle, size, float(np.sqrt(spread)) * size)


def fit_modiolus(
    surface: tuple[FloatArray, FaceArray], landmarks: Landmarks, pose: Pose
) -> tuple[Modiolus | None, str]:
    """The modiolar axis of a labyrinth.

    The cochlear wall is selected around the axis expected from the pose, and again around the
    fitted axis.

    Args:
        surface: vertices (n, 3) in LPS mm and faces (m, 3) of the whole labyrinth.
        landmarks: LPS; the helicotrema is required, the round window optional.
        pose: pose of the ear.

    Returns:
        The axis in the canonical frame, and an empty reason; or None and the reason.
    """
    if not landmarks.has("helicotrema"):
        return None, "no helicotrema: the direction of the modiolar axis is unknown"
    vertices, faces = surface
    if len(faces) < _LEAST_FACES:
        return None, "no surface: the segmentation is empty"
    centres, normals, areas = _elements(pose.to_canonical(vertices)[faces])
    apex = pose.to_canonical(landmarks["helicotrema"][None])[0]
    base = _base(landmarks, pose)
    expected = unit(MODIOLAR_AXIS)
    axis, point = expected, apex
    modiolus: Modiolus | None = None
    for _ in range(3):
        kept = _cochlear(centres, axis, point, apex, base)
        if kept.sum() < _LEAST_FACES:
            return None, "no cochlea at the position expected from the landmarks"
        # The wall area grows with its distance from the axis; this gives every turn equal weight.
        radii = np.linalg.norm(np.cross(centres[kept] - point, axis), axis=1)
        share = areas[kept] / np.maximum(radii, _LEAST_RADIUS_MM)
        modiolus = fit_spiral_motion(centres[kept], normals[kept], share)
        if modiolus.axis @ expected < 0:
            return None, "the wall does not spiral like a cochlea: turns may be missing"
        astray = float(np.degrees(np.arccos(np.clip(modiolus.axis @ expected, -1, 1))))
        if astray > MOST_ASTRAY_DEG:
            return None, (
                f"the fitted modiolar axis deviates by {astray:.0f} degrees from the direction "
                f"expected from the ear's pose; at most {MOST_ASTRAY_DEG:.0f} are accepted"
            )
        axis, point = modiolus.axis, modiolus.point_mm
    assert modiolus is not None
    aside = float(np.linalg.norm(np.cross(apex - point, axis)))
    if aside > MOST_ASIDE_MM:
        return (
            None,
            f"the fitted modiolar axis passes the helicotrema at a distance of {aside:.1f} mm",
        )
    return modiolus, ""


def _cochlear(
    points: FloatArray, axis: FloatArray, point: FloatArray, apex: FloatArray, base: FloatArray
) -> NDArray[np.bool_]:
    """Which wall elements belong to the spiral: around the axis, beyond the hook."""
    offset = points - point
    across = offset - (offset @ axis)[:, None] * axis
    height = (points - apex) @ axis
    radius = np.linalg.norm(across, axis=1)
    start = base - point
    start = unit(start - (start @ axis) * axis)
    azimuth = np.degrees(np.arctan2(across @ np.cross(axis, start), across @ start))
    kept = (radius < _REACH_MM) & (height > -_BELOW_MM) & (height < _ABOVE_MM)
    hook = (azimuth > _HOOK_DEG[0]) & (azimuth < _HOOK_DEG[1]) & (radius > _HOOK_MM)
    return kept & ~hook


def _base(landmarks: Landmarks, pose: Pose) -> FloatArray:
    """The round window in the canonical frame, detected or expected."""
    if landmarks.has("round_window"):
        return pose.to_canonical(landmarks["round_window"][None])[0]
    return np.asarray(CANONICAL_MM["round_window"])


def _elements(triangles: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Centres, unit normals and areas of faces (m, 3, 3), subsampled for the fit."""
    step = max(len(triangles) // _MOST_FACES, 1)
    triangles = triangles[::step]
    across = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    twice = np.linalg.norm(across, axis=1)
    whole = twice > 1e-9
    triangles, across, twice = triangles[whole], across[whole], twice[whole]
    return triangles.mean(axis=1), across / twice[:, None], twice / 2


def _gradients(p: FloatArray, normals: FloatArray) -> FloatArray:
    """(n, 6, 7) derivatives of n.v(p) by the normal and, weighted, by the point."""
    count = len(p)
    by_normal = np.zeros((count, 3, 7))
    by_normal[:, :, :3] = -_cross_matrices(p)
    by_normal[:, :, 3:6] = np.eye(3)
    by_normal[:, :, 6] = p
    by_point = np.zeros((count, 3, 7))
    by_point[:, :, :3] = _cross_matrices(normals)
    by_point[:, :, 6] = normals
    return np.concatenate([by_normal, np.sqrt(_POINT_WEIGHT) * by_point], axis=1)


def _cross_matrices(vectors: FloatArray) -> FloatArray:
    """(n, 3, 3) matrices of v x."""
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    return np.moveaxis(np.array(rows), 2, 0)


def _robust_square(squared: FloatArray) -> float:
    """Variance of normal errors from the median of their squares, which is 0.455 of it."""
    return max(float(np.median(squared)) / 0.4549, 1e-16)


def _modiolus(x: FloatArray, middle: FloatArray, size: float, residual_mm: float) -> Modiolus:
    c, drift, gamma = x[:3], x[3:6], float(x[6])
    square = float(c @ c)
    still = gamma * np.cross(c, drift) - gamma**2 * drift - float(c @ drift) * c
    still = still / (gamma * (square + gamma**2))
    return Modiolus(
        axis=unit(c),
        point_mm=still * size + middle,
        pitch=gamma / float(np.sqrt(square)),
        residual_mm=residual_mm,
    )
