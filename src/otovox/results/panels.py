"""Square panels with planes through a scan: grey image, outline, landmarks, uncertainty."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from otovox.core.anatomy import LABYRINTH, LANDMARKS, Structure
from otovox.core.case import EarPrediction, Prediction
from otovox.core.volume import Grid, Scan
from otovox.imaging.planes import (
    FIELD_MM,
    PIXELS,
    ImagePlane,
    Picture,
    ear_planes,
    letters,
    middle_planes,
    sample,
)
from otovox.imaging.resample import corners
from otovox.imaging.surfaces import smoothed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Landmarks within this distance of a plane are shown as lying in it, mm: chosen.
NEAR_MM = 1.0
#: Length of the scale bar, ten times that in wide fields, mm: chosen.
_SCALE_BAR_MM = 5.0
#: Voxel spread that has the brightest colour of the overlay: chosen; 0.5 is the largest there is.
TOP_SPREAD = 0.2
# Layout, in inches: chosen.
PANEL, GAP, TITLE = 3.1, 0.14, 0.20
TEXT, MUTED = "#edf0f3", "#8f99a5"


def draw_middle(figure: "Figure", top: float, scan: Scan) -> None:
    """Three panels with the middle planes of a scan, `top` inches below the figure's upper edge.

    >>> from matplotlib.figure import Figure
    >>> scan = Scan(np.zeros((4, 4, 4)), Grid.centred((0, 0, 0), (4, 4, 4), spacing_mm=2))
    >>> figure = Figure((10, 4))
    >>> draw_middle(figure, 0.1, scan)
    >>> [text.get_text() for text in figure.texts]
    ['Axial', 'Coronal', 'Sagittal']
    """
    for column, plane in enumerate(middle_planes(scan.grid)):
        axes = draw_panel(figure, column, top, plane.title)
        image = sample(scan.values, scan.grid, plane)
        _show(axes, image, plane, _window([image]))


def draw_planes(
    figure: "Figure", top: float, scan: Scan, mask: NDArray[np.bool_], ear: EarPrediction
) -> "list[Axes]":
    """Four panels with the planes through a labyrinth, its outline and its landmarks.

    Args:
        figure: to draw into.
        top: inches from the figure's upper edge.
        scan, mask: from `around_ear`.
        ear: one of a scan's ears.
    """
    rgb = rgb_of(LABYRINTH[ear.side])
    field, crop = smoothed(mask, scan.grid)
    planes = ear_planes(ear)
    images = [sample(scan.values, scan.grid, plane) for plane in planes]
    window = _window(images)
    panels = []
    for column, (plane, image) in enumerate(zip(planes, images, strict=True)):
        axes = draw_panel(figure, column, top, plane.title)
        _show(axes, image, plane, window)
        _outline(axes, sample(field, crop, plane, outside=float(field.min())), plane, rgb)
        _mark(axes, ear, plane)
        panels.append(axes)
    return panels


def lay_uncertainty(panels: "Sequence[Axes]", prediction: Prediction, ear: EarPrediction) -> None:
    """Lay the voxels' spread over the panels of `draw_planes`, below outlines and landmarks."""
    for axes, plane in zip(panels, ear_planes(ear), strict=True):
        half = plane.width_mm / 2
        seen = np.nan_to_num(sample(prediction.uncertainty, prediction.scan.grid, plane))
        axes.imshow(
            seen, cmap="plasma", vmin=0, vmax=TOP_SPREAD,
            alpha=np.clip(4 * seen / TOP_SPREAD, 0, 0.9),
            extent=(-half, half, -half, half), interpolation="bilinear",
        )  # fmt: skip


def draw_panel(figure: "Figure", column: int, top: float, title: str) -> "Axes":
    """A square panel without frame, its title above it.

    >>> from matplotlib.figure import Figure
    >>> panel = draw_panel(Figure((10, 10)), 0, 1.0, "axial plane")
    >>> [round(float(share), 3) for share in panel.get_position().bounds]
    [0.014, 0.57, 0.31, 0.31]
    """
    width, height = figure.get_size_inches()
    left = GAP + column * (PANEL + GAP)
    write_text(figure, left, top, title, size=8.5, color=MUTED)
    bottom = height - top - TITLE - PANEL
    axes = figure.add_axes(
        (left / width, bottom / height, PANEL / width, PANEL / height), facecolor="black"
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def around_ear(prediction: Prediction, ear: EarPrediction) -> tuple[Scan, NDArray[np.bool_]]:
    """Scan and mask cut to what an ear's panels can show; another ear may have the same label.

    >>> from types import SimpleNamespace as Some
    >>> scan = Scan(np.zeros((9, 9, 90), np.float32), Grid((9, 9, 90), np.eye(4)))
    >>> ear = Some(center_mm=np.array([4.0, 4.0, 80.0]), side=Some(label=2))
    >>> crop, _ = around_ear(Some(scan=scan, labels=Some(values=scan.values)), ear)
    >>> crop.grid.shape  # what is far below the ear is cut off
    (9, 9, 34)
    """
    scan = prediction.scan
    # Twice a panel's width holds a plane of any direction.
    box = Grid.centred(ear.center_mm, (2, 2, 2), spacing_mm=2 * FIELD_MM)
    ijk = scan.grid.to_ijk(corners(box))
    last = np.asarray(scan.grid.shape) - 1
    start = np.clip(np.floor(ijk.min(axis=0)), 0, last).astype(int)
    stop = np.clip(np.ceil(ijk.max(axis=0)), 0, last).astype(int) + 1
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    crop = scan.values[window]
    i, j, k = crop.shape
    mask = prediction.labels.values[window] == ear.side.label
    return Scan(crop, scan.grid.crop(start, (i, j, k)), scan.name), mask


def _window(images: Sequence[Picture]) -> tuple[float, float]:
    """Grey values shown as black and white, from the scan itself, since not all scans are in HU."""
    values = np.concatenate([image[np.isfinite(image)] for image in images])
    if not len(values):
        return 0.0, 1.0
    low, high = np.percentile(values, (1.0, 99.7))  # chosen: a few streaks must not set the window
    return float(low), float(max(high, low + 1e-6))


def _show(axes: "Axes", image: Picture, plane: ImagePlane, window: tuple[float, float]) -> None:
    """The grey image with its letters and scale; what lies beyond the field stays black."""
    half = plane.width_mm / 2
    seen = np.where(np.isfinite(image), image, window[0])
    axes.imshow(
        seen, cmap="gray", vmin=window[0], vmax=window[1], extent=(-half, half, -half, half),
        interpolation="bilinear",
    )  # fmt: skip
    axes.set(xlim=(-half, half), ylim=(-half, half))
    edge = 0.93 * half
    for direction, x, y in (
        (-plane.right, -edge, 0), (plane.right, edge, 0), (plane.up, 0, edge), (-plane.up, 0, -edge)
    ):  # fmt: skip
        write_label(axes, x, y, letters(direction), size=9, color=TEXT, ha="center")
    bar = _SCALE_BAR_MM if plane.width_mm < 60 else 10 * _SCALE_BAR_MM
    x, y = -edge, -0.86 * half
    for seam, width in (("black", 3.6), (TEXT, 2.0)):  # a seam, for bright ground
        axes.plot([x, x + bar], [y, y], color=seam, linewidth=width, solid_capstyle="butt")
    write_label(axes, x, y - 0.065 * half, f"{bar:g} mm", size=7, color=TEXT)


def _outline(axes: "Axes", field: Picture, plane: ImagePlane, rgb: Any) -> None:
    half = plane.width_mm / 2
    across = ((np.arange(PIXELS) + 0.5) / PIXELS - 0.5) * plane.width_mm
    if field.min() < 0.5 < field.max():
        axes.contour(across, -across, field, levels=[0.5], colors=[rgb], linewidths=1.3)
    axes.set(xlim=(-half, half), ylim=(-half, half))


def _mark(axes: "Axes", ear: EarPrediction, plane: ImagePlane) -> None:
    """Landmarks: filled and named near the plane, a faint ring where they are only projected."""
    half = plane.width_mm / 2
    named: list[tuple[float, float, str]] = []
    for structure in LANDMARKS:
        if not ear.landmarks.has(structure.name):
            continue
        x, y, off = plane.place(ear.landmarks[structure.name])
        if max(abs(x), abs(y)) > half:
            continue
        colour = rgb_of(structure)
        if abs(off) > NEAR_MM:
            axes.plot(x, y, "o", ms=5, mfc="none", mec=colour, mew=1.0, alpha=0.55)
        else:
            axes.plot(x, y, "o", ms=6, mfc=colour, mec="white", mew=0.8)
            named.append((float(y), float(x), structure.title))
    above = np.inf
    for y, x, title in sorted(named, reverse=True):
        # Lower names give way, so that the two windows' never lie on one another.
        above = min(y, above - 0.12 * half)
        side = -1 if x > 0.4 * half else 1
        ha = "right" if side < 0 else "left"
        write_label(axes, x + side * 0.05 * half, above, title, size=8, color=TEXT, ha=ha)


def write_text(figure: "Figure", x: float, y: float, text: str, **style: Any) -> None:
    """Text by inches from the upper left; scan names may hold signs that mean mathematics.

    >>> from matplotlib.figure import Figure
    >>> figure = Figure((10, 5))
    >>> write_text(figure, 1, 1, "right ear")
    >>> [float(share) for share in figure.texts[0].get_position()]
    [0.1, 0.8]
    """
    width, height = figure.get_size_inches()
    style = {"color": TEXT, "va": "top", "parse_math": False} | style
    figure.text(x / width, 1 - y / height, text, **style)


def write_label(axes: "Axes", x: float, y: float, text: str, **style: Any) -> None:
    """Text in a panel, with a dark seam that keeps it legible on bone.

    >>> from matplotlib.figure import Figure
    >>> axes = Figure().add_subplot()
    >>> write_label(axes, 2, 3, "5 mm", color=TEXT)
    >>> [(label.get_text(), label.get_position()) for label in axes.texts]
    [('5 mm', (2, 3))]
    """
    from matplotlib.patheffects import withStroke

    axes.text(
        x, y, text, va="center", parse_math=False, **style,
        path_effects=[withStroke(linewidth=2.2, foreground="black", alpha=0.75)],
    )  # fmt: skip


def rgb_of(structure: Structure) -> tuple[float, float, float]:
    """A structure's colour as matplotlib takes it, 0 to 1.

    >>> from otovox.core.anatomy import Side
    >>> [round(share, 2) for share in rgb_of(LABYRINTH[Side.LEFT])]
    [0.34, 0.71, 0.91]
    """
    r, g, b = structure.rgb
    return r / 255, g / 255, b / 255
