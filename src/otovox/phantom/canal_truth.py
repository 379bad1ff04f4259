"""What a drawn vestibular organ measures, from its centrelines and radii, without any mask.

The borders are those by which `measure.parts` splits a mask. A canal ends in the planes across the
ends of its centreline, where it opens into the vestibule; at the crus, and everywhere else, a point
belongs to the shape in whose wall it lies deepest. The cochlea begins in the half-plane through the
modiolar axis at its first section.
"""

import numpy as np
from numpy.typing import NDArray

from otovox.core.ear_statistics import ear_statistics
from otovox.core.geometry import FloatArray, unit
from otovox.phantom.canvas import FAR_MM, Canvas, Field
from otovox.phantom.labyrinth import Labyrinth, paint
from otovox.phantom.tubes import Tube

#: Parts in the order of their values from 1 on, as in `measure.parts.Part`.
PARTS = ("cochlea", "vestibule", "anterior", "posterior", "lateral", "crus")
#: How far around a shape its wall's distance is painted, mm: chosen, as in `labyrinth.paint`.
_REACH_MM = 0.8


def canal_tube(shape: Labyrinth, name: str) -> Tube:
    """A drawn canal from one end to the other, without its tails in vestibule and crus.

    Args:
        shape: a labyrinth as `draw_labyrinth` draws it.
        name: of a canal that it has.

    Returns:
        The tube, canonical mm; its ends are where those of the mean ear's canal were moved to.
    """
    tube = shape.canals[name]
    # Tails are drawn straight and round, and alone bear the axes of the frame.
    own = ~np.all(tube.axes == np.eye(3), axis=(1, 2))
    return Tube(tube.points_mm[own], tube.radii_mm[own], tube.axes[own])


def true_parts(shape: Labyrinth, canvas: Canvas) -> NDArray[np.uint8]:
    """Label map of a drawn ear's parts.

    Args:
        shape: a labyrinth as `draw_labyrinth` draws it, of any diagnosis.
        canvas: where.

    Returns:
        (i, j, k) uint8, 0 outside, else 1 + the place in `PARTS`.
    """
    tubes = {"cochlea": shape.cochlea, "crus": _from_border(shape.crus)}
    tubes |= {name: canal_tube(shape, name) for name in shape.canals}
    best = canvas.blank()
    canvas.paint_ellipsoids(
        best, shape.vestibule_mm, shape.vestibule_axes, shape.vestibule_radii_mm, 2 * _REACH_MM
    )
    inside = paint(shape, canvas) < 0
    labels = np.where(inside, _label("vestibule"), 0).astype(np.uint8)
    for part, tube in tubes.items():
        field = canvas.blank()
        canvas.paint_ellipsoids(field, tube.points_mm, tube.axes, tube.radii_mm, _REACH_MM)
        for end, inner in ((0, 1), (-1, -2))[: 2 if part == "lateral" else 1]:
            if part != "cochlea":
                _cut(
                    field, canvas, tube.points_mm[end], tube.points_mm[end] - tube.points_mm[inner]
                )
        nearer = inside & (field < best)
        labels[nearer] = _label(part)
        best = np.minimum(best, field)
    return _without_hook(labels, shape, canvas)


def _label(part: str) -> int:
    return 1 + PARTS.index(part)


def _cut(field: Field, canvas: Canvas, end_mm: FloatArray, outward: FloatArray) -> None:
    """Take away what a tube's last ball paints beyond the tube's end."""
    window = canvas.window(canvas.ijk(end_mm[None])[0], 2.0)
    if window is not None:
        ahead = canvas.along(unit(outward), end_mm)[window]
        field[window][ahead > 0] = FAR_MM


def _from_border(crus: Tube) -> Tube:
    """The crus from its measured border with the vestibule on; it is drawn from deeper within."""
    data = ear_statistics()["common_crus"]
    start, end = np.asarray(data["start_mm"]), np.asarray(data["end_mm"])
    drawn = float(np.linalg.norm(0.75 * start - start))
    share = drawn / (drawn + float(np.linalg.norm(end - start)))
    first = round(share * (len(crus.points_mm) - 1))
    return Tube(crus.points_mm[first:], crus.radii_mm[first:], crus.axes[first:])


def _without_hook(labels: NDArray[np.uint8], shape: Labyrinth, canvas: Canvas) -> NDArray[np.uint8]:
    """What lies before the cochlea's first section is the vestibule's."""
    cochlear = np.argwhere(labels == _label("cochlea"))
    points = canvas.pose.to_canonical(canvas.grid.to_mm(cochlear))
    out = shape.cochlea.points_mm[0] - shape.apex_mm
    out = out - (out @ shape.axis) * shape.axis
    ahead = np.cross(shape.axis, unit(out))
    moved = points - shape.apex_mm
    behind = (moved @ ahead < 0) & (moved @ out > 0.6 * out @ out)
    labels[tuple(cochlear[behind].T)] = _label("vestibule")
    return labels
