"""Position, orientation and side of an ear from its mask alone: the mean ear is fitted onto it.

A network finds an ear's pose by landmarks that nobody else marks. A mask that was drawn by hand, or
by another program, has its shape instead.
"""

from collections.abc import Iterator
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from otovox.core.anatomy import MODIOLAR_AXIS, Side
from otovox.core.ear_statistics import ear_statistics
from otovox.core.geometry import MIRROR, FloatArray, Pose, cube_turns, mean_pose, unit
from otovox.core.volume import Grid
from otovox.imaging.surfaces import mesh, smoothed
from otovox.measure.mean_ear import mean_canal, mean_crus

#: Point of the modiolar axis at the apex, canonical mm, and the azimuth of the round window about
#: the axis from the vestibule. Source: the 72 labyrinths of `ear_statistics.json`.
APEX_MM, ROUND_WINDOW_DEG = (3.6782, 5.4286, -3.2747), 32.5
#: Surface points of either ear that are matched, in the search and in the final fit: chosen.
COARSE, FINE = 250, 1500
#: Rounds of the search and of the final fit: chosen; more change the pose by less than 0.1 degrees.
COARSE_ROUNDS, FINE_ROUNDS = 15, 30
#: Starts that are fitted to the end: chosen.
KEPT = 3
#: Share of the nearest points that count, so that a cut or malformed part does not: chosen.
TRIMMED = 0.85
#: Least vertices of a surface to fit to: chosen.
LEAST_VERTICES = 50


def place_ear(mask: NDArray[np.bool_], grid: Grid, side: Side) -> Pose | None:
    """The pose of a labyrinth whose side is assumed.

    Args:
        mask: (i, j, k) one labyrinth on `grid`.
        grid: where the voxels lie.
        side: to assume; the true one has the smaller residual.

    Returns:
        The pose, whose residual is the distance of the surfaces, root mean square over the nearest
        `TRIMMED` of points; None if the mask is too small.

    Source: iterated closest points (Besl and McKay 1992), trimmed (Chetverikov et al. 2002).
    """
    field, crop = smoothed(mask, grid)
    vertices, _ = mesh(field, crop) if mask.any() else (np.zeros((0, 3)), None)
    if len(vertices) < LEAST_VERTICES:
        return None
    surface = vertices if side is Side.RIGHT else vertices @ MIRROR
    fitted = [
        _fitted(_thinned(surface, COARSE), _thinned(mean_surface(), COARSE), start, COARSE_ROUNDS)
        for start in _starts(surface)
    ]
    fitted = sorted(fitted, key=lambda one: one[2])[:KEPT]
    matrix, shift, residual_mm = min(
        (
            _fitted(_thinned(surface, FINE), mean_surface(), (matrix, shift), FINE_ROUNDS)
            for matrix, shift, _ in fitted
        ),
        key=lambda one: one[2],
    )
    if side is Side.LEFT:
        matrix, shift = MIRROR @ matrix, MIRROR @ shift
    return Pose(side, matrix, shift, residual_mm)


@cache
def mean_surface() -> FloatArray:
    """(n, 3) points of the mean ear's wall, canonical mm: of the spheres along its tubes.

    >>> low, high = np.percentile(mean_surface(), [0, 100], axis=0)
    >>> (high - low).round(0).tolist()
    [9.0, 16.0, 14.0]
    """
    vestibule = ear_statistics()["vestibule"]
    lines = [*(mean_canal(name) for name in ear_statistics()["canals"]), mean_crus()]
    centers = np.concatenate([*(line.points_mm for line in lines), _mean_cochlea()[0]])
    radii = np.concatenate([*(line.radius_mm for line in lines), _mean_cochlea()[1]])
    axes, half_axes = np.asarray(vestibule["axes"]), np.asarray(vestibule["half_axes_mm"])
    outward = _directions(40)
    on_tubes = (centers[:, None] + radii[:, None, None] * outward).reshape(-1, 3)
    on_vestibule = (half_axes * _directions(400)) @ axes
    points = np.concatenate([on_tubes, on_vestibule])
    depth = np.linalg.norm(points[:, None] - centers[None], axis=2) / radii
    within = np.linalg.norm(points @ axes.T / half_axes, axis=1)
    # A point on one sphere is part of the wall if it lies in no other.
    return _thinned(points[(depth.min(axis=1) > 0.97) & (within > 0.97)], FINE)


def _mean_cochlea() -> tuple[FloatArray, FloatArray]:
    """Centres (n, 3) canonical mm and radii (n,) of the mean cochlea's lumen."""
    data = {key: np.asarray(values) for key, values in ear_statistics()["cochlea"].items()}
    axis, apex = np.asarray(unit(MODIOLAR_AXIS)), np.asarray(APEX_MM)
    first = unit(-apex + float(apex @ axis) * axis)
    theta = np.arange(data["theta_deg"][0], data["theta_deg"][-1], 5.0)
    table = {key: np.interp(theta, data["theta_deg"], values) for key, values in data.items()}
    azimuth = np.radians(theta + ROUND_WINDOW_DEG)
    outward = np.cos(azimuth)[:, None] * first + np.sin(azimuth)[:, None] * np.cross(axis, first)
    centers = apex + table["r_mm"][:, None] * outward + table["z_mm"][:, None] * axis
    return centers, (table["half_width_mm"] + table["half_height_mm"]) / 2


def _directions(count: int) -> FloatArray:
    """(n, 3) unit vectors spread evenly: a Fibonacci lattice."""
    number = np.arange(count) + 0.5
    z = 1 - 2 * number / count
    azimuth = np.pi * (1 + np.sqrt(5)) * number
    across = np.sqrt(1 - z**2)
    return np.stack([across * np.cos(azimuth), across * np.sin(azimuth), z], axis=1)


def _starts(surface: FloatArray) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Rotations and shifts to begin with: those of a mean head, then all turns of a cube."""
    usual, middle = mean_pose(Side.RIGHT).matrix, surface.mean(axis=0)
    for turn in cube_turns("full"):
        matrix = usual @ turn
        yield matrix, middle - matrix @ mean_surface().mean(axis=0)


def _fitted(
    surface: FloatArray, mean: FloatArray, start: tuple[FloatArray, FloatArray], rounds: int
) -> tuple[FloatArray, FloatArray, float]:
    """Rotation and shift of the mean ear onto a surface, and the residual, mm."""
    (matrix, shift), residual = start, np.inf
    tree = KDTree(surface)
    for _ in range(rounds):
        placed = mean @ matrix.T + shift
        to_surface, near = (np.asarray(answer) for answer in tree.query(placed))
        to_mean, other = (np.asarray(answer) for answer in KDTree(placed).query(surface))
        kept, back = (gap <= np.quantile(gap, TRIMMED) for gap in (to_surface, to_mean))
        source = np.concatenate([mean[kept], mean[other[back]]])
        target = np.concatenate([surface[near[kept]], surface[back]])
        residual = float(np.sqrt(np.mean(np.append(to_surface[kept], to_mean[back]) ** 2)))
        matrix, shift = _rigid(source, target)
    return matrix, shift, residual


def _rigid(source: FloatArray, target: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The rotation and shift with the least squared distance (Kabsch 1976)."""
    a, b = source.mean(axis=0), target.mean(axis=0)
    u, _, vt = np.linalg.svd((target - b).T @ (source - a))
    matrix = u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt
    return matrix, b - matrix @ a


def _thinned(points: FloatArray, count: int) -> FloatArray:
    """At most `count` of the points, evenly taken."""
    return points[np.linspace(0, len(points) - 1, min(count, len(points))).astype(int)]
