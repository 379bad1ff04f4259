"""The position of the labyrinth wall in real ears according to experts and a model.

    python benchmarks/wall.py RELEASE

For every ear of the release of Wimmer et al. 2019: the median density at the centre of the lumen,
at the peak next to the wall and at 0.8 mm from it, the threshold that best reproduces the expert's
mask and its accuracy (DSC within 0.4 mm of the mask), and the same for the model's mask, with its
volume relative to the expert's and the mean distance of its wall from the expert's. Writes
`wall.csv`.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
from real_ears import from_prediction, release, was_trained_on
from scipy import ndimage

from otovox.imaging.metrics import dice
from otovox.inference.ears import open_analyzer

#: Candidate thresholds, HU.
THRESHOLDS_HU = range(0, 1800, 25)


def signed_distance(mask: np.ndarray, spacing_mm: np.ndarray) -> np.ndarray:
    """Distance of voxel centres from a mask's wall, mm, negative inside."""
    half = float(spacing_mm.min()) / 2
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing_mm)
    inside = ndimage.distance_transform_edt(mask, sampling=spacing_mm)
    return np.where(mask, half - np.asarray(inside), np.asarray(outside) - half)


def best_threshold(values: np.ndarray, mask: np.ndarray) -> tuple[int, float]:
    """The threshold that best reproduces a mask from the voxels near it, and its DSC."""
    near = ndimage.binary_dilation(mask, iterations=2)
    return max(
        ((hu, dice((values < hu) & near, mask)) for hu in THRESHOLDS_HU), key=lambda pair: pair[1]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("release", type=Path)
    parser.add_argument("--model", default="labyrinth")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    analyzer = open_analyzer(model=options.model)
    rows = []
    for case in release(options.release):
        values, spacing = case.scan.values, case.scan.grid.spacing_mm
        expert = case.labels.values > 0
        ours = from_prediction(analyzer.predict(case.scan), case).mask
        assert ours is not None
        away = signed_distance(expert, spacing)
        wall = ours & ~ndimage.binary_erosion(ours) | ndimage.binary_dilation(ours) & ~ours
        threshold, fits = best_threshold(values, expert)
        rows.append(
            {
                "ear": case.scan.name,
                "seen": was_trained_on(analyzer, case),
                "lumen_hu": round(float(np.median(values[away < -0.5]))),
                "crest_hu": round(
                    max(
                        float(np.median(values[(away >= d) & (away < d + 0.1)]))
                        for d in np.arange(0.2, 0.7, 0.1)
                    )
                ),
                "bone_hu": round(float(np.median(values[(away > 0.7) & (away < 0.9)]))),
                "expert_threshold_hu": threshold,
                "expert_threshold_dice": round(fits, 4),
                "model_threshold_hu": best_threshold(values, ours)[0],
                "model_volume_ratio": round(float(ours.sum() / expert.sum()), 4),
                "model_wall_mm": round(float(away[wall].mean()), 4),
            }
        )
        print(rows[-1], flush=True)
    options.output.mkdir(parents=True, exist_ok=True)
    with (options.output / "wall.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
