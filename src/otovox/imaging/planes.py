"""Planes through a scan, in the patient's axes or the ear's own, on any grid."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from otovox.core.anatomy import CANONICAL_MM, MODIOLAR_AXIS
from otovox.core.case import EarPrediction
from otovox.core.geometry import FloatArray, unit
from otovox.core.volume import Grid
from otovox.imaging.rendering import view_axes
from otovox.imaging.resample import corners, resample

#: Height of the cochlear view above the round window along that axis, mm: chosen so that
#: most of the basal turn is in the plane.
_BASAL_MM = 0.7
#: Widths of the patient planes and of the cochlear view, mm: chosen, a labyrinth and a cochlea.
FIELD_MM, COCHLEA_MM = 24.0, 16.0
#: Pixels along the side of a plane: chosen, slightly fewer than in the figure.
PIXELS = 300
Picture = NDArray[np.float32]

_LETTERS = ("RL", "AP", "IS")


@dataclass(frozen=True, eq=False)
class ImagePlane:
    """A square plane in the world.

    Attributes:
        title: name and position.
        center_mm: (3,) LPS.
        right, up: (3,) unit vectors in LPS, right and up in the image.
        width_mm: length of a side.
    """

    title: str
    center_mm: FloatArray
    right: FloatArray
    up: FloatArray
    width_mm: float

    def place(self, points_mm: ArrayLike) -> FloatArray:
        """Points (n, 3) LPS to (n, 3): right, up and off the plane, mm from its centre.

        >>> x, y, z = np.eye(3)
        >>> axial = ImagePlane("axial", 5 * z, x, -y, 30)
        >>> axial.place([[2.0, 3.0, 4.0]]).tolist()
        [[2.0, -3.0, 1.0]]
        """
        axes = np.column_stack([self.right, self.up, np.cross(self.right, self.up)])
        return (np.asarray(points_mm, dtype=float) - self.center_mm) @ axes


def ear_planes(ear: EarPrediction) -> tuple[ImagePlane, ...]:
    """Axial, coronal and sagittal planes through a labyrinth, and the cochlear view.

    The first three follow the patient's axes in radiological convention (the patient's right on
    the left). The cochlear view is perpendicular to the modiolus and seen from the apex
    (Verbist et al. 2010), through the basal turn and centred on the modiolus.
    """
    x, y, z = np.eye(3)
    middle = ear.center_mm
    at = [f"{name} = {v:.1f}" for name, v in zip("xyz", middle, strict=True)]
    axis = ear.pose.matrix @ unit(MODIOLAR_AXIS)
    apex, base = (_landmark(ear, name) for name in ("helicotrema", "round_window"))
    basal = apex + axis * (float((base - apex) @ axis) + _BASAL_MM)
    seen = view_axes(axis, ear.pose.matrix @ np.array([0.0, 0.0, 1.0]))
    return (
        ImagePlane(f"Axial   {at[2]} mm", middle, x, -y, FIELD_MM),
        ImagePlane(f"Coronal   {at[1]} mm", middle, x, z, FIELD_MM),
        ImagePlane(f"Sagittal   {at[0]} mm", middle, y, z, FIELD_MM),
        ImagePlane("Cochlear view", basal, seen[:, 0], seen[:, 1], COCHLEA_MM),
    )


def middle_planes(grid: Grid) -> tuple[ImagePlane, ...]:
    """Axial, coronal and sagittal planes through the centre of the field of view.

    >>> [plane.title for plane in middle_planes(Grid.centred((0, 0, 0), (9, 9, 9), spacing_mm=1))]
    ['Axial', 'Coronal', 'Sagittal']
    """
    x, y, z = np.eye(3)
    center, width = grid.center_mm, float(np.ptp(corners(grid), axis=0).max())
    named = (("Axial", x, -y), ("Coronal", x, z), ("Sagittal", y, z))
    return tuple(ImagePlane(name, center, right, up, width) for name, right, up in named)


def sample(
    values: NDArray[Any], grid: Grid, plane: ImagePlane, *, outside: float = np.nan
) -> Picture:
    """A volume's values on a plane.

    Args:
        values: (i, j, k) on `grid`.
        grid: position of the voxels.
        plane: the plane to sample.
        outside: value outside the grid.

    Returns:
        (rows, columns) from the plane's upper left.

    >>> grid = Grid.centred((0, 0, 0), (9, 9, 9), spacing_mm=1)
    >>> axial = middle_planes(grid)[0]
    >>> picture = sample(np.full(grid.shape, 7.0), grid, axial)
    >>> picture.shape, float(np.nanmax(picture))
    ((300, 300), 7.0)
    """
    axes = np.column_stack([plane.right, -plane.up, np.cross(plane.right, -plane.up)])
    step = plane.width_mm / PIXELS
    target = Grid.centred(plane.center_mm, (PIXELS, PIXELS, 1), spacing_mm=step, directions=axes)
    return resample(values, grid, target, outside=outside, antialias=False)[:, :, 0].T


def letters(direction: ArrayLike) -> str:
    """The patient's side that an LPS direction points to: R, L, A, P, I, S, or two or three.

    >>> letters([1, 0, 0]), letters([0, 1, 1])
    ('L', 'PS')
    """
    parts = unit(direction)
    order = np.argsort(-np.abs(parts), kind="stable")
    # 0.38 is the sine of 22.5 degrees: halfway between an axis and the diagonal.
    return "".join(_LETTERS[a][int(parts[a] > 0)] for a in order if abs(parts[a]) > 0.38)


def _landmark(ear: EarPrediction, name: str) -> FloatArray:
    """A landmark, or its expected position."""
    if ear.landmarks.has(name):
        return ear.landmarks[name]
    return ear.pose.to_lps(np.asarray(CANONICAL_MM[name]))
