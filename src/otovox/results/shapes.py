"""Measured shapes for other tools: the label map of the parts, centrelines, canal planes."""

from collections.abc import Iterator, Sequence

import numpy as np

from otovox.core.anatomy import LABYRINTH, Side
from otovox.core.geometry import FloatArray
from otovox.core.volume import LabelMap
from otovox.formats.markups import Curve, Plane
from otovox.imaging.components import nearest
from otovox.measure.measurements import EarMeasurements
from otovox.measure.parts import PART_OF, STRUCTURES, Part

#: Offset of a left ear's `Part` values in a label map of both ears.
LEFT_OFFSET = 10
#: Edge of a displayed plane relative to its circle's radius: chosen, slightly larger than the
#: canal.
_EDGE = 3.0


def parts_map(labels: LabelMap, measured: Sequence[EarMeasurements]) -> LabelMap:
    """The labyrinths in parts, on the scan's own grid.

    Args:
        labels: 1 right, 2 left labyrinth.
        measured: measurements of the ears.

    Returns:
        `Part` values on the right, those plus `LEFT_OFFSET` on the left; for the voxels
        of `labels`, each with the nearest part on the working grid.
    """
    values = np.zeros(labels.grid.shape, np.uint8)
    for known in measured:
        if known.canals is None:
            continue
        parts, side = known.canals.parts, known.canals.side
        inside = np.argwhere(labels.values == side.label)
        if not (parts.labels.any() and len(inside)):
            continue
        ijk = np.rint(parts.grid.to_ijk(labels.grid.to_mm(inside))).astype(int)
        ijk = np.clip(ijk, 0, np.asarray(parts.grid.shape) - 1)
        every = parts.labels[nearest(parts.labels > 0, parts.grid.spacing_mm)]
        offset = LEFT_OFFSET if side is Side.LEFT else 0
        values[tuple(inside.T)] = every[tuple(ijk.T)] + offset
    return LabelMap(values, labels.grid)


def lines(measured: Sequence[EarMeasurements]) -> list[Curve]:
    """Lateral wall and centre of the cochlea's lumen, and the canals' centrelines."""
    return [curve for known in measured for curve in _lines(known) if len(curve.points_mm) > 1]


def planes(measured: Sequence[EarMeasurements]) -> list[Plane]:
    """The canals' planes."""
    return [
        Plane(
            f"{known.canals.side}/{name}_canal",
            canal.center_mm,
            canal.normal,
            _EDGE * canal.radius_mm,
            STRUCTURES[PART_OF[name]].rgb,
        )
        for known in measured
        if known.canals is not None
        for name, canal in known.canals.canals.items()
        if np.isfinite([*canal.center_mm, *canal.normal, canal.radius_mm]).all()
    ]


def _lines(known: EarMeasurements) -> Iterator[Curve]:
    cochlea, canals = known.cochlea, known.canals
    if cochlea is None or canals is None:
        return
    side = canals.side
    walls: tuple[tuple[str, FloatArray | None, tuple[int, int, int]], ...] = (
        ("lateral_wall", cochlea.wall_mm, STRUCTURES[Part.COCHLEA].rgb),
        ("cochlear_center", cochlea.centre_mm, LABYRINTH[side].rgb),
    )
    for name, points, rgb in walls:
        if points is not None:
            yield Curve(f"{side}/{name}", points, rgb)
    for name, canal in canals.canals.items():
        yield Curve(f"{side}/{name}_canal", canal.line_mm, STRUCTURES[PART_OF[name]].rgb)
