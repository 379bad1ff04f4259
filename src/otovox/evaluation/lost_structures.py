"""The Likert score of Lim et al. 2024 against ground truth (L9): structures that a mask lost.

Mask and ground truth are judged in the same frame by the same rules (`measure.completeness`). Only
what the mask lacks and the ground truth has counts, so that a well segmented malformation scores 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from otovox.core.anatomy import CANONICAL_MM, LANDMARK_NAMES, Side
from otovox.core.case import Case, Prediction
from otovox.core.geometry import Pose, fit_pose
from otovox.core.landmarks import Landmarks
from otovox.core.segments import STRUCTURES, Part
from otovox.core.volume import Grid
from otovox.evaluation.scores import ear_masks
from otovox.imaging.components import box_around
from otovox.imaging.metrics import Mask
from otovox.imaging.resample import resample
from otovox.measure.completeness import State, score_completeness
from otovox.measure.placing import place_ear

#: Grid on which masks are judged, in the ear's frame: chosen, as in the tests of `completeness`.
#: The centre in canonical mm, the shape, and the spacing in mm.
CENTER_MM, SHAPE, SPACING_MM = (0.0, 0.3, 1.0), (110, 120, 120), 0.2
#: Landmarks from which a pose can be fitted; with fewer, the true mask determines it.
LEAST_LANDMARKS = 4
#: What is left of a structure in each state; one that is cut by the field of view counts as lost if
#: the ground truth is not cut.
_RANKS = {State.PRESENT: 2, State.DISORGANISED: 1, State.MISSING: 0, State.CUT: 0}
#: Diagnosis for which the loss of the superior canal alone scores 1. Source: Lim et al. 2024,
#: Qualitative evaluation: "In scans where the sole anomaly was a clinical SSCC dehiscence, without
#: missing concurrent structures, a score of 1 was assigned for matching volume loss."
DEHISCENCE = "canal_dehiscence"


@dataclass(frozen=True)
class Losses:
    """Structures that a predicted labyrinth lost.

    Attributes:
        likert: 1 for none, 2 and 3 for one and two, 4 for three or more of the five; also 1 for the
            superior canal alone if it is dehiscent (Lim et al. 2024, Table 1).
        parts: the lost structures.
    """

    likert: int
    parts: tuple[Part, ...]

    @property
    def names(self) -> str:
        """Names of the lost structures, separated by spaces.

        >>> Losses(3, (Part.ANTERIOR, Part.COCHLEA)).names
        'anterior_canal cochlea'
        """
        return " ".join(STRUCTURES[part].name for part in self.parts)


def case_losses(prediction: Prediction, case: Case) -> Iterator[tuple[Side, Losses | None]]:
    """Losses of every true ear of a case; all structures are lost if it was not detected.

    Args:
        prediction: prediction for the case's scan.
        case: the case with labels on the same grid.

    Returns:
        Pairs as from `structures_lost`, by true side.

    >>> from otovox.core.volume import LabelMap, Scan
    >>> grid, empty = Grid((4, 4, 4), np.eye(4)), np.zeros((4, 4, 4), np.uint8)
    >>> case = Case(Scan(np.zeros((4, 4, 4), np.float32), grid), LabelMap(empty, grid), {})
    >>> prediction = Prediction(case.scan, (), case.labels, np.zeros((4, 4, 4), np.float32))
    >>> list(case_losses(prediction, case))  # neither ear is in the scan
    []
    """
    for side, (predicted, _) in ear_masks(prediction, case).items():
        yield side, structures_lost(predicted, case, side)


def structures_lost(predicted: Mask, case: Case, side: Side) -> Losses | None:
    """Compare the structures of a predicted labyrinth with those of the true one.

    Args:
        predicted: (i, j, k) the prediction, on the scan's grid.
        case: scan, labels, landmarks; its `diagnosis` decides on the exception for dehiscence.
        side: of the true ear.

    Returns:
        The losses; None if the ground truth shows no structure of an ear.

    Source: Lim et al. 2024, Table 1 and Qualitative evaluation (L9).
    """
    true = case.labels.values == side.label
    pose = _true_pose(true, case, side)
    if pose is None:
        return None
    truth, states = (_states(mask, case, pose) for mask in (true, predicted))
    judged = [part for part, state in truth.items() if state is not State.CUT and _RANKS[state]]
    if not judged:
        return None
    lost = tuple(part for part in judged if _RANKS[states[part]] < _RANKS[truth[part]])
    excepted = case.facts.get("diagnosis") == DEHISCENCE and lost == (Part.ANTERIOR,)
    return Losses(1 if excepted else min(len(lost), 3) + 1, lost)


def _true_pose(true: Mask, case: Case, side: Side) -> Pose | None:
    """The pose of the true ear, from its landmarks or else from its shape."""
    marked = case.landmarks.get(side)
    names = () if marked is None else tuple(n for n in marked.names if n in CANONICAL_MM)
    if marked is not None and sum(map(marked.has, names)) >= LEAST_LANDMARKS:
        return fit_pose(names, marked.only(names).points_mm, side)
    box = box_around(np.argwhere(true), 4)
    ear = true[box]
    i, j, k = ear.shape
    return place_ear(ear, case.labels.grid.crop([axis.start for axis in box], (i, j, k)), side)


def _states(mask: Mask, case: Case, pose: Pose) -> dict[Part, State]:
    """States of the structures of a mask in the true ear's frame."""
    scan = case.labels.grid
    grid = Grid.centred(
        pose.to_lps(np.array(CENTER_MM)), SHAPE, spacing_mm=SPACING_MM, directions=pose.matrix
    )
    values = resample(mask.astype(np.float32), scan, grid)
    marked = case.landmarks.get(pose.side)
    points_mm = [
        marked[name] if marked is not None and marked.has(name) else usual_mm
        for name, usual_mm in zip(
            LANDMARK_NAMES,
            pose.to_lps([CANONICAL_MM[name] for name in LANDMARK_NAMES]),
            strict=True,
        )
    ]
    landmarks = Landmarks(LANDMARK_NAMES, np.array(points_mm))
    return score_completeness(values, grid, landmarks, pose, field=grid.inside(scan)).states
