"""The cochlea in its own coordinates: its lateral wall and lumen, traced about the modiolus.

The field is sampled on half planes about the axis. In each, the outer border of a turn is a bulge;
the bulges are followed from the round window upward, each turn above the previous one, even where
the septa between the turns are not resolved.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import make_smoothing_spline
from scipy.optimize import isotonic_regression

from otovox.core.geometry import FloatArray, Pose
from otovox.core.volume import Grid
from otovox.measure.frame import CochlearFrame
from otovox.measure.tori import sampler

#: Half planes about the axis, and samples in each: chosen, finer than the 0.2 mm working grid.
STEP_DEG, SAMPLE_MM = 7.5, 0.1
_TURN = round(360 / STEP_DEG)
#: Radii and heights that a half plane covers, mm; heights from the helicotrema. Chosen for cochleae
#: of any size: basal radius up to 6.5 mm, height 2.8-6.9 mm.
_RADII_MM, _HEIGHTS_MM = (0.0, 7.6), (-7.5, 2.5)
#: Search range of the duct, degrees after the round window. Source: it ends at 780-1010.
_LAST_DEG = 1080.0

#: The mean cochlea over 72 labyrinths, as a start: radius of the lateral wall and height from the
#: helicotrema, mm, every 45 degrees from 0 to 945.
_MEAN_MM = np.array(
    [
        (5.96, -3.09), (4.48, -3.23), (3.80, -3.25), (3.49, -3.01), (3.34, -2.80), (3.16, -2.72),
        (2.98, -2.62), (2.69, -2.41), (2.28, -2.22), (2.17, -2.09), (2.16, -1.92), (2.10, -1.62),
        (1.91, -1.36), (1.67, -1.19), (1.54, -1.06), (1.53, -0.96), (1.61, -0.86), (1.73, -0.76),
        (1.78, -0.61), (1.62, -0.40), (1.22, -0.18), (0.73, -0.08),
    ]
)  # fmt: skip
_MEAN_DEG = 45.0 * np.arange(len(_MEAN_MM))
#: Its lowest and highest lumen, mm from the helicotrema; from the same table.
_MEAN_EXTENT_MM = (-4.27, 0.19)

#: A turn is above the previous one by at least this fraction of the mean cochlea's rise. Chosen on
#: phantoms: with less, the last turn may merge into the second.
_RISE_SHARE = 0.85
#: Minimum rise after half a turn, mm per degree; chosen, a third of the mean cochlea's.
_LEAST_SLOPE = 0.0008
#: Pull of heights towards the mean cochlea after the first turn, per iteration: chosen, weak.
_PULL = 0.1
#: Iterations of following the bulges: chosen; the last ones move them by hundredths of a mm.
_ROUNDS = 12
#: Range above and below a turn's centre in which its bulge is evaluated, mm: chosen, half a lumen.
_WINDOW_MM, _WINDOW_SD_MM = 0.6, 0.35
#: Search range of a wall inside and outside its last position, mm; larger outside in the first
#: turn, where the width of cochleae varies. Chosen.
_INWARD_MM, _OUTWARD_MM, _OUTWARD_FIRST_MM = 1.6, 0.5, 1.0
#: Stiffness of the splines of height and wall, in units of 45 degrees: chosen.
_STIFF_HEIGHT, _STIFF_WALL = 0.3, 0.01
#: A normal duct does not end before this angle: chosen, below the 780 measured.
_EARLIEST_END_DEG = 400.0
#: A wall closer to the axis than this belongs to the duct's end, mm. Source: mean wall at 945
#: degrees, where fewer than two thirds of ears still have a lumen.
END_MM = 0.75


@dataclass(frozen=True, eq=False)
class CochleaTrace:
    """The traced duct, in the coordinates of its `CochlearFrame`; rows every `STEP_DEG`.

    Attributes:
        theta_deg: (n,) from 0 to the last angle at which a wall was found.
        wall_mm: (n,) radius of the lateral wall.
        height_mm: (n,) height of the turn's centre, where the wall is outermost.
        centre_mm: (n,) radius of the lumen's centre.
        lumen_mm: (n,) radius of a circle with the area of the lumen's section.
        found: (n,) whether the wall was found there, or only extrapolated by the spline.
        bottom_mm, top_mm: lowest and highest lumen.
        end_found: whether the duct's end was found; if not, the trace was lost at the last angle.
    """

    theta_deg: FloatArray
    wall_mm: FloatArray
    height_mm: FloatArray
    centre_mm: FloatArray
    lumen_mm: FloatArray
    found: NDArray[np.bool_]
    bottom_mm: float
    top_mm: float
    end_found: bool

    @property
    def end_deg(self) -> float:
        """Total angle of the duct."""
        return float(self.theta_deg[-1])


class _Planes(NamedTuple):
    """Half planes about the axis.

    values: (azimuth, radius, height); outward: (azimuth, radius, height) radius of each crossing
    from lumen to bone, inf if there is none; radii_mm, heights_mm: (n,).
    """

    values: NDArray[np.float32]
    outward: FloatArray
    radii_mm: FloatArray
    heights_mm: FloatArray


def trace_cochlea(
    values: NDArray[Any], grid: Grid, pose: Pose, frame: CochlearFrame
) -> tuple[CochleaTrace | None, str]:
    """Trace the lateral wall and the lumen from the round window to the apex.

    Args:
        values: (i, j, k) probability of the labyrinth on `grid`, 0 to 1.
        grid: position of the voxels.
        pose: pose of the ear.
        frame: coordinates of the cochlea.

    Returns:
        The trace and an empty reason; or None and the reason.
    """
    planes = _half_planes(values, grid, pose, frame)
    extent = _extent(planes)
    if extent is None:
        return None, "no turns around the modiolar axis"
    theta = np.arange(0.0, _LAST_DEG + STEP_DEG / 2, STEP_DEG)
    low, high = _MEAN_EXTENT_MM
    stretch = (extent[1] - extent[0]) / (high - low)
    expected = extent[1] + (np.interp(theta, _MEAN_DEG, _MEAN_MM[:, 1]) - high) * stretch
    rise = _RISE_SHARE * (expected - np.interp(theta - 360, theta, expected))
    rise[theta > _MEAN_DEG[-1]] = rise[theta <= _MEAN_DEG[-1]][-1]
    wall, height = np.interp(theta, _MEAN_DEG, _MEAN_MM[:, 0]), expected
    for number in range(_ROUNDS):
        seen, step = _look(planes, theta, wall, height)
        step = step + np.where(theta > 360, _PULL * (expected - height), 0.0)
        height = _ordered(theta, height + 0.7 * step, rise)
        stiff = 1.0 if number < _ROUNDS // 2 else _STIFF_WALL
        wall = _smooth_wall(theta, seen, wall, stiff)
    seen, _ = _look(planes, theta, wall, height)
    count, end_found = _end(theta, seen)
    if count < 2:
        return None, "no lateral wall beyond the round window"
    theta, seen, wall, height = (array[:count] for array in (theta, seen, wall, height))
    wall = _smooth_wall(theta, seen, wall, _STIFF_WALL)
    centre, lumen = _lumen(planes, theta, wall, height)
    return CochleaTrace(
        theta_deg=theta,
        wall_mm=wall,
        height_mm=height,
        centre_mm=centre,
        lumen_mm=lumen,
        found=np.isfinite(seen),
        bottom_mm=extent[0],
        top_mm=extent[1],
        end_found=end_found,
    ), ""


def _half_planes(values: NDArray[Any], grid: Grid, pose: Pose, frame: CochlearFrame) -> _Planes:
    azimuth = STEP_DEG * np.arange(_TURN, dtype=float)
    radii = np.arange(*_RADII_MM, SAMPLE_MM)
    heights = np.arange(*_HEIGHTS_MM, SAMPLE_MM)
    places = np.meshgrid(azimuth, radii, heights, indexing="ij", sparse=True)
    sampled = sampler(values, grid, pose)(frame.to_canonical(*places))
    inner, outer = sampled[:, :-1], sampled[:, 1:]
    leaving = (inner >= 0.5) & (outer < 0.5)
    share = (inner - 0.5) / np.where(leaving, inner - outer, 1)
    outward = np.where(leaving, radii[:-1, None] + SAMPLE_MM * share, np.inf)
    return _Planes(sampled.astype(np.float32, copy=False), outward, radii, heights)


def _extent(planes: _Planes) -> tuple[float, float] | None:
    """Lowest lumen of the basal turn, and highest lumen near the axis; None if there is none."""
    inside = planes.values >= 0.5
    # Within 1.8 mm of the axis there are only upper turns; past 45 degrees no vestibule reaches the
    # basal turn, nor past 4.6 mm from the axis.
    core = inside[:, planes.radii_mm < 1.8].any(axis=1)
    basal = slice(round(45 / STEP_DEG), round(225 / STEP_DEG))
    ring = inside[basal][:, (planes.radii_mm > 1.5) & (planes.radii_mm < 4.6)].any(axis=1)
    upper, lower = np.flatnonzero(core.max(axis=0)), np.flatnonzero(ring.max(axis=0))
    if not len(upper) or not len(lower):
        return None
    half = SAMPLE_MM / 2
    return float(planes.heights_mm[lower[0]]) - half, float(planes.heights_mm[upper[-1]]) + half


def _look(
    planes: _Planes, theta: FloatArray, wall: FloatArray, height: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The wall at each turn's height, nan if there is none, and the offset of its bulge."""
    up = np.arange(-_WINDOW_MM, _WINDOW_MM + SAMPLE_MM / 2, SAMPLE_MM)
    half = len(up) // 2
    at = (height[:, None] + up - planes.heights_mm[0]) / SAMPLE_MM
    at = np.clip(at, 0, len(planes.heights_mm) - 1.001)
    below, share = at.astype(int), at % 1
    plane = np.arange(len(theta))[:, None] % _TURN
    outside = np.where(theta < 360, _OUTWARD_FIRST_MM, _OUTWARD_MM)[:, None]

    def nearest(level: NDArray[np.int64]) -> FloatArray:
        crossings = planes.outward[plane, :, level]
        which = np.abs(crossings - wall[:, None, None]).argmin(axis=2)
        crossing = np.take_along_axis(crossings, which[..., None], axis=2)[..., 0]
        near = (crossing > wall[:, None] - _INWARD_MM) & (crossing < wall[:, None] + outside)
        return np.where(near, crossing, np.nan)

    border = nearest(below) * (1 - share) + nearest(below + 1) * share
    seen = border[:, half]
    relative = border - np.where(np.isfinite(seen), seen, wall)[:, None]
    relative = np.clip(np.where(np.isfinite(relative), relative, -0.5), -0.5, 0.25)
    # Beyond the notch between two turns the border belongs to the other one: it must not rise
    # again.
    relative[:, half:] = np.minimum.accumulate(relative[:, half:], axis=1)
    relative[:, half::-1] = np.minimum.accumulate(relative[:, half::-1], axis=1)
    weight = np.exp(-0.5 * (up / _WINDOW_SD_MM) ** 2)
    # A bulge's border falls by u^2 / 2R from its top; lumens have R of about 1 mm.
    step = (relative * weight * up).sum(axis=1) / (weight * up**2).sum()
    return seen, np.where(np.isfinite(seen), np.clip(step, -0.3, 0.3), 0.0)


def _ordered(theta: FloatArray, height: FloatArray, rise: FloatArray) -> FloatArray:
    """Smooth heights that rise after half a turn, each turn above the previous one."""
    late, slope = theta >= 180, _LEAST_SLOPE * theta
    rising = isotonic_regression((height - slope)[late]).x + slope[late]
    height = np.concatenate([height[~late], rising])
    height = _smoother(tuple(theta / 45), (1.0,) * len(theta), _STIFF_HEIGHT) @ height
    for n in range(_TURN, len(height)):
        height[n] = max(height[n], height[n - _TURN] + rise[n])
    return height


def _smooth_wall(theta: FloatArray, seen: FloatArray, wall: FloatArray, stiff: float) -> FloatArray:
    finite = np.isfinite(seen)
    if len(theta) < 5:
        return np.where(finite, seen, wall)
    weights = tuple(np.where(finite, 1.0, 1e-3))
    return _smoother(tuple(theta / 45), weights, stiff) @ np.where(finite, seen, wall)


@lru_cache(maxsize=16)
def _smoother(places: tuple[float, ...], weights: tuple[float, ...], stiff: float) -> FloatArray:
    """(n, n) the smoothing spline over n places as a matrix: from values to smooth values."""
    spline = make_smoothing_spline(places, np.eye(len(places)), w=weights, lam=stiff)
    return spline(places)


def _end(theta: FloatArray, seen: FloatArray) -> tuple[int, bool]:
    """Rows up to the duct's end, and whether the end was found in range."""
    ended = (theta > _EARLIEST_END_DEG) & ~(seen > END_MM)
    if ended.any():
        return int(np.argmax(ended)), True
    return len(theta), False


def _lumen(
    planes: _Planes, theta: FloatArray, wall: FloatArray, height: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Radius of the lumen's centre from the axis, and radius of its section."""
    centres, sections = np.empty(len(theta)), np.empty(len(theta))
    for n in range(len(theta)):
        plane = planes.values[n % _TURN]
        level = round((height[n] - planes.heights_mm[0]) / SAMPLE_MM)
        row = plane[:, min(max(level, 0), plane.shape[1] - 1)]
        outer = min(int(wall[n] / SAMPLE_MM), len(row) - 1)
        bone = np.flatnonzero(row[:outer] < 0.5)
        inner_mm = (bone[-1] + 0.5) * SAMPLE_MM if len(bone) else 0.0
        wide = max((wall[n] - inner_mm) / 2, SAMPLE_MM)
        column = plane[round(max(wall[n] - min(wide, 1.0), 0.0) / SAMPLE_MM)]
        bone = np.flatnonzero(column < 0.5) * SAMPLE_MM + planes.heights_mm[0] - height[n]
        tall = max(float(np.abs(bone).min(initial=_WINDOW_MM * 3)) - SAMPLE_MM / 2, SAMPLE_MM)
        # If the section reaches the axis its width is unreliable; it is then assumed to be round.
        wide = wide if inner_mm > 0 else min(wide, tall)
        centres[n], sections[n] = max(wall[n] - wide, 0.0), np.sqrt(wide * tall)
    return centres, sections
