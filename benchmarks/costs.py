"""Costs of each system: parameters, time and peak memory for one scan, all in one run.

    python benchmarks/costs.py --work runs/comparison --output benchmarks/results

Times the models that `comparison.py` trained, at its reduced scale, on one phantom ear of set W.
Each system runs in its own process, with PyTorch on one CPU thread and no test-time rotations. The
table also lists the parameters of the same network at full size.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import pandas as pd
import stages
import torch
from accuracy import processor

from otovox.config.training import TrainConfig
from otovox.experiments.studies.plans import load_study, run_settings
from otovox.learning.bundle import load_bundle
from otovox.systems.registry import system_of

LOOK = """
import sys, tempfile, time
from pathlib import Path
from otovox.learning.bundle import load_bundle
from otovox.formats.scans import load_scan
from otovox.systems.registry import system_of
bundle, seen = load_bundle(sys.argv[1]), load_scan(sys.argv[2])
look = system_of(bundle.config).open_model(bundle, device="torch", threads=1)
with tempfile.TemporaryDirectory() as folder:
    start = time.perf_counter()
    look(seen, Path(folder))
print(round(time.perf_counter() - start, 2))
"""
COLUMNS = ("system", "parameters at full size", "parameters here", "seconds", "peak GiB")


def rows(work: Path) -> list[tuple[object, ...]]:
    """One row per run with a model, in the study's order."""
    scan = sorted((work / "W" / "images").glob("*.nii.gz"))[0]
    study = load_study("systems")
    table_rows: list[tuple[object, ...]] = []
    for run in study.runs:
        model = work / "systems" / "runs" / run.name / "fold-0" / "model"
        if not model.is_dir():
            continue
        done = stages.run(sys.executable, "-c", LOOK, model, scan)
        if done["exit"]:
            raise SystemExit(f"{run.name}: exit {done['exit']}")
        trained = load_bundle(model).config
        counts = [_parameters(config) for config in (run_settings(study, run), trained)]
        seconds = float(done["printed"][0])
        table_rows.append((f"{run.factor}, {run.level}", *counts, seconds, done["peak_gib"]))
        print(*table_rows[-1], sep="; ", flush=True)
    return table_rows


def _parameters(config: TrainConfig) -> int:
    with torch.device("meta"):
        return sum(one.numel() for one in system_of(config).network(config).parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of comparison.py")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    table = pd.DataFrame(rows(options.work), columns=list(COLUMNS))
    table["relative to the first"] = (table["seconds"] / table.loc[0, "seconds"]).round(2)
    options.output.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.output / "costs.csv", index=False)
    machine = {"cores": os.cpu_count(), "processor": processor()}
    (options.output / "costs.json").write_text(json.dumps(machine, indent=2) + "\n")


if __name__ == "__main__":
    main()
