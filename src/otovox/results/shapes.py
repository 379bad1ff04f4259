"""Measured shapes for other tools: the label map of the parts, centrelines, canal planes."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from otovox.core.anatomy import LABYRINTH, Side
from otovox.core.geometry import FloatArray
from otovox.core.segments import STRUCTURES, Part, boxes_of, part_value
from otovox.core.volume import LabelMap
from otovox.formats.markups import Curve, Plane
from otovox.imaging.surfaces import FaceArray
from otovox.measure.measured_scan import Surface
from otovox.measure.measurements import EarMeasurements
from otovox.measure.parts import PART_OF

#: Edge of a displayed plane relative to its circle's radius: chosen, slightly larger than the
#: canal.
_EDGE = 3.0


def parts_map(labels: LabelMap, measured: Sequence[EarMeasurements]) -> LabelMap | None:
    """The parts of the labyrinths, on the scan's own grid.

    Args:
        labels: 1 right, 2 left labyrinth.
        measured: measurements of the ears.

    Returns:
        Values of `core.segments.PARTS` for the voxels of `labels`, each from its nearest part in
        the working grid; None if no ear's shape was measured.

    >>> from types import SimpleNamespace as Some
    >>> from otovox.core.volume import Grid
    >>> labels = LabelMap(np.array([[[0, 2, 2]]]), Grid.centred((0, 0, 0), (1, 1, 3), spacing_mm=2))
    >>> vestibule = Some(part_at=lambda points_mm: np.full(len(points_mm), Part.VESTIBULE))
    >>> ear = Some(canals=Some(side=Side.LEFT, parts=vestibule))
    >>> parts_map(labels, [ear]).values.tolist()
    [[[0, 202, 202]]]
    """
    shaped = [ear.canals for ear in measured if ear.canals is not None]
    if not shaped:
        return None
    values, boxes = np.zeros_like(labels.values), boxes_of(labels.values)
    for canals in shaped:
        if (box := boxes.get(canals.side.label)) is None:
            continue
        inside = np.argwhere(labels.values[box] == canals.side.label)
        inside += [axis.start for axis in box]
        parts = canals.parts.part_at(labels.grid.to_mm(inside))
        values[tuple(inside.T)] = _values(canals.side)[parts]
    return LabelMap(values, labels.grid)


def _values(side: Side) -> NDArray[np.uint8]:
    """Value in the label map by `Part`."""
    return np.array([0, *(part_value(side, part) for part in Part)], np.uint8)


def part_surfaces(
    surfaces: Mapping[Side, Surface], measured: Sequence[EarMeasurements]
) -> dict[Side, dict[Part, FaceArray]]:
    """The faces of each part of the labyrinths' surfaces.

    Args:
        surfaces: per side vertices (n, 3) in LPS mm and faces (m, 3).
        measured: measurements of the ears.

    Returns:
        Per side whose shape was measured, the faces of each part; together all of the surface.

    >>> from types import SimpleNamespace as Some
    >>> vestibule = Some(part_at=lambda points_mm: np.full(len(points_mm), Part.VESTIBULE))
    >>> ear = Some(canals=Some(side=Side.LEFT, parts=vestibule))
    >>> surfaces = {Side.LEFT: (np.eye(3), np.array([[0, 1, 2]]))}
    >>> part_surfaces(surfaces, [ear])[Side.LEFT][Part.VESTIBULE].tolist()
    [[0, 1, 2]]
    """
    faces_of: dict[Side, dict[Part, FaceArray]] = {}
    for ear in measured:
        if ear.canals is None or ear.canals.side not in surfaces:
            continue
        vertices_mm, faces = surfaces[ear.canals.side]
        face_parts = ear.canals.parts.part_at(vertices_mm[faces].mean(axis=1))
        by_part = {part: faces[face_parts == part] for part in Part if (face_parts == part).any()}
        if by_part:
            faces_of[ear.canals.side] = by_part
    return faces_of


def lines(measured: Sequence[EarMeasurements]) -> list[Curve]:
    """Lateral wall and centre of the cochlea's lumen, and the canals' centrelines.

    >>> from types import SimpleNamespace as Some
    >>> cochlea = Some(wall_mm=np.zeros((5, 3)), centre_mm=None)
    >>> ear = Some(cochlea=cochlea, canals=Some(side=Side.LEFT, canals={}))
    >>> [curve.name for curve in lines([ear])]
    ['left/lateral_wall']
    """
    return [curve for ear in measured for curve in _lines(ear) if len(curve.points_mm) > 1]


def planes(measured: Sequence[EarMeasurements]) -> list[Plane]:
    """The canals' planes.

    >>> from types import SimpleNamespace as Some
    >>> canal = Some(center_mm=np.zeros(3), normal=np.array([0, 0, 1]), radius_mm=3.0)
    >>> ear = Some(canals=Some(side=Side.LEFT, canals={"lateral": canal}))
    >>> [(plane.name, plane.edge_mm) for plane in planes([ear])]
    [('left/lateral_canal', 9.0)]
    """
    return [
        Plane(
            f"{ear.canals.side}/{name}_canal",
            canal.center_mm,
            canal.normal,
            _EDGE * canal.radius_mm,
            STRUCTURES[PART_OF[name]].rgb,
        )
        for ear in measured
        if ear.canals is not None
        for name, canal in ear.canals.canals.items()
        if np.isfinite([*canal.center_mm, *canal.normal, canal.radius_mm]).all()
    ]


def _lines(ear: EarMeasurements) -> Iterator[Curve]:
    cochlea, canals = ear.cochlea, ear.canals
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
