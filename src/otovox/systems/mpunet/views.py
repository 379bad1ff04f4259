"""Views of MPUNet (L4): directions, and stacks of isotropic planes across them.

A stack of planes is a turned `Grid` whose k axis is the view. So planes are sampled, and what a
network says of them is mapped back, by resampling between two grids.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from otovox.core.geometry import FloatArray
from otovox.core.volume import Grid
from otovox.imaging.resample import corners, resample

#: By how much the least angle is lowered after every direction that was refused, degrees. Source:
#: requirement L4, after Perslev et al. 2019.
RELAXED_DEG = 1.0
#: Turns of the planes about the view are free; this axis is laid into the planes, or the next
#: where it is too near the view (cosine above `NEAR`). Chosen.
UPRIGHT, BESIDE, NEAR = (0.0, 0.0, 1.0), (0.0, 1.0, 0.0), 0.9


def draw_views(count: int, *, min_angle_deg: float = 60.0, rng: np.random.Generator) -> FloatArray:
    """Draw directions that lie far apart.

    They are axes: v and -v are one view. A direction too near one that was taken is refused, and
    the least angle lowered by one degree, so that an answer is always found.

    Args:
        count: of directions.
        min_angle_deg: between any two axes at first, at most 90.
        rng: source of chance.

    Returns:
        (count, 3) unit vectors, LPS, the last component not negative.

    Source: requirement L4 (Lim et al. 2024 with the defaults of Perslev et al. 2019: 6 views).
    """
    views = np.zeros((0, 3))
    while len(views) < count:
        view = rng.normal(size=3)
        view /= np.linalg.norm(view)
        away_deg = np.degrees(np.arccos(np.clip(np.abs(views @ view), 0, 1)))
        if np.all(away_deg >= min_angle_deg):
            views = np.vstack((views, view if view[2] >= 0 else -view))
        else:
            min_angle_deg -= RELAXED_DEG
    return views


def frame(view: FloatArray) -> FloatArray:
    """(3, 3) right-handed axes in LPS as columns: two of the planes, and the view.

    Args:
        view: (3,) of any length but 0.
    """
    normal = np.asarray(view, dtype=float) / np.linalg.norm(view)
    first = np.asarray(UPRIGHT if abs(normal @ UPRIGHT) < NEAR else BESIDE)
    second = np.cross(normal, first)
    second /= np.linalg.norm(second)
    return np.column_stack((np.cross(second, normal), second, normal))


def view_grid(grid: Grid, view: FloatArray, *, spacing_mm: float, multiple: int = 16) -> Grid:
    """The planes across a view that hold a whole volume.

    Args:
        grid: of the volume.
        view: (3,) LPS.
        spacing_mm: between pixels and between planes.
        multiple: both sides of a plane are multiples of this, as the network needs it.

    Returns:
        A grid (x, y, planes) about the volume's middle.
    """
    axes = frame(view)
    reach_mm = np.ptp(corners(grid) @ axes, axis=0)
    counts = np.ceil(reach_mm / spacing_mm - 1e-6).astype(int) + 1
    x, y = (int(-(-n // multiple) * multiple) for n in counts[:2])
    shape = (x, y, int(counts[2]))
    return Grid.centred(grid.center_mm, shape, spacing_mm=spacing_mm, directions=axes)


def plane(view: FloatArray, center_mm: FloatArray, *, size: int, spacing_mm: float) -> Grid:
    """One plane (size, size, 1) across a view, by its middle.

    Args:
        view: (3,) LPS.
        center_mm: (3,) LPS middle of the plane.
        size: pixels along either side.
        spacing_mm: between pixels.
    """
    shape = (size, size, 1)
    return Grid.centred(center_mm, shape, spacing_mm=spacing_mm, directions=frame(view))


def sample_planes(
    volume: NDArray, grid: Grid, planes: Grid, *, outside: float = 0.0
) -> NDArray[np.float32]:
    """Values of a volume on a stack of planes, linearly interpolated and not smoothed before.

    Args:
        volume: (i, j, k) on `grid`.
        grid: where the voxels lie.
        planes: from `stack`, or a part of it.
        outside: value beyond the volume's field.

    Returns:
        (x, y, planes) float32.
    """
    return resample(volume, grid, planes, outside=outside, antialias=False)


def sample_plane(
    volume: NDArray, grid: Grid, one: Grid, *, outside: float = 0.0, nearest: bool = False
) -> NDArray[np.float32]:
    """Values of a volume on one plane: quick, for it reads the voxels about the plane alone.

    Args:
        volume: (i, j, k) on `grid`, possibly on disk.
        grid: where the voxels lie.
        one: from `plane`.
        outside: value beyond the volume's field.
        nearest: take the nearest voxel, as for labels; else interpolate linearly.

    Returns:
        (x, y) float32.

    Source: Perslev et al. 2019, linear for images and nearest for labels.
    """
    points_mm = one.to_mm(np.moveaxis(np.indices(one.shape), 0, -1)[:, :, 0])
    order = 0 if nearest else 1
    ijk = np.moveaxis(grid.to_ijk(points_mm), -1, 0)
    values = ndimage.map_coordinates(volume, ijk, output=np.float32, order=order, mode="nearest")
    return np.where(grid.contains(points_mm), values, np.float32(outside))


def map_back(predictions: NDArray, planes: Grid, grid: Grid) -> NDArray[np.float32]:
    """What was said of planes, on the grid of the volume that they were sampled from.

    Args:
        predictions: (x, y, planes) such as a probability.
        planes: where they lie.
        grid: wanted.

    Returns:
        (i, j, k) float32, linearly interpolated, 0 beyond the planes.
    """
    return resample(predictions, planes, grid, antialias=False)
