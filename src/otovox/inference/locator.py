"""Detection of ears: a coarse network over the whole scan gives candidates, best first."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from otovox.core.geometry import FloatArray
from otovox.core.volume import Grid, Scan
from otovox.imaging.intensity import bone_threshold, normalise
from otovox.imaging.resample import resample
from otovox.imaging.windows import (
    Shape,
    Window,
    batches,
    blend_weights,
    summed_weights,
    windows,
)
from otovox.learning.bundle import Bundle
from otovox.learning.engine import Engine

#: Stride as a fraction of the window size: chosen, not measured.
STRIDE = 0.625
#: Candidates have at least this fraction of a full heatmap: chosen low, because every candidate is
#: checked by the fine network.
LOWEST_SCORE = 0.12
#: Minimum distance between two ears, mm: chosen; real ones are about 60 mm apart.
APART_MM = 18.0
#: If there are more windows than this, those with a smaller fraction of bone are skipped: chosen;
#: windows of 64 mm hold 5 to 14 % around the ears of heads.
FEW_WINDOWS, LEAST_BONE = 8, 0.005
#: Bone is counted in every so many voxels of the locator along each axis: chosen.
BONE_STEP = 2
#: Maximum number of candidates: chosen.
MOST = 4


@dataclass(frozen=True, eq=False)
class Candidate:
    """A possible position of an ear.

    Attributes:
        center_mm: (3,) LPS.
        score: heatmap peak relative to a full heatmap, about 0 to 1.
    """

    center_mm: FloatArray
    score: float


def find_candidates(
    scan: Scan, engine: Engine, *, spacing_mm: float, chunk: Shape, amplitude: float
) -> list[Candidate]:
    """Run the locator over a scan.

    Args:
        scan: any size and orientation.
        engine: the locator; the single channel of its heatmap marks the labyrinth's centre.
        spacing_mm: voxel size of the locator.
        chunk: window of the locator, voxels.
        amplitude: peak of a full heatmap.

    Returns:
        At most `MOST` candidates, best first.
    """
    grid = covering_grid(scan.grid, spacing_mm)
    i, j, k = (max(sides) for sides in zip(grid.shape, chunk, strict=True))
    front = (np.array([i, j, k]) - grid.shape) // 2
    field = grid.crop(-front, (i, j, k))
    places = _places(scan, field, chunk)
    if not places:
        return []
    ends = np.array([[(side.start, side.stop) for side in window] for window in places])
    start, stop = ends[..., 0].min(axis=0), ends[..., 1].max(axis=0)
    block = _part(field, start, stop)
    values = resample(scan.values, scan.grid, block, outside="edge")
    heatmap = _heatmap(values, [_relative(window, start) for window in places], engine, chunk)
    for axis, weights in enumerate(summed_weights(field.shape, chunk, _stride(chunk))):
        along = weights[start[axis] : stop[axis]]
        heatmap /= along.reshape([-1 if a == axis else 1 for a in range(3)])
    # Nothing is found beyond the scan.
    first, last = np.maximum(start, front), np.minimum(stop, front + grid.shape)
    within = tuple(slice(a, b) for a, b in zip(first - start, last - start, strict=True))
    return _peaks(heatmap[within] / np.float32(amplitude), _part(field, first, last))


def proposed(scan: Scan, locator: Bundle, engine: Engine) -> list[Candidate]:
    """Run a trained locator over a scan; see `find_candidates`."""
    return find_candidates(
        scan,
        engine,
        spacing_mm=locator.config.data.spacing_mm,
        chunk=locator.config.data.shape,
        amplitude=locator.config.heatmaps[-1].amplitude,
    )


def covering_grid(grid: Grid, spacing_mm: float) -> Grid:
    """An isotropic grid along the patient's axes that covers another grid.

    >>> grid = Grid.centred((0, 0, 0), (30, 20, 10), spacing_mm=1)
    >>> covering_grid(grid, 2.0).spacing_mm.tolist()
    [2.0, 2.0, 2.0]
    """
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape])).reshape(3, -1).T
    corners_mm = grid.to_mm(corners)
    low, high = corners_mm.min(axis=0), corners_mm.max(axis=0)
    i, j, k = (int(n) for n in np.maximum(np.ceil((high - low) / spacing_mm), 1))
    return Grid.centred((low + high) / 2, (i, j, k), spacing_mm=spacing_mm)


def _stride(chunk: Shape) -> Shape:
    i, j, k = (max(int(n * STRIDE), 1) for n in chunk)
    return i, j, k


def _part(grid: Grid, start: NDArray[np.int_], stop: NDArray[np.int_]) -> Grid:
    i, j, k = (int(n) for n in stop - start)
    return grid.crop(start, (i, j, k))


def _relative(window: Window, start: NDArray[np.int_]) -> Window:
    """A window of a volume as one of its part that begins at `start`."""
    i, j, k = (slice(w.start - s, w.stop - s) for w, s in zip(window, start, strict=True))
    return i, j, k


def _places(scan: Scan, field: Grid, chunk: Shape) -> list[Window]:
    """The windows that may contain an ear; if there are many, those with enough bone."""
    places = list(windows(field.shape, chunk, _stride(chunk)))
    if len(places) <= FEW_WINDOWS:
        return places
    i, j, k = (-(-n // BONE_STEP) for n in field.shape)
    coarse = Grid.centred(field.center_mm, (i, j, k), spacing_mm=BONE_STEP * field.spacing_mm[0])
    values = resample(scan.values, scan.grid, coarse, order="nearest", outside="edge")
    bone = values > bone_threshold(values)
    least = LEAST_BONE * np.prod(chunk) / BONE_STEP**3
    return [
        window
        for window in places
        if np.count_nonzero(
            bone[tuple(slice(s.start // BONE_STEP, s.stop // BONE_STEP) for s in window)]
        )
        > least
    ]


def _heatmap(
    values: NDArray[np.float32], places: Sequence[Window], engine: Engine, chunk: Shape
) -> NDArray[np.float32]:
    """The sum of the locator's weighted heatmaps in windows that are not flat."""
    total, blend = np.zeros(values.shape, dtype=np.float32), blend_weights(chunk)
    seen = (window for window in places if np.ptp(values[window]) > 0)
    for group in batches(seen, engine.batch):
        _, heatmaps = engine.run(np.stack([normalise(values[window])[None] for window in group]))
        for window, one in zip(group, heatmaps, strict=True):
            total[window] += blend * one[0]
    return total


def _peaks(heatmap: NDArray[np.float32], grid: Grid) -> list[Candidate]:
    """Local maxima, the highest first, without neighbours of a higher one."""
    smooth = ndimage.gaussian_filter(heatmap, 1.0)
    peaks: list[Candidate] = []
    while len(peaks) < MOST:
        top = np.unravel_index(int(np.argmax(smooth)), smooth.shape)
        score = float(smooth[top])
        if score < LOWEST_SCORE:
            break
        peaks.append(Candidate(grid.to_mm(np.array(top, dtype=float)), min(score, 1.0)))
        reach = int(np.ceil(APART_MM / grid.spacing_mm[0]))
        near = tuple(slice(max(int(t) - reach, 0), int(t) + reach + 1) for t in top)
        smooth[near] = -1.0
    return peaks
