"""Looks at one ear: crops run through the fine network, and the mean of several of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from otovox.config.training import TrainConfig
from otovox.core.geometry import FloatArray, cube_turns, rotation_from_vector
from otovox.core.volume import Grid
from otovox.imaging.components import main_piece
from otovox.imaging.intensity import normalise
from otovox.imaging.metrics import Mask, dice
from otovox.imaging.resample import Resampler, resample
from otovox.learning.engine import Engine
from otovox.learning.peaks import decode

#: A landmark whose peak is below this fraction of a full heatmap counts as absent: chosen.
LOWEST_PEAK = 0.25
#: Probability given to voxels above 0.5 that are not connected with the labyrinth: chosen, just
#: below the threshold of the mask.
DISCONNECTED = 0.49
#: The mean uncertainty of an ear includes this many voxels around its mask: chosen.
NEAR_VOXELS = 3

TtaName = Literal["none", "fast", "paper", "full"]


@dataclass(frozen=True)
class Turn:
    """Orientation of a test-time sample in the ear's own frame.

    Attributes:
        vector_deg: rotation vector, degrees.
        mirrored: the crop is mirrored left to right.
    """

    vector_deg: tuple[float, float, float] = (0, 0, 0)
    mirrored: bool = False

    @property
    def matrix(self) -> FloatArray:
        """(3, 3) orthogonal."""
        rotation = rotation_from_vector(np.radians(self.vector_deg))
        return rotation @ np.diag([-1.0, 1.0, 1.0]) if self.mirrored else rotation


def _cube(name: Literal["none", "paper", "full"]) -> tuple[Turn, ...]:
    vectors = Rotation.from_matrix(np.stack(cube_turns(name))).as_rotvec(degrees=True)
    return tuple(Turn((float(x), float(y), float(z))) for x, y, z in vectors)


#: Test-time samples by name. "fast": chosen small, because the second look is already in the
#: ear's own frame; "paper" and "full": see `geometry.cube_turns`.
TTA: dict[str, tuple[Turn, ...]] = {
    "none": _cube("none"),
    "fast": (
        Turn(),
        Turn((8, 0, 0)),
        Turn((-4, 7, 0)),
        Turn((-4, -7, 0)),
        Turn((0, 0, 8), mirrored=True),
    ),
    "paper": _cube("paper"),
    "full": _cube("full"),
}


@dataclass(frozen=True, eq=False)
class Look:
    """Output of the fine network for one crop.

    Attributes:
        values: (i, j, k) the scan.
        probability: (i, j, k) labyrinth.
        grid: grid of the crop.
        points_mm: (n, 3) landmarks of the network, LPS; nan where absent.
        peaks: (n,) heatmap peaks relative to a full heatmap.
    """

    values: NDArray[np.float32]
    probability: NDArray[np.float32]
    grid: Grid
    points_mm: FloatArray
    peaks: FloatArray

    @property
    def clarity(self) -> float:
        """Clarity of the landmarks, 0 to 1: the mean of their clipped peaks."""
        return float(np.clip(self.peaks, 0, 1).mean())


@dataclass(frozen=True, eq=False)
class MeanLook:
    """Means and spreads over the test-time samples of one ear.

    Attributes:
        samples: (s, i, j, k) labyrinth in each sample.
        probability: (i, j, k) their mean; only the connected labyrinth exceeds 0.5.
        spread: (i, j, k) their SD.
        grid: grid of the voxels.
        points_mm: (n, 3) mean landmarks of the network, LPS; nan where most samples lack one.
        sd_mm: (n,) root mean square distances from them; likewise.
        peaks: (n,) mean heatmap peaks relative to a full heatmap.
    """

    samples: NDArray[np.float32]
    probability: NDArray[np.float32]
    spread: NDArray[np.float32]
    grid: Grid
    points_mm: FloatArray
    sd_mm: FloatArray
    peaks: FloatArray

    @property
    def inside(self) -> Mask:
        """(i, j, k) the labyrinth."""
        return self.probability > 0.5

    @property
    def center_mm(self) -> FloatArray:
        """(3,) LPS centroid of the labyrinth."""
        return self.grid.to_mm(np.argwhere(self.inside).mean(axis=0))

    @property
    def volume_mm3(self) -> float:
        """Volume of the labyrinth."""
        return float(np.count_nonzero(self.inside)) * self.grid.voxel_mm3

    @property
    def uncertainty(self) -> float:
        """Mean voxel SD in and near the labyrinth."""
        near = np.asarray(ndimage.binary_dilation(self.inside, iterations=NEAR_VOXELS), dtype=bool)
        return float(self.spread[near].mean())

    @property
    def agreement(self) -> float:
        """Lowest Dice between a sample and the mean of all."""
        mean = self.samples.mean(axis=0) > 0.5
        return min(dice(sample > 0.5, mean) for sample in self.samples)


def look_at(
    scan: Resampler,
    center_mm: FloatArray,
    directions: FloatArray,
    *,
    engine: Engine,
    config: TrainConfig,
) -> Look:
    """Run the fine network on one crop.

    Args:
        scan: scan on any grid.
        center_mm: (3,) LPS centre of the crop.
        directions: (3, 3) its axes as columns, orthogonal; improper ones mirror the crop.
        engine: the network.
        config: its settings.
    """
    spacing_mm = config.data.spacing_mm
    grid = Grid.centred(center_mm, config.data.shape, spacing_mm=spacing_mm, directions=directions)
    values = scan(grid)
    probability, heatmaps = engine.run(normalise(values)[None, None])
    points_ijk, peaks = decode(heatmaps[0])
    peaks = peaks / config.heatmaps[-1].amplitude
    points = grid.to_mm(points_ijk)
    points[peaks < LOWEST_PEAK] = np.nan
    return Look(values, probability[0, 0], grid, points, peaks)


def mean_look(looks: Sequence[Look]) -> MeanLook:
    """Average the test-time samples of one ear on the grid of the first."""
    samples, spread = _on_first_grid(looks)
    probability = samples.mean(axis=0)
    inside = probability > 0.5
    probability = np.where(inside & ~main_piece(inside), DISCONNECTED, probability)
    points_mm, sd_mm = _mean_points(np.stack([look.points_mm for look in looks]))
    peaks = np.stack([look.peaks for look in looks]).mean(axis=0)
    return MeanLook(samples, probability, spread, looks[0].grid, points_mm, sd_mm, peaks)


def _on_first_grid(looks: Sequence[Look]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities (s, i, j, k) on the first look's grid, and their spread.

    Outside a rotated look, the mean of the looks that cover the voxel is used.
    """
    grid = looks[0].grid
    others = [
        resample(look.probability, look.grid, grid, outside=np.nan, antialias=False)
        for look in looks[1:]
    ]
    seen = np.stack([looks[0].probability, *others])
    mean = np.nanmean(seen, axis=0)
    return np.where(np.isnan(seen), mean, seen), np.nanstd(seen, axis=0)


def _mean_points(points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(s, n, 3) to means (n, 3) and root mean square spreads (n,); nan where most lack it."""
    present = np.isfinite(points[..., 0])
    count = present.sum(axis=0)
    filled = np.where(present[..., None], points, 0.0)
    mean = filled.sum(axis=0) / np.maximum(count, 1)[:, None]
    away = np.where(present[..., None], points - mean, 0.0)
    sd = np.sqrt((away**2).sum(axis=(0, 2)) / np.maximum(count, 1))
    absent = count * 2 <= len(points)
    mean[absent], sd[absent] = np.nan, np.nan
    return mean, sd
