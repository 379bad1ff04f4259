"""Compares models on the same unseen phantoms of every scanner and every disease.

    python benchmarks/robustness.py --model labyrinth --model older-model/ --cases 6

A model is an embedded one's name or a bundle folder. Writes `robustness.csv`, one row per set and
model, and prints it.
"""

import argparse
import csv
from pathlib import Path

import numpy as np

from otovox.evaluation.scores import EarScore, score_case
from otovox.inference.ears import open_analyzer
from otovox.phantom.cases import make_case
from otovox.phantom.disease import DIAGNOSES
from otovox.phantom.scanner import SCANNERS

#: No training or validation sample, and no other benchmark, uses these.
FIRST_SEED = 7_000
#: Scanner of the diseased ears: finer voxels would take longer, coarser ones hide the disease.
DISEASED = "cbct"


def mean(values: list[float]) -> str:
    finite = [value for value in values if np.isfinite(value)]
    return f"{np.mean(finite):.3f}" if finite else ""


def row(name: str, model: str, scores: list[EarScore]) -> dict[str, object]:
    """One row of the table; an ear that was not detected has Dice 0."""
    return {
        "set": name,
        "model": model,
        "ears": len(scores),
        "found": sum(score.found for score in scores),
        "side_right": sum(score.side_right for score in scores),
        "dice": mean([score.dice for score in scores]),
        "dice_min": f"{min(score.dice for score in scores):.3f}",
        "assd_mm": mean([score.assd_mm for score in scores]),
        "landmarks_mm": mean([score.landmark_mean_mm for score in scores]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--only", nargs="+", help="only these sets; other rows are kept")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    models = {name: open_analyzer(model=name) for name in options.model or ["labyrinth"]}
    sets = {name: (name, "healthy") for name in SCANNERS}
    sets |= {name: (DISEASED, name) for name in DIAGNOSES[1:]}
    path = options.output / "robustness.csv"
    rows: list[dict[str, object]] = []
    if options.only:
        with path.open(newline="") as file:
            rows = [dict(row) for row in csv.DictReader(file) if row["set"] not in options.only]
    for name, (scanner, diagnosis) in sets.items():
        if options.only and name not in options.only:
            continue
        scores: dict[str, list[EarScore]] = {model: [] for model in models}
        for seed in range(FIRST_SEED, FIRST_SEED + options.cases):
            case = make_case(seed, scanner=scanner, diagnosis=diagnosis)
            for model, analyzer in models.items():
                scores[model] += score_case(analyzer.predict(case.scan), case)
        for model, ears in scores.items():
            rows.append(row(name, Path(model).name, ears))
            print("  ".join(str(cell) for cell in rows[-1].values()), flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    rows.sort(key=lambda row: list(sets).index(str(row["set"])))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
