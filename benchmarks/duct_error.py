"""Effect of landmark errors on the cochlear duct length.

    python benchmarks/duct_error.py --cases 10 --release RELEASE

Stebani et al. 2023 add the mean errors of helicotrema and round window to a worst case of 1.08 mm.
Here the duct of each ear is measured twice on the ground-truth mask: with the true and with the
predicted landmarks. The difference is the error due to the landmarks alone, along the traced
lateral wall and by the formula of Escude et al. 2006. Phantoms (MSCT) and, with --release, the real
ears of Wimmer et al. 2019 with their experts' ground truth. Writes `duct-error.csv` and
`duct-error.json`.
"""

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from real_ears import release, training_data_of, was_trained_on

from otovox.core.anatomy import LANDMARK_NAMES
from otovox.core.case import Case
from otovox.core.geometry import Pose
from otovox.core.landmarks import Landmarks
from otovox.inference.ears import open_analyzer
from otovox.measure.cochlea import Cochlea, measure_cochlea
from otovox.phantom.cases import make_case

#: No training or validation sample, and no other benchmark, uses these.
FIRST_SEED = 9_900


def cases(options: argparse.Namespace) -> Iterator[tuple[str, Case]]:
    for seed in range(FIRST_SEED, FIRST_SEED + options.cases):
        yield "phantom", make_case(seed, scanner="msct")
    if options.release:
        for case in release(options.release):
            yield "real", case


def measured(case: Case, landmarks: Landmarks, pose: Pose) -> Cochlea:
    ((side, _),) = case.landmarks.items()
    mask = (case.labels.values == side.label).astype(np.float32)
    return measure_cochlea(mask, case.scan.grid, landmarks, pose)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10, help="phantoms")
    parser.add_argument("--release", type=Path)
    parser.add_argument("--model", default="labyrinth")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    analyzer = open_analyzer(model=options.model)
    rows: list[dict] = []
    for of, case in cases(options):
        (truth,) = case.landmarks.values()
        truth = truth.only(LANDMARK_NAMES)
        ears = analyzer.predict(case.scan).ears
        if not ears:
            continue
        ear = ears[0]
        gaps = np.linalg.norm(ear.landmarks.points_mm - truth.points_mm, axis=1)
        by_truth = measured(case, truth, ear.pose)
        by_found = measured(case, ear.landmarks, ear.pose)
        row: dict = {"data": of, "ear": case.scan.name}
        row["seen"] = of == "real" and was_trained_on(analyzer, case)
        row["helicotrema_mm"], row["round_window_mm"] = gaps[0], gaps[2]
        row["worst_case_mm"] = gaps[0] + gaps[2]
        if by_truth.wall and by_found.wall:
            row["traced_mm"] = by_found.wall.total_mm - by_truth.wall.total_mm
            row["true_length_mm"] = by_truth.wall.total_mm
        name = "escude_lw_900"
        if name in by_truth.formulas and name in by_found.formulas:
            row["escude_mm"] = by_found.formulas[name] - by_truth.formulas[name]
        rows.append(row)
        print({k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
    facts = {"model_sha256": analyzer.labyrinth.sha256, "training_data": training_data_of(analyzer)}
    for of in dict.fromkeys(row["data"] for row in rows):
        own = [row for row in rows if row["data"] == of]
        errors = {"ears": len(own), "seen in training": sum(row["seen"] for row in own)}
        for key in ("worst_case_mm", "traced_mm", "escude_mm"):
            values = np.abs([row[key] for row in own if key in row])
            if len(values):
                errors[key] = {
                    "measured": len(values),
                    "mean absolute": round(float(values.mean()), 3),
                    "largest": round(float(values.max()), 3),
                }
        facts[of] = errors
    options.output.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with (options.output / "duct-error.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        for row in rows:
            writer.writerow({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()})
    (options.output / "duct-error.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
