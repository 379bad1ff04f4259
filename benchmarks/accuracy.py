"""Accuracy on unseen phantoms: overlap, landmarks, sides, and what the confidence is worth.

    python benchmarks/accuracy.py --scanner fpvct --cases 40 --output benchmarks/results

Cases are drawn from seeds that no training or validation sample uses. Writes a CSV with one row per
ear and a JSON summary that names the machine, the data and the model.
"""

import argparse
import csv
import json
import os
import platform
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from otovox.evaluation import EarScore, score_case

from otovox.inference import open_analyzer
from otovox.phantom import make_case

FIRST_SEED = 5_000


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    return {"cores": os.cpu_count(), "processor": platform.processor() or platform.machine()}


def summarise(scores: list[EarScore], extra: int) -> dict[str, object]:
    """Means, SDs and medians; an ear that was not found counts as Dice 0."""
    found = [score for score in scores if score.found]
    dice = np.array([score.dice if score.found else 0.0 for score in scores])
    gaps = np.array([score.landmark_mean_mm for score in found])
    names = sorted(found[0].landmark_mm) if found else []
    return {
        "ears": len(scores),
        "found": len(found),
        "extra_ears": extra,
        "side_right": sum(score.side_right for score in scores),
        "one_component": sum(score.components == 1 for score in found),
        "dice_mean": round(float(dice.mean()), 4),
        "dice_sd": round(float(dice.std(ddof=1)), 4) if len(dice) > 1 else None,
        "dice_median": round(float(np.median(dice)), 4),
        "dice_min": round(float(dice.min()), 4),
        "landmark_mm_mean": round(float(np.nanmean(gaps)), 3) if len(gaps) else None,
        "landmark_mm_median": round(float(np.nanmedian(gaps)), 3) if len(gaps) else None,
        "landmark_mm": {
            name: round(float(np.nanmean([s.landmark_mm.get(name, np.nan) for s in found])), 3)
            for name in names
        },
        "assd_mm_mean": round(float(np.nanmean([s.assd_mm for s in found])), 4) if found else None,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scanner", default="fpvct")
    parser.add_argument("--kind", default="ear", choices=["ear", "head"])
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--model", default="labyrinth")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()

    analyzer = open_analyzer(model=options.model)
    scores: list[EarScore] = []
    extra, seconds = 0, []
    for seed in range(FIRST_SEED, FIRST_SEED + options.cases):
        case = make_case(seed, kind=options.kind, scanner=options.scanner)
        start = time.perf_counter()
        prediction = analyzer.predict(case.scan)
        seconds.append(time.perf_counter() - start)
        new = score_case(prediction, case)
        scores += new
        extra += max(0, len(prediction.ears) - len(new))
        for score in new:
            print(
                f"{case.scan.name} {score.side} dice {score.dice:.3f} "
                f"landmarks {score.landmark_mean_mm:.2f} mm {'' if score.side_right else 'SIDE'}",
                flush=True,
            )
    summary = {
        "data": f"{options.cases} unseen phantoms, scanner {options.scanner}, {options.kind}",
        "machine": machine(),
        "model": {"name": options.model, "sha256": analyzer.labyrinth.sha256},
        "seconds_per_scan_median": round(float(np.median(seconds)), 2),
        **summarise(scores, extra),
    }
    name = f"accuracy-{options.scanner}-{options.kind}"
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / f"{name}.json").write_text(json.dumps(summary, indent=2) + "\n")
    with (options.output / f"{name}.csv").open("w", newline="") as file:
        rows = [asdict(score) for score in scores]
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
