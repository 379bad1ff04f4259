"""Detail of the wall: masks with and without the evidence of the scan's own voxels, on phantoms.

    python benchmarks/wall_detail.py --cases 3

Every scanner; the weight per contrast-to-noise ratio is varied. Writes `wall-detail.csv`: mean DSC
of each scanner and weight, and mean volume relative to the true one; 0 is the network's mask
without detail.
"""

import argparse
import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

import otovox.inference.wall as wall
from otovox.evaluation.scores import score_case
from otovox.inference.ears import open_analyzer
from otovox.phantom.cases import make_case
from otovox.phantom.scanner import SCANNERS

#: No training or validation sample, and no other benchmark, uses these.
FIRST_SEED = 7_700
WEIGHTS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5)
#: Field of view of an ear, mm, to save time.
FIELD_MM = (26.0, 26.0, 26.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    analyzer = open_analyzer()
    analyzer = replace(analyzer, flag=None, estimator=None)
    rows: list[dict[str, object]] = []
    for scanner in SCANNERS:
        seeds = range(FIRST_SEED, FIRST_SEED + options.cases)
        cases = [make_case(seed, scanner=scanner, field_mm=FIELD_MM) for seed in seeds]
        row: dict[str, object] = {"scanner": scanner, "ears": len(cases)}
        for weight in WEIGHTS:
            wall.WEIGHT_PER_CNR = weight
            scores = [
                one for case in cases for one in score_case(analyzer.predict(case.scan), case)
            ]
            volumes = [score.volume_mm3 / score.true_volume_mm3 for score in scores]
            row[f"{weight:g}"] = f"{np.mean([score.dice for score in scores]):.4f}"
            row[f"volume, {weight:g}"] = f"{np.mean(volumes):.4f}"
        rows.append(row)
        print("  ".join(str(cell) for cell in row.values()), flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    with (options.output / "wall-detail.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
