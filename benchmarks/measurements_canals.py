"""Bias and spread of vestibule and canal measurements on simulated ears with known ground truth.

    python benchmarks/measurements_canals.py --cases 20
    python benchmarks/measurements_canals.py --cases 10 --predicted fpvct
    python benchmarks/measurements_canals.py --cases 20 --diseases

The first measures truth masks at several voxels; the second renders, scans and analyses each ear
with the embedded model, and measures the result; the third scores the completeness of ears of every
diagnosis. Writes a CSV with one row per ear and one with the statistics. The seeds are never used
in training.

Ground truth is the simulated geometry (`phantom.canal_truth`): a canal runs between the mean ends
of the 72 measured ears, moved with the simulated ear; its plane and circle are fitted to its own
centreline. Borders of the parts are the same for ground truth and measurement (`measure.parts`).
"""

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from otovox.analysis.model import analyze
from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.geometry import MIDDLE_MM, FloatArray, Pose, fit_pose
from otovox.core.landmarks import Landmarks
from otovox.core.segments import Part
from otovox.core.volume import Grid, Scan
from otovox.measure.canals import PAIRS, Canals, excitation_normal, measure_canals
from otovox.measure.completeness import Completeness, State, score_completeness
from otovox.measure.parts import split
from otovox.measure.tori import CANALS, USUAL, fit_torus
from otovox.phantom.bone import paint_temporal_bone
from otovox.phantom.canal_truth import canal_tube, true_parts
from otovox.phantom.canvas import Canvas, occupancy
from otovox.phantom.disease import malformed, ossified
from otovox.phantom.head import draw_pose
from otovox.phantom.labyrinth import Labyrinth, draw_labyrinth, paint
from otovox.phantom.scanner import SCANNERS, draw_protocol, scan, scanned_shape
from otovox.phantom.tissues import draw_tissues

#: Seeds of this benchmark's ears never overlap with those of training or of whole cases.
STREAM = 29
VOXELS_MM = ((0.1, 0.1, 0.1), (0.2, 0.2, 0.2), (0.3, 0.3, 0.3), (0.25, 0.25, 0.5))
#: Voxel of the true parts, mm.
FINE_MM = 0.1
#: Field of a truth mask and of a scan, mm: chosen, a labyrinth at any angle plus bone around it.
FIELD_MM, SCAN_MM = 23.0, 26.0

COLUMNS = (
    *(f"{name} {what}" for name in CANALS
      for what in ("normal deg", "radius mm", "centre mm", "arc %", "coverage deg", "lumen mm")),
    *(f"{first}-{second} deg" for first, second in PAIRS),
    *(f"{part.name.lower()} volume %" for part in Part),
    "canals volume %", "vestibule and canals volume %", "whole volume %", "CPU seconds",
)  # fmt: skip

DISEASES = (
    "healthy", "absent_lateral_canal", "incomplete_partition", "hypoplasia", "common_cavity",
    "ossificans", "cut_field",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--predicted", metavar="SCANNER", choices=sorted(SCANNERS))
    parser.add_argument("--diseases", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    seeds = range(options.first_seed, options.first_seed + options.cases)
    options.output.mkdir(parents=True, exist_ok=True)
    if options.diseases:
        score_diseases(seeds, options.output)
        return
    rows: list[tuple[str, int, FloatArray]] = []
    withheld: list[str] = []
    for seed in seeds:
        ears = predicted(seed, options.predicted) if options.predicted else truth_masks(seed)
        for kind, canals, truth, seconds in ears:
            withheld += [f"{kind}, seed {seed}: {problem}" for problem in canals.problems]
            errors = compare(canals, truth, seconds)
            rows.append((kind, seed, errors))
            print(f"{kind:14s}{seed:4d}" + "".join(f"{e:7.2f}" for e in errors), flush=True)
    write(rows, options.output, f"measurements-canals-{options.predicted or 'truth'}")
    print("\n".join(["", f"withheld: {len(withheld)}", *withheld]))


def drawn(seed: int, diagnosis: str = "healthy") -> tuple[Labyrinth, Pose, np.random.Generator]:
    """An ear, its pose in a scan, and the random generator for the rest."""
    rng = np.random.default_rng([STREAM, seed])
    side = Side.RIGHT if rng.random() < 0.5 else Side.LEFT
    shape = malformed(draw_labyrinth(rng, spread=1.0), diagnosis, rng)
    return shape, draw_pose(side, rng, rng.uniform(-40, 40, 3)), rng


def grid_at(pose: Pose, voxel_mm: tuple[float, float, float]) -> Grid:
    """The field of view of a truth mask."""
    i, j, k = (int(n) for n in np.ceil(FIELD_MM / np.asarray(voxel_mm)))
    return Grid.centred(pose.to_lps(MIDDLE_MM), (i, j, k), spacing_mm=voxel_mm)


def truth_masks(seed: int) -> Iterator[tuple[str, Canals, dict[str, FloatArray], float]]:
    """Binary masks of one ear at every voxel size, with the true landmarks."""
    shape, pose, _ = drawn(seed)
    truth = true_numbers(shape, pose)
    landmarks = Landmarks(shape.landmarks.names, pose.to_lps(shape.landmarks.points_mm))
    fitted = fit_pose(landmarks.names, landmarks.points_mm, pose.side)
    for voxel in VOXELS_MM:
        grid = grid_at(pose, voxel)
        mask = (paint(shape, Canvas(grid, pose)) < 0).astype(np.float32)
        start = time.process_time()
        canals = measure_canals(mask, grid, landmarks.only(LANDMARK_NAMES), fitted)
        seconds = time.process_time() - start
        yield "x".join(f"{edge:g}" for edge in voxel), canals, truth, seconds


def predicted(
    seed: int, scanner: str
) -> Iterator[tuple[str, Canals, dict[str, FloatArray], float]]:
    """One ear as segmented by the embedded model in a simulated scan."""
    shape, pose, rng = drawn(seed)
    kind, protocol = SCANNERS[scanner], draw_protocol(rng, scanner)
    step = 0.1 if min(protocol.voxel_mm) < 0.15 else 0.15
    count = round(SCAN_MM / step)
    fine = Grid.centred(pose.to_lps(MIDDLE_MM), (count, count, count), spacing_mm=step)
    hu, _ = paint_temporal_bone(shape, Canvas(fine, pose), draw_tissues(rng, kind.specimen), rng)
    i, j, k = scanned_shape(hu.shape, fine.spacing_mm, protocol)
    grid = Grid.centred(fine.center_mm, (i, j, k), spacing_mm=protocol.voxel_mm)
    prediction = analyze(Scan(scan(hu, fine.spacing_mm, protocol, rng), grid)).prediction
    truth = true_numbers(shape, pose)
    if not prediction.ears:
        print(f"seed {seed}: no ear found", flush=True)
    for ear in prediction.ears:
        assert ear.probability is not None
        start = time.process_time()
        canals = measure_canals(
            ear.probability.values, ear.probability.grid, ear.landmarks, ear.pose
        )
        yield scanner, canals, truth, time.process_time() - start


def true_numbers(shape: Labyrinth, pose: Pose) -> dict[str, FloatArray]:
    """Ground truth of a simulated ear: normal, centre, numbers per canal; volumes of parts."""
    truth: dict[str, FloatArray] = {}
    for name in CANALS:
        tube = canal_tube(shape, name)
        line = tube.points_mm
        torus = fit_torus(line, USUAL[name])
        steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
        angle = np.unwrap(np.radians(torus.angles_deg(line)))
        inner = slice(len(line) // 4, 3 * len(line) // 4)
        radii = tube.radii_mm[inner]
        lumen = float(np.mean(np.sqrt(radii[:, 0] * radii[:, 1])))
        truth[f"{name} normal"] = excitation_normal(name, torus.normal, pose)
        truth[f"{name} centre"] = np.asarray(pose.to_lps(torus.center_mm), dtype=float)
        truth[name] = np.array([torus.radius_mm, steps.sum(), np.degrees(np.ptp(angle)), lumen])
    grid = grid_at(pose, (FINE_MM, FINE_MM, FINE_MM))
    labels = true_parts(shape, Canvas(grid, pose))
    truth["volumes"] = np.bincount(labels.ravel(), minlength=7)[1:].astype(float) * grid.voxel_mm3
    return truth


def compare(canals: Canals, truth: dict[str, FloatArray], seconds: float) -> FloatArray:
    """Errors in the order of `COLUMNS`; NaN where a value was withheld."""
    errors: list[float] = []
    for name in CANALS:
        canal, (radius, arc, coverage, lumen) = canals.canals[name], truth[name]
        errors += [
            between_deg(canal.normal, truth[f"{name} normal"]),
            canal.radius_mm - radius,
            float(np.linalg.norm(canal.center_mm - truth[f"{name} centre"])),
            100 * (canal.arc_mm / arc - 1),
            canal.coverage_deg - coverage,
            canal.lumen_radius_mm - lumen,
        ]
    for first, second in PAIRS:
        true = between_deg(truth[f"{first} normal"], truth[f"{second} normal"])
        errors.append(canals.angles_deg[f"{first}_{second}"] - true)
    measured = np.array([canals.volumes_mm3[part] for part in Part])
    true = truth["volumes"]
    errors += list(100 * (measured / true - 1))
    canal_parts, vestibular = slice(2, 6), slice(1, 6)
    for part in (canal_parts, vestibular, slice(0, 6)):
        errors.append(100 * float(measured[part].sum() / true[part].sum() - 1))
    return np.array([*errors, seconds])


def between_deg(first: FloatArray, second: FloatArray) -> float:
    """Angle between two unit vectors."""
    return float(np.degrees(np.arccos(np.clip(first @ second, -1, 1))))


def write(rows: list[tuple[str, int, FloatArray]], folder: Path, name: str) -> None:
    """Write every ear, and the bias, SD and largest error of each quantity per kind."""
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
                sizes = np.abs(finite)
                numbers = (finite.mean(), finite.std(ddof=1), sizes.mean(), sizes.max())
                cells = [f"{n:.3f}" for n in numbers]
                table.writerow((kind, quantity, len(finite), *cells))
                print(f"{quantity:30s}{len(finite):5d}" + "".join(f"{c:>9s}" for c in cells))


def score_diseases(seeds: range, folder: Path) -> None:
    """The score for every diagnosis: structures that are truly missing, and those it reports."""
    with (folder / "completeness.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(
            ("diagnosis", "seed", "canals lacking", "likert", "missing", "cut", "loops", "bridges")
        )
        for diagnosis in DISEASES:
            right = 0
            scores = np.zeros(5, dtype=int)
            for seed in seeds:
                lacking, completeness = scored(seed, diagnosis)
                named = [
                    name
                    for name in CANALS
                    if completeness.states[Part[name.upper()]] is State.MISSING
                ]
                right += named == lacking
                scores[completeness.likert] += 1
                table.writerow(
                    (
                        diagnosis,
                        seed,
                        " ".join(lacking),
                        completeness.likert,
                        " ".join(completeness.missing),
                        " ".join(completeness.cut),
                        completeness.betti.loops,
                        completeness.bridges,
                    )
                )
            print(
                f"{diagnosis:22s}canals reported correctly {right} of {len(seeds)}; "
                "ears with Likert "
                + ", ".join(f"{level}: {scores[level]}" for level in (1, 2, 3, 4)),
                flush=True,
            )


def scored(seed: int, diagnosis: str) -> tuple[list[str], Completeness]:
    """Canals that a simulated ear lacks or that bone interrupts, and the resulting score."""
    shape, pose, rng = drawn(seed, diagnosis)
    grid = grid_at(pose, (0.2, 0.2, 0.2))
    canvas = Canvas(grid, pose)
    values = occupancy(paint(shape, canvas), canvas.spacing_mm)
    lacking = [name for name in CANALS if name not in shape.canals]
    bone = ossified(shape, canvas, diagnosis, rng)
    if isinstance(bone, np.ndarray):
        values = values * (1 - bone)
        for name in shape.canals:
            at = np.rint(canvas.ijk(canal_tube(shape, name).points_mm)).astype(int)
            if (bone[tuple(at.T)] > 0.9).any():
                lacking.append(name)
    field = np.ones(grid.shape, dtype=bool)
    if diagnosis == "cut_field":  # the scan ends below the top of the superior canal
        up = np.moveaxis(np.indices(grid.shape), 0, -1) @ grid.affine[:3, :3].T[:, 2]
        top = pose.to_lps(shape.landmarks["anterior_arc"])[2] - rng.uniform(0.3, 2.0)
        field = up + grid.affine[2, 3] < top
        values = values * field
    landmarks = Landmarks(shape.landmarks.names, pose.to_lps(shape.landmarks.points_mm))
    named = landmarks.only(LANDMARK_NAMES)
    parts = split(values, grid, named, pose)
    completeness = score_completeness(values, grid, named, pose, field=field, parts=parts)
    return sorted(lacking, key=CANALS.index), completeness


if __name__ == "__main__":
    main()
