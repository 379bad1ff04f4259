"""A real whole head: checks that both ears are detected, with correct sides and positions.

    python benchmarks/real_head.py --scan vhf_head_ct.nii.gz

The scan is the Visible Human Female (U.S. National Library of Medicine, public domain), voxels of
1 mm. No expert truth exists: the positions below come from fitting surfaces of other labyrinths,
+-1.5 mm. The whole head is analysed, then a crop of 50 mm around each ear, then the head's grey
values in 8 bits.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from otovox.core.anatomy import Side
from otovox.core.case import Prediction
from otovox.core.volume import Scan
from otovox.formats.scans import load_scan
from otovox.inference.ears import open_analyzer

#: LPS mm: labyrinth centre, helicotrema, oval window.
PLACES_MM = {
    Side.RIGHT: {
        "center": (210.3, 243.1, 110.9),
        "helicotrema": (212.8, 237.0, 109.5),
        "oval_window": (209.3, 241.8, 109.8),
    },
    Side.LEFT: {
        "center": (286.3, 246.1, 110.4),
        "helicotrema": (284.4, 239.7, 109.0),
        "oval_window": (287.3, 244.9, 109.2),
    },
}
CROP_MM = 50.0


def distances_mm(prediction: Prediction) -> dict[str, dict[str, float]]:
    """For each detected ear: volume, confidence, and the error of each position."""
    ears = {}
    for ear in prediction.ears:
        places = PLACES_MM[ear.side]
        points = {"center": ear.center_mm, **{n: ear.landmarks[n] for n in places if n != "center"}}
        gaps = {name: float(np.linalg.norm(points[name] - places[name])) for name in places}
        ears[ear.side.value] = {
            "volume_mm3": round(ear.volume_mm3, 1),
            "confidence": round(ear.confidence, 2),
            **{f"{name}_mm": round(gap, 2) for name, gap in gaps.items()},
        }
    return ears


def cropped(scan: Scan, center_mm: tuple[float, ...]) -> Scan:
    """A cube around a position."""
    middle = scan.grid.to_ijk(np.asarray(center_mm))
    half = CROP_MM / 2 / scan.grid.spacing_mm
    start = np.clip(np.floor(middle - half), 0, None).astype(int)
    stop = np.minimum(np.ceil(middle + half).astype(int), scan.grid.shape)
    i, j, k = (int(n) for n in stop - start)
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    return Scan(scan.values[window], scan.grid.crop(start, (i, j, k)), scan.name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scan", type=Path, required=True)
    parser.add_argument("--model", default="labyrinth")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    scan = load_scan(options.scan)
    analyzer = open_analyzer(model=options.model)
    grey = np.clip((scan.values + 1000) * 255 / 4000, 0, 255).astype(np.uint8).astype(np.float32)
    inputs = {
        "whole head": scan,
        **{f"crop {side}": cropped(scan, PLACES_MM[side]["center"]) for side in Side},
        "8 bits": Scan(grey, scan.grid, scan.name),
    }
    facts = {
        "data": "Visible Human Female, whole-head CT, 1 mm voxels, real",
        "model": {"name": options.model, "sha256": analyzer.labyrinth.sha256},
        **{name: distances_mm(analyzer.predict(one)) for name, one in inputs.items()},
    }
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "real-head.json").write_text(json.dumps(facts, indent=2) + "\n")
    print(json.dumps(facts, indent=2))


if __name__ == "__main__":
    main()
