"""Which of the five structures of a labyrinth are there: the Likert score of Lim et al. 2024.

A canal is there if its loop is closed. The loops are counted by the Euler characteristic of
vestibule and canals without the cochlea, whose turns touch and would add loops of their own; a
loop is a canal's if it opens when a slice of that canal is taken away. "Not found" is not "failed":
a malformed ear is told as it is, and what lies outside the scan's field is told as cut.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import euler_number

from otovox.anatomy import CANALS, CANONICAL_MM, Part
from otovox.geometry import FloatArray, Pose, affine_from
from otovox.landmarks import Landmarks
from otovox.measure.lumen import SPACING_MM, canonical_lumen, outside
from otovox.measure.parts import lines_of, split
from otovox.measure.trace import LEAST_MM2, Traced, trace
from otovox.volume import Grid

#: The five structures of Lim et al. 2024.
STRUCTURES = (Part.COCHLEA, Part.VESTIBULE, *CANALS)
#: Probabilities at which loops are counted; most of them decide. Chosen.
LEVELS = (0.3, 0.4, 0.5, 0.6, 0.7)
#: Below these a cochlea and a vestibule are missing, mm3: chosen, a quarter of the means of 72
#: labyrinths (73.2 and 59.2).
MISSING_MM3 = {Part.COCHLEA: 18.0, Part.VESTIBULE: 15.0}
#: Outside these they are disorganised, mm3: chosen, about 3 SD of 72 labyrinths below the mean
#: cochlea (73.2 +- 10.5), 5 SD above the mean vestibule (59.2 +- 8.8), as cavities are.
DISORGANISED_MM3 = {Part.COCHLEA: (42.0, np.inf), Part.VESTIBULE: (0.0, 103.0)}
#: Half the slice that is taken out of a canal, in stations of its line: chosen, 1.25 mm in all.
_SLICE = 2

_ALL = ndimage.generate_binary_structure(3, 3)


class State(StrEnum):
    """What is told of a structure."""

    PRESENT = "present"
    MISSING = "missing"
    DISORGANISED = "disorganised"
    CUT = "cut by the field"


@dataclass(frozen=True)
class Betti:
    """Pieces, loops and cavities of a mask, foreground 26-, background 6-connected."""

    pieces: int
    loops: int
    cavities: int


@dataclass(frozen=True)
class Completeness:
    """How complete a labyrinth is.

    Attributes:
        score: 1 complete, 2 and 3 with one and two structures missing or disorganised, 4 with three
            or more; None where there is nothing to judge.
        states: of the five structures.
        reasons: why a structure is told as anything but present.
        betti: by probability level, of vestibule and canals as they are.
        loops: by level, of their largest piece with its cavities filled; 3 in a usual ear.
        bridges: more loops than canals: something joins what is separate in a usual ear.
        doubtful: canals whose loop is closed at some levels only.
        problems: sentences for the user.
    """

    score: int | None
    states: dict[Part, State]
    reasons: dict[Part, str]
    betti: dict[float, Betti]
    loops: dict[float, int]
    bridges: bool
    doubtful: tuple[Part, ...]
    problems: tuple[str, ...]

    def those(self, state: State) -> tuple[Part, ...]:
        """Structures in a state."""
        return tuple(part for part, found in self.states.items() if found is state)


def betti_numbers(mask: NDArray[np.bool_]) -> Betti:
    """Count pieces, loops and cavities: loops = pieces + cavities - Euler characteristic.

    Args:
        mask: (i, j, k); beyond it is background.
    """
    padded = np.pad(mask, 1)
    pieces = int(ndimage.label(padded, _ALL)[1])  # pyright: ignore[reportIndexIssue]
    cavities = int(ndimage.label(~padded)[1]) - 1  # pyright: ignore[reportIndexIssue]
    return Betti(pieces, pieces + cavities - int(euler_number(padded, connectivity=3)), cavities)


def score_completeness(
    values: NDArray, grid: Grid, landmarks: Landmarks, pose: Pose, *, field: Grid | None = None
) -> Completeness:
    """Tell which structures of a labyrinth are there.

    Args:
        values: (i, j, k) probability or mask, 0 to 1, on `grid`.
        grid: where the voxels lie.
        landmarks: of the ear, LPS mm; nan where absent.
        pose: where the ear lies.
        field: the scan's, where it is smaller than `grid`.

    Source: Lim et al. 2024 (the score); the computation is ours.
    """
    if not (values > 0.5).any():
        sentence = "there is no labyrinth to judge"
        return Completeness(None, {}, {}, {}, {}, False, (), (sentence,))
    fields = (grid,) if field is None else (grid, field)
    lumen = canonical_lumen(values, grid, pose)
    seen = Landmarks(landmarks.names, pose.to_canonical(landmarks.points_mm))
    template, traced = trace(lumen, seen)
    affine = affine_from(np.eye(3) * SPACING_MM, lumen.low_mm)
    i, j, k = lumen.values.shape
    here = Grid((i, j, k), affine)
    still = Pose(pose.side, np.eye(3), np.zeros(3))
    lines = lines_of(lumen, template, traced, seen)
    parts = split(lumen.values, here, still, lines, template, level=min(LEVELS))
    window = ndimage.find_objects((parts > 0).astype(np.int32))[0]
    corner = here.to_mm([axis.start for axis in window])
    organ = _Organ(lumen.values[window], parts[window], corner, traced)

    betti, loops = {}, {}
    closed = dict.fromkeys(CANALS, 0)
    for level in LEVELS:
        betti[level], loops[level], canals = organ.loops(level)
        for part in canals:
            closed[part] += 1
    states: dict[Part, State] = {}
    reasons: dict[Part, str] = {}
    for part in STRUCTURES:
        if part in CANALS:
            state, reason = _canal(
                part, closed[part], traced[part], outside(traced[part].points_mm, pose, fields)
            )
        else:
            volume = float(np.count_nonzero((parts == part.label) & (lumen.values > 0.5)))
            places = template.lines[Part.COCHLEA].points_mm
            places = places if part is Part.COCHLEA else template.place.shift[None]
            cut = bool(outside(places, pose, fields).any())
            state, reason = _body(part, volume * SPACING_MM**3, cut, landmarks, pose, fields)
        states[part] = state
        if reason:
            reasons[part] = reason
    lacking = [s for s in states.values() if s in (State.MISSING, State.DISORGANISED)]
    problems = []
    bridges = bool(np.median(list(loops.values())) > len(CANALS))
    if bridges:
        problems.append(
            "there are more loops than canals: something bridges them, or the mask is torn"
        )
    if State.CUT in states.values():
        problems.append("the score leaves out what the scan's field cuts")
    doubtful = tuple(part for part in CANALS if 0 < closed[part] < len(LEVELS))
    return Completeness(
        1 + min(len(lacking), 3), states, reasons, betti, loops, bridges, doubtful, tuple(problems)
    )


@dataclass(frozen=True, eq=False)
class _Organ:
    """A labyrinth on the canonical grid: values, parts, where the first voxel lies, and lines."""

    values: NDArray[np.float32]
    parts: NDArray[np.uint8]
    low_mm: FloatArray
    traced: dict[Part, Traced]

    def loops(self, level: float) -> tuple[Betti, int, list[Part]]:
        """Betti numbers, loops of the largest piece, and the canals whose loops are closed."""
        mask = (self.values > level) & (self.parts > 0) & (self.parts != Part.COCHLEA.label)
        raw = betti_numbers(mask)
        if raw.pieces == 0:
            return raw, 0, []
        whole = np.asarray(ndimage.binary_fill_holes(_largest(mask)), dtype=bool)
        count = betti_numbers(whole).loops
        return raw, count, [part for part in CANALS if self._opens(part, whole, count)]

    def _opens(self, part: Part, whole: NDArray[np.bool_], count: int) -> bool:
        """Whether a loop opens when a slice of a canal is taken away."""
        line = self.traced[part]
        middle = len(line.points_mm) // 2
        # The narrowest place would do, too, but might be where the mask is torn.
        if line.areas_mm2[middle] < LEAST_MM2:
            return False
        own = np.argwhere(whole & (self.parts == part.label))
        points = self.low_mm + own * SPACING_MM
        nearest = np.linalg.norm(points[:, None] - line.points_mm[None], axis=2).argmin(axis=1)
        taken = own[np.abs(nearest - middle) <= _SLICE]
        if not len(taken):
            return False
        rest = whole.copy()
        rest[tuple(taken.T)] = False
        return betti_numbers(rest).loops < count


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels = np.asarray(ndimage.label(mask, _ALL)[0])  # pyright: ignore[reportIndexIssue]
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    return labels == counts.argmax()


def _canal(part: Part, closed: int, line: Traced, cut: NDArray[np.bool_]) -> tuple[State, str]:
    name = part.replace("_", " ")
    if closed > len(LEVELS) // 2:
        return State.PRESENT, ""
    if cut.any():
        return State.CUT, f"{np.mean(cut):.0%} of the {name} lies outside the field"
    if line.middle_seen == 0:
        return State.MISSING, f"nothing is found along the middle of the {name}'s usual way"
    told = f"{line.middle_seen:.0%} of the middle half of its usual way is a lumen"
    return State.MISSING, f"the loop of the {name} is not closed: {told}"


def _body(
    part: Part,
    volume_mm3: float,
    cut: bool,
    landmarks: Landmarks,
    pose: Pose,
    fields: tuple[Grid, ...],
) -> tuple[State, str]:
    """State of cochlea or vestibule, from its volume and landmarks."""
    low, high = DISORGANISED_MM3[part]
    own = ("helicotrema",) if part is Part.COCHLEA else ("oval_window", "round_window")
    absent = [name for name in own if name in landmarks.names and not landmarks.has(name)]
    inside = [
        name for name in absent if not outside(np.array([CANONICAL_MM[name]]), pose, fields).any()
    ]
    small = f"the {part} has {volume_mm3:.0f} mm3"
    if cut and (volume_mm3 < low or len(absent) > len(inside)):
        return State.CUT, f"part of the {part} lies outside the field"
    if volume_mm3 < MISSING_MM3[part]:
        return State.MISSING, small
    if not low <= volume_mm3 <= high:
        return State.DISORGANISED, small
    if len(inside) == len(own):
        names = " and ".join(name.replace("_", " ") for name in inside)
        return State.DISORGANISED, f"the {part} has no {names}"
    return State.PRESENT, ""
