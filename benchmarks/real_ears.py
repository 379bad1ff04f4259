"""Real ears with expert ground truth: the release of Wimmer et al. 2019, original and degraded.

    python benchmarks/real_ears.py RELEASE
    python benchmarks/real_ears.py RELEASE --model FOLD-0/model FOLD-1/model FOLD-2/model
    python benchmarks/real_ears.py RELEASE --results FOLDER
    python benchmarks/real_ears.py RELEASE --masks FOLDER

RELEASE is the unpacked release (doi:10.5281/zenodo.3355272, CC BY 4.0) or a part of its ears;
damaged cases are skipped. Without --results or --masks the model analyses every ear, original and
degraded: coarser voxels (with averaged ground truth), noise, 8 bits, mirrored, cut.
If several models are given, each ear is analysed by the first that was not trained on it, as in
cross-validation. Those of `real-ears-cross-validated` started from the model of phantoms only
(commit e37fc83), on the imported release:

    otovox train --preset labyrinth-finetune --from START --ears EARS --fold N --iterations 1000
        --output OUT

--results scores results folders of `otovox analyze` instead (FOLDER/F01_CT_RAW or FOLDER/F01),
--masks any tool's label maps (FOLDER/F01.nii.gz or F01_CT_RAW.nii.gz), all labels above 0.

Writes one row per ear and condition, and means with the number of ears and whether the model was
trained on them (from its model card). Offsets are those of the predicted landmarks from the
experts', in the frame of the canonical right ear.
"""

import argparse
import csv
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from accuracy import processor
from scipy import stats

import otovox
from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.case import Case, Prediction
from otovox.core.geometry import FloatArray
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid, LabelMap, Scan
from otovox.dataset.importers import import_release, load_recipe
from otovox.dataset.layout import load_case, read_index
from otovox.formats.images import load_label_map
from otovox.formats.markups import read_landmarks
from otovox.imaging.metrics import dice, distances, landmark_errors_mm
from otovox.inference.ears import Analyzer, open_analyzer

#: Noise added to degraded scans, HU: chosen, three times that of the release.
NOISE_HU = 150.0


@dataclass(frozen=True)
class Found:
    """A prediction for one ear; None or empty where a value is missing."""

    mask: np.ndarray | None
    landmarks: Landmarks | None
    side: Side | None
    numbers: dict[str, float]
    offsets_mm: FloatArray | None = None
    seen: bool = False


def averaged(values: np.ndarray, grid: Grid, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Values averaged over coarser voxels, weighted by the share of each old voxel inside."""
    for axis, edge in enumerate(spacing_mm):
        ratio = edge / grid.spacing_mm[axis]
        count = max(int(values.shape[axis] / ratio + 1e-6), 1)
        start = np.arange(count)[:, None] * ratio
        old = np.arange(values.shape[axis])[None, :]
        overlap = np.clip(np.minimum(start + ratio, old + 1) - np.maximum(start, old), 0, None)
        matrix = overlap / overlap.sum(axis=1, keepdims=True)
        values = np.moveaxis(np.tensordot(matrix, values, axes=(1, axis)), 0, axis)
    return values


def coarser(case: Case, spacing_mm: tuple[float, float, float]) -> Case:
    """The case in coarser voxels; a voxel is labyrinth if at least half of it is."""
    grid = case.scan.grid
    values = averaged(case.scan.values.astype(np.float32), grid, spacing_mm)
    factor = np.asarray(spacing_mm) / grid.spacing_mm
    affine = grid.affine.copy()
    affine[:3, :3] = affine[:3, :3] * factor
    affine[:3, 3] = grid.to_mm((factor - 1) / 2)
    i, j, k = values.shape
    coarse = Grid((i, j, k), affine)
    labels = np.zeros(values.shape, np.uint8)
    for side in case.landmarks:
        labels[averaged(case.labels.values == side.label, grid, spacing_mm) >= 0.5] = side.label
    return with_voxels(case, values, labels, coarse)


def with_voxels(case: Case, values: np.ndarray, labels: np.ndarray, grid: Grid) -> Case:
    scan = Scan(values.astype(np.float32), grid, case.scan.name, case.scan.source)
    return replace(case, scan=scan, labels=LabelMap(labels, grid))


def noisy(case: Case) -> Case:
    rng = np.random.default_rng(sum(case.scan.name.encode()))
    values = case.scan.values + rng.normal(0, NOISE_HU, case.scan.grid.shape)
    return with_voxels(case, values, case.labels.values, case.scan.grid)


def eight_bits(case: Case) -> Case:
    values = np.clip(case.scan.values, -1000, 3000)
    values = np.round((values + 1000) / 4000 * 255)
    return with_voxels(case, values, case.labels.values, case.scan.grid)


def mirrored(case: Case) -> Case:
    """The voxels mirrored under the same header, so the anatomy is that of the other side."""
    (side,) = case.landmarks
    labels = np.where(case.labels.values > 0, side.other.label, 0).astype(np.uint8)[::-1]
    ijk = case.scan.grid.to_ijk(case.landmarks[side].points_mm)
    ijk[:, 0] = case.scan.grid.shape[0] - 1 - ijk[:, 0]
    points = Landmarks(case.landmarks[side].names, case.scan.grid.to_mm(ijk))
    turned = with_voxels(case, case.scan.values[::-1], labels, case.scan.grid)
    return replace(turned, landmarks={side.other: points})


def cut(case: Case) -> Case:
    """The lower two thirds of the labyrinth along the third axis."""
    inside = np.flatnonzero((case.labels.values > 0).any(axis=(0, 1)))
    stop = int(inside[0] + 0.67 * (inside[-1] - inside[0])) + 1
    i, j, _ = case.scan.grid.shape
    grid = case.scan.grid.crop([0, 0, 0], (i, j, stop))
    values, labels = case.scan.values[:, :, :stop], case.labels.values[:, :, :stop]
    return with_voxels(case, values, labels, grid)


CONDITIONS: dict[str, Callable[[Case], Case]] = {
    "original": lambda case: case,
    "0.3 x 0.3 x 0.6 mm": lambda case: coarser(case, (0.3, 0.3, 0.6)),
    "0.5 mm": lambda case: coarser(case, (0.5, 0.5, 0.5)),
    "1 mm": lambda case: coarser(case, (1.0, 1.0, 1.0)),
    "noise of 150 HU": noisy,
    "8 bits": eight_bits,
    "mirrored": mirrored,
    "cut": cut,
}


def release(folder: Path) -> Iterator[Case]:
    """The readable ears of the release, with ground truth."""
    with tempfile.TemporaryDirectory() as made:
        for one in import_release(load_recipe("wimmer"), folder, Path(made)):
            if one.entry is None:
                print(f"{one.case}: skipped ({'; '.join(one.lacking)})", flush=True)
        for entry in read_index(Path(made)):
            yield load_case(Path(made), entry)


def training_data_of(analyzer: Analyzer) -> str:
    """The training data according to the model card."""
    return str(analyzer.labyrinth.facts.get("training_data", ""))


def was_trained_on(analyzer: Analyzer, case: Case) -> bool:
    """Whether a model was trained on an ear."""
    return bool(re.search(rf"\b{case.scan.name}\b", training_data_of(analyzer)))


def chosen(analyzers: list[Analyzer], case: Case) -> Analyzer:
    """The first model that was not trained on an ear, otherwise the first."""
    return next((one for one in analyzers if not was_trained_on(one, case)), analyzers[0])


def from_prediction(prediction: Prediction, case: Case) -> Found:
    (truth,) = case.landmarks.values()
    if not prediction.ears:
        return Found(None, None, None, {})
    middle = truth.points_mm.mean(axis=0)
    ear = min(prediction.ears, key=lambda one: float(np.linalg.norm(one.center_mm - middle)))
    mask = prediction.labels.values == ear.side.label
    numbers = {"confidence": ear.confidence, "uncertainty": ear.uncertainty}
    offsets = [
        ear.pose.to_canonical(ear.landmarks[name]) - ear.pose.to_canonical(truth[name])
        for name in LANDMARK_NAMES
    ]
    return Found(mask, ear.landmarks, ear.side, numbers, np.stack(offsets))


def from_results(folder: Path, case: Case) -> Found:
    """A results folder of `otovox analyze`."""
    places = [folder / f"{case.scan.name}_CT_RAW", folder / case.scan.name]
    place = next((path for path in places if path.is_dir()), None)
    if place is None:
        return Found(None, None, None, {})
    values = load_label_map(place / "segmentation.nii.gz").values
    points = read_landmarks(place / "landmarks.mrk.json")
    if not points:
        return Found(values > 0, None, None, {})
    side = max(points, key=lambda one: int((values == one.label).sum()))
    return Found(values == side.label, points[side], side, {})


def from_mask(folder: Path, case: Case) -> Found:
    for name in (case.scan.name, f"{case.scan.name}_CT_RAW"):
        for path in sorted(folder.glob(f"{name}.*")):
            return Found(load_label_map(path).values > 0, None, None, {})
    return Found(None, None, None, {})


def row_of(case: Case, answer: Found, condition: str) -> dict[str, object]:
    """One row of the table; empty where a value is missing."""
    ((side, truth),) = case.landmarks.items()
    row: dict[str, object] = {"ear": case.scan.name, "condition": condition, "seen": answer.seen}
    expert = case.labels.values == side.label
    row["found"] = answer.mask is not None and bool(answer.mask.any())
    row["side_right"] = "" if answer.side is None else answer.side is side
    if answer.mask is not None and answer.mask.any():
        row["dice"] = dice(answer.mask, expert)
        between = distances(answer.mask, expert, case.scan.grid.spacing_mm)
        row["assd_mm"], row["hausdorff_mm"] = between.assd_mm, between.hausdorff_mm
        row["volume_ratio"] = float(answer.mask.sum() / expert.sum())
    if answer.landmarks is not None:
        for name, error in landmark_errors_mm(answer.landmarks, truth).items():
            row[f"{name}_mm"] = error
        row["windows_mm"] = answer.landmarks.distance_mm("oval_window", "round_window")
    return row | answer.numbers


def means_of(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Means by condition, and the correlation of confidence with the DSC over all ears."""
    table = {}
    for condition in dict.fromkeys(row["condition"] for row in rows):
        own = [row for row in rows if row["condition"] == condition]
        means: dict[str, float] = {"ears": len(own), "found": sum(row["found"] for row in own)}
        means["side_right"] = sum(row["side_right"] is True for row in own)
        for key in dict.fromkeys(key for row in own for key in row):
            values = [row.get(key, np.nan) for row in own]
            if not all(isinstance(value, float) for value in values):
                continue
            given = np.asarray(values)[np.isfinite(values)]
            if len(given):
                means[key] = round(float(given.mean()), 4)
            if len(given) < len(own):
                means[f"{key} not found"] = len(own) - len(given)
        table[condition] = means
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("release", type=Path)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--results", type=Path)
    source.add_argument("--masks", type=Path)
    parser.add_argument("--model", nargs="+", default=["labyrinth"])
    parser.add_argument("--tta", default="fast")
    parser.add_argument("--only", nargs="*", help="only these ears")
    parser.add_argument("--conditions", nargs="*", default=list(CONDITIONS))
    parser.add_argument("--name", default="real-ears", help="prefix of the output files")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()

    facts: dict[str, object] = {"data": "Wimmer et al. 2019, real ears with expert truth"}
    if options.results or options.masks:
        conditions = {"original": CONDITIONS["original"]}
        read = from_results if options.results else from_mask
        folder = options.results or options.masks
        analyse: Callable[[Case], Found] = lambda case: read(folder, case)  # noqa: E731
    else:
        conditions = {name: CONDITIONS[name] for name in options.conditions}
        analyzers = [open_analyzer(model=model, tta=options.tta) for model in options.model]
        facts["models"] = [
            {"sha256": one.labyrinth.sha256, "tta": one.tta, "training_data": training_data_of(one)}
            for one in analyzers
        ]

        def analyse(case: Case) -> Found:
            analyzer = chosen(analyzers, case)
            answer = from_prediction(analyzer.predict(case.scan), case)
            return replace(answer, seen=was_trained_on(analyzer, case))

    rows, offsets = [], []
    for case in release(options.release):
        if options.only and case.scan.name not in options.only:
            continue
        for name, degraded in conditions.items():
            worse = degraded(case)
            answer = analyse(worse)
            row = row_of(worse, answer, name)
            rows.append(row)
            if name == "original" and answer.offsets_mm is not None:
                offsets.append(answer.offsets_mm)
            shown = {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}
            print(case.scan.name, name, "seen" if answer.seen else "unseen", shown, flush=True)
    facts["machine"] = {"cores": os.cpu_count(), "processor": processor()}
    facts["software"] = f"otovox {otovox.__version__}"
    facts["ears"] = len({row["ear"] for row in rows})
    facts["seen"] = sorted({str(row["ear"]) for row in rows if row["seen"]})
    facts["means"] = means_of(rows)
    scored = [row for row in rows if "confidence" in row and "dice" in row]
    if len(scored) > 2:
        correlation = stats.spearmanr(
            [r["confidence"] for r in scored], [r["dice"] for r in scored]
        )
        rho = round(correlation.statistic, 3)
        facts["confidence_against_dice"] = {"n": len(scored), "spearman": rho}
    if offsets:
        off = np.stack(offsets)
        left = [
            np.linalg.norm(one - np.nanmean(np.delete(off, n, axis=0), axis=0), axis=1)
            for n, one in enumerate(off)
        ]
        facts["offsets_canonical_mm"] = {
            name: {
                "mean": np.nanmean(off[:, n], axis=0).round(3).tolist(),
                "error_without_it": round(float(np.nanmean([one[n] for one in left])), 3),
            }
            for n, name in enumerate(LANDMARK_NAMES)
        }
    options.output.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with (options.output / f"{options.name}.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
    text = json.dumps(facts, indent=2)
    (options.output / f"{options.name}.json").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
