"""Detection of ears: a coarse network over the whole scan gives candidates, best first."""

from collections.abc import Iterator, Sequence
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
    padded,
    summed_weights,
    windows,
)
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
    values = resample(scan.values, scan.grid, grid, outside="edge")
    heatmap, start = _heatmap(values, engine, chunk)
    i, j, k = heatmap.shape
    return _peaks(heatmap / np.float32(amplitude), grid.crop(start, (i, j, k)))


def covering_grid(grid: Grid, spacing_mm: float) -> Grid:
    """An isotropic grid along the patient's axes that covers another grid."""
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape])).reshape(3, -1).T
    corners_mm = grid.to_mm(corners)
    low, high = corners_mm.min(axis=0), corners_mm.max(axis=0)
    i, j, k = (int(n) for n in np.maximum(np.ceil((high - low) / spacing_mm), 1))
    return Grid.centred((low + high) / 2, (i, j, k), spacing_mm=spacing_mm)


def _heatmap(
    values: NDArray[np.float32], engine: Engine, chunk: Shape
) -> tuple[NDArray[np.float32], NDArray[np.int_]]:
    """The locator's heatmap around the windows that it runs in, and its first voxel."""
    volume, front = padded(values, chunk)
    i, j, k = (max(int(n * STRIDE), 1) for n in chunk)
    chosen = list(_with_bone(volume, list(windows(volume.shape, chunk, (i, j, k)))))
    if not chosen:
        return np.zeros((1, 1, 1), dtype=np.float32), np.zeros(3, dtype=int)
    ends = np.array([[(side.start, side.stop) for side in window] for window in chosen])
    start, stop = ends[..., 0].min(axis=0), ends[..., 1].max(axis=0)
    heatmap, blend = np.zeros(stop - start, dtype=np.float32), blend_weights(chunk)
    for group in batches(iter(chosen), engine.batch):
        _, found = engine.run(np.stack([normalise(volume[window])[None] for window in group]))
        for window, one in zip(group, found, strict=True):
            heatmap[_moved(window, start)] += blend * one[0]
    for axis, weights in enumerate(summed_weights(volume.shape, chunk, (i, j, k))):
        part = weights[start[axis] : stop[axis]]
        heatmap /= part.reshape([-1 if a == axis else 1 for a in range(3)])
    inside = np.minimum(stop, front + np.array(values.shape))
    first = np.maximum(start, front)
    window = tuple(slice(a, b) for a, b in zip(first - start, inside - start, strict=True))
    return heatmap[window], first - front


def _moved(window: Window, start: NDArray[np.int_]) -> Window:
    """A window relative to a first voxel."""
    i, j, k = (slice(w.start - s, w.stop - s) for w, s in zip(window, start, strict=True))
    return i, j, k


def _with_bone(values: NDArray[np.float32], places: Sequence[Window]) -> Iterator[Window]:
    """Windows that are not flat and, if there are many, hold enough bone for an ear."""
    threshold = bone_threshold(values) if len(places) > FEW_WINDOWS else -np.inf
    for window in places:
        part = values[window]
        if part.max() > part.min() and np.count_nonzero(part > threshold) > LEAST_BONE * part.size:
            yield window


def _peaks(heatmap: NDArray[np.float32], grid: Grid) -> list[Candidate]:
    """Local maxima, the highest first, without neighbours of a higher one."""
    smooth = ndimage.gaussian_filter(heatmap, 1.0)
    found: list[Candidate] = []
    while len(found) < MOST:
        top = np.unravel_index(int(np.argmax(smooth)), smooth.shape)
        score = float(smooth[top])
        if score < LOWEST_SCORE:
            break
        found.append(Candidate(grid.to_mm(np.array(top, dtype=float)), min(score, 1.0)))
        reach = int(np.ceil(APART_MM / grid.spacing_mm[0]))
        near = tuple(slice(max(int(t) - reach, 0), int(t) + reach + 1) for t in top)
        smooth[near] = -1.0
    return found
