"""The figure of docs/landmarks.md, and the distances between landmarks in phantoms.

    python benchmarks/landmarks.py --release RELEASE

Draws each landmark of a phantom and, with the release of Wimmer et al. 2019 (CC BY 4.0), of ear F03
as its experts marked it, in a plane through the landmark. Writes `docs/landmarks.png`, and prints
the landmarks' distances over 100 simulated labyrinths and those of 94 real ears.
"""

import argparse
from itertools import combinations
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from real_ears import release

from otovox.core.anatomy import LANDMARKS, MODIOLAR_AXIS
from otovox.core.case import Case
from otovox.core.geometry import FloatArray, fit_pose, unit
from otovox.core.volume import Grid
from otovox.imaging.resample import resample
from otovox.phantom.cases import make_case
from otovox.phantom.labyrinth import OVAL_WINDOW_NORMAL, ROUND_WINDOW_NORMAL, draw_labyrinth

#: Edge of a figure's field of view and of its pixels, mm.
FIELD_MM, PIXEL_MM = 10.0, 0.05
#: Mean distances in mm of 94 ears, and of the 23 of set W among them. Source: public companion data
#: of Stebani et al. 2023.
PUBLISHED_MM = {
    ("helicotrema", "oval_window"): "6.73 +- .55 (W 6.30)",
    ("helicotrema", "round_window"): "7.06 +- .54 (W 6.56)",
    ("oval_window", "round_window"): "2.93 +- .22 (W 2.93)",
}


def planes() -> dict[str, tuple[FloatArray, FloatArray]]:
    """Right and up of each landmark's figure, canonical; the landmark's own direction is up."""
    axis = unit(MODIOLAR_AXIS)
    across = unit(np.cross(axis, (0.0, 1.0, 0.0)))
    views = {"helicotrema": (across, axis)}
    for name, normal in (
        ("oval_window", OVAL_WINDOW_NORMAL),
        ("round_window", ROUND_WINDOW_NORMAL),
    ):
        views[name] = unit(np.cross(normal, np.cross((0.3, 0.2, -1.0), normal))), normal
    return views


def draw(axes: plt.Axes, case: Case, name: str, title: str) -> None:
    ((side, points),) = case.landmarks.items()
    names = tuple(n for n in points.names if points.has(n))
    pose = fit_pose(names, points.only(names).points_mm, side)
    right, up = (pose.matrix @ one for one in planes()[name])
    count = int(FIELD_MM / PIXEL_MM)
    directions = np.stack([right, up, np.cross(right, up)], axis=1)
    grid = Grid.centred(points[name], (count, count, 1), spacing_mm=PIXEL_MM, directions=directions)
    image = resample(case.scan.values, case.scan.grid, grid, outside="edge")[:, :, 0]
    inside = (case.labels.values == side.label).astype(np.float32)
    mask = resample(inside, case.scan.grid, grid, outside=0.0)[:, :, 0]
    low, high = np.percentile(image, [1, 99])
    axes.imshow(image.T, cmap="gray", vmin=low, vmax=high, origin="lower")
    axes.contour(mask.T, [0.5], colors="#E69F00", linewidths=1)
    middle = (count - 1) / 2
    axes.plot(middle, middle, "o", color="#D55E00", ms=7, mec="white")
    axes.set_title(title, fontsize=9)
    axes.axis("off")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--release", type=Path)
    parser.add_argument("--output", type=Path, default=Path("docs/landmarks.png"))
    options = parser.parse_args()
    cases = {"phantom": make_case(3, scanner="msct-embalmed")}
    if options.release:
        cases["real ear F03"] = next(c for c in release(options.release) if c.scan.name == "F03")
    figure, axes = plt.subplots(
        len(cases), 3, figsize=(9, 3.2 * len(cases)), squeeze=False, layout="constrained"
    )
    for row, (what, case) in zip(axes, cases.items(), strict=True):
        for one, landmark in zip(row, LANDMARKS, strict=True):
            draw(one, case, landmark.name, f"{landmark.title}, {what}")
    figure.savefig(options.output, dpi=100)
    drawn = [draw_labyrinth(np.random.default_rng([7, n]), spread=1.0) for n in range(100)]
    for pair in combinations([one.name for one in LANDMARKS], 2):
        apart = [one.landmarks.distance_mm(*pair) for one in drawn]
        print(f"{pair}: {np.mean(apart):.2f} +- {np.std(apart):.2f}, real {PUBLISHED_MM[pair]}")


if __name__ == "__main__":
    main()
