"""What each system costs: parameters, seconds and peak memory for one scan, all in one run.

    python benchmarks/costs.py --output benchmarks/results

The presets at their full size, with weights as they are drawn, which take as long as learnt ones.
The scan is one phantom ear of the micro-CT kind, cut to a field of 12.5 mm, which is one chunk of
the paper's network; AutoCasNet takes the same time for any field, the others more for a larger one.
Each system runs in a process of its own on torch on the CPU, otovox's own on OpenVINO, too.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accuracy import processor
from speed import measured

from otovox.bundle import save_bundle
from otovox.config import load_preset
from otovox.formats import load_scan, save_volume
from otovox.intensity import statistics
from otovox.networks import build
from otovox.networks.mpunet import MultiPlanarUNet
from otovox.systems.views import draw_views

PRESETS = (
    "base", "labyrinth", "jsdnet", "mpunet",
    "autocasnet-unet", "autocasnet-resunet", "autocasnet-seunet",
)  # fmt: skip
#: Of the scan, below the 12.7 mm of a chunk.
FIELD_MM = 12.5
#: Systems that are run on OpenVINO, too: that of otovox itself.
VOLUMETRIC = ("dual-head",)
LOOK = """
import json, sys, tempfile, time
from pathlib import Path
from otovox.bundle import load_bundle
from otovox.formats import load_scan, save_volume
from otovox.systems import system_of
model, scan, device = sys.argv[1:]
bundle, seen = load_bundle(model), load_scan(scan)
look = system_of(bundle.config).opened(bundle, device=device)
with tempfile.TemporaryDirectory() as folder:
    start = time.perf_counter()
    look(seen, Path(folder))
print(round(time.perf_counter() - start, 2))
"""
#: What a process takes that only imports and reads.
IDLE = LOOK[: LOOK.index("look =")] + "print(0)"


def rows(folder: Path) -> list[dict[str, object]]:
    """One per preset and engine."""
    phantom = ("phantom", "--scanner", "microct-dry", "--seed", "5000", "--output")
    subprocess.run([sys.executable, "-m", "otovox", *phantom, folder / "ear"], check=True)
    whole = load_scan(next((folder / "ear" / "images").glob("*.nii.gz")))
    size = int(FIELD_MM / whole.grid.spacing_mm[0])
    start = [(side - size) // 2 for side in whole.grid.shape]
    part = tuple(slice(first, first + size) for first in start)
    scan = folder / "ear.nii.gz"
    save_volume(whole.values[part], whole.grid.crop(start, (size, size, size)), scan)
    given = asdict(statistics([whole.values[part]]))
    found: list[dict[str, object]] = []
    for preset in PRESETS:
        config = load_preset(preset)
        network = build(config)
        if isinstance(network, MultiPlanarUNet):
            views = draw_views(6, min_angle_deg=60.0, rng=np.random.default_rng(0))
            network.views.copy_(torch.from_numpy(views))
        save_bundle(folder / preset, network, config, facts={"intensity": given})
        model = [str(folder / preset), str(scan)]
        idle = measured([sys.executable, "-c", IDLE, *model, "torch"])
        kind = config.system.kind
        for device in ("torch", "cpu") if kind in VOLUMETRIC else ("torch",):
            run = measured([sys.executable, "-c", LOOK, *model, device])
            if run["exit"]:
                raise SystemExit(f"{preset}: exit {run['exit']}")
            found.append(
                {
                    "preset": preset,
                    "engine": "OpenVINO" if device == "cpu" else "torch",
                    "parameters": sum(one.numel() for one in network.parameters()),
                    "seconds": float(run["printed"][0]),
                    "peak_gib": run["peak_gib"],
                    "idle_gib": idle["peak_gib"],
                }
            )
            print(found[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        table = pd.DataFrame(rows(Path(name)))
    base = table.loc[0, "seconds"]
    table["times_base"] = (table["seconds"] / base).round(2)
    options.output.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.output / "costs.csv", index=False)
    machine = {"cores": os.cpu_count(), "processor": processor()}
    (options.output / "costs.json").write_text(json.dumps(machine, indent=2) + "\n")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
