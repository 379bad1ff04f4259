"""Summary of a data set in tables and a figure: sizes, volumes, contrast, training intensities."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from otovox.core.anatomy import Side
from otovox.core.case import Case
from otovox.dataset.layout import Entry, load_case, read_index
from otovox.formats.writing import replacing

#: Range of the evaluated bone around the labyrinth, mm: chosen, within the otic capsule.
NEAR_MM, FAR_MM = 0.3, 1.2
#: Quantiles reported for each region.
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Contrast:
    """Grey values of one case.

    Attributes:
        entry: the case.
        shape, spacing_mm: shape and spacing of its grid.
        volume_mm3: total volume of its labyrinths.
        lumen, capsule: quantiles (`QUANTILES`) within the labyrinth and in the bone around it.
        whole: the 1st and 99th percentile, mean and SD of all voxels.
    """

    entry: Entry
    shape: tuple[int, int, int]
    spacing_mm: NDArray[np.float64]
    volume_mm3: float
    lumen: NDArray[np.floating]
    capsule: NDArray[np.floating]
    whole: NDArray[np.floating]


def contrast(entry: Entry, case: Case) -> Contrast:
    """Measure one case; without labels the regions' quantiles are nan.

    >>> from otovox.core.volume import Grid, LabelMap, Scan
    >>> ear, grid = np.pad(np.ones((4, 4, 4), np.uint8), 6), Grid((16, 16, 16), np.eye(4))
    >>> scan = Scan(np.where(ear, 20.0, 1800.0).astype(np.float32), grid)
    >>> row = contrast(Entry("anna", "p1"), Case(scan, LabelMap(ear, grid), {}))
    >>> row.volume_mm3, float(row.lumen[2]), float(row.capsule[2])
    (64.0, 20.0, 1800.0)
    """
    values, grid = case.scan.values, case.scan.grid
    mask = np.isin(case.labels.values, [side.label for side in Side])
    nothing = np.full(len(QUANTILES), np.nan)
    lumen = capsule = nothing
    if mask.any():
        away = np.asarray(ndimage.distance_transform_edt(~mask, sampling=grid.spacing_mm))
        lumen = np.quantile(values[mask], QUANTILES)
        shell = (away > NEAR_MM) & (away < FAR_MM)
        capsule = np.quantile(values[shell], QUANTILES) if shell.any() else nothing
    low, high = np.quantile(values, (0.01, 0.99))
    whole = np.array([low, high, values.mean(), values.std()])
    volume = float(np.count_nonzero(mask)) * grid.voxel_mm3
    return Contrast(entry, grid.shape, grid.spacing_mm, volume, lumen, capsule, whole)


def summarise(folder: Path, output: Path) -> list[Contrast]:
    """Measure every case and write `contrast.csv`, `groups.csv` and `contrast.png`.

    Args:
        folder: folder of the data set.
        output: folder for tables and figure.

    Returns:
        One row per case.

    Raises:
        OtovoxError: if a case cannot be read, or the output cannot be written.
    """
    rows = [contrast(entry, load_case(folder, entry)) for entry in read_index(folder)]
    _write_cases(rows, output / "contrast.csv")
    _write_groups(rows, output / "groups.csv")
    with replacing(output / "contrast.png") as beside:
        _draw(rows, beside)
    return rows


def training_intensity(rows: Sequence[Contrast]) -> dict[str, float]:
    """Clipping limits, mean and SD over the training cases only (S5); all cases if none is marked.

    Source: Stebani et al. 2023, S5. Means over cases, so that large scans do not dominate.

    >>> def row(split, whole):
    ...     entry = Entry("anna", "p1", split=split)
    ...     return Contrast(entry, (4, 4, 4), np.ones(3), 0.0, np.empty(0), np.empty(0), whole)
    >>> training_intensity([row("train", (-900, 2200, 300, 700)), row("test", (-50, 90, 20, 30))])
    {'low': -900.0, 'high': 2200.0, 'mean': 300.0, 'sd': 700.0}
    """
    training = [row for row in rows if row.entry.split == "train"] or list(rows)
    low, high, mean, sd = np.mean([row.whole for row in training], axis=0)
    return {"low": float(low), "high": float(high), "mean": float(mean), "sd": float(sd)}


def _write_cases(rows: Sequence[Contrast], path: Path) -> None:
    regions = [f"{r}_q{int(100 * q):02d}" for r in ("lumen", "capsule") for q in QUANTILES]
    header = ["case", "patient", "side", "scanner", "diagnosis", "split", "voxels", "spacing_mm"]
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*header, "volume_mm3", *regions])
        for row in rows:
            facts = [getattr(row.entry, name) for name in header[:6]]
            size = ["x".join(map(str, row.shape)), "x".join(f"{s:.3f}" for s in row.spacing_mm)]
            values = [f"{v:.1f}" for v in (row.volume_mm3, *row.lumen, *row.capsule)]
            writer.writerow([*facts, *size, *values])


def _write_groups(rows: Sequence[Contrast], path: Path) -> None:
    """Numbers, volumes and contrast per scanner, diagnosis and split."""
    groups: dict[tuple[str, str, str], list[Contrast]] = {}
    for row in rows:
        key = (row.entry.scanner, row.entry.diagnosis, row.entry.split)
        groups.setdefault(key, []).append(row)
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["scanner", "diagnosis", "split", "cases", "patients", "volume_mm3", "lumen", "capsule"]
        )
        for key, members in sorted(groups.items()):
            middle = len(QUANTILES) // 2
            means = [
                np.mean([row.volume_mm3 for row in members]),
                np.mean([row.lumen[middle] for row in members]),
                np.mean([row.capsule[middle] for row in members]),
            ]
            patients = len({row.entry.patient for row in members})
            writer.writerow([*key, len(members), patients, *(f"{mean:.1f}" for mean in means)])


def _draw(rows: Sequence[Contrast], path: Path) -> None:
    """Plot grey values in the labyrinth and the surrounding bone for each case, by scanner."""
    from matplotlib.figure import Figure

    ordered = sorted(rows, key=lambda row: (row.entry.scanner, row.entry.case))
    figure = Figure(figsize=(max(6.0, 0.16 * len(ordered) + 2), 4.2), layout="constrained")
    axes = figure.add_subplot()
    for name, colour, shift in (("lumen", "#0072B2", -0.17), ("capsule", "#D55E00", 0.17)):
        values = np.array([getattr(row, name) for row in ordered])
        at = np.arange(len(ordered)) + shift
        axes.vlines(at, values[:, 0], values[:, -1], color=colour, linewidth=1)
        axes.vlines(at, values[:, 1], values[:, -2], color=colour, linewidth=3)
        axes.plot(at, values[:, 2], "o", color=colour, markersize=3.5, label=name)
    scanners = [row.entry.scanner or "unknown" for row in ordered]
    firsts = [n for n, name in enumerate(scanners) if n == 0 or name != scanners[n - 1]]
    for first in firsts[1:]:
        axes.axvline(first - 0.5, color="0.8", linewidth=0.8)
    axes.set_xticks(firsts, [scanners[n] for n in firsts], rotation=20, ha="left")
    axes.set_ylabel("grey value (HU if the scan is calibrated)")
    axes.set_title("Labyrinth and surrounding bone: median, quartiles, 5 to 95 %", fontsize=10)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
