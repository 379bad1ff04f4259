"""The Likert score against ground truth, on drawn ears with known gaps (L9)."""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from otovox.core.anatomy import CANONICAL_MM, Side
from otovox.core.case import Case
from otovox.core.geometry import mean_pose
from otovox.core.landmarks import Landmarks
from otovox.core.segments import Part
from otovox.core.volume import Grid, LabelMap, Scan
from otovox.evaluation.lost_structures import Losses, structures_lost
from otovox.phantom.canvas import Canvas, occupancy
from otovox.phantom.disease import malformed
from otovox.phantom.labyrinth import draw_labyrinth, paint

POSE = mean_pose(Side.RIGHT)
GRID = Grid.centred(
    POSE.to_lps(np.array([0.0, 0.3, 1.0])), (64, 74, 74), spacing_mm=0.3, directions=POSE.matrix
)


@cache
def case(diagnosis: str = "healthy", *, shape: str = "", seed: int = 100) -> Case:
    """An ear with a diagnosis, whose labyrinth has the shape of another one."""
    rng = np.random.default_rng(seed)
    drawn = malformed(draw_labyrinth(rng, spread=1.0), shape or diagnosis, rng)
    canvas = Canvas(GRID, POSE)
    mask = occupancy(paint(drawn, canvas), canvas.spacing_mm) > 0.5
    labels = LabelMap(mask.astype(np.uint8), GRID)
    points = Landmarks(drawn.landmarks.names, POSE.to_lps(drawn.landmarks.points_mm))
    scan = Scan(mask.astype(np.float32), GRID, "drawn")
    return Case(scan, labels, {Side.RIGHT: points}, {"diagnosis": diagnosis})


def without(mask: NDArray[np.bool_], *landmarks: str) -> NDArray[np.bool_]:
    """A mask with a hole of 2 mm radius at each of the usual landmarks."""
    places = GRID.to_mm(np.moveaxis(np.indices(GRID.shape), 0, -1).reshape(-1, 3))
    for name in landmarks:
        at_mm = POSE.to_lps(np.array(CANONICAL_MM[name]))
        near = np.linalg.norm(places - at_mm, axis=1).reshape(GRID.shape) < 2
        mask = mask & ~near
    return mask


def lost(truth: Case, *landmarks: str) -> Losses:
    mask = without(truth.labels.values == Side.RIGHT.label, *landmarks)
    losses = structures_lost(mask, truth, Side.RIGHT)
    assert losses is not None
    return losses


@pytest.mark.parametrize("diagnosis", ["healthy", "absent_lateral_canal", "common_cavity"])
def test_a_mask_like_its_ground_truth_scores_1_whatever_is_malformed(diagnosis: str) -> None:
    assert lost(case(diagnosis)) == Losses(1, ())


def test_every_interrupted_canal_counts() -> None:
    assert lost(case(), "anterior_arc") == Losses(2, (Part.ANTERIOR,))
    two = lost(case(), "anterior_arc", "lateral_arc")
    assert (two.likert, set(two.parts)) == (3, {Part.ANTERIOR, Part.LATERAL})
    three = lost(case(), "anterior_arc", "lateral_arc", "posterior_arc")
    assert (three.likert, len(three.parts)) == (4, 3)
    assert lost(case(), "anterior_arc").names == "anterior_canal"


def test_what_the_ear_lacks_anyway_does_not_count() -> None:
    assert lost(case("absent_lateral_canal"), "anterior_arc").parts == (Part.ANTERIOR,)
    assert lost(case("absent_lateral_canal"), "lateral_arc").likert == 1


def test_the_loss_of_a_dehiscent_superior_canal_alone_scores_1() -> None:
    dehiscent = case("canal_dehiscence")
    assert lost(dehiscent, "anterior_arc") == Losses(1, (Part.ANTERIOR,))
    assert lost(dehiscent, "lateral_arc").likert == 2
    assert lost(dehiscent, "anterior_arc", "lateral_arc").likert == 3


def test_an_empty_mask_lost_everything() -> None:
    losses = structures_lost(np.zeros(GRID.shape, bool), case(), Side.RIGHT)
    assert losses is not None
    assert (losses.likert, len(losses.parts)) == (4, 5)


def test_without_landmarks_the_true_mask_gives_the_pose() -> None:
    bare = Case(case().scan, case().labels, {}, {})
    assert lost(bare).likert == 1
    assert lost(bare, "anterior_arc").parts == (Part.ANTERIOR,)


def test_a_ground_truth_that_shows_no_ear_is_not_judged() -> None:
    values = np.zeros(GRID.shape, np.uint8)
    values[0:2, 0:2, 0:2] = Side.RIGHT.label
    speck = Case(case().scan, LabelMap(values, GRID), {}, {})
    assert structures_lost(values > 0, speck, Side.RIGHT) is None
