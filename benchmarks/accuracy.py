"""Accuracy on unseen phantoms: overlap, landmarks, sides, and calibration of the confidence.

    python benchmarks/accuracy.py --scanner fpvct --cases 40

Cases are drawn from seeds that no training or validation sample uses. Writes two CSV (one row per
ear; statistics over them) and a JSON with the machine, the data and the model.
"""

import argparse
import json
import os
import platform
import time
from pathlib import Path

import numpy as np

import otovox
from otovox.evaluation.scores import (
    EarScore,
    extra_ears,
    score_case,
    summarise_scores,
    write_scores,
    write_statistics,
)
from otovox.inference.ears import open_analyzer
from otovox.phantom.cases import make_case

#: Training draws anatomies from seed 0 on, validation from 900,000 on.
FIRST_SEED = 5_000
#: Measures for which the smallest value is the worst.
HIGHER_IS_BETTER = (
    "dice", "iou", "vs", "precision", "recall", "specificity", "accuracy", "surface_dice",
    "confidence",
)  # fmt: skip


#: Instructions for vectors, the widest first; inference and training use the first that is there.
VECTORS = ("avx512_bf16", "avx512f", "avx2")


def processor() -> str:
    """The processor's name and its instructions for vectors, if the system reports them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (one.partition(":") for one in lines)}
    name = facts.get("model name", platform.machine())
    widest = [vector for vector in VECTORS if vector in facts.get("flags", "").split()][:1]
    return " with ".join([name, *widest])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scanner", default="fpvct")
    parser.add_argument("--kind", default="ear", choices=["ear", "head"])
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--model", default="labyrinth")
    parser.add_argument("--tta", default="fast")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()

    analyzer = open_analyzer(model=options.model, tta=options.tta)
    scores: list[EarScore] = []
    extra, seconds = 0, []
    for seed in range(options.first_seed, options.first_seed + options.cases):
        case = make_case(seed, kind=options.kind, scanner=options.scanner)
        start = time.perf_counter()
        prediction = analyzer.predict(case.scan)
        seconds.append(time.perf_counter() - start)
        new = score_case(prediction, case)
        scores += new
        extra += extra_ears(prediction, case)
        for score in new:
            print(
                f"{case.scan.name} {score.side} dice {score.dice:.3f} "
                f"landmarks {score.landmark_mean_mm:.2f} mm {'' if score.side_right else 'SIDE'}",
                flush=True,
            )
    rows = summarise_scores(scores)
    facts = {
        "data": f"{options.cases} unseen phantoms, scanner {options.scanner}, {options.kind}, "
        f"seeds from {options.first_seed}",
        "machine": {"cores": os.cpu_count(), "processor": processor()},
        "software": f"otovox {otovox.__version__}",
        "model": {"name": options.model, "sha256": analyzer.labyrinth.sha256, "tta": options.tta},
        "seconds_per_scan_median": round(float(np.median(seconds)), 2),
        "ears": len(scores),
        "found": sum(score.found for score in scores),
        "extra_ears": extra,
        "side_right": sum(score.side_right for score in scores),
        "one_component": sum(score.components == 1 for score in scores),
        "mean": {name: round(row.mean, 4) for name, row in rows.items()},
        "sd": {name: round(row.sd, 4) for name, row in rows.items()},
        "worst": {
            name: round(row.min if name in HIGHER_IS_BETTER else row.max, 4)
            for name, row in rows.items()
        },
    }
    name = f"accuracy-{options.scanner}-{options.kind}"
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / f"{name}.json").write_text(json.dumps(facts, indent=2) + "\n")
    write_scores(scores, options.output / f"{name}.csv")
    write_statistics(rows, options.output / f"{name}-statistics.csv")
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
