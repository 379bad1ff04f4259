"""The overview picture of a scan: planes through each labyrinth, and a rendering."""

import io
import textwrap
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from otovox.core.anatomy import LABYRINTH, LANDMARKS, Structure
from otovox.core.case import EarPrediction, Prediction
from otovox.core.geometry import mean_pose
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
from otovox.imaging.rendering import Ball, fitted_view, render_surfaces, view_axes
from otovox.imaging.resample import corners
from otovox.imaging.surfaces import smoothed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Landmarks within this distance of a plane are shown as lying in it, mm: chosen.
NEAR_MM = 1.0
#: Where the rendering is seen from in a mean head, right ear, LPS: lateral, a little from the
#: front and from above. Chosen.
_VIEWER = (-0.80, -0.50, 0.33)
#: Length of the scale bar, ten times that in wide fields, mm: chosen.
_SCALE_BAR_MM = 5.0
#: Voxel spread that has the brightest colour of the overlay: chosen; 0.5 is the largest there is.
TOP_SPREAD = 0.2

# Layout, in inches and pixels: chosen.
_PANEL, _GAP, _HEADER, _LINE, _TITLE, _DPI = 3.1, 0.14, 0.34, 0.19, 0.20, 120
_LETTERS_PER_PANEL = 42
_BACKGROUND, _TEXT, _MUTED, _WARNING = "#0c0f13", "#edf0f3", "#8f99a5", "#f5c04a"


def overview(prediction: Prediction, file: Path | BinaryIO) -> None:
    """Draw the overview of a scan: a row per ear, or the scan's middle planes without one.

    Args:
        prediction: of one scan.
        file: PNG file, or a binary file object to write it to.

    Raises:
        OSError: if it cannot be written.
    """
    from matplotlib.figure import Figure

    columns = 5 if prediction.ears else 3
    sentences = _wrapped(prediction.warnings, columns)
    rows = [_wrapped(ear.warnings, columns) for ear in prediction.ears]
    width = columns * (_PANEL + _GAP) + _GAP
    panel = _TITLE + _PANEL + _GAP
    heights = [_HEADER + len(row) * _LINE + panel for row in rows] or [panel]
    top = _GAP + _HEADER + len(sentences) * _LINE + (0 if prediction.ears else _GAP)
    figure = Figure((width, top + sum(heights) + _HEADER), dpi=_DPI, facecolor=_BACKGROUND)
    _draw_top(figure, prediction.scan.name, sentences)
    if prediction.ears:
        for ear, warned in zip(prediction.ears, rows, strict=True):
            _draw_ear(figure, top, prediction, ear, warned)
            top += heights.pop(0)
        _draw_legend(figure)
    else:
        for column, plane in enumerate(middle_planes(prediction.scan.grid)):
            axes = _panel(figure, column, top, plane.title)
            image = sample(prediction.scan.values, prediction.scan.grid, plane)
            _show(axes, image, plane, _window([image]))
    with warnings.catch_warnings():
        # A scan's name may contain letters that the font lacks; boxes in their place are harmless.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")
        figure.savefig(file, format="png", facecolor=_BACKGROUND)


def _draw_top(figure: "Figure", name: str, sentences: Sequence[str]) -> None:
    shown = textwrap.shorten(name, 80, placeholder="…") if " " in name else name[:80]
    _write(figure, _GAP, 0.16, shown, size=13, weight="bold")
    right = float(figure.get_figwidth()) - _GAP
    note = "Research use only. Not a medical device."
    _write(figure, right, 0.18, note, size=9, color=_MUTED, ha="right")
    for number, line in enumerate(sentences):
        _write(figure, _GAP, _GAP + _HEADER + number * _LINE, line, size=9, color=_WARNING)


def _draw_ear(
    figure: "Figure", top: float, prediction: Prediction, ear: EarPrediction, warned: Sequence[str]
) -> None:
    """One row: header, warnings, four planes and the rendering."""
    rgb = _rgb(LABYRINTH[ear.side])
    _write(figure, _GAP, top + 0.06, f"{ear.side.value.capitalize()} ear", size=12, color=rgb)
    _write(figure, _GAP + 1.05, top + 0.09, _facts(ear), size=10)
    for number, line in enumerate(warned):
        _write(figure, _GAP, top + _HEADER + number * _LINE, line, size=9, color=_WARNING)
    top += _HEADER + len(warned) * _LINE
    scan, mask = _draw_planes(figure, top, prediction, ear)
    if mask.any():
        panel = _panel(figure, 4, top, "Rendering, from lateral")
        if ear.probability is None or ear.probability.is_mask:
            _draw_rendering(panel, mask, scan.grid, ear)
        else:
            _draw_rendering(panel, ear.probability.values, ear.probability.grid, ear)


def planes_picture(prediction: Prediction, ear: EarPrediction, *, uncertainty: bool) -> bytes:
    """The planes through one labyrinth alone, with its outline and landmarks.

    Args:
        prediction: of one scan.
        ear: one of its ears.
        uncertainty: lay the voxels' spread over the planes, coloured up to `TOP_SPREAD`.

    Returns:
        A JPEG file.
    """
    from matplotlib.figure import Figure

    size = (4 * (_PANEL + _GAP) + _GAP, _TITLE + _PANEL + 2 * _GAP)
    figure = Figure(size, dpi=_DPI, facecolor=_BACKGROUND)
    _draw_planes(figure, _GAP, prediction, ear, uncertainty=uncertainty)
    file = io.BytesIO()
    figure.savefig(file, format="jpeg", pil_kwargs={"quality": 88}, facecolor=_BACKGROUND)
    return file.getvalue()


def _draw_planes(
    figure: "Figure",
    top: float,
    prediction: Prediction,
    ear: EarPrediction,
    *,
    uncertainty: bool = False,
) -> tuple[Scan, NDArray[np.bool_]]:
    """Four panels; returns the scan and the mask around the ear."""
    rgb = _rgb(LABYRINTH[ear.side])
    scan, mask = _around(prediction, ear)
    field, crop = smoothed(mask, scan.grid)
    planes = ear_planes(ear)
    images = [sample(scan.values, scan.grid, plane) for plane in planes]
    window = _window(images)
    for column, (plane, image) in enumerate(zip(planes, images, strict=True)):
        axes = _panel(figure, column, top, plane.title)
        _show(axes, image, plane, window)
        if uncertainty:
            _overlay(axes, sample(prediction.uncertainty, prediction.scan.grid, plane), plane)
        _outline(axes, sample(field, crop, plane, outside=float(field.min())), plane, rgb)
        _mark(axes, ear, plane)
    return scan, mask


def _overlay(axes: "Axes", spread: Picture, plane: ImagePlane) -> None:
    """The voxels' spread, clear where there is none."""
    half = plane.width_mm / 2
    seen = np.nan_to_num(spread)
    axes.imshow(
        seen, cmap="plasma", vmin=0, vmax=TOP_SPREAD, alpha=np.clip(4 * seen / TOP_SPREAD, 0, 0.9),
        extent=(-half, half, -half, half), interpolation="bilinear",
    )  # fmt: skip


def _facts(ear: EarPrediction) -> str:
    """The figures of an ear in one line."""
    parts = [f"labyrinth {ear.volume_mm3:.0f} mm³"]
    for first, second in (
        ("helicotrema", "oval_window"),
        ("helicotrema", "round_window"),
        ("oval_window", "round_window"),
    ):
        if ear.landmarks.has(first) and ear.landmarks.has(second):
            gap = ear.landmarks.distance_mm(first, second)
            names = f"{first.replace('_', ' ')} to {second.replace('_', ' ')}"
            parts.append(f"{names} {gap:.1f} mm")
    return "   ·   ".join(filter(None, [*parts, _quality(ear)]))


def _quality(ear: EarPrediction) -> str:
    """The quality that may be expected; the confidence if the model estimates none."""
    if ear.quality is None:
        return "" if np.isnan(ear.confidence) else f"confidence {ear.confidence:.2f}"
    dsc = ear.quality.dice
    return f"expected DSC {dsc.value:.2f} ({dsc.low:.2f} to {dsc.high:.2f})"


def _around(prediction: Prediction, ear: EarPrediction) -> tuple[Scan, NDArray[np.bool_]]:
    """Scan and mask cut to what an ear's panels can show; another ear may have the same label."""
    scan = prediction.scan
    # Twice a panel's width holds a plane of any direction.
    box = Grid.centred(ear.center_mm, (2, 2, 2), spacing_mm=2 * FIELD_MM)
    ijk = scan.grid.to_ijk(corners(box))
    last = np.asarray(scan.grid.shape) - 1
    start = np.clip(np.floor(ijk.min(axis=0)), 0, last).astype(int)
    stop = np.clip(np.ceil(ijk.max(axis=0)), 0, last).astype(int) + 1
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    part = scan.values[window]
    i, j, k = part.shape
    mask = prediction.labels.values[window] == ear.side.label
    return Scan(part, scan.grid.crop(start, (i, j, k)), scan.name), mask


def _window(images: Sequence[Picture]) -> tuple[float, float]:
    """Grey values shown as black and white, from the scan itself, since not all scans are in HU."""
    values = np.concatenate([image[np.isfinite(image)] for image in images])
    if not len(values):
        return 0.0, 1.0
    low, high = np.percentile(values, (1.0, 99.7))  # chosen: a few streaks must not set the window
    return float(low), float(max(high, low + 1e-6))


def _panel(figure: "Figure", column: int, top: float, title: str) -> "Axes":
    """A square panel without frame, its title above it."""
    width, height = figure.get_size_inches()
    left = _GAP + column * (_PANEL + _GAP)
    _write(figure, left, top, title, size=8.5, color=_MUTED)
    bottom = height - top - _TITLE - _PANEL
    axes = figure.add_axes(
        (left / width, bottom / height, _PANEL / width, _PANEL / height), facecolor="black"
    )
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


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
        _label(axes, x, y, letters(direction), size=9, color=_TEXT, ha="center")
    bar = _SCALE_BAR_MM if plane.width_mm < 60 else 10 * _SCALE_BAR_MM
    x, y = -edge, -0.86 * half
    for colour, width in (("black", 3.6), (_TEXT, 2.0)):  # a seam, for bright ground
        axes.plot([x, x + bar], [y, y], color=colour, linewidth=width, solid_capstyle="butt")
    _label(axes, x, y - 0.065 * half, f"{bar:g} mm", size=7, color=_TEXT)


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
        colour = _rgb(structure)
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
        _label(axes, x + side * 0.05 * half, above, title, size=8, color=_TEXT, ha=ha)


def _draw_rendering(
    axes: "Axes", mask: NDArray[np.bool_] | NDArray[np.float32], grid: Grid, ear: EarPrediction
) -> None:
    """The labyrinth from lateral in its own frame, so that every ear is seen alike."""
    turn = ear.pose.matrix @ mean_pose(ear.side).matrix.T
    lateral = np.array(_VIEWER) * ((-1, 1, 1) if ear.side is ear.side.LEFT else (1, 1, 1))
    seen = view_axes(turn @ lateral, turn @ np.array([0.0, 0.0, 1.0]))
    view = fitted_view(mask > 0.5, grid, seen, margin_mm=1.5)
    balls = [
        Ball(ear.landmarks[structure.name], 0.5, _rgb(structure))
        for structure in LANDMARKS
        if ear.landmarks.has(structure.name)
    ]
    picture = render_surfaces(mask, grid, view, rgb=_rgb(LABYRINTH[ear.side]), balls=balls)
    half = view.width_mm / 2
    axes.set_facecolor(_BACKGROUND)
    axes.imshow(picture, extent=(-half, half, -half, half), interpolation="antialiased")
    axes.set(xlim=(-half, half), ylim=(-half, half))
    # The patient's axes, small, so that the turned view can be read.
    foot, length = np.array([-0.82, -0.80]) * half, 0.13 * half
    for name, direction in (("S", (0, 0, 1)), ("A", (0, -1, 0)), ("L", (1, 0, 0))):
        tip = (np.asarray(direction, dtype=float) @ seen)[:2] * length
        axes.plot(*zip(foot, foot + tip, strict=True), color=_MUTED, linewidth=1.2)
        x, y = foot + 1.45 * tip
        _label(axes, x, y, name, size=7, color=_MUTED, ha="center")


def _draw_legend(figure: "Figure") -> None:
    height = float(figure.get_figheight())
    x = _GAP
    for structure in LANDMARKS:
        _write(figure, x, height - 0.30, "●", size=11, color=_rgb(structure))
        _write(figure, x + 0.17, height - 0.28, structure.title, size=9)
        x += 1.25
    note = f"rings: landmarks more than {NEAR_MM:g} mm off the plane, projected"
    _write(figure, x, height - 0.28, note, size=9, color=_MUTED)


def _write(figure: "Figure", x: float, y: float, text: str, **style: Any) -> None:
    """Text by inches from the upper left; scan names may hold signs that mean mathematics."""
    width, height = figure.get_size_inches()
    style = {"color": _TEXT, "va": "top", "parse_math": False} | style
    figure.text(x / width, 1 - y / height, text, **style)


def _label(axes: "Axes", x: float, y: float, text: str, **style: Any) -> None:
    """Text in a panel, with a dark seam that keeps it legible on bone."""
    from matplotlib.patheffects import withStroke

    axes.text(
        x, y, text, va="center", parse_math=False, **style,
        path_effects=[withStroke(linewidth=2.2, foreground="black", alpha=0.75)],
    )  # fmt: skip


def _wrapped(sentences: Sequence[str], columns: int) -> list[str]:
    letters_per_line = columns * _LETTERS_PER_PANEL
    return [line for text in sentences for line in textwrap.wrap(f"▲ {text}", letters_per_line)]


def _rgb(structure: Structure) -> tuple[float, float, float]:
    r, g, b = structure.rgb
    return r / 255, g / 255, b / 255
