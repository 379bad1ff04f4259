"""A data set on disk as training data: kept volumes, chunks of them, whole ones (S4-S8).

Every case is brought once onto the working grid and kept as memory-mapped `.npy` beside the run;
a chunk is then read from there, scaled and augmented. The same index always gives the same chunk.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from otovox.anatomy import Side
from otovox.augment import augment, draw_augmentation
from otovox.case import Case
from otovox.chunks import Shape, piece, starts
from otovox.config import TrainConfig
from otovox.dataset import Entry, load_case
from otovox.errors import InputError
from otovox.formats.writing import replacing_folder
from otovox.geometry import FloatArray
from otovox.intensity import (
    Contrast,
    Scaling,
    contrast_of,
    normalise,
    scaling_of,
    thinned,
    tissue_sample,
)
from otovox.resample import resample, working_grid
from otovox.volume import Grid

logger = logging.getLogger(__name__)

#: Raised when what is kept changes.
VERSION = 1
#: Field that is cut out around each ear where a scan shows both, mm. Source: Stebani et al. 2023,
#: S1: the field of their sets A and B.
FIELD_MM = np.array([50.5, 50.5, 39.9])


@dataclass(frozen=True, eq=False)
class Volume:
    """One ear on the working grid, kept on disk.

    Attributes:
        name: of its case, with its side where the case has two.
        image: (i, j, k) float32 grey values as they were, memory-mapped.
        labels: (i, j, k) uint8, 1 in the labyrinth, memory-mapped.
        points_ijk: (n, 3) landmarks, voxel coordinates; nan where absent.
        middle: (3,) voxel in the middle of the labyrinth.
        folder: where it is kept; None if made by hand.
    """

    name: str
    image: NDArray[np.float32]
    labels: NDArray[np.uint8]
    points_ijk: FloatArray
    middle: NDArray[np.int64]
    folder: Path | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Worker processes open the files themselves: a copy of the voxels would be sent else."""
        if self.folder is not None:
            return _open, (self.folder,)
        return Volume, (self.name, self.image, self.labels, self.points_ijk, self.middle)


def keep_volumes(
    dataset: Path, entry: Entry, cache: Path, *, landmarks: tuple[str, ...], spacing_mm: float
) -> list[Volume]:
    """A case's ears on the working grid; made if they are not there, or the case has changed.

    A scan of one ear is taken whole (S4); of a scan of both, the paper's field around each.

    Args:
        dataset: folder of the data set; nothing is written there.
        entry: the case.
        cache: folder in which volumes are kept.
        landmarks: names, in this order.
        spacing_mm: of the working grid.

    Raises:
        InputError: if the case has no labyrinth, cannot be read, or is too large.
    """
    folder = cache / f"{entry.case}-{_key(dataset, entry, landmarks, spacing_mm)}"
    if not folder.is_dir():
        logger.info("bringing %s to %g mm", entry.case, spacing_mm)
        case = load_case(dataset, entry)
        sides = [side for side in Side if (case.labels.values == side.label).any()]
        if not sides:
            raise InputError(f"{entry.case}: has no labelled labyrinth to learn from")
        with replacing_folder(folder) as beside:
            for side in sides:
                name = entry.case if len(sides) == 1 else f"{entry.case}-{side}"
                grid = _field(case, side, spacing_mm, alone=len(sides) == 1)
                _keep(case, side, grid, beside / name, landmarks)
    return [_open(inner) for inner in sorted(folder.iterdir())]


def set_scaling(volumes: Sequence[Volume], fractions: tuple[float, float]) -> Scaling:
    """The scaling of a set (S5), from a sample of every volume.

    Args:
        volumes: of the training cases alone.
        fractions: at which to clip.
    """
    samples = [thinned(volume.image) for volume in volumes]
    return scaling_of(samples, sizes=[v.image.size for v in volumes], fractions=fractions)


def set_contrast(
    volumes: Sequence[Volume], scaling: Scaling, spacing_mm: float
) -> tuple[Contrast, tuple[float, float]]:
    """What other sets are matched to (S6): tissue, and mean and SD of the labyrinths' voxels.

    Args:
        volumes: of the training cases.
        scaling: of the same.
        spacing_mm: of their grids.
    """
    tissues = [tissue_sample(volume.image, np.full(3, spacing_mm)) for volume in volumes]
    inside = np.concatenate([thinned(v.image[v.labels > 0], 100_000) for v in volumes])
    scaled = scaling.apply(inside)
    return contrast_of([scaling.apply(t) for t in tissues]), (
        float(scaled.mean()),
        float(scaled.std()),
    )


class VolumeChunks(Dataset[dict[str, Tensor]]):
    """Endless training chunks: windows of the kept volumes, drawn, scaled, augmented.

    Args:
        volumes: of the training cases.
        config: windows, augmentation, seed.
        scaling: of the training set; None scales each chunk by itself.
    """

    def __init__(
        self, volumes: Sequence[Volume], config: TrainConfig, scaling: Scaling | None
    ) -> None:
        self.volumes = tuple(volumes)
        self.config = config
        self.scaling = scaling

    def __len__(self) -> int:
        # Sampling by index never ends in training; a large number stands for that.
        return 1 << 40

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        data = self.config.data
        rng = np.random.default_rng([data.seed, index])
        volume = self.volumes[rng.integers(len(self.volumes))]
        start = draw_window(
            volume, data.shape, data.window_stride, rng, near=rng.random() < data.near_share
        )
        image = piece(volume.image, start, data.shape, edge=True)
        labels = piece(volume.labels, start, data.shape, edge=False)
        points = _inside(volume.points_ijk - start, data.shape)
        image = self.scaling.apply(image) if self.scaling else normalise(image)
        drawn = draw_augmentation(self.config.augment, rng)
        return _tensors(*augment(image, labels, points, by=drawn))


class WholeVolumes(Dataset[dict[str, Tensor]]):
    """Whole volumes for validation, extended to a chunk's size where they are smaller (S18).

    Args:
        volumes: of the validation cases.
        config: size of a chunk.
        scaling: of the training set; None leaves grey values as they are, to be scaled per window.
    """

    def __init__(
        self, volumes: Sequence[Volume], config: TrainConfig, scaling: Scaling | None
    ) -> None:
        self.volumes = tuple(volumes)
        self.config = config
        self.scaling = scaling

    def __len__(self) -> int:
        return len(self.volumes)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        volume = self.volumes[index]
        start, shape = _extended(volume.image.shape, self.config.data.shape)
        image = piece(volume.image, start, shape, edge=True)
        labels = piece(volume.labels, start, shape, edge=False)
        image = self.scaling.apply(image) if self.scaling else image
        return _tensors(image, labels, _inside(volume.points_ijk - start, shape))


def draw_window(
    volume: Volume,
    chunk: Shape,
    stride: Shape,
    rng: np.random.Generator,
    *,
    near: bool,
) -> tuple[int, int, int]:
    """First voxel of one of the sliding windows over a volume, all equally likely (S7).

    Args:
        volume: to take it from.
        chunk: voxels of a window.
        stride: voxels between windows.
        rng: draws.
        near: only of those windows that hold the middle of the labyrinth.
    """
    drawn = []
    for size, side, step, middle in zip(
        volume.image.shape, chunk, stride, volume.middle, strict=True
    ):
        if size < side:
            drawn.append(-((side - size) // 2))
            continue
        places = starts(size, side, step)
        if near:
            holding = [place for place in places if place <= middle < place + side]
            # Windows further apart than they are wide may leave the middle between them.
            places = holding or [min(places, key=lambda n: abs(n + side // 2 - middle))]
        drawn.append(int(rng.choice(places)))
    i, j, k = drawn
    return i, j, k


def open_all(
    dataset: Path, entries: Iterable[Entry], config: TrainConfig, cache: Path
) -> list[Volume]:
    """The kept volumes of cases, made where they are not there; see `keep_volumes`."""
    names, spacing = config.network.landmarks, config.data.spacing_mm
    return [
        volume
        for entry in entries
        for volume in keep_volumes(dataset, entry, cache, landmarks=names, spacing_mm=spacing)
    ]


def _field(case: Case, side: Side, spacing_mm: float, *, alone: bool) -> Grid:
    """The working grid of one ear of a case."""
    if alone:
        return working_grid(case.scan.grid, spacing_mm)
    # A coarse grid tells the axes; the field around the ear may then reach beyond the scan's.
    directions = working_grid(case.scan.grid, 1.0).directions
    voxels = np.argwhere(case.labels.values == side.label)
    middle = case.scan.grid.to_mm((voxels.min(axis=0) + voxels.max(axis=0)) / 2)
    i, j, k = (int(n) for n in np.rint(FIELD_MM / spacing_mm))
    return Grid.centred(middle, (i, j, k), spacing_mm=spacing_mm, directions=directions)


def _keep(case: Case, side: Side, grid: Grid, folder: Path, landmarks: tuple[str, ...]) -> None:
    """Write one ear: linear, beyond the field its border; labels nearest (S4)."""
    own = case.labels.values == side.label
    image = resample(case.scan.values, case.scan.grid, grid, outside="edge")
    labels = resample(own.astype(np.uint8), case.scan.grid, grid, order="nearest") > 0.5
    if not labels.any():
        raise InputError(f"{case.scan.name}: its labyrinth has no voxel at this spacing")
    known = case.landmarks.get(side)
    points = [
        grid.to_ijk(known[name]) if known and known.has(name) else np.full(3, np.nan)
        for name in landmarks
    ]
    voxels = np.argwhere(labels)
    folder.mkdir()
    np.save(folder / "image.npy", image)
    np.save(folder / "labels.npy", labels.astype(np.uint8))
    np.save(folder / "points.npy", np.array(points).reshape(-1, 3))
    np.save(folder / "middle.npy", (voxels.min(axis=0) + voxels.max(axis=0)) // 2)


def _open(folder: Path) -> Volume:
    image = np.load(folder / "image.npy", mmap_mode="r")
    labels = np.load(folder / "labels.npy", mmap_mode="r")
    points, middle = np.load(folder / "points.npy"), np.load(folder / "middle.npy")
    return Volume(folder.name, image, labels, points, middle, folder)


def _key(dataset: Path, entry: Entry, landmarks: tuple[str, ...], spacing_mm: float) -> str:
    """What a kept volume depends on, in twelve letters."""
    files = [dataset / name for name in (entry.image, entry.labels, entry.landmarks) if name]
    try:
        stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error
    facts = json.dumps([VERSION, str(dataset.resolve()), stats, landmarks, spacing_mm])
    return hashlib.sha256(facts.encode()).hexdigest()[:12]


def _extended(size: Sequence[int], chunk: Shape) -> tuple[tuple[int, int, int], Shape]:
    """First voxel and shape of a volume that holds a chunk."""
    i, j, k = (max(n, side) for n, side in zip(size, chunk, strict=True))
    a, b, c = (-((m - n) // 2) for m, n in zip((i, j, k), size, strict=True))
    return (a, b, c), (i, j, k)


def _inside(points: FloatArray, shape: Sequence[int]) -> FloatArray:
    """Points of a window; nan outside it."""
    within = np.all((points >= -0.5) & (points <= np.asarray(shape) - 0.5), axis=1)
    return np.where(within[:, None], points, np.nan)


def _tensors(
    image: NDArray[np.float32], labels: NDArray[np.float32], points: FloatArray
) -> dict[str, Tensor]:
    return {
        "image": torch.from_numpy(np.ascontiguousarray(image[None])),
        "labels": torch.from_numpy(np.ascontiguousarray(labels[None])),
        "points": torch.from_numpy(points.astype(np.float32)),
    }
