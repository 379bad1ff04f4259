"""Cases of a data set at the working spacing, cached with a run as memory-mapped arrays."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otovox.core.anatomy import Side
from otovox.core.case import Case
from otovox.core.geometry import FloatArray
from otovox.core.volume import Grid
from otovox.dataset.layout import Entry, load_case
from otovox.formats.fingerprint import fingerprint
from otovox.formats.writing import replacing_folder
from otovox.imaging.resample import resample

#: Increased when the cached data change their meaning.
VERSION = 1


@dataclass(frozen=True, eq=False)
class Prepared:
    """One case, read from disk on demand.

    Attributes:
        entry: its row in the data set.
        image: (i, j, k) float32, original grey values.
        labels: (i, j, k) uint8, 1 in the labyrinth of either side.
        points_ijk: (sides, n, 3) landmarks in voxels, in the requested order; NaN where absent.
        grid: of the voxels.
    """

    entry: Entry
    image: NDArray[np.float32]
    labels: NDArray[np.uint8]
    points_ijk: FloatArray
    grid: Grid


def prepare(
    folder: Path,
    entries: Sequence[Entry],
    cache: Path,
    *,
    spacing_mm: float,
    shape: tuple[int, int, int],
    landmarks: tuple[str, ...],
) -> list[Prepared]:
    """Resample cases, or reuse cached ones.

    Args:
        folder: of the data set.
        entries: the requested cases.
        cache: folder that contains one folder per case.
        spacing_mm: isotropic voxel size.
        shape: smaller volumes are padded to this with their border values.
        landmarks: requested names.

    Returns:
        The cases, in the same order.

    Raises:
        OtovoxError: if a case cannot be read, or the cache cannot be written.
    """
    facts = {
        "version": VERSION,
        "spacing_mm": spacing_mm,
        "shape": list(shape),
        "landmarks": list(landmarks),
    }
    return [_prepare_one(folder, entry, cache / entry.case, facts) for entry in entries]


def _prepare_one(folder: Path, entry: Entry, cached: Path, facts: dict) -> Prepared:
    files = [name for name in (entry.image, entry.labels, entry.landmarks) if name]
    expected = facts | {"files": {name: fingerprint(folder / name) for name in files}}
    card = cached / "case.json"
    metadata = json.loads(card.read_text("utf-8")) if card.is_file() else {}
    if {key: metadata.get(key) for key in expected} != expected:
        metadata = _write(load_case(folder, entry), cached, expected)
    return Prepared(
        entry,
        np.load(cached / "image.npy", mmap_mode="r"),
        np.load(cached / "labels.npy", mmap_mode="r"),
        np.asarray(metadata["points_ijk"], dtype=float).reshape(-1, len(facts["landmarks"]), 3),
        Grid(tuple(metadata["grid"]["shape"]), np.asarray(metadata["grid"]["affine"])),
    )


def _write(case: Case, cached: Path, expected: dict) -> dict:
    """Resample one case to disk; return the content of its `case.json`."""
    grid = working_grid(case.scan.grid, expected["spacing_mm"], tuple(expected["shape"]))
    image = resample(case.scan.values, case.scan.grid, grid, outside="edge")
    mask = (case.labels.values > 0).astype(np.uint8)
    labels = resample(mask, case.scan.grid, grid, order="nearest").astype(np.uint8)
    points = [
        [
            grid.to_ijk(ear_landmarks[name]).tolist() if ear_landmarks.has(name) else [None] * 3
            for name in expected["landmarks"]
        ]
        for ear_landmarks in (case.landmarks[side] for side in Side if side in case.landmarks)
    ]
    grid_facts = {"shape": list(grid.shape), "affine": grid.affine.tolist()}
    metadata = expected | {"points_ijk": points, "grid": grid_facts}
    with replacing_folder(cached) as beside:
        np.save(beside / "image.npy", image)
        np.save(beside / "labels.npy", labels)
        (beside / "case.json").write_text(json.dumps(metadata, indent=2) + "\n", "utf-8")
    return metadata


def working_grid(grid: Grid, spacing_mm: float, least: tuple[int, int, int]) -> Grid:
    """An isotropic grid with the same field of view, centre and axes (S4).

    Args:
        grid: of the scan.
        spacing_mm: voxel size.
        least: minimum number of voxels along each axis.

    Source: the number of voxels follows the main author's public code (extent / spacing, rounded);
    keeping the centre is chosen.

    >>> grid = Grid.centred((0, 0, 0), (40, 40, 20), spacing_mm=(0.5, 0.5, 1.0))
    >>> fine = working_grid(grid, 0.4, (32, 32, 32))
    >>> fine.shape, fine.spacing_mm.tolist()
    ((50, 50, 50), [0.4, 0.4, 0.4])
    """
    counts = np.maximum(np.rint(grid.extent_mm / spacing_mm), least).astype(int)
    shape = (int(counts[0]), int(counts[1]), int(counts[2]))
    return Grid.centred(grid.center_mm, shape, spacing_mm=spacing_mm, directions=grid.directions)
