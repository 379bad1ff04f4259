"""Figure 4 of Stebani et al. 2023: true positives, false positives and false negatives in 3D."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.geometry import FloatArray, mean_pose
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid
from otovox.formats.writing import replacing
from otovox.imaging.metrics import VOXEL_MM, Mask
from otovox.imaging.rendering import Ball, Image, fitted_view, render_surfaces, view_axes

# Colours of the paper's figure, from Okabe and Ito's palette.
RIGHT, WRONG, MISSED = (0.0, 0.62, 0.45), (0.84, 0.37, 0.0), (0.94, 0.89, 0.26)
LANDMARK = (0.0, 0.45, 0.70)
#: Radius of the spheres at the true landmarks, mm. Source: Stebani et al. 2023, ten voxels.
BALL_MM = 10 * VOXEL_MM
#: Viewing direction in a mean head, right ear, LPS: chosen, as in the overview.
_VIEWER = (-0.80, -0.50, 0.33)
#: Margin around the labyrinth, mm: chosen, for the spheres.
_MARGIN_MM = 1.5
# Layout, in inches: chosen.
_PANEL, _COLUMNS, _DPI = 3.2, 2, 200


@dataclass(frozen=True, eq=False)
class Panel:
    """One ear of Figure 4.

    Attributes:
        title: title above the image.
        predicted, truth: (i, j, k) masks on `grid`.
        grid: position of the voxels.
        landmarks: true ones, LPS mm; nan where absent.
        side: side of the ear.
        axes: (3, 3) orientation of the ear, LPS columns, such as its pose's matrix.
    """

    title: str
    predicted: Mask
    truth: Mask
    grid: Grid
    landmarks: Landmarks
    side: Side
    axes: FloatArray


def nearest_the_mean(table: pd.DataFrame) -> dict[str, dict]:
    """For each set the ear whose DSC is nearest to the set's mean, as in the paper.

    Args:
        table: from `runs.score_runs`.

    Returns:
        Set to that ear's row, with the set's `mean_dice` added.

    >>> rows = {"set": "W", "found": True, "case": ["a", "b", "c"], "dice": [0.7, 0.8, 0.95]}
    >>> table = pd.DataFrame(rows)
    >>> nearest_the_mean(table)["W"]["case"]
    'b'
    """
    chosen = {}
    for name in dict.fromkeys(table["set"]):
        rows = [row for row in table.to_dict("records") if row["set"] == name]
        mean = float(np.mean([row["dice"] for row in rows]))
        detected = [row for row in rows if row["found"]] or rows
        chosen[name] = min(detected, key=lambda row: abs(row["dice"] - mean)) | {"mean_dice": mean}
    return chosen


def error_picture(panels: Sequence[Panel], path: Path) -> None:
    """Draw ears side by side: true positives green, false positives red, false negatives yellow.

    The rendering shows the surface of the union of both masks, each voxel in its colour; blue
    spheres of ten of the paper's voxels mark the true landmarks.

    Args:
        panels: any number.
        path: path of the figure.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    size = (columns * _PANEL, rows * (_PANEL + 0.3) + 0.4)
    figure = Figure(size, layout="constrained", facecolor="white")
    for number, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, number + 1)
        axes.imshow(on_white(rendered(panel)), interpolation="antialiased")
        axes.set_title(panel.title, fontsize=9, parse_math=False)
        axes.set_axis_off()
    named = {"true positive": RIGHT, "false positive": WRONG, "false negative": MISSED}
    named |= {"true landmark, radius 10 voxels": LANDMARK}
    figure.legend(
        handles=[Patch(color=rgb, label=name) for name, rgb in named.items()],
        loc="outside lower center", ncols=2, frameon=False, fontsize=8,
    )  # fmt: skip
    with replacing(path) as beside:
        figure.savefig(beside, dpi=_DPI)


def rendered(panel: Panel) -> Image:
    """One ear from lateral in its own frame, so that all ears are shown alike.

    Returns:
        (rows, columns, 4) RGBA, 0 to 1; a single transparent pixel if both masks are empty.

    >>> empty, nowhere = np.zeros((8, 8, 8), bool), Landmarks((), np.empty((0, 3)))
    >>> grid = Grid.centred((0, 0, 0), empty.shape, spacing_mm=0.5)
    >>> panel = Panel("W", empty, empty, grid, nowhere, Side.RIGHT, np.eye(3))
    >>> rendered(panel).tolist()  # neither mask shows anything
    [[[0.0, 0.0, 0.0, 0.0]]]
    """
    either = panel.predicted | panel.truth
    if not either.any():
        return np.zeros((1, 1, 4), np.float32)
    window = _box(either)
    predicted, truth = panel.predicted[window], panel.truth[window]
    i, j, k = predicted.shape
    grid = panel.grid.crop([side.start for side in window], (i, j, k))
    turn = panel.axes @ mean_pose(panel.side).matrix.T
    lateral = np.array(_VIEWER) * ((-1, 1, 1) if panel.side is Side.LEFT else (1, 1, 1))
    axes = view_axes(turn @ lateral, turn @ np.array([0.0, 0.0, 1.0]))
    view = fitted_view(predicted | truth, grid, axes, margin_mm=_MARGIN_MM)
    paint = np.select(
        [(predicted & truth)[..., None], predicted[..., None]], [RIGHT, WRONG], default=MISSED
    ).astype(np.float32)
    balls = [
        Ball(panel.landmarks[name], BALL_MM, LANDMARK)
        for name in LANDMARK_NAMES
        if panel.landmarks.has(name)
    ]
    return render_surfaces(predicted | truth, grid, view, rgb=paint, balls=balls)


def on_white(picture: Image) -> NDArray[np.float32]:
    """RGBA as RGB on a white background.

    >>> on_white(np.array([[[1.0, 0.0, 0.0, 0.5]]])).round(2).tolist()
    [[[1.0, 0.5, 0.5]]]
    """
    cover = picture[..., 3:]
    return picture[..., :3] * cover + (1 - cover)


def _box(mask: Mask) -> tuple[slice, ...]:
    return ndimage.find_objects(mask.astype(np.uint8))[0]
