"""Bias and spread of canals, parts and completeness on drawn ears, whose truth is known.

    python benchmarks/measurements_canals.py --cases 10
    python benchmarks/measurements_canals.py --cases 5 --predicted fpvct
    python benchmarks/measurements_canals.py --cases 10 --diseases

The first measures truth masks at several voxels, with landmarks moved by 0.3 mm; the second
renders, scans and analyses each ear with the embedded model and measures what it found; the third
tells which structures malformed and cut ears lack, from truth fields. Writes CSV files.
"""

import argparse
import csv
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measurements import FIELD_MM, SCAN_MM, VOXELS_MM, drawn
from numpy.typing import NDArray

from otovox.analysis import analyze
from otovox.anatomy import CANALS, LANDMARK_NAMES, Part
from otovox.geometry import FloatArray, Pose, fit_pose
from otovox.landmarks import Landmarks
from otovox.measure import Canals, State, measure_canals, score_completeness
from otovox.measure.circle import fit_circle
from otovox.measure.template import along, resampled
from otovox.phantom.bone import render
from otovox.phantom.cache import MIDDLE_MM
from otovox.phantom.canal_truth import canal_truth, parts_truth
from otovox.phantom.canvas import Canvas
from otovox.phantom.disease import malformed, ossified
from otovox.phantom.labyrinth import Labyrinth, paint
from otovox.phantom.scanner import SCANNERS, draw_protocol, scan, scanned_shape
from otovox.phantom.tissues import draw_tissues
from otovox.volume import Grid, Scan

QUANTITIES = (
    "normal deg", "centre mm", "radius mm", "length mm", "arc deg", "lumen radius mm", "volume %",
)  # fmt: skip
COLUMNS = (
    *(f"{part} {quantity}" for part in CANALS for quantity in QUANTITIES),
    *(f"{a} to {b} deg" for a, b in ((CANALS[0], CANALS[1]), (CANALS[0], CANALS[2]), CANALS[1:])),
    *(f"{part} volume %" for part in (Part.COCHLEA, Part.VESTIBULE, Part.CRUS)),
    "labyrinth volume %",
    "CPU seconds",
)
#: Of the landmarks that fit the pose to a truth mask, mm: chosen, about what networks achieve.
JITTER_MM = 0.3
DISEASES = (
    "healthy", "absent_lateral_canal", "common_cavity", "hypoplasia", "incomplete_partition",
    "ossificans", "cut_field",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--predicted", metavar="SCANNER", choices=sorted(SCANNERS))
    parser.add_argument("--diseases", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    seeds = range(options.first_seed, options.first_seed + options.cases)
    if options.diseases:
        return diseases(seeds, options.output)
    rows: list[tuple[str, int, FloatArray]] = []
    for seed in seeds:
        found = predicted(seed, options.predicted) if options.predicted else truth_masks(seed)
        for kind, errors, problems in found:
            rows.append((kind, seed, errors))
            worst = np.nanmax(errors[[0, 7, 14]])
            print(f"{kind:16s}{seed:4d}  worst normal {worst:.2f} deg", *problems, flush=True)
    write(rows, options.output, f"measurements-canals-{options.predicted or 'truth'}")


def truth_masks(seed: int) -> Iterator[tuple[str, FloatArray, tuple[str, ...]]]:
    """Binary masks of one ear at every voxel, its pose fitted to landmarks a little off."""
    shape, pose, rng = drawn(seed)
    points = pose.to_lps(shape.landmarks.points_mm)
    points = points + rng.normal(0, JITTER_MM, points.shape)
    landmarks = Landmarks(shape.landmarks.names, points)
    fitted = fit_pose(landmarks.names, points, pose.side)
    for voxel in VOXELS_MM:
        canvas, mask, _ = painted(shape, pose, voxel)
        volumes = true_volumes(shape, canvas, mask)
        start = time.process_time()
        found = measure_canals(
            mask.astype(np.float32), canvas.grid, landmarks.only(LANDMARK_NAMES), fitted
        )
        seconds = time.process_time() - start
        kind = "x".join(f"{edge:g}" for edge in voxel)
        yield kind, compare(found, shape, pose, volumes, seconds), found.problems


def predicted(seed: int, scanner: str) -> Iterator[tuple[str, FloatArray, tuple[str, ...]]]:
    """One ear as the embedded model finds it in a simulated scan."""
    shape, pose, rng = drawn(seed)
    kind, protocol = SCANNERS[scanner], draw_protocol(rng, scanner)
    step = 0.1 if min(protocol.voxel_mm) < 0.15 else 0.15
    count = round(SCAN_MM / step)
    fine = Grid.centred(pose.to_lps(MIDDLE_MM), (count, count, count), spacing_mm=step)
    hu, _ = render(shape, Canvas(fine, pose), draw_tissues(rng, kind.specimen), rng)
    i, j, k = scanned_shape(hu.shape, fine.spacing_mm, protocol)
    grid = Grid.centred(fine.center_mm, (i, j, k), spacing_mm=protocol.voxel_mm)
    prediction = analyze(Scan(scan(hu, fine.spacing_mm, protocol, rng), grid))
    canvas, mask, _ = painted(shape, pose, (0.1, 0.1, 0.1))
    volumes = true_volumes(shape, canvas, mask)
    if not prediction.ears:
        yield scanner, np.full(len(COLUMNS), np.nan), ("no ear found",)
    for ear in prediction.ears:
        assert ear.probability is not None
        start = time.process_time()
        found = measure_canals(
            ear.probability.values, ear.probability.grid, ear.landmarks, ear.pose, field=grid
        )
        seconds = time.process_time() - start
        yield scanner, compare(found, shape, pose, volumes, seconds), found.problems


def diseases(seeds: range, output: Path) -> None:
    """What is told of malformed and cut ears, from truth fields at 0.2 mm."""
    rows, table = [], Counter()
    for diagnosis in DISEASES:
        for seed in seeds:
            shape, pose, rng = drawn(seed)
            top = float(pose.to_lps(shape.landmarks["anterior_arc"][None])[0, 2])
            shape = malformed(shape, diagnosis, rng)
            points = pose.to_lps(shape.landmarks.points_mm)
            points = points + rng.normal(0, JITTER_MM, points.shape)
            landmarks = Landmarks(shape.landmarks.names, points)
            fitted = pose
            if np.isfinite(points).all(axis=1).sum() >= 4:
                fitted = fit_pose(landmarks.names, points, pose.side)
            canvas, _, distance = painted(shape, pose, (0.2, 0.2, 0.2))
            share = np.clip(0.5 - distance / 0.3, 0, 1) * (
                1 - ossified(shape, canvas, diagnosis, rng)
            )
            grid, field = canvas.grid, None
            if diagnosis == "cut_field":
                i, j, k = grid.shape
                k = int((top - rng.uniform(0.3, 2.0) - grid.affine[2, 3]) / 0.2)
                share[:, :, k:] = 0
                field = Grid((i, j, k), grid.affine)
            start = time.process_time()
            found = score_completeness(
                share.astype(np.float32), grid, landmarks.only(LANDMARK_NAMES), fitted, field=field
            )
            seconds = time.process_time() - start
            true = {part for part in CANALS if part.removesuffix("_canal") not in shape.canals}
            told = set(found.those(State.MISSING)) & set(CANALS)
            table["found", "missing"] += len(true & told)
            table["found", "there"] += len(told - true)
            table["not found", "missing"] += len(true - told)
            table["not found", "there"] += 3 - len(true | told)
            reasons = "; ".join(found.reasons.values())
            missing = " ".join(sorted(part.value for part in true)) or "-"
            bridges = "bridges" if found.bridges else ""
            rows.append(
                [diagnosis, seed, missing, found.score, reasons, bridges, round(seconds, 2)]
            )
            print(*rows[-1], sep=" | ", flush=True)
    with (output / "completeness.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["diagnosis", "seed", "canals lacking", "score", "told", "bridges", "CPU seconds"]
        )
        writer.writerows(rows)
    print("canals told as missing, and truly so:", dict(table))


def painted(
    shape: Labyrinth, pose: Pose, voxel: tuple[float, float, float]
) -> tuple[Canvas, NDArray[np.bool_], NDArray]:
    """An ear on a grid: canvas, mask and signed distance."""
    i, j, k = (int(n) for n in np.ceil(FIELD_MM / np.asarray(voxel)))
    canvas = Canvas(Grid.centred(pose.to_lps(MIDDLE_MM), (i, j, k), spacing_mm=voxel), pose)
    distance = paint(shape, canvas)
    return canvas, distance < 0, distance


def true_volumes(shape: Labyrinth, canvas: Canvas, mask: NDArray[np.bool_]) -> dict[Part, float]:
    """Volumes of the parts as drawn, mm3."""
    counts = np.bincount(parts_truth(shape, canvas, mask).ravel(), minlength=len(Part) + 1)
    return {part: float(counts[part.label]) * canvas.grid.voxel_mm3 for part in Part}


def compare(
    found: Canals, shape: Labyrinth, pose: Pose, volumes: dict[Part, float], seconds: float
) -> FloatArray:
    """Errors in the order of `COLUMNS`; nan where something was withheld."""
    errors: list[float] = []
    normals = {}
    for part, truth in canal_truth(shape).items():
        line = pose.to_lps(truth.points_mm)
        line = resampled(line, count=80)
        circle = fit_circle(line)
        if part not in found.canals:
            errors += [np.nan] * len(QUANTITIES)
            continue
        canal = found.canals[part]
        normals[part] = circle.normal * np.sign(circle.normal @ canal.normal)
        turned = np.unwrap(np.radians(circle.angles_deg(line, line[40])))
        errors += [
            _angle_deg(normals[part], canal.normal),
            float(np.linalg.norm(canal.centre_mm - circle.centre_mm)),
            canal.radius_mm - circle.radius_mm,
            canal.length_mm - float(along(line)[-1]),
            canal.arc_deg - float(np.degrees(abs(turned[-1] - turned[0]))),
            canal.mean_lumen_radius_mm - float(truth.radii_mm.mean()),
            100 * (found.volumes_mm3[part] / volumes[part] - 1),
        ]
    for a, b in ((CANALS[0], CANALS[1]), (CANALS[0], CANALS[2]), CANALS[1:]):
        known = (a, b) in found.angles_deg
        errors.append(
            found.angles_deg[a, b] - _angle_deg(normals[a], normals[b]) if known else np.nan
        )
    for part in (Part.COCHLEA, Part.VESTIBULE, Part.CRUS):
        errors.append(100 * (found.volumes_mm3[part] / volumes[part] - 1))
    errors.append(100 * (sum(found.volumes_mm3.values()) / sum(volumes.values()) - 1))
    return np.array([*errors, seconds])


def _angle_deg(a: FloatArray, b: FloatArray) -> float:
    return float(np.degrees(np.arccos(np.clip(a @ b, -1, 1))))


def write(rows: list[tuple[str, int, FloatArray]], output: Path, name: str) -> None:
    """A CSV with a row per ear, and one with mean, SD and greatest error per kind; print these."""
    with (output / f"{name}-ears.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "seed", *COLUMNS])
        writer.writerows([kind, seed, *np.round(errors, 3)] for kind, seed, errors in rows)
    with (output / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["kind", "quantity", "n", "mean", "sd", "greatest"])
        for kind in dict.fromkeys(row[0] for row in rows):
            errors = np.array([e for k, _, e in rows if k == kind])
            for name_, column in zip(COLUMNS, errors.T, strict=True):
                column = column[np.isfinite(column)]
                if not len(column):
                    continue
                spread = column.std(ddof=1) if len(column) > 1 else np.nan
                line = [column.mean(), spread, np.abs(column).max()]
                writer.writerow([kind, name_, len(column), *np.round(line, 3)])
                told = "".join(f"{value:9.2f}" for value in line)
                print(f"{kind:16s}{name_:40s}{len(column):4d}{told}")


if __name__ == "__main__":
    main()
