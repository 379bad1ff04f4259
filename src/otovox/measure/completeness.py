"""Completeness of the inner ear: the Likert score of Lim et al. 2024, computed, with reasons.

Five structures count: cochlea, vestibule, three canals. Loops of vestibule and canals are counted
by topology (first Betti number), and each canal is traced from end to end, at several probability
levels. "Missing" means missing in the mask, due to malformation or segmentation.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otovox.core.anatomy import CANONICAL_MM, MODIOLAR_AXIS
from otovox.core.geometry import FloatArray, Pose
from otovox.core.landmarks import Landmarks
from otovox.core.segments import STRUCTURES, Box, Part
from otovox.core.volume import Grid
from otovox.imaging.components import (
    FACE_NEIGHBOURS,
    box_around,
    depth_mm,
    largest,
    nearest,
    pieces,
)
from otovox.measure.parts import PART_OF, Parts, split
from otovox.measure.tori import CANALS, STEP_DEG, USUAL, CanalTrace, Torus, usual_range

#: Probability levels at which loops are counted; a canal counts as closed if it is closed at
#: most of them. Chosen.
LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7)
#: Level of the mask, one of these.
MASK_LEVEL = 0.5
#: Minimum volume of a present cochlea and vestibule, mm3: chosen, a third of the mean minus two SD
#: of 72 ears (73 +- 10.5 and 59 +- 9).
LEAST_MM3 = {Part.COCHLEA: 17.0, Part.VESTIBULE: 14.0}
#: Fraction of a structure's expected region that must be in the field of view to call it missing:
#: chosen.
LEAST_SEEN = 0.98
#: Largest sphere, radius in mm, that fits into a cochlea with turns: chosen, between the hook's
#: lumen (1.3) and the cysts of malformed cochleae.
CYST_MM = 1.75
#: The same near the modiolar axis if the helicotrema was not found, and the distance from the axis,
#: mm: chosen; in simulated ears with voxels of 0.2 to 0.5 mm intact cochleae reach 0.93, cystic
#: ones at least 1.08.
CORE_MM, CORE_REACH_MM = 1.0, 1.5
#: Minimum volume of a cochlea with all its turns, mm3: chosen, mean minus 2.6 SD of 72 ears.
SMALL_MM3 = 46.0
#: Maximum disconnected volume of an uninterrupted cochlea, mm3: chosen.
PIECE_MM3 = 3.0
#: Largest sphere, radius in mm, that fits into a vestibule: chosen; simulated ones reach 1.65, wide
#: ones 1.9, common cavities at least 2.4.
CAVITY_MM = 2.2
#: Half of the arc that is removed to test whether a canal is part of a loop, degrees: chosen.
SLAB_DEG = 12.0


class State(StrEnum):
    """State of a structure."""

    PRESENT = "present"
    MISSING = "missing"
    DISORGANISED = "disorganised"
    CUT = "cut by the field"


@dataclass(frozen=True)
class Betti:
    """Betti numbers of vestibule and canals: pieces, loops, cavities."""

    pieces: int
    loops: int
    cavities: int


@dataclass(frozen=True, eq=False)
class Completeness:
    """Completeness of an inner ear.

    Attributes:
        likert: 1 complete; 2, 3, 4 for one, two, three or more of the five structures missing or
            disorganised (Lim et al. 2024). Structures cut by the field of view do not count.
        states: states of cochlea, vestibule and the three canals.
        reasons: reason for each state other than present.
        betti: Betti numbers of vestibule and canals at level 0.5.
        loops_by_level: first Betti number at each of `LEVELS`.
        bridges: there are more loops than three canals have, so separate parts touch.
        problems: reasons to doubt the score.
    """

    likert: int
    states: dict[Part, State]
    reasons: dict[Part, str]
    betti: Betti
    loops_by_level: dict[float, int]
    bridges: bool
    problems: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the structures that are missing or disorganised."""
        bad = (State.MISSING, State.DISORGANISED)
        return tuple(STRUCTURES[part].name for part, state in self.states.items() if state in bad)

    @property
    def cut(self) -> tuple[str, ...]:
        """Names of the structures that are cut by the field of view."""
        return tuple(
            STRUCTURES[part].name for part, state in self.states.items() if state is State.CUT
        )


def betti_numbers(mask: NDArray[np.bool_]) -> Betti:
    """Betti numbers of a mask, foreground 26-, background 6-connected.

    Args:
        mask: (i, j, k).

    Source: Euler characteristic chi = b0 - b1 + b2, as in scikit-image.

    >>> ring = np.ones((3, 3, 1), dtype=bool)
    >>> ring[1, 1] = False
    >>> betti_numbers(ring)
    Betti(pieces=1, loops=1, cavities=0)
    """
    from skimage.measure import euler_number

    padded = np.pad(mask, 1)
    count = pieces(padded)[1]
    cavities = pieces(~padded, FACE_NEIGHBOURS)[1] - 1
    chi = int(euler_number(padded, connectivity=3))
    return Betti(count, count + cavities - chi, cavities)


def score_completeness(
    values: NDArray[Any],
    grid: Grid,
    landmarks: Landmarks,
    pose: Pose,
    *,
    field: NDArray[np.bool_] | None = None,
    parts: Parts | None = None,
) -> Completeness:
    """Score the completeness of one labyrinth.

    Args:
        values: (i, j, k) mask or probability of the labyrinth, 0..1.
        grid: position of the voxels.
        landmarks: LPS.
        pose: pose of the ear.
        field: (i, j, k) voxels inside the scan's field of view; None if all are.
        parts: result of `split` for the same field, if available.

    Source: Lim et al. 2024, Table 1 (levels); Betti numbers by the Euler characteristic.
    """
    values = np.asarray(values)
    parts = split(values, grid, landmarks, pose) if parts is None else parts
    near, box = _nearest_parts(parts, grid.spacing_mm)
    local = values[box]
    ijk = np.argwhere(local > min(LEVELS))
    canonical_mm = pose.to_canonical(grid.to_mm(ijk + [axis.start for axis in box]))
    betti = {
        level: betti_numbers(largest((local > level) & (near != Part.COCHLEA))) for level in LEVELS
    }
    loops = {level: numbers.loops for level, numbers in betti.items()}
    closed = {
        name: _closed_levels(name, trace, local, near, ijk, canonical_mm)
        for name, trace in parts.traces.items()
    }
    see = _Sight(grid, pose, field)
    judged = {
        Part.COCHLEA: _cochlea(parts, landmarks, see),
        Part.VESTIBULE: _vestibule(parts, see),
    }
    for name in CANALS:
        judged[PART_OF[name]] = _canal(name, parts, see, closed.get(name, 0))
    states = {part: state for part, (state, _) in judged.items()}
    reasons = {part: reason for part, (_, reason) in judged.items() if reason}
    bad = sum(state in (State.MISSING, State.DISORGANISED) for state in states.values())
    present = sum(states[PART_OF[name]] is State.PRESENT for name in CANALS)
    return Completeness(
        likert=min(bad, 3) + 1,
        states=states,
        reasons=reasons,
        betti=betti[MASK_LEVEL],
        loops_by_level=loops,
        bridges=betti[MASK_LEVEL].loops > len(CANALS),
        problems=_problems(betti[MASK_LEVEL], loops, present),
    )


def _closed_levels(
    name: str,
    trace: CanalTrace | None,
    local: NDArray[Any],
    near: NDArray[Any],
    ijk: NDArray[Any],
    canonical_mm: FloatArray,
) -> int:
    """Number of `LEVELS` at which a canal's lumen closes a loop.

    Args:
        name: of the canal.
        trace: its trace, if there is one.
        local, near: (i, j, k) probability, and nearest part, around the labyrinth.
        ijk, canonical_mm: (n, 3) the voxels above the lowest level.
    """
    if trace is None:
        return 0
    angle_deg = np.zeros(local.shape)
    angle_deg[tuple(ijk.T)] = trace.torus.angles_deg(canonical_mm)
    middle_deg = float(np.mean(usual_range(trace.torus, name)))
    return sum(
        _is_loop(
            (local > level) & (near != Part.COCHLEA),
            (local > level) & (near == PART_OF[name]),
            angle_deg - middle_deg,
        )
        for level in LEVELS
    )


class _Sight:
    """Fraction of points inside the scan's field of view."""

    def __init__(self, grid: Grid, pose: Pose, field: NDArray[np.bool_] | None) -> None:
        self.grid, self.pose, self.field = grid, pose, field

    def share(self, canonical_mm: FloatArray) -> float:
        points = self.pose.to_lps(canonical_mm)
        inside = self.grid.contains(points)
        if self.field is not None:
            ijk = np.rint(self.grid.to_ijk(points)).astype(int)
            ijk = np.clip(ijk, 0, np.asarray(self.grid.shape) - 1)
            inside &= self.field[tuple(ijk.T)]
        return float(inside.mean())


def _nearest_parts(parts: Parts, spacing_mm: FloatArray) -> tuple[NDArray[Any], Box]:
    """Part of the nearest labelled voxel, in a box around the labyrinth, and the box."""
    ijk = np.argwhere(parts.labels)
    if not len(ijk):
        return np.zeros((1, 1, 1), np.uint8), (slice(0, 1), slice(0, 1), slice(0, 1))
    box = box_around(ijk, 3)
    labels = parts.labels[box]
    return labels[nearest(labels > 0, spacing_mm)], box


def _is_loop(mask: NDArray[Any], lumen: NDArray[Any], angle_deg: FloatArray) -> bool:
    """Whether a canal, interrupted at its centre, is still connected through its two openings."""
    cut = lumen & (np.abs(angle_deg) < SLAB_DEG)
    if not cut.any():
        return False
    numbers, _ = pieces(mask & ~cut)
    before = lumen & (angle_deg <= -SLAB_DEG) & (angle_deg > -3 * SLAB_DEG)
    after = lumen & (angle_deg >= SLAB_DEG) & (angle_deg < 3 * SLAB_DEG)
    if not before.any() or not after.any():
        return False
    ends = [int(np.bincount(numbers[side]).argmax()) for side in (before, after)]
    return ends[0] == ends[1]


def _arc(torus: Torus, name: str) -> FloatArray:
    """Points of a canal's expected course."""
    low, high = usual_range(torus, name)
    return torus.at(np.linspace(low, high, 60))


def _canal(name: str, parts: Parts, see: _Sight, levels: int) -> tuple[State, str]:
    """State of a canal that is part of a loop at `levels` levels, and the reason."""
    if levels > len(LEVELS) // 2:
        return State.PRESENT, ""
    trace = parts.traces[name]
    seen = see.share(_arc(USUAL[name] if trace is None else trace.torus, name))
    if seen < LEAST_SEEN:
        course = f"{seen:.0%} of the {name} canal's expected course"
        return State.CUT, f"{course} lies in the field of view"
    if trace is None:
        return State.MISSING, f"no lumen was found where the {name} canal should run"
    if levels:
        return State.MISSING, (
            f"the loop of the {name} canal is closed only at {levels} of {len(LEVELS)} "
            "probability levels"
        )
    covered_deg = len(trace.angle_deg) * STEP_DEG
    return State.MISSING, (
        f"the loop of the {name} canal is not closed: only {covered_deg:.0f} degrees were found"
    )


def _cochlea(parts: Parts, landmarks: Landmarks, see: _Sight) -> tuple[State, str]:
    """State of the cochlea, and the reason."""
    angle = np.radians(np.arange(0, 360, 20))
    # Around the centre of the mean cochlea of 72 ears, at the radius of its basal turn.
    ring = np.stack([np.full(18, 2.3), 5.2 + 3.6 * np.cos(angle), -2.8 + 3.0 * np.sin(angle)], 1)
    seen = see.share(ring)
    volume = parts.volumes_mm3[Part.COCHLEA]
    if seen < LEAST_SEEN:
        return State.CUT, f"{seen:.0%} of the cochlea's expected outline lies in the field of view"
    if volume < LEAST_MM3[Part.COCHLEA]:
        return State.MISSING, f"voxels of the cochlea: {volume:.0f} mm3"
    deepest, core = _depths_mm(parts, see.pose)
    lost = not landmarks.has("helicotrema")
    if deepest > CYST_MM or (lost and core > CORE_MM):
        also = "the helicotrema was not found, and " if lost else ""
        width = deepest if deepest > CYST_MM else core
        return State.DISORGANISED, f"{also}a sphere of {width:.1f} mm radius fits into the cochlea"
    if volume < SMALL_MM3:
        return State.DISORGANISED, f"the cochlea is small: {volume:.0f} mm3"
    apart = _pieces_mm3(parts, (Part.COCHLEA, Part.VESTIBULE))
    if len(apart) > 1 and apart[1] > PIECE_MM3:
        return State.DISORGANISED, (
            f"the cochlea is interrupted: {apart[1]:.0f} mm3 of it or the vestibule are separate"
        )
    return State.PRESENT, ""


def _vestibule(parts: Parts, see: _Sight) -> tuple[State, str]:
    """State of the vestibule, and the reason."""
    volume = parts.volumes_mm3[Part.VESTIBULE]
    seen = see.share(np.concatenate([2.0 * np.eye(3), -2.0 * np.eye(3)]))
    if seen < LEAST_SEEN:
        outline = f"{seen:.0%} of the vestibule's expected outline"
        return State.CUT, f"{outline} lies in the field of view"
    if volume < LEAST_MM3[Part.VESTIBULE]:
        return State.MISSING, f"voxels of the vestibule: {volume:.0f} mm3"
    ijk, depth = _depth_mm(parts, Part.VESTIBULE)
    if len(ijk) and depth.max() > CAVITY_MM:
        reason = f"a sphere of {depth.max():.1f} mm radius fits into the vestibule"
        return State.DISORGANISED, reason
    return State.PRESENT, ""


def _depths_mm(parts: Parts, pose: Pose) -> tuple[float, float]:
    """Radii of largest spheres in the lumen, centred in the cochlea: anywhere, near the axis."""
    ijk, depth = _depth_mm(parts, Part.COCHLEA)
    moved = pose.to_canonical(parts.grid.to_mm(ijk)) - np.asarray(CANONICAL_MM["helicotrema"])
    aside = np.linalg.norm(np.cross(moved, MODIOLAR_AXIS), axis=1)
    core = depth[aside < CORE_REACH_MM]
    return float(depth.max(initial=0.0)), float(core.max(initial=0.0))


def _depth_mm(parts: Parts, part: Part) -> tuple[NDArray[Any], FloatArray]:
    """Voxels of a part, and their distances from the labyrinth's wall."""
    ijk = np.argwhere(parts.labels == part)
    if not len(ijk):
        return ijk, np.empty(0)
    box, spacing = box_around(ijk, 2), parts.grid.spacing_mm
    depth = depth_mm(parts.labels[box] > 0, spacing)
    return ijk, depth[tuple((ijk - [side.start for side in box]).T)] - 0.5 * spacing.mean()


def _pieces_mm3(parts: Parts, of: tuple[Part, ...]) -> list[float]:
    """Volumes of the connected pieces of some parts together, the largest first."""
    numbers, _ = pieces(np.isin(parts.labels, of))
    sizes = np.sort(np.bincount(numbers.ravel())[1:])[::-1]
    return [float(size) * parts.grid.voxel_mm3 for size in sizes]


def _problems(betti: Betti, loops: dict[float, int], closed: int) -> tuple[str, ...]:
    problems = []
    if betti.loops > 3:
        problems.append(
            f"vestibule and canals have {betti.loops} loops, not 3: separate parts touch"
        )
    elif betti.loops != closed:
        problems.append(
            f"{closed} canals were traced from end to end, but vestibule and canals "
            f"have {betti.loops} loops"
        )
    if len(set(loops.values())) > 1:
        counts = ", ".join(f"{count} at {level:g}" for level, count in loops.items())
        problems.append(f"the number of loops depends on the probability level: {counts}")
    return tuple(problems)
