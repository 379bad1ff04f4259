"""A scan as a whole through any trained network, as Stebani et al. 2023 do (S7, S9, S20, S24).

Windows slide over the scan on the working grid; the whole is repeated for each turn of a cube and
the turns' mean and spread are gathered voxel by voxel as they come, so that one turn is held at a
time. Nothing is searched, cut out or cleaned.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from otovox.anatomy import LANDMARK_NAMES, Side
from otovox.bundle import Bundle
from otovox.case import EarPrediction, Prediction
from otovox.chunks import padded, slabs
from otovox.engine import Engine
from otovox.errors import ConfigError
from otovox.geometry import FloatArray, cube_turns_deg, mean_pose, rotation_from_vector
from otovox.heatmaps import decode
from otovox.intensity import GreyMap, Scaling, normalise
from otovox.landmarks import Landmarks
from otovox.resample import MOST_VOXELS, resample, working_grid
from otovox.volume import Grid, LabelMap, Probability, Scan

TtaName = Literal["none", "fast", "paper", "full"]
#: Turns of the test-time samples, by number in `cube_turns_deg`: "paper" is S9, "full" are all;
#: "fast", the half turns about the three axes, is chosen.
TURNS: dict[str, tuple[int, ...]] = {
    "none": (0,),
    "fast": (0, 2, 5, 8),
    "paper": tuple(range(10)),
    "full": tuple(range(24)),
}
#: Sums larger than this are kept in files, bytes: chosen.
IN_MEMORY = 2 << 30


@dataclass(frozen=True)
class VolumeOptions:
    """How a volume is gone through.

    Attributes:
        tta: which turns.
        overlap: of neighbouring windows, share of their size. Source: 25 of 128 voxels in the
            paper's results (S7).
        scaling: of the scan's grey values, if not that of the model's training set.
        subvoxel: refine the heatmaps' highest voxel, which is what the paper takes (S20).
        most_voxels: a working grid larger than this is refused.
    """

    tta: TtaName = "none"
    overlap: float = 25 / 128
    scaling: GreyMap | None = None
    subvoxel: bool = True
    most_voxels: int = MOST_VOXELS


#: One pass, scaled as the training set was.
PLAIN = VolumeOptions()


@dataclass(frozen=True, eq=False)
class VolumePrediction:
    """What a network says of a whole scan, on the working grid.

    Attributes:
        grid: the working grid.
        probability: (i, j, k) mean over the turns; None without a segmentation head.
        spread: (i, j, k) SD over the turns; None likewise.
        landmarks: where the mean heatmaps are highest, LPS mm; none without a heatmap head.
        peaks: (n,) heights there over a full heatmap's.
        landmark_sd_mm: (n,) root mean square distance of the turns' points from their mean.
        samples: number of turns.
    """

    grid: Grid
    probability: NDArray[np.float32] | None
    spread: NDArray[np.float32] | None
    landmarks: Landmarks
    peaks: FloatArray
    landmark_sd_mm: FloatArray
    samples: int

    @property
    def mean_spread(self) -> float:
        """SD over the turns, averaged over the whole volume (S24); nan where there is none."""
        if self.spread is None or self.samples < 2:
            return float("nan")
        return float(self.spread.mean(dtype=np.float64))


def predict_volume(
    scan: Scan, bundle: Bundle, engine: Engine, *, options: VolumeOptions = PLAIN
) -> VolumePrediction:
    """Run a network over a whole scan.

    Held at a time: the scan, the working grid's values and two results of that size, and the sums
    of one window's thickness; larger sums lie in files that are gone afterwards.

    Args:
        scan: in whose whole field to look.
        bundle: the network; its training set's scaling is in its facts.
        engine: the same, ready to run.
        options: turns, windows, scaling.

    Raises:
        InputError: if the scan is too large at the network's voxel edge.
        ConfigError: if the options do not fit.
    """
    config = bundle.config
    chunk, turns = config.data.shape, TURNS[options.tta]
    if not 0 <= options.overlap < 1:
        raise ConfigError(f"windows cannot overlap by {options.overlap} of their size")
    grid = working_grid(scan.grid, config.data.spacing_mm, most_voxels=options.most_voxels)
    values = resample(scan.values, scan.grid, grid, outside="edge")
    scaling = options.scaling or _own_scaling(bundle)
    if scaling is not None:
        values = scaling.apply(values)
    side = max(chunk)
    volume, front = padded(values, chunk if len(turns) == 1 else (side, side, side))
    inner = tuple(slice(f, f + n) for f, n in zip(front, grid.shape, strict=True))

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        if scaling is None:
            images = np.stack([normalise(one[0])[None] for one in images])
        return np.concatenate(engine.run(images), axis=1)

    i, j, k = (max(1, n - round(n * options.overlap)) for n in chunk)
    heads = config.network
    count = len(heads.landmarks) if heads.has_landmarks else 0
    with tempfile.TemporaryDirectory(prefix="otovox-", ignore_cleanup_errors=True) as folder:
        sums = _Sums.start(volume.shape, heads.has_segmentation, count, Path(folder))
        for turn in turns:
            rotation = rotation_from_vector(np.radians(cube_turns_deg()[turn]))
            parts = slabs(
                _turned(volume, rotation), run, chunk=chunk, stride=(i, j, k),
                batch_size=engine.batch_size,
            )  # fmt: skip
            sums.add(parts, rotation)
        return _finished(sums, inner, grid, bundle, options)


def as_prediction(
    found: VolumePrediction, scan: Scan, side: Side, *, provenance: dict | None = None
) -> Prediction:
    """A whole-volume prediction on the scan's own grid, for the results of one ear.

    Args:
        found: without a segmentation head the labels stay empty, without a heatmap head the
            landmarks are absent.
        scan: of one ear.
        side: which it is; the paper's networks do not tell.
        provenance: of models and settings.
    """
    labels = LabelMap(np.zeros(scan.grid.shape, np.uint8), scan.grid)
    uncertainty = np.zeros(scan.grid.shape, np.float32)
    points = np.full((len(LANDMARK_NAMES), 3), np.nan)
    spreads = points[:, 0]
    names = found.landmarks.names
    if set(LANDMARK_NAMES) <= set(names):
        points = found.landmarks.only(LANDMARK_NAMES).points_mm
        spreads = found.landmark_sd_mm[[names.index(name) for name in LANDMARK_NAMES]]
    middle, near_sd, sure = points.mean(axis=0), float("nan"), 0.0
    probability = None
    if found.probability is not None and found.spread is not None:
        probability = Probability(found.probability, found.grid)
        # Logits are closer to linear across a wall than probabilities are.
        p = np.clip(found.probability, 0.01, 0.99)
        logits = resample(np.log(p / (1 - p)), found.grid, scan.grid, outside=-5.0)
        np.putmask(labels.values, logits > 0, side.label)
        uncertainty = resample(found.spread, found.grid, scan.grid, outside=0.0)
        core = found.probability > 0.5
        if core.any():
            middle = found.grid.to_mm(np.argwhere(core).mean(axis=0))
            near = np.asarray(ndimage.binary_dilation(core, iterations=3), dtype=bool)
            near_sd = float(found.spread[near].mean())
            sure = float(found.probability[core].mean())
    if found.peaks.size:
        sure = float(np.clip(found.peaks, 0, 1).mean())
    volume = labels.volume_mm3(side.label)
    if not (volume or (probability is None and np.isfinite(middle).all())):
        return Prediction(scan, (), labels, uncertainty, ("no inner ear found",), provenance or {})
    ear = EarPrediction(
        side=side,
        pose=mean_pose(side, middle),
        landmarks=Landmarks(LANDMARK_NAMES, points),
        landmark_sd_mm=spreads,
        volume_mm3=volume,
        center_mm=middle,
        confidence=sure,
        uncertainty=near_sd,
        probability=probability,
    )
    return Prediction(scan, (ear,), labels, uncertainty, (), provenance or {})


@dataclass(eq=False)
class _Sums:
    """Running mean and squared distances over the turns (Welford 1962), and the turns' points."""

    probability: NDArray[np.float32] | None
    squares: NDArray[np.float32] | None
    heatmaps: NDArray[np.float32]
    points: list[FloatArray]

    @classmethod
    def start(cls, shape: tuple[int, ...], segments: bool, landmarks: int, folder: Path) -> "_Sums":
        large = (2 * segments + landmarks) * int(np.prod(shape)) * 4 > IN_MEMORY

        def zeros(name: str, size: tuple[int, ...]) -> NDArray[np.float32]:
            if not large or not np.prod(size):
                return np.zeros(size, np.float32)
            return np.lib.format.open_memmap(folder / name, "w+", np.float32, size)

        return cls(
            zeros("mean.npy", shape) if segments else None,
            zeros("squares.npy", shape) if segments else None,
            zeros("heatmaps.npy", (landmarks, *shape)),
            [],
        )

    def add(self, parts, rotation: FloatArray) -> None:
        """One turn's slabs, in the turned volume's order."""
        number = len(self.points) + 1
        count = len(self.heatmaps)
        best, places = np.full(count, -np.inf), np.full((count, 3), np.nan)
        heatmaps = [_turned(one, rotation) for one in self.heatmaps]
        mean = None if self.probability is None else _turned(self.probability, rotation)
        squares = None if self.squares is None else _turned(self.squares, rotation)
        for rows, values in parts:
            if mean is not None and squares is not None:
                away = values[0] - mean[rows]
                mean[rows] += away / number
                squares[rows] += away * (values[0] - mean[rows])
            for n, (sums, new) in enumerate(
                zip(heatmaps, values[len(values) - count :], strict=True)
            ):
                sums[rows] += (new - sums[rows]) / number
                top = np.unravel_index(int(np.argmax(new)), new.shape)
                if new[top] > best[n]:
                    best[n] = new[top]
                    places[n] = np.array(top) + np.array([rows.start, 0, 0])
        self.points.append(_turned_back(places, rotation, self.shape))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the volume."""
        return self.heatmaps.shape[1:]


def _finished(
    sums: _Sums, inner: tuple[slice, ...], grid: Grid, bundle: Bundle, options: VolumeOptions
) -> VolumePrediction:
    network = bundle.config.network
    front = np.array([part.start for part in inner])
    probability = spread = None
    if sums.probability is not None and sums.squares is not None:
        probability = np.array(sums.probability[inner])
        spread = np.array(sums.squares[inner])
        np.sqrt(np.maximum(spread, 0) / len(sums.points), out=spread)
    names = network.landmarks if network.has_landmarks else ()
    if not names:
        nothing = np.zeros(0)
        return VolumePrediction(
            grid, probability, spread, Landmarks((), np.zeros((0, 3))), nothing, nothing,
            len(sums.points),
        )  # fmt: skip
    points_ijk, peaks = decode(sums.heatmaps[:, *inner], subvoxel=options.subvoxel)
    seen = grid.to_mm(np.stack(sums.points) - front)
    away = np.linalg.norm(seen - seen.mean(axis=0), axis=2)
    return VolumePrediction(
        grid=grid,
        probability=probability,
        spread=spread,
        landmarks=Landmarks(names, grid.to_mm(points_ijk)),
        peaks=peaks / bundle.config.heatmaps[-1].amplitude,
        landmark_sd_mm=np.sqrt((away**2).mean(axis=0)),
        samples=len(sums.points),
    )


def _own_scaling(bundle: Bundle) -> Scaling | None:
    """What the training set was scaled by; None where every chunk was scaled by itself."""
    facts = bundle.facts.get("scaling")
    return Scaling(**facts) if facts else None


def _turned(values: NDArray[np.float32], rotation: FloatArray) -> NDArray[np.float32]:
    """The volume turned by a rotation of a cube, as a view that shares its memory."""
    whole = np.rint(rotation).astype(int)
    order = np.abs(whole).argmax(axis=1)
    backwards = tuple(axis for axis in range(3) if whole[axis].sum() < 0)
    return np.flip(values.transpose(order), backwards)


def _turned_back(points: FloatArray, rotation: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Voxel coordinates in the turned volume as those of the volume itself."""
    whole = np.rint(rotation)
    middle = (np.asarray(shape) - 1) / 2
    return (points - np.abs(whole) @ middle) @ whole + middle
