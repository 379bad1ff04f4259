"""Writing of ears, each on its own grid, onto the scan's grid as labels and uncertainty."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from otovox.core.case import EarPrediction, stepped
from otovox.core.segments import Box
from otovox.core.volume import Grid, Scan
from otovox.imaging.components import pieces_with
from otovox.imaging.metrics import Mask
from otovox.imaging.resample import resample, voxel_means
from otovox.inference.wall import BAND_MM, Wall, to_logits, voxel_evidence

#: Logit outside the ear's grid: chosen, below that of every clipped probability.
LOGIT_BEYOND = -5.0
#: A smaller spread is written as 0: less than half a step of `stepped`.
LEAST_SPREAD = 0.001
#: Margin around larger spreads, mm: chosen, beyond the reach of interpolation.
SPREAD_MARGIN_MM = 2.0


@dataclass(frozen=True, eq=False)
class Ear:
    """One ear before it is written onto the scan's grid.

    Attributes:
        prediction: without the values that need the scan's grid.
        probability, spread: (i, j, k) mean and SD over the test-time samples.
        wall: wall model for the scan's own voxels.
        grid: grid of the voxels.
    """

    prediction: EarPrediction
    probability: NDArray[np.float32]
    spread: NDArray[np.float32]
    wall: Wall
    grid: Grid


def write_ear(
    ear: Ear, scan: Scan, labels: NDArray[np.uint8], uncertainty: NDArray[np.float32]
) -> EarPrediction:
    """Label one ear on the scan's grid.

    Args:
        ear: the ear on its own grid.
        scan: scan with the grid and the voxel values.
        labels, uncertainty: (i, j, k) on the scan's grid; changed in place.

    Returns:
        The ear with its volume on the scan's grid, and whether it reaches the border of the field
        of view.
    """
    with ThreadPoolExecutor(1) as pool:
        spread = pool.submit(_write_spread, ear, scan.grid, uncertainty)
        prediction = _write_labels(ear, scan, labels)
        spread.result()
    return prediction


def _write_spread(ear: Ear, grid: Grid, uncertainty: NDArray[np.float32]) -> None:
    """Write the spread, where it is more than nothing, into the uncertainty."""
    start, stop = _range(ear, ear.spread > LEAST_SPREAD, grid, SPREAD_MARGIN_MM)
    if np.all(start < stop):
        window, box = _window(start, stop, grid)
        spread = resample(ear.spread, ear.grid, box, outside=0.0, first_fastest=True)
        np.maximum(uncertainty[window], stepped(spread), out=uncertainty[window])


def _write_labels(ear: Ear, scan: Scan, labels: NDArray[np.uint8]) -> EarPrediction:
    """Label the ear's voxels; the ear with what follows from them."""
    grid = scan.grid
    reach_mm = BAND_MM + ear.grid.spacing_mm.max() + grid.spacing_mm.max()
    start, stop = _range(ear, ear.probability > 0.5, grid, float(reach_mm))
    if np.any(start >= stop):
        return ear.prediction
    window, box = _window(start, stop, grid)
    # A voxel is labyrinth if more than half of it is: the mean of the logits over the voxel, since
    # across a wall these are closer to linear than probabilities.
    logits = voxel_means(to_logits(ear.probability), ear.grid, box, outside=LOGIT_BEYOND)
    evidence = voxel_evidence(ear.wall, scan.values[window], box)
    # The network's labyrinth is connected; coarse voxels may split it, but noise adds no pieces.
    seeds = logits > 0
    logits += evidence
    # In the order of the arrays in memory.
    inside = pieces_with((logits > 0).T, seeds=seeds.T).T
    labels[window][inside] = ear.prediction.side.label
    prediction = replace(
        ear.prediction,
        volume_mm3=float(np.count_nonzero(inside)) * grid.voxel_mm3,
        touches_border=_touches_border(inside, start, stop, grid),
    )
    known_cut = any("field of view" in text for text in prediction.warnings)
    if prediction.touches_border and not known_cut:
        text = (
            f"the {prediction.side} labyrinth extends beyond the field of view; check "
            "whether the missing part matters"
        )
        prediction = replace(prediction, warnings=(text, *prediction.warnings))
    return prediction


def _range(
    ear: Ear, marked: Mask, grid: Grid, margin_mm: float
) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """First and past-the-last voxel of the scan around the ear's marked voxels."""
    ijk = grid.to_ijk(ear.grid.to_mm(np.argwhere(marked)))
    if not len(ijk):
        return np.zeros(3, dtype=int), np.zeros(3, dtype=int)
    margin = margin_mm / grid.spacing_mm
    start = np.clip(np.floor(ijk.min(axis=0) - margin), 0, grid.shape).astype(int)
    stop = np.clip(np.ceil(ijk.max(axis=0) + margin) + 1, 0, grid.shape).astype(int)
    return start, stop


def _window(start: NDArray[np.int_], stop: NDArray[np.int_], grid: Grid) -> tuple[Box, Grid]:
    """Slices of the scan's array, and their grid."""
    i, j, k = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    shape = (i.stop - i.start, j.stop - j.start, k.stop - k.start)
    return (i, j, k), grid.crop(start, shape)


def _touches_border(inside: Mask, start: NDArray, stop: NDArray, grid: Grid) -> bool:
    """Whether a mask in the window from `start` to `stop` reaches the border of the grid."""
    return any(
        bool(
            (start[axis] == 0 and inside.take(0, axis=axis).any())
            or (stop[axis] == grid.shape[axis] and inside.take(-1, axis=axis).any())
        )
        for axis in range(3)
    )
