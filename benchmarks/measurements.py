"""Bias and spread of cochlear measurements on simulated cochleae with known ground truth.

    python benchmarks/measurements.py --cases 20
    python benchmarks/measurements.py --cases 10 --predicted fpvct

The first measures ground-truth masks at several voxel sizes; the second renders, scans and analyses
each ear with the embedded model, and measures the result. Writes a CSV with one row per ear and one
with the statistics. The seeds are never used in training.
"""

import argparse
import csv
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from otovox.analysis.model import analyze
from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.geometry import MIDDLE_MM, FloatArray, Pose, fit_pose
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid, Scan
from otovox.measure.cochlea import Cochlea, measure_cochlea
from otovox.phantom.bone import paint_temporal_bone
from otovox.phantom.canvas import Canvas
from otovox.phantom.head import draw_pose
from otovox.phantom.labyrinth import Labyrinth, draw_labyrinth, paint
from otovox.phantom.scanner import SCANNERS, draw_protocol, scan, scanned_shape
from otovox.phantom.tissues import draw_tissues
from otovox.phantom.truth import CochleaTruth, cochlea_truth

#: Seeds of this benchmark's ears never overlap with those of training or of whole cases.
STREAM = 23
VOXELS_MM = ((0.1, 0.1, 0.1), (0.2, 0.2, 0.2), (0.3, 0.3, 0.3), (0.25, 0.25, 0.5))
#: Field of view of a mask and of a scan, mm: chosen, a labyrinth at any angle with surrounding
#: bone.
FIELD_MM, SCAN_MM = 23.0, 26.0

COLUMNS = (
    "axis deg", "axis aside mm", "A mm", "A wall mm", "B mm", "H mm", "turns", "length %",
    "length to 720 %", "centre line %", "CPU seconds",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--predicted", metavar="SCANNER", choices=sorted(SCANNERS))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    name = f"measurements-cochlea-{options.predicted or 'truth'}"
    rows: list[tuple[str, int, FloatArray]] = []
    withheld: list[str] = []
    for seed in range(options.first_seed, options.first_seed + options.cases):
        ears = predicted(seed, options.predicted) if options.predicted else truth_masks(seed)
        for kind, cochlea, truth, seconds in ears:
            if cochlea.wall is None:
                withheld.append(f"{kind}, seed {seed}: {'; '.join(cochlea.problems)}")
            errors = compare(cochlea, truth, seconds)
            rows.append((kind, seed, errors))
            print(f"{kind:18s}{seed:4d}" + "".join(f"{e:9.2f}" for e in errors), flush=True)
    write(rows, options.output, name)
    print("\n".join(["", f"withheld: {len(withheld)}", *withheld]))


def drawn(seed: int) -> tuple[Labyrinth, Pose, np.random.Generator]:
    """An ear, its pose in a scan, and the random generator for the rest."""
    rng = np.random.default_rng([STREAM, seed])
    side = Side.RIGHT if rng.random() < 0.5 else Side.LEFT
    return draw_labyrinth(rng, spread=1.0), draw_pose(side, rng, rng.uniform(-40, 40, 3)), rng


def truth_masks(seed: int) -> Iterator[tuple[str, Cochlea, CochleaTruth, float]]:
    """Binary masks of one ear at every voxel size, with the true landmarks."""
    shape, pose, _ = drawn(seed)
    truth = cochlea_truth(shape)
    landmarks = Landmarks(shape.landmarks.names, pose.to_lps(shape.landmarks.points_mm))
    fitted = fit_pose(landmarks.names, landmarks.points_mm, pose.side)
    for voxel in VOXELS_MM:
        i, j, k = (int(n) for n in np.ceil(FIELD_MM / np.asarray(voxel)))
        grid = Grid.centred(pose.to_lps(MIDDLE_MM), (i, j, k), spacing_mm=voxel)
        mask = (paint(shape, Canvas(grid, pose)) < 0).astype(np.float32)
        start = time.process_time()
        cochlea = measure_cochlea(mask, grid, landmarks.only(LANDMARK_NAMES), fitted)
        seconds = time.process_time() - start
        kind = "x".join(f"{edge:g}" for edge in voxel)
        yield kind, cochlea, in_lps(truth, pose), seconds


def predicted(seed: int, scanner: str) -> Iterator[tuple[str, Cochlea, CochleaTruth, float]]:
    """One ear as segmented by the embedded model in a simulated scan."""
    shape, pose, rng = drawn(seed)
    kind, protocol = SCANNERS[scanner], draw_protocol(rng, scanner)
    step = 0.1 if min(protocol.voxel_mm) < 0.15 else 0.15
    count = round(SCAN_MM / step)
    fine = Grid.centred(pose.to_lps(MIDDLE_MM), (count, count, count), spacing_mm=step)
    tissues = draw_tissues(rng, kind.specimen)
    hu, _ = paint_temporal_bone(shape, Canvas(fine, pose), tissues, rng)
    i, j, k = scanned_shape(hu.shape, fine.spacing_mm, protocol)
    grid = Grid.centred(fine.center_mm, (i, j, k), spacing_mm=protocol.voxel_mm)
    prediction = analyze(Scan(scan(hu, fine.spacing_mm, protocol, rng), grid)).prediction
    truth = in_lps(cochlea_truth(shape), pose)
    for ear in prediction.ears:
        assert ear.probability is not None
        start = time.process_time()
        cochlea = measure_cochlea(
            ear.probability.values, ear.probability.grid, ear.landmarks, ear.pose, field=grid
        )
        yield scanner, cochlea, truth, time.process_time() - start
    if not prediction.ears:
        yield scanner, Cochlea(problems=("no ear found",)), truth, float("nan")


def in_lps(truth: CochleaTruth, pose: Pose) -> CochleaTruth:
    """The ground truth with its axis and points in LPS."""
    return replace(truth, axis=pose.matrix @ truth.axis, point_mm=pose.to_lps(truth.point_mm))


def compare(cochlea: Cochlea, truth: CochleaTruth, seconds: float) -> FloatArray:
    """Errors in the order of `COLUMNS`; NaN where a value was withheld."""
    nan = float("nan")
    angle = aside = nan
    if cochlea.axis is not None and cochlea.apex_mm is not None:
        angle = float(np.degrees(np.arccos(np.clip(cochlea.axis @ truth.axis, -1, 1))))
        aside = float(np.linalg.norm(np.cross(cochlea.apex_mm - truth.point_mm, truth.axis)))
    length = two = centre = nan
    if cochlea.wall and cochlea.centre:
        length = 100 * (cochlea.wall.total_mm / truth.length_mm - 1)
        two = 100 * (float(cochlea.wall.length_at_mm(720)) / truth.length_2_turns_mm - 1)
        centre = 100 * (cochlea.centre.total_mm / truth.centre_length_mm - 1)
    return np.array(
        [
            angle,
            aside,
            cochlea.a_mm - truth.a_round_window_mm,
            cochlea.a_wall_mm - truth.a_mm,
            cochlea.b_mm - truth.b_mm,
            cochlea.height_mm - truth.height_mm,
            cochlea.turns - truth.turns,
            length,
            two,
            centre,
            seconds,
        ]
    )


def write(rows: list[tuple[str, int, FloatArray]], folder: Path, name: str) -> None:
    """Write every ear, and the bias, SD and largest error of each quantity per kind."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("data", "seed", *COLUMNS))
        table.writerows((kind, seed, *(f"{e:.4f}" for e in errors)) for kind, seed, errors in rows)
    with (folder / f"{name}-statistics.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("data", "quantity", "ears", "bias", "SD", "mean absolute", "largest"))
        for kind in dict.fromkeys(row[0] for row in rows):
            errors = np.array([row[2] for row in rows if row[0] == kind])
            print(f"\n{kind}: ears, bias, SD, mean absolute, largest")
            for quantity, column in zip(COLUMNS, errors.T, strict=True):
                finite = column[np.isfinite(column)]
                if len(finite) < 2:
                    continue
                numbers = (finite.mean(), finite.std(ddof=1), *_sizes(np.abs(finite)))
                cells = [f"{n:.3f}" for n in numbers]
                table.writerow((kind, quantity, len(finite), *cells))
                print(f"{quantity:18s}{len(finite):5d}" + "".join(f"{c:>9s}" for c in cells))


def _sizes(sizes: FloatArray) -> tuple[float, float]:
    return float(sizes.mean()), float(sizes.max())


if __name__ == "__main__":
    main()
