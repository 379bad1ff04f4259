"""Networks of the papers at full size on one ear, on a CPU, in one run.

    python benchmarks/paper_size_cpu.py EAR.nii.gz

The base network of Stebani et al. 2023 in three ways, as ratios:

- `otovox analyze --model`: chunks where the embedded model finds the labyrinth, OpenVINO, bf16;
- MONAI's `sliding_window_inference` over the same network and the whole scan, PyTorch;
- the protocol of Stebani et al. 2023: all chunks of the whole scan (S7), each in ten rotations
  (S9), PyTorch; extrapolated: ten times that of MONAI, which covers the scan with the same chunks.

AutoCasNet of Hussain et al. 2021 (three U-Nets, 256^3 voxels) on one thread. All networks have
their initial weights, on which the time does not depend. Writes `paper-size-cpu.json`.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accuracy import processor
from costs import LOOK
from stages import analyze, run

from otovox.config.training import load_preset
from otovox.core.geometry import cube_turns
from otovox.formats.scans import load_scan
from otovox.imaging.intensity import Statistics
from otovox.imaging.windows import usual_stride, windows
from otovox.learning.bundle import save_bundle
from otovox.systems.registry import system_of
from otovox.systems.whole_volume import field_grid

#: Forward passes of single chunks; the median of three after one to warm up.
CHUNKS = """
import sys, time, numpy as np
from otovox.learning.bundle import load_bundle
from otovox.learning.engine import open_engine
from otovox.systems.registry import trained_network
bundle, (device, precision) = load_bundle(sys.argv[1]), sys.argv[2:]
engine = open_engine(bundle, trained_network, device=device, precision=precision)
image = np.random.default_rng(0).standard_normal((1, 1, *bundle.config.data.shape)).astype("f4")
engine.run(image)
seconds = []
for _ in range(3):
    start = time.perf_counter(); engine.run(image)
    seconds.append(time.perf_counter() - start)
print(sorted(seconds)[1])
"""

MONAI = """
import sys, time, torch
from monai.inferers import sliding_window_inference
from otovox.formats.scans import load_scan
from otovox.imaging.intensity import normalise
from otovox.imaging.resample import resample
from otovox.learning.bundle import load_bundle
from otovox.systems.registry import trained_network
from otovox.systems.whole_volume import field_grid
bundle, scan = load_bundle(sys.argv[1]), load_scan(sys.argv[2])
network = trained_network(bundle).eval()
start = time.perf_counter()
grid = field_grid(scan, bundle.config)
image = normalise(resample(scan.values, scan.grid, grid, outside="edge"))
chunk = bundle.config.data.shape
with torch.inference_mode():
    sliding_window_inference(
        torch.from_numpy(image)[None, None], chunk, 1,
        lambda chunks: network(chunks)[:2],  # logits and heatmaps, without auxiliary outputs
        overlap=25 / chunk[0], mode="gaussian",
    )
print(time.perf_counter() - start)
"""


def untrained(folder: Path, preset: str) -> None:
    """A model with its initial weights."""
    torch.manual_seed(0)
    config = load_preset(preset)
    facts = {"intensity": asdict(Statistics(-1000, 3000, 300, 700))}
    save_bundle(folder, system_of(config).network(config), config, facts=facts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scan", type=Path, help="scan of one ear")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    config = load_preset("base")
    scan = load_scan(options.scan)
    chunk = config.data.shape
    chunks = len(list(windows(field_grid(scan, config).shape, chunk, usual_stride(chunk))))
    python = sys.executable
    figures: dict[str, Any] = {
        "voxels": scan.grid.shape,
        "chunks": chunks,
        "processor": processor(),
    }
    with tempfile.TemporaryDirectory() as name:
        model, folder = Path(name, "model"), Path(name, "out")
        untrained(model, "base")
        for engine in ("torch f32", "cpu f32", "cpu bf16"):
            done = run(python, "-c", CHUNKS, model, *engine.split())
            figures[f"chunk, {engine}, s"] = round(float(done["printed"][0]), 2)
        # The first run converts the network; its graph is kept.
        for run_name in ("first", "later"):
            done = analyze(python, options.scan, "-o", folder, "--model", model)
            figures[f"analyze, {run_name}, s"] = done["wall_s"]
            figures["analyze, GiB"] = done["peak_gib"]
        done = run(python, "-c", MONAI, model, options.scan)
        figures["MONAI, s"] = round(float(done["printed"][0]), 1)
        figures["MONAI, GiB"] = done["peak_gib"]
        untrained(Path(name, "autocasnet"), "autocasnet-unet")
        done = run(python, "-c", LOOK, Path(name, "autocasnet"), options.scan)
        figures["AutoCasNet, one thread, s"] = round(float(done["printed"][0]), 1)
        figures["AutoCasNet, GiB"] = done["peak_gib"]
    turns = len(list(cube_turns("paper")))
    figures["paper's protocol, s"] = round(turns * figures["MONAI, s"])
    for other in ("MONAI", "paper's protocol"):
        ratio = figures[f"{other}, s"] / figures["analyze, later, s"]
        figures[f"{other} / analyze"] = round(ratio, 1)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "paper-size-cpu.json").write_text(json.dumps(figures, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
