"""Shaded rendering of a mask, with spheres for landmarks, by ray casting through a smooth field.

Ray casting needs no depth sorting, is smooth at any voxel size, and is fast in numpy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from otovox.core.geometry import FloatArray, unit
from otovox.core.volume import Grid
from otovox.imaging.resample import corners, resample
from otovox.imaging.smoothing import gaussian
from otovox.imaging.surfaces import cropped, smoothed

Image = NDArray[np.float32]

# All below: chosen for the look of the picture, not measured.
_COARSE_PIXELS = 124
_FINER = 3
_KEY_LIGHT, _FILL_LIGHT = unit((-0.45, 0.60, 0.75)), unit((0.70, -0.25, 0.40))
_AMBIENT, _KEY, _FILL, _RIM = 0.22, 0.84, 0.20, 0.22
_GLOSS, _SHININESS = 0.30, 38.0
_HOLLOW_MM, _DARKEST = 2.2, 0.45
_EDGE = 9.0
#: Rays whose highest value is lower miss the surface.
_NEAR = 0.5 - 0.5 / _EDGE
_GHOST = 0.55


@dataclass(frozen=True, eq=False)
class View:
    """An orthographic camera.

    Attributes:
        axes: (3, 3) whose columns point right, up and towards the viewer, unit vectors in LPS.
        center_mm: (3,) LPS centre of the image.
        width_mm: side length of the square image.
    """

    axes: FloatArray
    center_mm: FloatArray
    width_mm: float


@dataclass(frozen=True, eq=False)
class Ball:
    """A landmark as a sphere: LPS centre, radius and colour (RGB, 0 to 1)."""

    center_mm: FloatArray
    radius_mm: float
    rgb: tuple[float, float, float]


def view_axes(towards: ArrayLike, up: ArrayLike) -> FloatArray:
    """Axes of a view.

    Args:
        towards: (3,) from the object to the viewer.
        up: (3,) direction that should point up, as nearly as possible.

    Returns:
        (3, 3) whose columns point right, up and towards the viewer.

    >>> right, up, towards = view_axes(towards=(0, -1, 0), up=(0, 0, 1)).T
    >>> right.tolist(), up.tolist()
    ([1.0, 0.0, -0.0], [0.0, 0.0, 1.0])
    """
    z = unit(towards)
    y = unit(np.asarray(up, dtype=float) - z * float(np.dot(up, z)))
    return np.column_stack([np.cross(y, z), y, z])


def fitted_view(mask: NDArray[np.bool_], grid: Grid, axes: FloatArray, margin_mm: float) -> View:
    """The smallest view that contains the whole mask, with a margin.

    >>> grid = Grid.centred((0, 0, 0), (5, 3, 1), spacing_mm=1)
    >>> fitted_view(np.ones(grid.shape, dtype=bool), grid, np.eye(3), margin_mm=1.0).width_mm
    6.0
    """
    along = grid.to_mm(np.argwhere(mask)) @ axes
    low, high = along.min(axis=0), along.max(axis=0)
    width = float((high - low)[:2].max()) + 2 * margin_mm
    return View(axes, axes @ ((low + high) / 2), width)


def render_surfaces(
    mask: NDArray[np.bool_] | NDArray[np.float32],
    grid: Grid,
    view: View,
    *,
    rgb: tuple[float, float, float] | Image,
    balls: Sequence[Ball] = (),
) -> Image:
    """A shaded image of a mask's surface and spheres; those behind the surface shine through.

    Args:
        mask: (i, j, k) on `grid`, not empty; or a probability, whose surface is at a half.
        grid: position of the voxels.
        view: the camera.
        rgb: colour of the surface, 0 to 1; or (i, j, k, 3) on `grid`, a colour for every voxel of
            the mask.
        balls: landmarks, as spheres.

    Returns:
        (rows, columns, 4) RGBA, 0 to 1, rows from the top; transparent background.

    >>> grid = Grid.centred((0, 0, 0), (8, 8, 8), spacing_mm=1)
    >>> mask = np.pad(np.ones((4, 4, 4), dtype=bool), 2)
    >>> image = render_surfaces(mask, grid, View(np.eye(3), np.zeros(3), 8.0), rgb=(1, 0, 0))
    >>> rows, columns, _ = image.shape
    >>> [float(image[row, columns // 2, 3]) for row in (0, rows // 2)]
    [0.0, 1.0]
    """
    field, space = _field(mask, grid, view)
    depth, cover = _first_hits(field)
    normals = _normals(field, depth)
    height_mm = depth * float(space.spacing_mm[2])
    paint = np.asarray(rgb)
    if paint.ndim == 4:
        paint = _painted(paint, np.asarray(mask) > 0.5, grid, _places(space, depth))
    colour = _shade(normals, paint) * _hollows(height_mm, cover, space)[..., None]
    picture = np.concatenate([colour, cover[..., None]], axis=-1)
    start_mm = float(space.affine[:3, 3] @ view.axes[:, 2])
    for ball in sorted(balls, key=lambda ball: float(ball.center_mm @ view.axes[:, 2])):
        seen_mm = np.where(cover > 0.5, height_mm + start_mm, -np.inf)
        _draw_ball(picture, seen_mm, ball, view)
    # (right, up) to (rows from the top, columns)
    return np.ascontiguousarray(picture.swapaxes(0, 1)[::-1]).clip(0, 1).astype(np.float32)


def _field(
    mask: NDArray[np.bool_] | NDArray[np.float32], grid: Grid, view: View
) -> tuple[Image, Grid]:
    """The smooth field in the axes of the view, as wide as the image and as deep as the mask."""
    binary = mask.dtype == bool
    field, crop = smoothed(mask > 0, grid) if binary else cropped(mask, grid, margin=4)
    step = view.width_mm / _COARSE_PIXELS
    along = (corners(crop) @ view.axes)[:, 2]
    deep = int(np.ceil((along.max() - along.min()) / step)) + 3
    middle = view.center_mm + view.axes[:, 2] * (
        (along.max() + along.min()) / 2 - float(view.center_mm @ view.axes[:, 2])
    )
    space = Grid.centred(
        middle, (_COARSE_PIXELS, _COARSE_PIXELS, deep), spacing_mm=step, directions=view.axes
    )
    background = float(field.min())
    turned = resample(field, crop, space, order="cubic", outside=background, antialias=False)
    return gaussian(turned, 1.0, mode="nearest"), space


def _first_hits(field: Image) -> tuple[FloatArray, FloatArray]:
    """Where rays from the viewer meet the surface: depth index and coverage per fine pixel.

    Rays that pass far from the surface get no depth; it would not be seen.
    """
    facing = field[:, :, ::-1]
    near = np.asarray(ndimage.binary_dilation(facing.max(axis=2) > _NEAR, iterations=2))
    (i, right), (j, up) = _fine_steps(field.shape[0]), _fine_steps(field.shape[1])
    pixels = np.nonzero(near[i][:, j])
    i, j, right, up = i[pixels[0]], j[pixels[1]], right[pixels[0], None], up[pixels[1], None]
    rays = (facing[i, j] * (1 - right) + facing[i + 1, j] * right) * (1 - up)
    rays += (facing[i, j + 1] * (1 - right) + facing[i + 1, j + 1] * right) * up
    inside = rays > 0.5
    hit = inside.any(axis=1)
    first = np.where(hit, inside.argmax(axis=1), rays.argmax(axis=1))
    row = np.arange(len(rays))
    here, before = rays[row, first], rays[row, np.maximum(first - 1, 0)]
    back = np.where(hit, (here - 0.5) / np.maximum(here - before, 1e-6), 0.0).clip(0, 1)
    shape = [n * _FINER for n in field.shape[:2]]
    depth, cover = np.zeros(shape), np.zeros(shape)
    depth[pixels] = (field.shape[2] - 1) - (first - back)
    cover[pixels] = ((rays.max(axis=1) - 0.5) * _EDGE + 0.5).clip(0, 1)
    return depth, cover


def _fine_steps(n: int) -> tuple[NDArray[np.int_], NDArray[np.float32]]:
    """Of each fine pixel along an axis of n coarse ones: the one before, and the share past it."""
    at = _fine_places(n).clip(0, n - 1)
    low = np.minimum(at.astype(int), n - 2)
    return low, (at - low).astype(np.float32)


def _places(space: Grid, depth: FloatArray) -> FloatArray:
    """(right, up, 3) LPS mm of the surface at every fine pixel."""
    i, j = (_fine_places(n) for n in space.shape[:2])
    return space.to_mm(np.stack(np.broadcast_arrays(i[:, None], j[None, :], depth), axis=-1))


def _painted(paint: Image, mask: NDArray[np.bool_], grid: Grid, points_mm: FloatArray) -> Image:
    """(right, up, 3) colour of the mask voxel nearest to each point, with softened edges."""
    window = ndimage.find_objects(mask.astype(np.uint8))[0]
    start = np.array([side.start for side in window])
    inside = np.pad(mask[window], 1)
    nearest = np.asarray(
        ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    )
    colours = np.pad(paint[window], ((1, 1),) * 3 + ((0, 0),))[tuple(nearest)]
    places = np.moveaxis(grid.to_ijk(points_mm) - start + 1, -1, 0)
    seen = [
        ndimage.map_coordinates(colours[..., n], places, order=1, mode="nearest") for n in range(3)
    ]
    return np.stack(seen, axis=-1).astype(np.float32)


def _fine_places(n: int) -> FloatArray:
    """Indices of the fine pixels' centres among n coarse pixels."""
    return (np.arange(n * _FINER) + 0.5) / _FINER - 0.5


def _normals(field: Image, depth: FloatArray) -> FloatArray:
    """(right, up, 3) outward unit normals of the surface at every fine pixel."""
    i, j = (_fine_places(n) for n in field.shape[:2])
    places = np.stack(np.broadcast_arrays(i[:, None], j[None, :], depth))
    slopes = [
        ndimage.map_coordinates(slope, places, order=1, mode="nearest")
        for slope in np.gradient(field)
    ]
    normals = -np.stack(slopes, axis=-1)
    return normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)


def _shade(normals: FloatArray, rgb: NDArray[np.floating]) -> FloatArray:
    """Lambert's law for two lights, Blinn's highlight, and a pale rim."""
    key = (normals @ _KEY_LIGHT).clip(0)
    fill = (normals @ _FILL_LIGHT).clip(0)
    gloss = (normals @ unit(_KEY_LIGHT + np.array([0, 0, 1]))).clip(0) ** _SHININESS
    rim = (1 - normals[..., 2].clip(0, 1)) ** 3
    light = _AMBIENT + _KEY * key + _FILL * fill
    return light[..., None] * rgb + (_GLOSS * gloss + _RIM * rim * (key + fill))[..., None]


def _hollows(height_mm: FloatArray, cover: FloatArray, space: Grid) -> FloatArray:
    """Factor that darkens areas behind their surroundings, to show depth.

    Source: Luft et al. 2006, unsharp masking the depth buffer.
    """
    there = (cover > 0.5).astype(float)
    sd = 1.2 / float(space.spacing_mm[0]) * _FINER
    weight = gaussian(there, sd)
    around = gaussian(height_mm * there, sd) / np.maximum(weight, 1e-6)
    return (1.0 + np.minimum(height_mm - around, 0) / _HOLLOW_MM).clip(_DARKEST, 1.0)


def _draw_ball(picture: FloatArray, seen_mm: FloatArray, ball: Ball, view: View) -> None:
    """Draw a sphere into the image, in place; parts hidden by the surface are drawn faintly."""
    n = picture.shape[0]
    pixel_mm = view.width_mm / n
    place = (ball.center_mm - view.center_mm) @ view.axes
    at = (np.arange(n) + 0.5) * pixel_mm - view.width_mm / 2
    x, y = (at - place[0])[:, None], (at - place[1])[None, :]
    off = np.hypot(x, y)
    rise = np.sqrt(np.maximum(ball.radius_mm**2 - off**2, 0))
    normals = np.stack(np.broadcast_arrays(x, y, rise), axis=-1) / ball.radius_mm
    colour = _shade(normals, np.asarray(ball.rgb))
    front = float(ball.center_mm @ view.axes[:, 2]) + rise >= seen_mm
    share = ((ball.radius_mm - off) / pixel_mm + 0.5).clip(0, 1) * np.where(front, 1.0, _GHOST)
    colour = np.where(front[..., None], colour, np.asarray(ball.rgb))
    picture[..., :3] += share[..., None] * (colour - picture[..., :3])
    picture[..., 3] = np.maximum(picture[..., 3], share)
