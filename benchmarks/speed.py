"""Speed and memory as ratios within one run: phantoms, training, engines, the whole command.

    python benchmarks/speed.py --output benchmarks/results

Each step runs in its own process, so that its peak memory can be measured.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from accuracy import processor

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


def measured(command: list[str], **environment: str) -> dict[str, Any]:
    """Run a command; return its wall time, peak memory and last printed lines."""
    start, env = time.perf_counter(), os.environ | environment
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    return {
        "wall_s": round(time.perf_counter() - start, 1),
        "peak_gib": round(usage.ru_maxrss / 2**20, 2),
        "exit": os.waitstatus_to_exitcode(status),
        "printed": output.strip().splitlines()[-1:] or "",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--scan", type=Path, help="a whole-head scan to time the command on")
    options = parser.parse_args()
    python = sys.executable
    results: dict[str, Any] = {
        "machine": {
            "cores": os.cpu_count(),
            "processor": processor(),
        }
    }
    with tempfile.TemporaryDirectory() as folder:
        results["training samples"] = measured([python, "-c", SAMPLES, f"{folder}/anatomies"])
        for kind, scanner in (("ear", "fpvct"), ("ear", "msct"), ("head", "msct")):
            code = f"SCANNER, KIND = {scanner!r}, {kind!r}{CASE}"
            results[f"phantom {scanner} {kind}"] = measured([python, "-c", code])
        for name, keep in (("freed memory kept", True), ("as it comes", False)):
            code = [python, "-c", f"KEEP = {keep}{STEPS}"]
            results[f"training step, one thread, {name}"] = measured(code)
        few = measured([python, "-c", f"KEEP = False{STEPS}"], MALLOC_TRIM_THRESHOLD_="65536")
        results["training step, one thread, as dask's workers have it"] = few
        results["engines"] = measured([python, "-c", ENGINES])
        otovox = [python, "-m", "otovox"]
        subprocess.run(
            [*otovox, "phantom", "--scanner", "fpvct", "--output", f"{folder}/ear"], check=True
        )
        scan = next(Path(folder, "ear", "images").glob("*.nii.gz"))
        for tta in ("none", "fast"):
            command = [*otovox, "analyze", str(scan), "--tta", tta, "-o", f"{folder}/{tta}", "-q"]
            command.append("--fresh")
            runs = sorted((measured(command) for _ in range(3)), key=lambda run: run["wall_s"])
            results[f"analyze one ear 300^3 at 0.1 mm, tta {tta}, median of 3"] = runs[1]
        if options.scan is not None:
            command = [*otovox, "analyze", str(options.scan), "-o", f"{folder}/head", "-q"]
            results[f"analyze whole head {options.scan.name}"] = measured(command)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "speed.json").write_text(json.dumps(results, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
