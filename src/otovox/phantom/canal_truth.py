"""True measurements of a simulated vestibular organ, from centrelines and radii, without a mask.

The borders are those used by `measure.parts`. A canal ends at the planes across the ends of its
centreline, where it opens into the vestibule; at the crus, and everywhere else, a point belongs to
the shape inside which it is deepest. The cochlea begins at the half-plane through the modiolar axis
at its first section.
"""

import numpy as np
from numpy.typing import NDArray

from otovox.core.ear_statistics import ear_statistics
from otovox.core.geometry import FloatArray, unit
from otovox.phantom.canvas import FAR_MM, Canvas, Field
from otovox.phantom.labyrinth import Labyrinth, paint
from otovox.phantom.tubes import Tube

#: Parts in the order of their values from 1, as in `measure.parts.Part`.
PARTS = ("cochlea", "vestibule", "anterior", "posterior", "lateral", "crus")
#: Range around a shape in which its distance is painted, mm: chosen, as in `labyrinth.paint`.
_REACH_MM = 0.8


def canal_tube(shape: Labyrinth, name: str) -> Tube:
    """A simulated canal from end to end, without its tails in vestibule and crus.

    Args:
        shape: a labyrinth from `draw_labyrinth`.
        name: name of one of its canals.

    Returns:
        The tube, canonical mm; its ends are the transformed ends of the mean ear's canal.
    """
    tube = shape.canals[name]
    # Tails are straight and round, and the only sections with the axes of the frame.
    own = ~np.all(tube.axes == np.eye(3), axis=(1, 2))
    return Tube(tube.points_mm[own], tube.radii_mm[own], tube.axes[own])


def true_parts(shape: Labyrinth, canvas: Canvas) -> NDArray[np.uint8]:
    """Label map of the parts of a simulated ear.

    Args:
        shape: a labyrinth from `draw_labyrinth`, with any diagnosis.
        canvas: the grid.

    Returns:
        (i, j, k) uint8, 0 outside, otherwise 1 + the index in `PARTS`.
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
    """Remove what the last sphere of a tube paints beyond the tube's end."""
    window = canvas.window(canvas.ijk(end_mm[None])[0], 2.0)
    if window is not None:
        ahead = canvas.along(unit(outward), end_mm)[window]
        field[window][ahead > 0] = FAR_MM


def _from_border(crus: Tube) -> Tube:
    """The crus from its measured border with the vestibule; it is drawn from further inside."""
    data = ear_statistics()["common_crus"]
    start, end = np.asarray(data["start_mm"]), np.asarray(data["end_mm"])
    drawn = float(np.linalg.norm(0.75 * start - start))
    share = drawn / (drawn + float(np.linalg.norm(end - start)))
    first = round(share * (len(crus.points_mm) - 1))
    return Tube(crus.points_mm[first:], crus.radii_mm[first:], crus.axes[first:])


def _without_hook(labels: NDArray[np.uint8], shape: Labyrinth, canvas: Canvas) -> NDArray[np.uint8]:
    """Assign everything before the cochlea's first section to the vestibule."""
    cochlear = np.argwhere(labels == _label("cochlea"))
    points = canvas.pose.to_canonical(canvas.grid.to_mm(cochlear))
    out = shape.cochlea.points_mm[0] - shape.apex_mm
    out = out - (out @ shape.axis) * shape.axis
    ahead = np.cross(shape.axis, unit(out))
    moved = points - shape.apex_mm
    behind = (moved @ ahead < 0) & (moved @ out > 0.6 * out @ out)
    labels[tuple(cochlear[behind].T)] = _label("vestibule")
    return labels
