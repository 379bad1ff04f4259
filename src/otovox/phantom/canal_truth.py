"""What a drawn vestibular organ measures, from its centrelines and radii, without any mask."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otovox.anatomy import CANALS, Part
from otovox.geometry import FloatArray
from otovox.phantom.canvas import FAR_MM, Canvas, Field
from otovox.phantom.labyrinth import Labyrinth, Tube, statistics

#: Where a canal's tube is painted about its ends: chosen, as in `labyrinth.paint`.
_REACH_MM = 0.8


@dataclass(frozen=True, eq=False)
class CanalTruth:
    """A drawn canal, canonical mm, from its ampulla on, without its tails.

    Attributes:
        points_mm: (n, 3) centreline.
        radii_mm: (n,) of the circle as large as the section.
    """

    points_mm: FloatArray
    radii_mm: FloatArray


def canal_truth(shape: Labyrinth) -> dict[Part, CanalTruth]:
    """The centrelines of the canals that an ear has."""
    found = {}
    for part in CANALS:
        tube = shape.canals.get(part.removesuffix("_canal"))
        if tube is not None:
            tube = _without_tails(tube)
            radii = np.sqrt(tube.radii_mm[:, 0] * tube.radii_mm[:, 1])
            found[part] = CanalTruth(tube.points_mm, radii)
    return found


def parts_truth(shape: Labyrinth, canvas: Canvas, mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Labels of the parts: each voxel of a mask belongs to the shape whose wall it is deepest in.

    A canal's tails within vestibule and crus are none of its own; where a tube opens into the
    vestibule it ends in the plane across its end.
    """
    tubes = {Part.COCHLEA: shape.cochlea, Part.CRUS: _from_border(shape.crus)}
    for part in CANALS:
        tube = shape.canals.get(part.removesuffix("_canal"))
        if tube is not None:
            tubes[part] = _without_tails(tube)
    best = canvas.blank()
    canvas.paint_ellipsoids(
        best, shape.vestibule_mm, shape.vestibule_axes, shape.vestibule_radii_mm, 2 * _REACH_MM
    )
    labels = np.where(mask, Part.VESTIBULE.label, 0).astype(np.uint8)
    for part, tube in tubes.items():
        field = canvas.blank()
        canvas.paint_ellipsoids(field, tube.points_mm, tube.axes, tube.radii_mm, _REACH_MM)
        ends = (0, -1) if part is Part.LATERAL else (0,)
        for end, inner in zip(ends, (1, -2), strict=False):
            _cut(field, canvas, tube.points_mm[end], tube.points_mm[end] - tube.points_mm[inner])
        nearer = mask & (field < best)
        labels[nearer] = part.label
        best = np.minimum(best, field)
    return labels


def _cut(field: Field, canvas: Canvas, end_mm: FloatArray, outward: FloatArray) -> None:
    """Take away what a tube's last ball paints beyond the tube's end."""
    window = canvas.window(canvas.ijk(end_mm[None])[0], 2.0)
    if window is not None:
        ahead = canvas.along(outward / np.linalg.norm(outward), end_mm)[window]
        field[window][ahead > 0] = FAR_MM


def _without_tails(tube: Tube) -> Tube:
    """The tube without its straight tails, which bear the axes of the frame."""
    own = ~np.all(tube.axes == np.eye(3), axis=(1, 2))
    return Tube(tube.points_mm[own], tube.radii_mm[own], tube.axes[own])


def _from_border(crus: Tube) -> Tube:
    """The crus from its measured border with the vestibule on; it is drawn from deeper within."""
    data = statistics()["common_crus"]
    start, end = np.asarray(data["start_mm"]), np.asarray(data["end_mm"])
    drawn = float(np.linalg.norm(0.75 * start - start))
    share = drawn / (drawn + float(np.linalg.norm(end - start)))
    first = round(share * (len(crus.points_mm) - 1))
    return Tube(crus.points_mm[first:], crus.radii_mm[first:], crus.axes[first:])
