"""Rendered temporal bones stored on disk; training uses each with many scanners and angles."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otovox.core.anatomy import LANDMARK_NAMES, POSE_NAMES, Side
from otovox.core.geometry import MIDDLE_MM, FloatArray, Pose
from otovox.core.volume import Grid
from otovox.phantom.bone import paint_temporal_bone
from otovox.phantom.canvas import Canvas
from otovox.phantom.disease import draw_diagnosis, malformed
from otovox.phantom.labyrinth import draw_labyrinth
from otovox.phantom.tissues import draw_tissues

#: Shape and spacing of a stored anatomy: 29.4 mm around the labyrinth. Chosen: contains a 19 mm
#: chunk at any angle except for its corners, with voxels finer than the working grid.
SHAPE = (184, 184, 184)
SPACING_MM = 0.16
#: Incremented whenever the phantom changes, so that old files are not reused.
VERSION = 4


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One temporal bone on a canonical grid.

    Attributes:
        hu: (i, j, k) int16 densities before the scanner.
        share: (i, j, k) uint8, labyrinth's fraction of each voxel times 255.
        points_mm: (7, 3) canonical landmarks, `LANDMARK_NAMES + POSE_NAMES`.
    """

    hu: NDArray[np.int16]
    share: NDArray[np.uint8]
    points_mm: FloatArray


def anatomy_grid() -> Grid:
    """The grid of all stored anatomies, in the canonical frame.

    >>> anatomy_grid().spacing_mm.tolist()
    [0.16, 0.16, 0.16]
    """
    return Grid.centred(MIDDLE_MM, SHAPE, spacing_mm=SPACING_MM)


def load_anatomy(folder: Path, seed: int) -> Anatomy:
    """The anatomy of a seed, rendered and stored on first use."""
    path = folder / f"ear-v{VERSION}-{seed:07d}.npz"
    if not path.exists():
        rng = np.random.default_rng([VERSION, seed])
        diagnosis = draw_diagnosis(rng)
        shape = malformed(draw_labyrinth(rng), diagnosis, rng)
        canvas = Canvas(anatomy_grid(), Pose(Side.RIGHT, np.eye(3), np.zeros(3)))
        hu, share = paint_temporal_bone(shape, canvas, draw_tissues(rng), rng, diagnosis=diagnosis)
        points = shape.landmarks.only(LANDMARK_NAMES + POSE_NAMES).points_mm
        folder.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.stem}-{rng.integers(1 << 62)}.tmp.npz")
        np.savez(
            beside,
            hu=np.clip(np.rint(hu), -32000, 32000).astype(np.int16),
            share=np.rint(share * 255).astype(np.uint8),
            points_mm=points,
        )
        beside.replace(path)
    with np.load(path, allow_pickle=False) as kept:
        return Anatomy(kept["hu"], kept["share"], kept["points_mm"])
