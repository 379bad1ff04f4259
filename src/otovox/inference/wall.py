"""The wall at the scan's own resolution: evidence of the voxels near the network's wall.

The network processes the ear at its own working resolution and gives a smooth wall. Finer voxels
refine it: the mean value along the wall is the level at which the network separates lumen from
bone, and a voxel clearly below it is lumen. The level is the network's own, so the wall gains
detail and hardly moves: masks of phantoms grow by about 1 % (`benchmarks/wall_detail.py`).
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from otovox.core.geometry import FloatArray
from otovox.core.volume import Grid
from otovox.imaging.metrics import Mask
from otovox.imaging.resample import resample
from otovox.imaging.smoothing import gaussian

#: Probabilities are clipped to this range before logits are computed: chosen.
CLIPPED = (0.01, 0.99)
#: Depth in the lumen, and range of depths in the bone, for measuring their levels, mm: chosen,
#: outside the blur of the wall and inside the otic capsule.
LUMEN_DEPTH_MM, BONE_DEPTHS_MM = 0.3, (0.3, 0.9)
#: SD of the Gaussian windows over which levels and threshold are averaged, mm: chosen.
LEVEL_SD_MM, THRESHOLD_SD_MM = 1.2, 1.0
#: Weight of a voxel for the threshold is exp(-(logit / this)^2): chosen.
NEAR_LOGIT = 1.5
#: Only voxels within this distance from the network's wall are changed, mm: chosen.
BAND_MM = 0.5
#: Weight of the voxels' evidence per contrast-to-noise ratio, and its maximum, in logits
#: per half contrast. Fitted to phantoms (`benchmarks/wall_detail.py`).
WEIGHT_PER_CNR, MOST_WEIGHT = 0.2, 4.0
#: Below this contrast-to-noise ratio the voxels give no evidence: chosen.
LOWEST_CNR = 3.0
#: Minimum weight for a local mean: chosen, far from any neighbour.
LEAST_COUNT = 1e-5
#: Depths of the two sides of the wall between which its slope is measured, mm: chosen, one voxel of
#: the network. The lumen's level for the contrast is that below the depth, mm: chosen, where only
#: vestibule and basal turn are. Width of a wall without a measurable slope, mm: chosen.
SLOPE_DEPTH_MM, DEEP_MM, LOST_WIDTH_MM = 0.2, 0.6, 3.0
#: Tolerance for voxel sizes equal to the band, mm: rounding.
TOLERANCE_MM = 1e-3


@dataclass(frozen=True, eq=False)
class Wall:
    """Evidence of voxel values along the wall, on the ear's own grid.

    Attributes:
        gain, offset: (i, j, k) the evidence for lumen is offset - gain * value, in logits; both
            are 0 away from the wall and where bone and lumen cannot be distinguished.
        weight: maximum evidence, in logits.
        grid: grid of the voxels.
        width_mm: width of the wall's edge in the scan, see `edge_width_mm`.
    """

    gain: NDArray[np.float32]
    offset: NDArray[np.float32]
    weight: float
    grid: Grid
    width_mm: float


def find_wall(values: NDArray[np.float32], probability: NDArray[np.float32], grid: Grid) -> Wall:
    """Levels of lumen, wall and bone along the network's wall.

    Args:
        values: (i, j, k) the scan on the ear's grid.
        probability: (i, j, k) labyrinth.
        grid: isotropic grid of both.
    """
    logits = to_logits(probability)
    depth_mm = _depth_mm(logits > 0, grid)
    width_mm = edge_width_mm(values, depth_mm, voxel_mm=float(grid.spacing_mm[0]))
    lumen = depth_mm > LUMEN_DEPTH_MM
    bone = _bone(depth_mm)
    near = np.exp(-((logits / NEAR_LOGIT) ** 2)) * (np.abs(depth_mm) < BAND_MM)
    lumen_level = _local_mean(values, lumen, LEVEL_SD_MM, grid)
    contrast = _local_mean(values, bone, LEVEL_SD_MM, grid) - lumen_level
    threshold = _local_mean(values, near, THRESHOLD_SD_MM, grid)
    noise = float((values - lumen_level)[lumen].std()) if lumen.any() else np.inf
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(threshold) & (contrast > LOWEST_CNR * noise)
    if noise == 0 or not usable.any():
        nothing = np.zeros(grid.shape, np.float32)
        return Wall(nothing, nothing, 0.0, grid, width_mm)
    weight = min(WEIGHT_PER_CNR * float(np.median(contrast[usable])) / noise, MOST_WEIGHT)
    usable &= np.abs(depth_mm) < BAND_MM
    gain = np.zeros(grid.shape, np.float32)
    gain[usable] = 2 * weight / contrast[usable]
    offset = gain * np.where(usable, threshold, 0).astype(np.float32)
    return Wall(gain, offset, weight, grid, width_mm)


def edge_width_mm(values: NDArray[np.float32], depth_mm: FloatArray, *, voxel_mm: float) -> float:
    """Width of the edge between lumen and bone: their contrast divided by the slope at the wall.

    The edge of a large object under a Gaussian point spread has 1.06 times its FWHM. Medians over
    the whole wall: noise does not change them.

    Args:
        values: (i, j, k) the scan.
        depth_mm: (i, j, k) distance from the nearest voxel beyond the wall, positive inside.
        voxel_mm: voxel edge.

    Returns:
        mm, at most `LOST_WIDTH_MM`, also if bone is not brighter than the lumen.

    >>> depth_mm = np.linspace(-1, 1, 201).reshape(1, 1, -1)
    >>> ramp = np.clip(-1000 * depth_mm, -250, 250)
    >>> round(edge_width_mm(ramp, depth_mm, voxel_mm=0.01), 1)
    0.5
    """
    shell = SLOPE_DEPTH_MM / 2
    places = {
        "bone": _bone(depth_mm),
        "outside": np.abs(depth_mm + SLOPE_DEPTH_MM) < shell,
        "inside": np.abs(depth_mm - SLOPE_DEPTH_MM) < shell,
        "lumen": depth_mm > min(DEEP_MM, float(depth_mm.max()) / 2),
    }
    if not all(place.any() for place in places.values()):
        return LOST_WIDTH_MM
    level = {name: float(np.median(values[place])) for name, place in places.items()}
    rise, contrast = level["outside"] - level["inside"], level["bone"] - level["lumen"]
    if rise <= 0 or contrast <= 0:
        return LOST_WIDTH_MM
    # The distances of both sides include the voxel's half that belongs to the other side.
    run_mm = np.mean(depth_mm[places["inside"]]) - np.mean(depth_mm[places["outside"]]) - voxel_mm
    return min(float(run_mm) * contrast / rise, LOST_WIDTH_MM)


def voxel_evidence(wall: Wall, values: NDArray[np.float32], grid: Grid) -> NDArray[np.float32]:
    """Evidence for lumen from the voxels' own values, (i, j, k) logits to add to the network's.

    Args:
        wall: wall of the ear.
        values: (i, j, k) values of the scan.
        grid: grid of the values; voxels as large as the band (`BAND_MM`) include too much of the
            surroundings, and give no evidence.
    """
    if wall.weight == 0 or float(grid.spacing_mm.min()) >= BAND_MM - TOLERANCE_MM:
        return np.zeros(grid.shape, np.float32)
    gain, offset = (
        resample(field, wall.grid, grid, outside=0.0, antialias=False, first_fastest=True)
        for field in (wall.gain, wall.offset)
    )
    # In place: the arrays are as large as the scan's part.
    gain *= values
    evidence = np.subtract(offset, gain, out=offset)
    return np.clip(evidence, -wall.weight, wall.weight, out=evidence)


def to_logits(probability: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of clipped probabilities.

    >>> to_logits(np.array([0.5, 1.0], np.float32)).round(2).tolist()
    [0.0, 4.599999904632568]
    """
    clipped = np.clip(probability, *CLIPPED)
    return np.log(clipped / (1 - clipped))


def _depth_mm(inside: Mask, grid: Grid) -> FloatArray:
    """Distance from the mask's surface, mm, positive inside."""
    distance_mm = partial(ndimage.distance_transform_edt, sampling=grid.spacing_mm)
    with ThreadPoolExecutor(2) as pool:
        within, beyond = pool.map(distance_mm, (inside, ~inside))
    return np.asarray(within) - np.asarray(beyond)


def _bone(depth_mm: FloatArray) -> Mask:
    """The voxels whose values give the level of the bone."""
    return (-depth_mm > BONE_DEPTHS_MM[0]) & (-depth_mm <= BONE_DEPTHS_MM[1])


def _local_mean(
    values: NDArray[np.float32], weights: NDArray[Any], sd_mm: float, grid: Grid
) -> NDArray[np.float32]:
    """Gaussian-weighted mean of the weighted values; nan where there are none."""
    sd = sd_mm / grid.spacing_mm
    counts = weights.astype(np.float32)
    total = gaussian(values * counts, sd, truncate=3)
    count = gaussian(counts, sd, truncate=3)
    return np.where(count > LEAST_COUNT, total / np.maximum(count, LEAST_COUNT), np.nan)
