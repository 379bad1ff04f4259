"""Masks of drawn ears, for the tests of what measures or serves them."""

from functools import cache

import numpy as np

from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.geometry import MIDDLE_MM, Pose, rotation_from_vector
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid, LabelMap
from otovox.phantom.canvas import Canvas
from otovox.phantom.head import draw_pose
from otovox.phantom.labyrinth import draw_labyrinth, paint


@cache
def drawn_ear(
    side: Side, seed: int = 0, turn_deg: float = 0.0, edge_mm: float = 0.3
) -> tuple[LabelMap, Landmarks, Pose]:
    """The label map of one drawn ear, its landmarks (LPS mm) and its pose."""
    rng = np.random.default_rng([91, seed])
    shape, pose = draw_labyrinth(rng, spread=1.0), draw_pose(side, rng, np.array([40.0, 5, -20]))
    turned = rotation_from_vector(np.radians(turn_deg) * np.array([0.6, 0.0, 0.8])) @ pose.matrix
    pose = Pose(side, turned, pose.origin_mm)
    count = round(24 / edge_mm)
    grid = Grid.centred(pose.to_lps(MIDDLE_MM), (count, count, count), spacing_mm=edge_mm)
    mask = paint(shape, Canvas(grid, pose)) < 0
    points = Landmarks(shape.landmarks.names, pose.to_lps(shape.landmarks.points_mm))
    labels = LabelMap(np.where(mask, side.label, 0).astype(np.uint8), grid)
    return labels, points.only(LANDMARK_NAMES), pose
