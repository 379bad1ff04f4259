"""Vestibule and canals in numbers: planes, radii, lengths, angles and the volume of every part."""

import dataclasses
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from otovox.anatomy import CANALS, Part, Side
from otovox.geometry import FloatArray, Pose, unit
from otovox.landmarks import Landmarks
from otovox.measure.circle import Circle, fit_circle
from otovox.measure.lumen import canonical_lumen, outside
from otovox.measure.parts import lines_of, split
from otovox.measure.template import along
from otovox.measure.trace import Traced, trace
from otovox.volume import Grid

#: Canonical directions about which a head's turn excites each canal of a right ear (right-hand
#: rule). Source: Della Santina 2005, table 1A, whose right vectors are the opposite, inhibitory
#: ones; the angles between canals are the same.
EXCITING = {
    Part.ANTERIOR: np.array([0.0, 1.0, 0.0]),
    Part.POSTERIOR: np.array([1.0, 0.0, 0.0]),
    Part.LATERAL: np.array([0.0, 0.0, -1.0]),
}
#: Share of a canal's line that must have lumen for its plane, and for its length, to be told:
#: chosen; from 70 % of an arc, which is no plane curve, a normal was off by 11 degrees.
SEEN_FOR_PLANE, SEEN_FOR_LENGTH = 0.8, 0.97
#: Beyond this a fitted radius is none of a canal's, mm: chosen, 7 SD of 72 labyrinths.
_RADIUS_MM = (1.2, 5.0)


@dataclass(frozen=True, eq=False)
class Canal:
    """One semicircular canal. The centreline runs from the ampulla to the crus or the vestibule.

    Attributes:
        part: which canal.
        centreline_mm: (n, 3) LPS.
        lumen_radius_mm: (n,) of the circle as large as the lumen's section; 0 where there is none.
        centre_mm: (3,) LPS centre of the fitted circle.
        normal: (3,) LPS unit normal of its plane: a turn of the head about it, by the right hand,
            excites the canal.
        radius_mm: of the circle, to the lumen's middle.
        mean_lumen_radius_mm: over the whole line, ampulla included.
        narrowest_mm: least lumen radius where the lumen goes on.
        length_mm: of the centreline; nan where it is interrupted.
        arc_deg: angle that the centreline spans about the circle's centre; nan likewise.
        coverage: share of the line that has lumen, 0 to 1.
        out_of_plane_mm: root mean square distance of the centreline from its plane.
        out_of_circle_mm: the same from the circle, within the plane.
    """

    part: Part
    centreline_mm: FloatArray
    lumen_radius_mm: FloatArray
    centre_mm: FloatArray
    normal: FloatArray
    radius_mm: float
    mean_lumen_radius_mm: float
    narrowest_mm: float
    length_mm: float
    arc_deg: float
    coverage: float
    out_of_plane_mm: float
    out_of_circle_mm: float


@dataclass(frozen=True, eq=False)
class Canals:
    """The vestibular organ of one ear.

    Attributes:
        side: of the ear.
        canals: those that could be measured.
        angles_deg: between the signed normals of two canals, by (first, second).
        volumes_mm3: of every part; 0 where it has no voxels.
        parts: (i, j, k) `Part.label` on the grid of the input.
        traced: every canal's line, canonical mm, measured or not.
        problems: sentences: what is withheld, and why.
    """

    side: Side
    canals: dict[Part, Canal] = dataclasses.field(default_factory=dict)
    angles_deg: dict[tuple[Part, Part], float] = dataclasses.field(default_factory=dict)
    volumes_mm3: dict[Part, float] = dataclasses.field(default_factory=dict)
    parts: NDArray[np.uint8] = dataclasses.field(
        default_factory=lambda: np.zeros((1, 1, 1), np.uint8)
    )
    traced: dict[Part, Traced] = dataclasses.field(default_factory=dict)
    problems: tuple[str, ...] = ()


def measure_canals(
    values: NDArray, grid: Grid, landmarks: Landmarks, pose: Pose, *, field: Grid | None = None
) -> Canals:
    """Measure canals and parts of one labyrinth.

    Args:
        values: (i, j, k) probability or mask, 0 to 1, on `grid`; above 0.5 is labyrinth.
        grid: where the voxels lie.
        landmarks: of the ear, LPS mm; nan where absent.
        pose: where the ear lies.
        field: the scan's, where it is smaller than `grid`.

    Returns:
        What could be measured, and the reasons for what could not.
    """
    if not (values > 0.5).any():
        return Canals(pose.side, problems=("there is no labyrinth to measure",))
    lumen = canonical_lumen(values, grid, pose)
    seen = Landmarks(landmarks.names, pose.to_canonical(landmarks.points_mm))
    template, traced = trace(lumen, seen)
    parts = split(values, grid, pose, lines_of(lumen, template, traced, seen), template)
    counts = np.bincount(parts.ravel(), minlength=len(Part) + 1)
    canals: dict[Part, Canal] = {}
    problems: list[str] = []
    for part in CANALS:
        cut = outside(traced[part].points_mm, pose, (grid,) if field is None else (grid, field))
        canal, problem = _canal(part, traced[part], pose, float(cut.mean()))
        problems += [problem] if problem else []
        if canal is not None:
            canals[part] = canal
    return Canals(
        side=pose.side,
        canals=canals,
        angles_deg=angles_between({part: canal.normal for part, canal in canals.items()}),
        volumes_mm3={part: float(counts[part.label]) * grid.voxel_mm3 for part in Part},
        parts=parts,
        traced=traced,
        problems=tuple(problems),
    )


def angles_between(normals: dict[Part, FloatArray]) -> dict[tuple[Part, Part], float]:
    """Angles between the signed normals of two canals each, degrees, 0 to 180."""
    return {
        (a, b): float(np.degrees(np.arccos(np.clip(normals[a] @ normals[b], -1, 1))))
        for a, b in combinations([part for part in CANALS if part in normals], 2)
    }


def plane_of(line: Traced) -> Circle:
    """The circle fitted to a canal's line where it has lumen."""
    return fit_circle(line.points_mm[line.seen])


def _canal(part: Part, line: Traced, pose: Pose, cut: float) -> tuple[Canal | None, str]:
    """A canal's numbers, or the reason why there are none; both if some are withheld."""
    name = part.replace("_", " ")
    coverage = float(line.seen.mean())
    told = f", {cut:.0%} lies outside the field" if cut else ""
    if coverage < SEEN_FOR_PLANE:
        return None, f"{name}: only {coverage:.0%} of its usual way is a lumen{told}"
    circle = plane_of(line)
    if not _RADIUS_MM[0] < circle.radius_mm < _RADIUS_MM[1]:
        return None, f"{name}: a circle of radius {circle.radius_mm:.1f} mm is none of a canal"
    radii = np.where(line.seen, np.sqrt(line.areas_mm2 / np.pi), 0.0)
    height, radial = circle.residuals_mm(line.points_mm[line.seen])
    whole = coverage >= SEEN_FOR_LENGTH
    normal = unit(circle.normal)
    if normal @ EXCITING[part] < 0:
        normal = -normal
    # A turn is a pseudovector: a mirror leaves its direction along itself alone, and so does this.
    handed = float(np.sign(np.linalg.det(pose.matrix)))
    canal = Canal(
        part=part,
        centreline_mm=pose.to_lps(line.points_mm),
        lumen_radius_mm=radii,
        centre_mm=pose.to_lps(circle.centre_mm[None])[0],
        normal=handed * pose.matrix @ normal,
        radius_mm=circle.radius_mm,
        mean_lumen_radius_mm=float(radii[line.seen].mean()),
        narrowest_mm=float(radii[line.seen].min()),
        length_mm=float(along(line.points_mm)[-1]) if whole else float("nan"),
        arc_deg=_arc_deg(circle, line.points_mm) if whole else float("nan"),
        coverage=coverage,
        out_of_plane_mm=float(np.sqrt(np.mean(height**2))),
        out_of_circle_mm=float(np.sqrt(np.mean(radial**2))),
    )
    problem = f"{name}: its lumen is interrupted, its length is not told{told}" if not whole else ""
    return canal, problem


def _arc_deg(circle: Circle, points: FloatArray) -> float:
    """Angle from a line's first to its last point about a circle's centre, on the line's way."""
    turned = np.unwrap(np.radians(circle.angles_deg(points, points[len(points) // 2])))
    return float(np.degrees(abs(turned[-1] - turned[0])))
