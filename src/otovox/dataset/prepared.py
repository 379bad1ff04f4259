"""Cases of a data set at the working spacing, kept beside a run as arrays read in parts."""

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

#: Raised when what is kept changes its meaning.
VERSION = 1


@dataclass(frozen=True, eq=False)
class Prepared:
    """One case, read from disk as it is needed.

    Attributes:
        entry: its row in the data set.
        image: (i, j, k) float32, grey values as the scanner gave them.
        labels: (i, j, k) uint8, 1 in the labyrinth of either side.
        points_ijk: (sides, n, 3) landmarks in voxels, in the order asked for; nan where absent.
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
    """Resample cases, or take them as they were resampled before.

    Args:
        folder: of the data set.
        entries: the cases wanted.
        cache: folder in which they are kept, one folder each.
        spacing_mm: isotropic voxel size wanted.
        shape: a smaller volume is extended to this by its border values.
        landmarks: names wanted.

    Returns:
        The cases, in the same order.

    Raises:
        OtovoxError: if a case cannot be read, or the cache not be written.
    """
    facts = {
        "version": VERSION,
        "spacing_mm": spacing_mm,
        "shape": list(shape),
        "landmarks": list(landmarks),
    }
    return [_prepare_one(folder, entry, cache / entry.case, facts) for entry in entries]


def _prepare_one(folder: Path, entry: Entry, kept: Path, facts: dict) -> Prepared:
    files = [name for name in (entry.image, entry.labels, entry.landmarks) if name]
    wanted = facts | {"files": {name: fingerprint(folder / name) for name in files}}
    card = kept / "case.json"
    known = json.loads(card.read_text("utf-8")) if card.is_file() else {}
    if {key: known.get(key) for key in wanted} != wanted:
        known = _write(load_case(folder, entry), kept, wanted)
    return Prepared(
        entry,
        np.load(kept / "image.npy", mmap_mode="r"),
        np.load(kept / "labels.npy", mmap_mode="r"),
        np.asarray(known["points_ijk"], dtype=float).reshape(-1, len(facts["landmarks"]), 3),
        Grid(tuple(known["grid"]["shape"]), np.asarray(known["grid"]["affine"])),
    )


def _write(case: Case, kept: Path, wanted: dict) -> dict:
    """Resample one case onto disk; what its card says."""
    grid = working_grid(case.scan.grid, wanted["spacing_mm"], tuple(wanted["shape"]))
    image = resample(case.scan.values, case.scan.grid, grid, outside="edge")
    mask = (case.labels.values > 0).astype(np.uint8)
    labels = resample(mask, case.scan.grid, grid, order="nearest").astype(np.uint8)
    points = [
        [
            grid.to_ijk(found[name]).tolist() if found.has(name) else [None] * 3
            for name in wanted["landmarks"]
        ]
        for found in (case.landmarks[side] for side in Side if side in case.landmarks)
    ]
    where = {"shape": list(grid.shape), "affine": grid.affine.tolist()}
    known = wanted | {"points_ijk": points, "grid": where}
    with replacing_folder(kept) as beside:
        np.save(beside / "image.npy", image)
        np.save(beside / "labels.npy", labels)
        (beside / "case.json").write_text(json.dumps(known, indent=2) + "\n", "utf-8")
    return known


def working_grid(grid: Grid, spacing_mm: float, least: tuple[int, int, int]) -> Grid:
    """The field of a grid in isotropic voxels, its middle and axes kept (S4).

    Args:
        grid: of the scan.
        spacing_mm: voxel size wanted.
        least: voxels that there must be along each axis at least.

    Source: the number of voxels is that of the main author's public code, extent / spacing
    rounded; that the middle is kept is chosen.
    """
    counts = np.maximum(np.rint(grid.extent_mm / spacing_mm), least).astype(int)
    shape = (int(counts[0]), int(counts[1]), int(counts[2]))
    return Grid.centred(grid.center_mm, shape, spacing_mm=spacing_mm, directions=grid.directions)
