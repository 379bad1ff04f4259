"""Stages of `otovox analyze`, its cost for larger scans, and two installations side by side."""

import json
import os
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

#: Runs in an installation of its own, so it imports nothing of this folder. Times are wall times;
#: results are written in two threads, of which one makes picture and page.
CHILD = """
import json, os, resource, sys, time
import psutil
began = psutil.Process().create_time()
seconds, peaks = {}, {}
def timed(place, name, stage):
    work = getattr(place, name)
    def wrapper(*args, **options):
        start = time.time()
        try:
            return work(*args, **options)
        finally:
            seconds[stage] = seconds.get(stage, 0.0) + time.time() - start
            peaks[stage] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    setattr(place, name, wrapper)
from otovox.cli.app import main
from otovox.analysis import model, scan
from otovox.inference import ears
from otovox.results import folder, overview, page
seconds["start"] = time.time() - began
peaks["start"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
timed(scan, "read_source", "read")
timed(ears, "proposed", "locate")
timed(ears.Analyzer, "predict", "look")
timed(model, "measure_scan", "measure")
timed(overview, "draw_pictures", "picture")
timed(page, "write_page", "page")
timed(folder, "write_results", "write")
try:
    main()
except SystemExit:
    pass
seconds["look"] -= seconds.get("locate", 0.0)
seconds["write"] -= seconds["picture"] + seconds["page"]
seconds["rest"] = time.time() - began - sum(seconds.values())
peaks["rest"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({name: [round(s, 2), round(peaks[name], 2)] for name, s in seconds.items()}))
"""

#: Second and later scans in one process.
AGAIN = """
import sys, time
import otovox
model = otovox.load_model()
seconds = []
for _ in range(4):
    start = time.perf_counter(); model.analyze(sys.argv[1]).save(sys.argv[2])
    seconds.append(time.perf_counter() - start)
print(round(sorted(seconds[1:])[1], 2))
"""


def run(python: str, *arguments: object, **environment: str) -> dict[str, Any]:
    """Wall time, peak memory and last printed line of a command of one installation."""
    command = [python, *map(str, arguments)]
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent)} | environment
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    return {
        "wall_s": round(time.perf_counter() - start, 2),
        "peak_gib": round(usage.ru_maxrss / 2**20, 2),
        "exit": os.waitstatus_to_exitcode(status),
        "printed": output.strip().splitlines()[-1:],
    }


def analyze(python: str, *arguments: object) -> dict[str, Any]:
    """`otovox analyze`, from the start of the process to the end."""
    return run(python, "-m", "otovox", "analyze", *arguments, "-q", "--fresh")


def stages(python: str, scan: Path, folder: Path) -> dict[str, Any]:
    """Time, s, and peak memory so far, GiB, of each stage."""
    done = run(python, "-c", CHILD, "analyze", scan, "-o", folder, "-q", "--fresh")
    return json.loads(done["printed"][0])


def again(python: str, scan: Path, folder: Path) -> float:
    """Seconds for a later scan in the same process, median of three."""
    return float(run(python, "-c", AGAIN, scan, folder)["printed"][0])


def pair(
    pythons: tuple[str, str], scans: dict[str, Path], folder: Path, times: int
) -> dict[str, Any]:
    """Two installations in alternation on the same scans: medians and their ratios."""
    pairs: dict[str, Any] = {}
    for name, scan in scans.items():
        rows = [
            [analyze(one, scan, "-o", folder / f"pair {name}") for one in pythons]
            for _ in range(times)
        ]
        before, after = (
            {
                key: statistics.median(row[number][key] for row in rows)
                for key in ("wall_s", "peak_gib")
            }
            for number in range(2)
        )
        ratios = {key: round(before[key] / after[key], 2) for key in before}
        pairs[name] = {"before": before, "after": after, "ratio": ratios}
    return pairs


def growth(python: str, scans: dict[str, Path], folder: Path) -> list[dict[str, Any]]:
    """Time and memory against voxels, ears and test-time augmentation.

    Args:
        python: the installation.
        scans: by what they show.
        folder: for results.
    """
    rows = []
    for name, scan in scans.items():
        for tta in ("none", "fast", "paper"):
            done = analyze(python, scan, "-o", folder / f"growth {name}", "--tta", tta)
            rows.append({"scan": name, "tta": tta, **{k: done[k] for k in ("wall_s", "peak_gib")}})
    return rows


def growth_figure(rows: list[dict[str, Any]], path: Path) -> None:
    """Bars of the rows of `growth`."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(row["scan"] for row in rows))
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, key, title in zip(
        axes, ("wall_s", "peak_gib"), ("time, s", "peak memory, GiB"), strict=True
    ):
        for number, tta in enumerate(("none", "fast", "paper")):
            values = [row[key] for row in rows if row["tta"] == tta]
            places = [place + 0.27 * (number - 1) for place in range(len(names))]
            axis.bar(places, values, 0.25, label=f"--tta {tta}")
        axis.set_xticks(range(len(names)), names, fontsize=8)
        axis.set_ylabel(title)
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)
