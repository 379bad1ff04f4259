"""Views of MPUNet (L4): directions, and stacks of isotropic planes across them.

A stack of planes is a rotated `Grid` whose k axis is the view. Planes are sampled, and the output
of a network is mapped back, by resampling between two grids.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from otovox.core.geometry import FloatArray
from otovox.core.volume import Grid
from otovox.imaging.resample import corners, resample

#: Reduction of the minimum angle after every rejected draw, degrees. Source: the framework of
#: Perslev et al. 2019 (L4).
RELAXED_DEG = 1.0
#: The rotation of the planes about the view is free; this axis is in the planes, or the next one if
#: it is too close to the view (cosine above `NEAR`). Chosen.
UPRIGHT, BESIDE, NEAR = (0.0, 0.0, 1.0), (0.0, 1.0, 0.0), 0.9


def draw_views(count: int, *, min_angle_deg: float = 60.0, rng: np.random.Generator) -> FloatArray:
    """Draw directions that are far apart.

    All of them are drawn at once; if any two are too close, the minimum angle is reduced by one
    degree and all are drawn again, so that the search always ends. Six views starting at 60 degrees
    are in the end at least 36 degrees apart on average, and 18 to 57 (300 draws).

    Args:
        count: number of directions.
        min_angle_deg: initial minimum angle between two directions, less than 180.
        rng: source of randomness.

    Returns:
        (count, 3) unit vectors, LPS, the last component not negative.

    Source: Perslev et al. 2019 and their framework's defaults, which Lim et al. 2024 used (L4): 6
    random directions, 60 degrees. As there, the angle is that between the vectors, of which v and
    -v would be the same view.

    >>> views = draw_views(3, rng=np.random.default_rng(0))
    >>> cosines = np.abs(views @ views.T)[np.triu_indices(3, 1)]
    >>> bool((cosines <= 0.5).all())
    True
    """
    first, second = np.triu_indices(count, 1)
    while True:
        views = rng.normal(size=(count, 3))
        views /= np.linalg.norm(views, axis=1, keepdims=True)
        views[:, 2] = np.abs(views[:, 2])
        cosines = (views[first] * views[second]).sum(axis=1)
        if np.all(np.degrees(np.arccos(np.clip(cosines, -1, 1))) > min_angle_deg):
            return views
        min_angle_deg -= RELAXED_DEG


def frame(view: FloatArray) -> FloatArray:
    """(3, 3) right-handed axes in LPS as columns: two of the planes, and the view.

    Args:
        view: (3,) of any nonzero length.

    >>> axes = frame(np.array([0.0, 0.0, 1.0]))
    >>> axes[:, 2].tolist(), round(float(np.linalg.det(axes)), 6)
    ([0.0, 0.0, 1.0], 1.0)
    """
    normal = np.asarray(view, dtype=float) / np.linalg.norm(view)
    first = np.asarray(UPRIGHT if abs(normal @ UPRIGHT) < NEAR else BESIDE)
    second = np.cross(normal, first)
    second /= np.linalg.norm(second)
    return np.column_stack((np.cross(second, normal), second, normal))


def view_grid(grid: Grid, view: FloatArray, *, spacing_mm: float, multiple: int = 16) -> Grid:
    """The planes perpendicular to a view that cover a whole volume.

    Args:
        grid: grid of the volume.
        view: (3,) LPS.
        spacing_mm: distance between pixels and between planes.
        multiple: both sides of a plane are multiples of this, as required by the network.

    Returns:
        A grid (x, y, planes) about the volume's centre.
    """
    axes = frame(view)
    reach_mm = np.ptp(corners(grid) @ axes, axis=0)
    counts = np.ceil(reach_mm / spacing_mm - 1e-6).astype(int) + 1
    x, y = (int(-(-n // multiple) * multiple) for n in counts[:2])
    shape = (x, y, int(counts[2]))
    return Grid.centred(grid.center_mm, shape, spacing_mm=spacing_mm, directions=axes)


def plane(view: FloatArray, center_mm: FloatArray, *, size: int, spacing_mm: float) -> Grid:
    """One plane (size, size, 1) perpendicular to a view.

    Args:
        view: (3,) LPS.
        center_mm: (3,) LPS centre of the plane.
        size: pixels along each side.
        spacing_mm: distance between pixels.

    >>> plane(np.array([0.0, 0, 1]), np.zeros(3), size=4, spacing_mm=0.5).shape
    (4, 4, 1)
    """
    shape = (size, size, 1)
    return Grid.centred(center_mm, shape, spacing_mm=spacing_mm, directions=frame(view))


def sample_planes(
    volume: NDArray, grid: Grid, planes: Grid, *, outside: float = 0.0
) -> NDArray[np.float32]:
    """Values of a volume on a stack of planes, interpolated linearly without prior smoothing.

    Args:
        volume: (i, j, k) on `grid`.
        grid: position of the voxels.
        planes: from `stack`, or a part of it.
        outside: value outside the volume.

    Returns:
        (x, y, planes) float32.
    """
    return resample(volume, grid, planes, outside=outside, antialias=False)


def sample_plane(
    volume: NDArray, grid: Grid, one: Grid, *, outside: float = 0.0, nearest: bool = False
) -> NDArray[np.float32]:
    """Values of a volume on one plane; fast, because it reads only the voxels near the plane.

    Args:
        volume: (i, j, k) on `grid`, possibly on disk.
        grid: position of the voxels.
        one: from `plane`.
        outside: value outside the volume.
        nearest: nearest-neighbour interpolation, for labels; otherwise linear.

    Returns:
        (x, y) float32.

    Source: Perslev et al. 2019, linear for images and nearest for labels.

    >>> grid = Grid.centred((0, 0, 0), (9, 9, 9), spacing_mm=1)
    >>> height = np.broadcast_to(np.arange(9.0), grid.shape)
    >>> one = plane(np.array([0.0, 0, 1]), np.array([0.0, 0, 1.5]), size=2, spacing_mm=1)
    >>> np.unique(sample_plane(height, grid, one)).tolist()
    [5.5]
    """
    points_mm = one.to_mm(np.moveaxis(np.indices(one.shape), 0, -1)[:, :, 0])
    order = 0 if nearest else 1
    ijk = np.moveaxis(grid.to_ijk(points_mm), -1, 0)
    values = ndimage.map_coordinates(volume, ijk, output=np.float32, order=order, mode="nearest")
    return np.where(grid.contains(points_mm), values, np.float32(outside))


def map_back(predictions: NDArray, planes: Grid, grid: Grid) -> NDArray[np.float32]:
    """Predictions of planes on the grid of the original volume.

    Args:
        predictions: (x, y, planes) such as a probability.
        planes: grid of the planes.
        grid: target grid.

    Returns:
        (i, j, k) float32, linearly interpolated, 0 outside the planes.
    """
    return resample(predictions, planes, grid, antialias=False)
