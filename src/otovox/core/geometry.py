"""Affines, rigid transforms and frames. Points are rows, (n, 3), LPS mm unless a name says ijk."""

from dataclasses import dataclass
from itertools import permutations, product
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from otovox.core.anatomy import CANONICAL_AXES_LPS, CANONICAL_MM, Side

FloatArray = NDArray[np.float64]

#: Mirrors left and right in LPS.
MIRROR = np.diag([-1.0, 1.0, 1.0])
#: Centre of the labyrinth in the canonical frame, on which crops are centred. Source: bounding
#: boxes of 72 labyrinths.
MIDDLE_MM = np.array([-0.1, 0.5, 1.1])


def apply_affine(affine: ArrayLike, points: ArrayLike) -> FloatArray:
    """Map points with a 4x4 affine.

    Args:
        affine: (4, 4).
        points: (..., 3).

    Returns:
        (..., 3) mapped points.

    >>> apply_affine(affine_from(2 * np.eye(3), [1, 0, 0]), [[1, 1, 1]]).tolist()
    [[3.0, 2.0, 2.0]]
    """
    matrix = np.asarray(affine, dtype=float)
    return np.asarray(points, dtype=float) @ matrix[:3, :3].T + matrix[:3, 3]


def affine_from(matrix: ArrayLike, offset: ArrayLike) -> FloatArray:
    """A 4x4 affine from its (3, 3) linear part and (3,) offset.

    >>> affine_from(np.eye(3), [1, 2, 3])[:3, 3].tolist()
    [1.0, 2.0, 3.0]
    """
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = offset
    return affine


def unit(vector: ArrayLike) -> FloatArray:
    """The vector divided by its length.

    >>> unit([0, 3, 4]).tolist()
    [0.0, 0.6, 0.8]
    """
    array = np.asarray(vector, dtype=float)
    return array / np.linalg.norm(array)


def distance_mm(first_mm: ArrayLike, second_mm: ArrayLike) -> float:
    """Distance between two points.

    >>> distance_mm([0, 0, 0], [3, 4, 0])
    5.0
    """
    return float(np.linalg.norm(np.asarray(first_mm) - np.asarray(second_mm)))


def rotation_angle_deg(rotation: ArrayLike) -> float:
    """Angle of a (3, 3) proper rotation, degrees, 0 to 180.

    >>> rotation_angle_deg([[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    90.0
    """
    matrix = np.asarray(rotation, dtype=float)
    # Unlike the arccosine alone, exact for small angles too.
    sine = np.linalg.norm(matrix - matrix.T) / np.sqrt(8.0)
    cosine = (np.trace(matrix) - 1.0) / 2.0
    return float(np.degrees(np.arctan2(sine, cosine)))


def rotation_from_vector(vector_rad: ArrayLike) -> FloatArray:
    """Rotation matrix of a rotation vector (axis times angle, radians), by Rodrigues' formula.

    >>> rotation_from_vector([0, 0, np.pi / 2]).round(6).tolist()
    [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    vector = np.asarray(vector_rad, dtype=float)
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross


def cube_turns(name: Literal["none", "paper", "full"]) -> tuple[NDArray[np.int_], ...]:
    """Rotations of a cube onto itself, the identity first.

    Args:
        name: "paper" for 90, 180 and 270 degrees about each axis and the identity, 10 in all;
            "full" for all 24.

    Returns:
        (3, 3) rotation matrices of 0 and +-1.

    Source: Stebani et al. 2023 (S9); the identity as the tenth is inferred.

    >>> len(cube_turns("none")), len(cube_turns("paper")), len(cube_turns("full"))
    (1, 10, 24)
    """
    turns = [
        np.eye(3, dtype=int)[list(order)] * np.array(signs)[:, None]
        for order, signs in product(permutations(range(3)), product((1, -1), repeat=3))
    ]
    proper = [turn for turn in turns if round(float(np.linalg.det(turn))) == 1]
    # A rotation about an axis of the cube leaves that axis unchanged.
    about_axis = [turn for turn in proper if 1 in np.diag(turn)]
    wanted = {"none": proper[:1], "paper": about_axis, "full": proper}[name]
    return tuple(sorted(wanted, key=lambda turn: -int(np.trace(turn))))


def random_rotation(rng: np.random.Generator) -> FloatArray:
    """A rotation drawn uniformly over all rotations (QR of a Gaussian matrix, signs fixed).

    >>> turn = random_rotation(np.random.default_rng(0))
    >>> bool(np.allclose(turn @ turn.T, np.eye(3))), round(float(np.linalg.det(turn)), 6)
    (True, 1.0)
    """
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q = q * np.sign(np.diag(r))
    return q if np.linalg.det(q) > 0 else q[:, ::-1]


@dataclass(frozen=True)
class Pose:
    """Position and orientation of an ear: the map from canonical right-ear coordinates to LPS mm.

    Attributes:
        side: the ear's side; a left ear's map contains a mirror.
        matrix: (3, 3) orthogonal; determinant +1 on the right, -1 on the left.
        origin_mm: (3,) LPS position of the canonical origin (vestibule).
        residual_mm: root mean square distance of the landmarks it was fitted to; 0 if not fitted.
    """

    side: Side
    matrix: FloatArray
    origin_mm: FloatArray
    residual_mm: float = 0.0

    def to_lps(self, canonical_mm: ArrayLike) -> FloatArray:
        """Canonical (n, 3) mm to LPS mm.

        >>> pose = mean_pose(Side.RIGHT)
        >>> mirrored = mean_pose(Side.LEFT).to_lps([[1.0, 2.0, 3.0]]) * [-1, 1, 1]
        >>> bool(np.allclose(pose.to_lps([[1.0, 2.0, 3.0]]), mirrored))
        True
        """
        return np.asarray(canonical_mm, dtype=float) @ self.matrix.T + self.origin_mm

    def to_canonical(self, points_mm: ArrayLike) -> FloatArray:
        """LPS (n, 3) mm to canonical mm.

        >>> pose = mean_pose(Side.LEFT)
        >>> pose.to_canonical(pose.to_lps([[1.0, 2.0, 3.0]])).round(6).tolist()
        [[1.0, 2.0, 3.0]]
        """
        return (np.asarray(points_mm, dtype=float) - self.origin_mm) @ self.matrix

    @property
    def tilt_deg(self) -> float:
        """Angle between this pose and the mean head's, degrees.

        >>> round(mean_pose(Side.RIGHT).tilt_deg, 6)
        0.0
        """
        return rotation_angle_deg(self.matrix @ mean_pose(self.side).matrix.T)


def mean_pose(side: Side, origin_mm: ArrayLike = (0.0, 0.0, 0.0)) -> Pose:
    """The mean ear of a head in the standard position, its vestibule at `origin_mm`.

    >>> pose = mean_pose(Side.LEFT, origin_mm=(60, 0, 0))
    >>> pose.to_lps([[0, 0, 0]]).tolist(), round(float(np.linalg.det(pose.matrix)), 6)
    ([[60.0, 0.0, 0.0]], -1.0)
    """
    right = np.asarray(CANONICAL_AXES_LPS).T
    u, _, vt = np.linalg.svd(right)
    matrix = u @ vt
    if side is Side.LEFT:
        matrix = MIRROR @ matrix
    return Pose(side, matrix, np.asarray(origin_mm, dtype=float))


def fit_pose(names: tuple[str, ...], points_mm: ArrayLike, side: Side) -> Pose:
    """Fit the canonical landmarks to given ones, rigidly, for a given side.

    Args:
        names: n names out of `anatomy.CANONICAL_MM`.
        points_mm: (n, 3) LPS; rows with nan are ignored; at least 3 must remain, and 4 to
            distinguish the sides.
        side: which side to assume; the true one has the smaller residual.

    Returns:
        The pose with the least squared distance (Kabsch 1976), with its residual.

    >>> names, moved_mm = tuple(CANONICAL_MM), np.array(list(CANONICAL_MM.values())) + 5
    >>> pose = fit_pose(names, moved_mm, Side.RIGHT)
    >>> pose.origin_mm.round(6).tolist(), round(pose.residual_mm, 6)
    ([5.0, 5.0, 5.0], 0.0)
    """
    points = np.asarray(points_mm, dtype=float)
    present = np.isfinite(points).all(axis=1)
    if present.sum() < 3:
        raise ValueError(f"{int(present.sum())} landmarks are not enough to fit a pose")
    model = np.asarray([CANONICAL_MM[name] for name in names])[present]
    points = points[present]
    model_mean, points_mean = model.mean(axis=0), points.mean(axis=0)
    u, _, vt = np.linalg.svd((points - points_mean).T @ (model - model_mean))
    handedness = 1.0 if side is Side.RIGHT else -1.0
    signs = np.diag([1.0, 1.0, handedness * np.sign(np.linalg.det(u @ vt))])
    matrix = u @ signs @ vt
    origin = points_mean - matrix @ model_mean
    residual = np.sqrt(np.mean(np.sum((points - model @ matrix.T - origin) ** 2, axis=1)))
    return Pose(side, matrix, origin, float(residual))
