"""Prediction of a whole scan in sliding windows (S7, S9, S24): for any model, without a locator.

Arrays of the size of the volume are stored in files that are processed in parts, so that memory use
does not grow with the scan. Landmarks are the maxima of heatmaps over the volume: this is for scans
of one ear, such as the paper's.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from otovox.config.training import TrainConfig
from otovox.core.geometry import FloatArray, cube_turns
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid, LabelMap, Scan
from otovox.dataset.prepared import working_grid
from otovox.errors import ConfigError, InputError
from otovox.formats.writing import make_folder
from otovox.imaging.intensity import Scaling, intensity_statistics, normalise
from otovox.imaging.postprocess import smooth_otsu
from otovox.imaging.resample import resample
from otovox.imaging.windows import (
    Blend,
    Shape,
    Window,
    batches,
    turned,
    usual_stride,
    window_grid,
    windows,
)
from otovox.learning.bundle import Bundle
from otovox.learning.engine import Engine
from otovox.learning.peaks import decode

Turns = Literal["none", "paper", "full"]
#: Largest supported volume, voxels at the working spacing; a temporal bone of the paper has 1.1e8.
#: Chosen, not measured.
LARGEST_VOXELS = 600_000_000
#: Distance around `Sweep.around_mm` that chunks also cover. Chosen: several times the error of the
#: embedded model's mask.
MARGIN_MM = 2.0
#: Voxels along i that are resampled, averaged and written together. Chosen.
SLAB = 32


@dataclass(frozen=True, eq=False)
class VolumePrediction:
    """A model's prediction for a whole scan, at its working spacing.

    Attributes:
        probability: (i, j, k) labyrinth, mean over the test-time samples, or of the unrotated scan
            (`Sweep.plain`); None without that head.
        uncertainty: (i, j, k) SD over the samples; None without that head.
        landmarks: maxima of the heatmaps, likewise, LPS mm, decoded as in `Sweep.subvoxel`; None
            without that head.
        highest: centres of the highest voxels of the heatmaps, LPS mm, the argmax of Stebani et
            al. 2023 (S20); None without that head.
        landmark_sd_mm: (n,) root mean square distance of the samples' points from their mean.
        peaks: (n,) peaks of the heatmaps relative to a full one.
        grid: grid of the voxels.
    """

    probability: NDArray[np.float32] | None
    uncertainty: NDArray[np.float32] | None
    landmarks: Landmarks | None
    landmark_sd_mm: FloatArray
    peaks: FloatArray
    grid: Grid
    highest: Landmarks | None = None

    @property
    def mean_uncertainty(self) -> float:
        """Mean SD per voxel of the volume (S24)."""
        return float("nan") if self.uncertainty is None else float(self.uncertainty.mean())


@dataclass(frozen=True)
class Sweep:
    """Settings of the sliding window.

    Attributes:
        tta: rotations of every chunk: "none", the paper's 10, or all 24 of a cube.
        overlap_voxels: overlap of neighbouring chunks; None for that of `windows.usual_stride`.
        batch_size: chunks per forward pass; None for the default of the engine.
        scaling: scaling of grey values; None to treat the scan as a data set of its own.
        largest_voxels: larger volumes are refused.
        smooth: smooth the probability and apply Otsu's threshold (L8), for any system, see
            `postprocessed`.
        around_mm: (n, 3) LPS points: chunks cover only their bounding box along the scan's axes,
            with `MARGIN_MM` around it; None for the whole scan. Systems that see the whole scan at
            once ignore it.
        plain: predict the unrotated scan; the rotations only give the uncertainty. Source: Stebani
            et al. 2023, Discussion: rotations improved the open data sets, and gave the in-house
            sets "information about uncertainty" (S9).
        subvoxel: decode landmarks below the voxel; False for the highest voxel (S20). Source:
            Stebani et al. 2023, Evaluation criteria: "application of the argmax operator to the
            output heatmaps".
    """

    tta: Turns = "none"
    overlap_voxels: int | None = None
    batch_size: int | None = None
    scaling: Scaling | None = None
    largest_voxels: int = LARGEST_VOXELS
    smooth: bool = False
    subvoxel: bool = True
    plain: bool = False
    around_mm: FloatArray | None = field(default=None, compare=False)


def predict_volume(
    scan: Scan, bundle: Bundle, engine: Engine, workspace: Path, *, sweep: Sweep | None = None
) -> VolumePrediction:
    """Run a model over a whole scan.

    Args:
        scan: scan of one ear.
        bundle: the model.
        engine: the same model, ready to run.
        workspace: folder for `probability.npy` and `uncertainty.npy`, which back the returned
            arrays, and temporarily for 4 (2 n + 5) bytes per voxel with n landmarks.
        sweep: settings of the sliding window.

    Returns:
        Probability, uncertainty and landmarks.

    Raises:
        InputError: if the scan has too many voxels at the model's spacing.
        ConfigError: if the chunks are not cubic, or not larger than their overlap.
    """
    sweep = sweep or Sweep()
    config = bundle.config
    chunk = config.data.shape
    grid = field_grid(scan, config, sweep.largest_voxels)
    _check(sweep, chunk)
    make_folder(workspace)
    heads = config.network
    count = heads.has_segmentation + heads.has_landmarks * len(heads.landmarks)
    with tempfile.TemporaryDirectory(prefix=".sweep-", dir=workspace) as name:
        scratch = Path(name)
        image = _resampled(scan, grid, scratch / "image.npy")
        given = _scaling(image, bundle, sweep)
        if sweep.around_mm is not None:
            window = _around(grid, sweep.around_mm, chunk)
            grid, image = window_grid(grid, window), image[window]
        mean = _array(scratch / "mean.npy", (count, *grid.shape))
        path = workspace / "uncertainty.npy" if heads.has_segmentation else scratch / "sd.npy"
        samples = _Samples(mean, _array(path, grid.shape), segmented=heads.has_segmentation)
        points: list[FloatArray] = []
        plain = None
        for turn in cube_turns(sweep.tta):
            total = _array(scratch / "total.npy", (count, *grid.shape))
            weight = _array(scratch / "weight.npy", grid.shape)
            blend = Blend(total, weight, chunk)
            for window, values in _windows(image, engine, sweep, turn, chunk=chunk, scaling=given):
                blend.add(window, values)
            sample = blend.finish()
            samples.add(sample)
            if sweep.plain and plain is None:
                plain = _array(scratch / "plain.npy", sample.shape)
                plain[:] = sample
            if heads.has_landmarks:
                points.append(decode(sample[-len(heads.landmarks) :], subvoxel=sweep.subvoxel)[0])
        shown = samples.mean if plain is None else plain
        return _prediction(bundle, grid, shown, samples, points, workspace, subvoxel=sweep.subvoxel)


def _check(sweep: Sweep, chunk: Shape) -> None:
    if sweep.tta != "none" and len(set(chunk)) > 1:
        raise ConfigError(f"chunks of {chunk} voxels: they must be cubic to be rotated")
    if not 0 <= (sweep.overlap_voxels or 0) < min(chunk):
        raise ConfigError(f"chunks of {chunk} voxels cannot overlap by {sweep.overlap_voxels}")


def _around(grid: Grid, points_mm: FloatArray, chunk: Shape) -> Window:
    """Voxels of the points' bounding box with its margin, at least one chunk along every axis."""
    ijk, margin = grid.to_ijk(points_mm), MARGIN_MM / grid.spacing_mm
    low, high = np.floor(ijk.min(axis=0) - margin), np.ceil(ijk.max(axis=0) + margin) + 1
    missing = np.maximum(np.asarray(chunk) - (high - low), 0)
    size = np.minimum(high - low + missing, grid.shape).astype(int)
    start = np.clip(low - missing // 2, 0, np.asarray(grid.shape) - size).astype(int)
    i, j, k = (slice(int(a), int(a + n)) for a, n in zip(start, size, strict=True))
    return i, j, k


def postprocessed(prediction: VolumePrediction, sweep: Sweep) -> VolumePrediction:
    """Post-processing of any system: none (S20), or a smoothed mask instead of the probability."""
    if not sweep.smooth or prediction.probability is None:
        return prediction
    mask = smooth_otsu(prediction.probability)
    return replace(prediction, probability=mask.astype(np.float32))


def on_grid(prediction: VolumePrediction, grid: Grid, label: int = 1) -> LabelMap:
    """The labyrinth on another grid, such as the scan's own; without post-processing (S20).

    Args:
        prediction: prediction with a segmentation.
        grid: target grid.
        label: value of the labyrinth.

    Raises:
        ValueError: if the model has no segmentation.
    """
    if prediction.probability is None:
        raise ValueError("a model without segmentation gives no label map")
    labels = np.zeros(grid.shape, dtype=np.uint8)
    for window, slab in slabs(grid):
        values = resample(prediction.probability, prediction.grid, slab, antialias=False)
        labels[window] = np.where(values > 0.5, label, 0)
    return LabelMap(labels, grid)


def sd_on_grid(prediction: VolumePrediction, grid: Grid) -> NDArray[np.float32]:
    """The SD over the test-time samples on another grid, (i, j, k); 0 outside the volume.

    Args:
        prediction: prediction with a segmentation.
        grid: target grid.
    """
    values = np.zeros(grid.shape, dtype=np.float32)
    if prediction.uncertainty is not None:
        for window, slab in slabs(grid):
            values[window] = resample(prediction.uncertainty, prediction.grid, slab, outside=0.0)
    return values


def field_grid(scan: Scan, config: TrainConfig, largest: int = LARGEST_VOXELS) -> Grid:
    """The whole field of view of a scan in a model's voxels.

    Args:
        scan: scan of one ear.
        config: settings of the model.
        largest: maximum number of voxels.

    Raises:
        InputError: if there are more voxels.
    """
    spacing_mm, chunk = config.data.spacing_mm, config.data.shape
    # As floats: with a wrong header the count may exceed any integer.
    voxels = float(np.prod(np.maximum(scan.grid.extent_mm / spacing_mm, chunk)))
    if voxels > largest:
        sizes = " x ".join(f"{size:.0f}" for size in scan.grid.extent_mm)
        raise InputError(
            f"{scan.name}: its field of {sizes} mm has {voxels:.2g} voxels of {spacing_mm:g} mm, "
            f"more than {largest:.2g}; crop it to the temporal bone"
        )
    return working_grid(scan.grid, spacing_mm, chunk)


def slabs(grid: Grid) -> Iterator[tuple[slice, Grid]]:
    """A grid in parts along i: the voxels of each, and its grid.

    >>> grid = Grid.centred((0, 0, 0), (40, 20, 20), spacing_mm=1)
    >>> sum(part.shape[0] for _, part in slabs(grid))
    40
    """
    for start in range(0, grid.shape[0], SLAB):
        thick = min(SLAB, grid.shape[0] - start)
        shape = (thick, grid.shape[1], grid.shape[2])
        yield slice(start, start + thick), grid.crop((start, 0, 0), shape)


def answer_arrays(workspace: Path, grid: Grid) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Zeros for the probability and its uncertainty, stored in a folder."""
    return tuple(  # pyright: ignore[reportReturnType]
        _array(workspace / f"{name}.npy", grid.shape) for name in ("probability", "uncertainty")
    )


def _array(path: Path, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Zeros on disk."""
    return open_memmap(path, mode="w+", dtype=np.float32, shape=shape)


def _resampled(scan: Scan, grid: Grid, path: Path) -> NDArray[np.float32]:
    image = _array(path, grid.shape)
    for window, slab in slabs(grid):
        image[window] = resample(scan.values, scan.grid, slab, outside="edge")
    return image


def _scaling(image: NDArray, bundle: Bundle, sweep: Sweep) -> Scaling | None:
    """None if chunks are normalised individually, as in the model's training."""
    if bundle.config.data.normalisation == "chunk":
        return None
    return sweep.scaling or Scaling(intensity_statistics([image]))


def _windows(
    image: NDArray[np.float32],
    engine: Engine,
    sweep: Sweep,
    turn: NDArray,
    *,
    chunk: Shape,
    scaling: Scaling | None,
) -> Iterator[tuple[Window, NDArray]]:
    """Windows with the network's output, rotated for the network and rotated back."""
    stride = usual_stride(chunk)
    if sweep.overlap_voxels is not None:
        i, j, k = (size - sweep.overlap_voxels for size in chunk)
        stride = i, j, k
    shape: Shape = image.shape  # pyright: ignore[reportAssignmentType]
    for group in batches(windows(shape, chunk, stride), sweep.batch_size or engine.batch):
        parts = [image[window] for window in group]
        parts = [normalise(p) if scaling is None else scaling.apply(p) for p in parts]
        images = np.stack([np.ascontiguousarray(turned(one, turn))[None] for one in parts])
        both = np.concatenate(engine.run(images), axis=1)
        yield from zip(group, turned(both, turn.T), strict=True)


@dataclass(eq=False)
class _Samples:
    """Running statistics of test-time samples.

    Source: Welford 1962, Technometrics 4(3):419-420.

    Attributes:
        mean: (channels, i, j, k) running mean.
        squares: (i, j, k) squared deviations of the first channel.
        segmented: whether the first channel is a segmentation; if not, `squares` stays 0.
        count: number of samples.
    """

    mean: NDArray
    squares: NDArray
    segmented: bool
    count: int = 0

    def add(self, sample: NDArray) -> None:
        """Add a sample."""
        self.count += 1
        for start in range(0, self.mean.shape[1], SLAB):
            slab = slice(start, start + SLAB)
            away = sample[:, slab] - self.mean[:, slab]
            self.mean[:, slab] += away / self.count
            if self.segmented:
                self.squares[slab] += away[0] * (sample[0, slab] - self.mean[0, slab])


def _prediction(
    bundle: Bundle,
    grid: Grid,
    shown: NDArray,
    samples: _Samples,
    points: Sequence[FloatArray],
    workspace: Path,
    *,
    subvoxel: bool,
) -> VolumePrediction:
    """The shown (channels, i, j, k) output, and SDs from the samples' squared deviations."""
    squares = samples.squares
    heads = bundle.config.network
    probability = uncertainty = landmarks = highest = None
    sd_mm = peaks = np.zeros(0)
    if heads.has_segmentation:
        probability = _array(workspace / "probability.npy", grid.shape)
        uncertainty = squares
        for start in range(0, grid.shape[0], SLAB):
            slab = slice(start, start + SLAB)
            probability[slab] = shown[0, slab]
            squares[slab] = np.sqrt(squares[slab] / samples.count)
    if heads.has_landmarks:
        heatmaps = shown[-len(heads.landmarks) :]
        ijk, heights = decode(heatmaps, subvoxel=subvoxel)
        landmarks = Landmarks(heads.landmarks, grid.to_mm(ijk))
        voxels, _ = decode(heatmaps, subvoxel=False)
        highest = Landmarks(heads.landmarks, grid.to_mm(voxels))
        peaks = heights / bundle.config.heatmaps[-1].amplitude
        spread = np.stack(points) - np.mean(points, axis=0)
        sd_mm = np.sqrt((spread**2).sum(axis=2).mean(axis=0)) * bundle.config.data.spacing_mm
    return VolumePrediction(probability, uncertainty, landmarks, sd_mm, peaks, grid, highest)
