"""Ears drawn for tests of measurements: masks with the shape they were drawn from."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from otovox.anatomy import LANDMARK_NAMES, Side
from otovox.geometry import Pose, mean_pose, rotation_from_vector
from otovox.landmarks import Landmarks
from otovox.phantom.cache import MIDDLE_MM
from otovox.phantom.canvas import Canvas
from otovox.phantom.disease import malformed
from otovox.phantom.labyrinth import Labyrinth, draw_labyrinth, paint
from otovox.volume import Grid

FIELD_MM = 23.0


@dataclass(frozen=True, eq=False)
class Ear:
    """A drawn ear: shape, mask on a grid, reported landmarks in LPS, and pose."""

    shape: Labyrinth
    canvas: Canvas
    mask: NDArray[np.bool_]
    landmarks: Landmarks
    pose: Pose

    @property
    def values(self) -> NDArray[np.float32]:
        return self.mask.astype(np.float32)

    @property
    def grid(self) -> Grid:
        return self.canvas.grid


@cache
def ear(
    seed: int = 0,
    *,
    voxel_mm: tuple[float, float, float] = (0.2, 0.2, 0.2),
    side: Side = Side.RIGHT,
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
    diagnosis: str = "healthy",
) -> Ear:
    """An ear as drawn from a seed: the same one on any grid, side and at any angle."""
    rng = np.random.default_rng([29, seed])
    shape = malformed(draw_labyrinth(rng, spread=1.0), diagnosis, rng)
    usual = mean_pose(side, (12.0, -31.0, 204.0))
    turn = rotation_from_vector(np.radians(turn_deg))
    pose = Pose(side, turn @ usual.matrix, usual.origin_mm)
    i, j, k = (int(n) for n in np.ceil(FIELD_MM / np.asarray(voxel_mm)))
    canvas = Canvas(Grid.centred(pose.to_lps(MIDDLE_MM), (i, j, k), spacing_mm=voxel_mm), pose)
    mask = paint(shape, canvas) < 0
    reported = shape.landmarks.only(LANDMARK_NAMES)
    landmarks = Landmarks(reported.names, pose.to_lps(reported.points_mm))
    return Ear(shape, canvas, mask, landmarks, pose)
