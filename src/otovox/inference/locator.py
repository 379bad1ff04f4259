"""Detection of ears: a coarse network over the whole scan gives candidates, best first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from otovox.core.geometry import FloatArray
from otovox.core.volume import Grid, Scan
from otovox.imaging.intensity import normalise, tissue_threshold
from otovox.imaging.resample import resample
from otovox.imaging.windows import Shape, Window, batches, blend_weights, padded, windows
from otovox.learning.engine import Engine

#: Stride as a fraction of the window size: chosen, not measured.
STRIDE = 0.625
#: Candidates have at least this fraction of a full heatmap: chosen low, because every candidate is
#: checked by the fine network.
LOWEST_SCORE = 0.12
#: Minimum distance between two ears, mm: chosen; real ones are about 60 mm apart.
APART_MM = 18.0
#: If there are more windows than this, those with a smaller fraction of tissue are skipped: chosen;
#: an ear is surrounded by more bone, and lies far from the border of some window.
FEW_WINDOWS, LEAST_TISSUE = 8, 0.005
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
    heatmap = _heatmap(values, engine, chunk) / amplitude
    return _peaks(heatmap, grid)


def covering_grid(grid: Grid, spacing_mm: float) -> Grid:
    """An isotropic grid along the patient's axes that covers another grid."""
    corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in grid.shape])).reshape(3, -1).T
    corners_mm = grid.to_mm(corners)
    low, high = corners_mm.min(axis=0), corners_mm.max(axis=0)
    i, j, k = (int(n) for n in np.maximum(np.ceil((high - low) / spacing_mm), 1))
    return Grid.centred((low + high) / 2, (i, j, k), spacing_mm=spacing_mm)


def _heatmap(values: NDArray[np.float32], engine: Engine, chunk: Shape) -> NDArray[np.float32]:
    """The locator's heatmap over a volume, blended from windows."""
    volume, front = padded(values, chunk)
    total = np.zeros(volume.shape, dtype=np.float32)
    weight = np.full(volume.shape, 1e-6, dtype=np.float32)
    blend = blend_weights(chunk)
    i, j, k = (max(int(n * STRIDE), 1) for n in chunk)
    places = list(windows(volume.shape, chunk, (i, j, k)))
    for window in places:
        weight[window] += blend
    for group in batches(_with_tissue(volume, places), engine.batch):
        _, heatmaps = engine.run(np.stack([normalise(volume[window])[None] for window in group]))
        for window, heatmap in zip(group, heatmaps, strict=True):
            total[window] += blend * heatmap[0]
    heatmap = total / weight
    inner = tuple(slice(f, f + n) for f, n in zip(front, values.shape, strict=True))
    return heatmap[inner]


def _with_tissue(values: NDArray[np.float32], places: Sequence[Window]) -> Iterator[Window]:
    """Windows that are not flat and, if there are many, hold enough tissue for an ear."""
    threshold = tissue_threshold(values) if len(places) > FEW_WINDOWS else -np.inf
    for window in places:
        part = values[window]
        if (
            part.max() > part.min()
            and np.count_nonzero(part > threshold) > LEAST_TISSUE * part.size
        ):
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
