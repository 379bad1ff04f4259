"""Whether a faster otovox gives the same answers: two installations on the same scans.

    python benchmarks/equality.py --before OLD/src --after src --work runs/equality --data W

OLD/src is the source folder of an earlier version (`git worktree add OLD COMMIT`). Both analyse
phantoms of all kinds of scanners, healthy and diseased, and the cases of the data sets that are
named, each installation in one process of its own; answers that lie in --work already are kept.
Compared are the answers with each other, and their DSC with the ground truth.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from otovox.core.case import Case
from otovox.dataset.layout import load_case, read_index
from otovox.imaging.metrics import dice
from otovox.phantom.disease import DIAGNOSES
from otovox.phantom.scanner import SCANNERS

#: Seed of the first phantom; none of them was trained on.
FIRST_SEED = 880_000
#: Greatest differences that pass: of the DSC with the ground truth, and of a landmark, mm.
MOST_DICE, MOST_MM = 0.001, 0.02

ANALYSE = """
import sys, pathlib, numpy as np, otovox
folder, *paths = map(pathlib.Path, sys.argv[1:])
model = otovox.load_model()
for path in paths:
    to = folder / (path.name.split(".")[0] + ".npz")
    if to.exists():
        continue
    result = model.analyze(path)
    answer = {"labels": result.prediction.labels.values}
    for n, ear in enumerate(result.ears):
        answer[f"{n} side"] = ear.side.label
        answer[f"{n} points"] = ear.landmarks.points_mm
        answer[f"{n} confidence"] = ear.prediction.confidence
        names, values = zip(*[(k, m.value) for k, m in ear.measurements.items()])
        answer[f"{n} names"] = names
        answer[f"{n} values"] = np.array(values, dtype=float)
    part = to.with_suffix(".part.npz")
    np.savez_compressed(part, **answer)
    part.rename(to)
    print(path.name, len(result.ears), flush=True)
"""


def phantoms(folder: Path, count: int) -> list[Path]:
    """Ears of every scanner in turn, every other one diseased; rendered where they are missing."""
    diagnoses = itertools.cycle(name for name in DIAGNOSES if name != "healthy")
    folders = []
    for n, scanner in zip(range(count), itertools.cycle(SCANNERS), strict=False):
        diagnosis = next(diagnoses) if n % 2 else "healthy"
        one = folder / f"{n:03d}"
        if not list(one.glob("images/*.nii.gz")):
            what = ["--scanner", scanner, "--diagnosis", diagnosis, "--seed", str(FIRST_SEED + n)]
            subprocess.run(
                [sys.executable, "-m", "otovox", "phantom", *what, "-o", str(one)], check=True
            )
        folders.append(one)
    return folders


def answers(source: Path, folder: Path, scans: list[Path]) -> None:
    """Let an installation analyse the scans."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(source.resolve())}
    command = [sys.executable, "-c", ANALYSE, str(folder), *map(str, scans)]
    subprocess.run(command, check=True, env=environment)


def finite(values: dict[str, float]) -> int:
    """How many values there are."""
    return int(np.isfinite(list(values.values())).sum())


def compared(before: Path, after: Path, case: Case) -> list[dict[str, Any]]:
    """One row per ear of a scan; a single one if the scan's ears are not the same."""
    with np.load(before) as one, np.load(after) as two:
        old, new = dict(one), dict(two)
    scan, sides = before.stem, sorted(key for key in {*old, *new} if key.endswith("side"))
    if any(key not in old or key not in new or old[key] != new[key] for key in sides):
        return [{"scan": scan, "same_ears": False}]
    rows: list[dict[str, Any]] = []
    for n, key in enumerate(sides):
        label = int(old[key])
        gaps = np.linalg.norm(old[f"{n} points"] - new[f"{n} points"], axis=1)
        seen = np.isfinite(old[f"{n} points"][:, 0]), np.isfinite(new[f"{n} points"][:, 0])
        values = dict(zip(old[f"{n} names"], old[f"{n} values"], strict=True))
        others = dict(zip(new[f"{n} names"], new[f"{n} values"], strict=True))
        shared = [k for k in values if np.isfinite(values[k]) and np.isfinite(others[k])]
        off = [abs(others[k] - values[k]) / max(abs(values[k]), 1e-9) for k in shared]
        rows.append(
            {
                "scan": scan,
                "same_ears": True,
                "dice": dice(old["labels"] == label, new["labels"] == label),
                "dice_with_truth": [
                    round(dice(answer["labels"] == label, case.labels.values == label), 4)
                    for answer in (old, new)
                ],
                "landmark_mm": float(np.nanmax(gaps, initial=0.0)),
                "same_landmarks": bool((seen[0] == seen[1]).all()),
                "confidence": float(abs(old[f"{n} confidence"] - new[f"{n} confidence"])),
                "measurement": float(np.max(off, initial=0.0)),
                "measured": finite(values) - finite(others),
            }
        )
    return rows


def same_dice(row: dict[str, Any]) -> bool:
    """Whether both answers agree with the ground truth alike."""
    before, after = row["dice_with_truth"]
    return abs(after - before) <= MOST_DICE


def near_landmarks(row: dict[str, Any]) -> bool:
    """Whether both answers have their landmarks in the same places."""
    return row["landmark_mm"] <= MOST_MM


def passes(row: dict[str, Any]) -> bool:
    """Whether an ear's answers are the same within the limits."""
    if not row["same_ears"]:
        return False
    return same_dice(row) and near_landmarks(row) and row["same_landmarks"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--before", type=Path, required=True, help="source folder of a version")
    parser.add_argument("--after", type=Path, default=Path("src"), help="that of the other")
    parser.add_argument("--work", type=Path, required=True, help="folder for scans and answers")
    parser.add_argument("--phantoms", type=int, default=40)
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="data sets")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    sets = [*phantoms(options.work / "phantoms", options.phantoms), *options.data]
    entries = [(one, entry) for one in sets for entry in read_index(one)]
    scans = [one / entry.image for one, entry in entries]
    folders = options.work / "before", options.work / "after"
    for source, folder in zip((options.before, options.after), folders, strict=True):
        answers(source, folder, scans)
    rows: list[dict[str, Any]] = []
    for one, entry in entries:
        name = f"{Path(entry.image).name.split('.')[0]}.npz"
        rows += compared(folders[0] / name, folders[1] / name, load_case(one, entry))
    for row in rows:
        print("" if passes(row) else "DIFFERS ", row)
    same = [row for row in rows if row["same_ears"]]
    result = {
        "scans": len(scans),
        "ears": len(same),
        "different": [row for row in rows if not passes(row)],
        "same_dice_with_truth": sum(map(same_dice, same)),
        "mean_dice_with_truth": np.mean([row["dice_with_truth"] for row in same], axis=0).tolist(),
        "same_landmarks_mm": sum(map(near_landmarks, same)),
        "least_dice": min(row["dice"] for row in same),
        "mean_dice": float(np.mean([row["dice"] for row in same])),
        "largest_landmark_mm": max(row["landmark_mm"] for row in same),
        "median_landmark_mm": float(np.median([row["landmark_mm"] for row in same])),
        "largest_confidence": max(row["confidence"] for row in same),
        "median_measurement": float(np.median([row["measurement"] for row in same])),
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "equality.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
