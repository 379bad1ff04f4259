"""Speed and memory as ratios within one run: phantoms, training, engines, the whole command.

    python benchmarks/speed.py --scan HEAD.nii.gz --pair BEFORE/bin/python AFTER/bin/python

Each step runs in its own process, so that its peak memory can be measured; this one stays small,
because a process starts with the peak of the one that started it. `--only` chooses steps.
Stages of an analysis, its growth with voxels, ears and test-time augmentation, later scans in the
same process and the rate of a cohort are measured with `stages.py`; `--pair` runs two installations
in alternation on the same scans. Writes `speed.json` and `docs/speed-growth.png`.
"""

import argparse
import ast
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from stages import again, analyze, growth, growth_figure, pair, run, stages

SAMPLES = """
import time, pathlib, sys, numpy as np
from otovox.phantom.samples import ear_sample, head_sample
folder = pathlib.Path(sys.argv[1])
start = time.perf_counter(); ear_sample(folder, 0, np.random.default_rng(0), (80, 96, 96), 0.2)
first = time.perf_counter() - start
start = time.perf_counter()
for n in range(10): ear_sample(folder, 0, np.random.default_rng(n), (80, 96, 96), 0.2)
ear = (time.perf_counter() - start) / 10
print({"anatomy_s": round(first, 2), "ear_chunks_per_s": round(1 / ear, 1)})
"""

CASE = """
import time
from otovox.phantom.cases import make_case
start = time.perf_counter(); case = make_case(1, scanner=SCANNER, kind=KIND)
print({"seconds": round(time.perf_counter() - start, 1), "shape": case.scan.grid.shape})
"""

ENGINES = """
import time, numpy as np
from otovox.learning.bundle import embedded
from otovox.learning.engine import open_engine
from otovox.systems.registry import trained_network
bundle = embedded("labyrinth")
image = np.random.default_rng(0).standard_normal((1, 1, *bundle.config.data.shape)).astype("f4")
times, outputs = {}, {}
for name, options in {"openvino f32": {"device": "cpu"}, "torch f32": {"device": "torch"},
                      "openvino bf16": {"device": "cpu", "precision": "bf16"}}.items():
    start = time.perf_counter(); engine = open_engine(bundle, trained_network, **options)
    ready = time.perf_counter() - start
    engine.run(image); seconds = []
    for _ in range(3):
        start = time.perf_counter(); outputs[name] = engine.run(image)[0]
        seconds.append(time.perf_counter() - start)
    gap = float(np.abs(outputs[name] - outputs["openvino f32"]).max())
    times[name] = {"ready_s": round(ready, 2), "forward_s": round(float(np.median(seconds)), 3),
                   "largest_probability_gap": round(gap, 5)}
print(times)
"""


STEPS = """
import resource, time, torch
from otovox.config.training import load_preset
from otovox.systems.registry import system_of
from otovox.learning.hardware import keep_freed_memory
torch.set_num_threads(1)
if KEEP: keep_freed_memory()
task, = system_of(load_preset("labyrinth")).tasks(load_preset("labyrinth"))
torch.manual_seed(0)
image = torch.randn(task.shape).contiguous(memory_format=task.memory_format)
task.network.to(memory_format=task.memory_format)
seconds = []
for n in range(8):
    start = time.perf_counter(); task.network.zero_grad()
    task.losses(task.example(image), 0)["loss"].backward()
    seconds.append(time.perf_counter() - start)
used = resource.getrusage(resource.RUSAGE_SELF)
share = used.ru_stime / (used.ru_stime + used.ru_utime)
print({"step_s": round(sorted(seconds)[4], 2), "share_in_kernel": round(share, 2)})
"""


RENDER = """
import pathlib, sys
import numpy as np
from otovox.formats.images import save_image
from otovox.phantom.cases import make_case
scanner, folder, field, *seeds = sys.argv[1:]
field_mm = tuple(map(float, field.split(",")))
for seed in seeds:
    scan = make_case(int(seed), scanner=scanner, field_mm=field_mm).scan
    path = pathlib.Path(folder, f"{scanner}-{seed}.nii.gz")
    save_image(np.rint(scan.values).astype(np.int16), scan.grid, path)
"""

MACHINE = """
import os
from accuracy import processor
print({"cores": os.cpu_count(), "processor": processor()})
"""

Steps = dict[str, Any]


def parts(folder: str) -> Steps:
    """Phantoms, training steps and engines."""
    python = sys.executable
    steps = {"training samples": run(python, "-c", SAMPLES, f"{folder}/anatomies")}
    for kind, scanner in (("ear", "fpvct"), ("ear", "msct"), ("head", "msct")):
        code = f"SCANNER, KIND = {scanner!r}, {kind!r}{CASE}"
        steps[f"phantom {scanner} {kind}"] = run(python, "-c", code)
    for name, keep in (("freed memory kept", True), ("as it comes", False)):
        code = f"KEEP = {keep}{STEPS}"
        steps[f"training step, one thread, {name}"] = run(python, "-c", code)
    few = run(python, "-c", f"KEEP = False{STEPS}", MALLOC_TRIM_THRESHOLD_="65536")
    steps["training step, one thread, as dask's workers have it"] = few
    steps["engines"] = run(python, "-c", ENGINES)
    return steps


def render(scanner: str, folder: Path, field_mm: str, *seeds: int) -> list[Path]:
    """Phantom ears as files; the field of view as three numbers."""
    folder.mkdir(parents=True, exist_ok=True)
    run(sys.executable, "-c", RENDER, scanner, folder, field_mm, *seeds)
    return [folder / f"{scanner}-{seed}.nii.gz" for seed in seeds]


def scans(folder: Path, head: Path | None) -> dict[str, Path]:
    """A clinical crop, an ear of 288 x 288 x 260 voxels at 0.1 mm, and a head."""
    (clinical,) = render("msct", folder, "25.6,25.6,25.6", 7800)
    (fine,) = render("fpvct", folder, "28.8,28.8,26.0", 7800)
    chosen = {"clinical ear": clinical, "ear, 0.1 mm": fine}
    return chosen | ({"head": head} if head else {})


def cohort(folder: Path, count: int) -> dict[str, Any]:
    """Clinical ears a minute, as two workers analyse them."""
    paths = render("msct", folder / "cohort", "25.6,25.6,25.6", *range(7900, 7900 + count))
    done = analyze(sys.executable, *paths, "-o", folder / "out", "--workers", "2")
    return done | {"ears_per_minute": round(60 * count / done["wall_s"], 1)}


def analyses(folder: Path, options: argparse.Namespace) -> Steps:
    """Whole analyses, as a user runs them."""
    python, scan_files = sys.executable, scans(folder, options.scan)
    refused = run(python, "-m", "otovox", "analyze", folder / "absent.nii.gz", "-o", folder / "no")
    staged = {
        name: stages(python, scan, folder / f"stages {name}") for name, scan in scan_files.items()
    }
    rows = growth(python, scan_files, folder)
    growth_figure(rows, Path("docs/speed-growth.png"))
    return {
        "a missing file is refused": refused,
        "stages": staged,
        "growth": rows,
        "later scan in the same process, s": {
            name: again(python, scan, folder / f"again {name}") for name, scan in scan_files.items()
        },
        "cohort": cohort(folder, options.cohort),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--scan", type=Path, help="a whole-head scan")
    parser.add_argument("--cohort", type=int, default=40, help="ears of the cohort")
    parser.add_argument("--pair", nargs=2, metavar="PYTHON", help="two installations")
    parser.add_argument("--only", choices=("parts", "analyses", "pair"), help="one step")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "speed.json"
    results: Steps = json.loads(path.read_text()) if options.only and path.is_file() else {}
    results["machine"] = ast.literal_eval(run(sys.executable, "-c", MACHINE)["printed"][0])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.only in (None, "parts"):
            results |= parts(name)
        if options.only in (None, "analyses"):
            results |= analyses(folder, options)
        if options.pair:
            scan_files = scans(folder, options.scan)
            results["pair"] = pair(tuple(options.pair), scan_files, folder, times=3)
    path.write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
