"""The pictures of a scan: planes through each labyrinth and a rendering, drawn once."""

import io
import textwrap
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from otovox.core.anatomy import LABYRINTH, LANDMARKS
from otovox.core.case import EarPrediction, Prediction
from otovox.core.geometry import mean_pose
from otovox.core.volume import Grid
from otovox.imaging.rendering import Ball, Image, View, fitted_view, render_surfaces, view_axes
from otovox.results.panels import (
    GAP,
    MUTED,
    NEAR_MM,
    PANEL,
    TITLE,
    around_ear,
    draw_middle,
    draw_panel,
    draw_planes,
    lay_uncertainty,
    rgb_of,
    write_label,
    write_text,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Where the rendering is seen from in a mean head, right ear, LPS: lateral, a little from the
#: front and from above. Chosen.
_VIEWER = (-0.80, -0.50, 0.33)

#: The panels of an ear before its rendering.
PLANES = ("axial plane", "coronal plane", "sagittal plane", "cochlear view")

# Layout, in inches and pixels: chosen.
_HEADER, _LINE, _DPI = 0.34, 0.19, 120
_LETTERS_PER_PANEL = 42
_BACKGROUND, _WARNING = "#0c0f13", "#f5c04a"

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class EarPictures:
    """What is drawn of an ear, as JPEG files.

    Attributes:
        planes: the planes through its labyrinth in the order of `PLANES`, with its outline and
            landmarks.
        uncertainty: the same with the voxels' spread laid over, coloured up to
            `panels.TOP_SPREAD`; none of a mask that no model made.
        rendering: the labyrinth from lateral; empty if no voxel is labelled.
    """

    planes: tuple[bytes, ...]
    uncertainty: tuple[bytes, ...]
    rendering: bytes


@dataclass(frozen=True, eq=False)
class Pictures:
    """What is drawn of a scan, as files.

    Attributes:
        overview: a row per ear, or the scan's middle planes without one; PNG.
        ears: per ear its pictures, cut out of the overview.
    """

    overview: bytes
    ears: tuple[EarPictures, ...]


def overview(prediction: Prediction, file: Path | BinaryIO) -> None:
    """Draw the overview of a scan: a row per ear, or the central planes of a scan without ears.

    Args:
        prediction: of one scan.
        file: PNG file, or a binary file object to write it to.

    Raises:
        OSError: if it cannot be written.
    """
    figure, _ = _draw(prediction)
    picture = _encoded(_pixels(figure), "png")
    if isinstance(file, Path):
        file.write_bytes(picture)
    else:
        file.write(picture)


def draw_pictures(prediction: Prediction) -> Pictures:
    """Draw all pictures of a scan; the planes are cut out of the overview.

    Args:
        prediction: of one scan.
    """
    figure, rows = _draw(prediction)
    plain = _pixels(figure)
    with ThreadPoolExecutor(1) as pool:
        # Compression leaves Python to the second drawing.
        whole = pool.submit(_encoded, plain, "png")
        spread = plain
        if prediction.ears and prediction.by_model:
            planes = [axes for _, panels in rows for axes in panels]
            for axes in figure.axes:
                axes.set_visible(axes in planes)  # the renderings stay as they are
            for ear, (_, panels) in zip(prediction.ears, rows, strict=True):
                lay_uncertainty(panels, prediction, ear)
            spread = _pixels(figure)
    ears = [
        EarPictures(
            _panels(plain, top),
            _panels(spread, top) if prediction.by_model else (),
            _panel(plain, top, len(PLANES)) if ear.volume_mm3 > 0 else b"",
        )
        for ear, (top, _) in zip(prediction.ears, rows, strict=False)
    ]
    return Pictures(whole.result(), tuple(ears))


def _draw(prediction: Prediction) -> "tuple[Figure, list[tuple[float, list[Axes]]]]":
    """The figure, and per ear the place of its planes, inches from above, and their panels."""
    from matplotlib.figure import Figure

    columns = 5 if prediction.ears else 3
    sentences = _wrapped(prediction.warnings, columns)
    warned = [_wrapped(ear.warnings, columns) for ear in prediction.ears]
    width = columns * (PANEL + GAP) + GAP
    panel = TITLE + PANEL + GAP
    heights = [_HEADER + len(lines) * _LINE + panel for lines in warned] or [panel]
    top = GAP + _HEADER + len(sentences) * _LINE + (0 if prediction.ears else GAP)
    figure = Figure((width, top + sum(heights) + _HEADER), dpi=_DPI, facecolor=_BACKGROUND)
    _draw_top(figure, prediction.scan.name, sentences)
    rows = []
    for ear, lines, height in zip(prediction.ears, warned, heights, strict=False):
        rows.append(_draw_ear(figure, top, prediction, ear, lines))
        top += height
    if rows:
        _draw_legend(figure)
    else:
        draw_middle(figure, top, prediction.scan)
    return figure, rows


def _pixels(figure: "Figure") -> Pixels:
    """(rows, columns, 4) the figure as it is now."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # A scan's name may contain letters that the font lacks; placeholder boxes are harmless.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph.*")
        canvas.draw()
    return np.array(canvas.buffer_rgba())


def _panels(pixels: Pixels, top: float) -> tuple[bytes, ...]:
    """The planes of an ear."""
    return tuple(_panel(pixels, top, column) for column in range(len(PLANES)))


def _panel(pixels: Pixels, top: float, column: int) -> bytes:
    """A panel with its title; `top` inches from the figure's upper edge."""
    left = GAP + column * (PANEL + GAP)
    rows = slice(round((top - GAP / 4) * _DPI), round((top + TITLE + PANEL) * _DPI))
    return _encoded(pixels[rows, round(left * _DPI) : round((left + PANEL) * _DPI)], "jpeg")


def _encoded(pixels: Pixels, kind: str) -> bytes:
    """A PNG or JPEG file."""
    from matplotlib.image import imsave

    file = io.BytesIO()
    options = {"quality": 82} if kind == "jpeg" else {}
    imsave(file, np.ascontiguousarray(pixels), format=kind, pil_kwargs=options)
    return file.getvalue()


def _draw_top(figure: "Figure", name: str, sentences: Sequence[str]) -> None:
    shown = textwrap.shorten(name, 80, placeholder="…") if " " in name else name[:80]
    write_text(figure, GAP, 0.16, shown, size=13, weight="bold")
    right = float(figure.get_figwidth()) - GAP
    note = "Research use only. Not a medical device."
    write_text(figure, right, 0.18, note, size=9, color=MUTED, ha="right")
    for number, line in enumerate(sentences):
        write_text(figure, GAP, GAP + _HEADER + number * _LINE, line, size=9, color=_WARNING)


def _draw_ear(
    figure: "Figure", top: float, prediction: Prediction, ear: EarPrediction, warned: Sequence[str]
) -> "tuple[float, list[Axes]]":
    """One row: header, warnings, four planes and the rendering; the planes' place and panels."""
    rgb = rgb_of(LABYRINTH[ear.side])
    write_text(figure, GAP, top + 0.06, f"{ear.side.value.capitalize()} ear", size=12, color=rgb)
    write_text(figure, GAP + 1.05, top + 0.09, _facts(ear), size=10)
    for number, line in enumerate(warned):
        write_text(figure, GAP, top + _HEADER + number * _LINE, line, size=9, color=_WARNING)
    top += _HEADER + len(warned) * _LINE
    scan, mask = around_ear(prediction, ear)
    with ThreadPoolExecutor(1) as pool:
        # Rendering leaves Python to the planes most of the time.
        rendering = pool.submit(_rendered, mask, scan.grid, ear) if mask.any() else None
        panels = draw_planes(figure, top, scan, mask, ear)
    if rendering is not None:
        panel = draw_panel(figure, 4, top, "Rendering, from lateral")
        _draw_rendering(panel, *rendering.result())
    return top, panels


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
    """The expected quality; the confidence if the model has no estimate."""
    if ear.quality is None:
        return "" if np.isnan(ear.confidence) else f"confidence {ear.confidence:.2f}"
    dsc = ear.quality.dice
    return f"expected DSC {dsc.value:.2f} ({dsc.low:.2f} to {dsc.high:.2f})"


def _rendered(mask: NDArray[np.bool_], grid: Grid, ear: EarPrediction) -> tuple[Image, View]:
    """The labyrinth from lateral in its own frame, so that all ears are shown alike."""
    field: NDArray[np.bool_] | NDArray[np.float32] = mask
    if ear.probability is not None and not ear.probability.is_mask:
        field, grid = ear.probability.values, ear.probability.grid
    turn = ear.pose.matrix @ mean_pose(ear.side).matrix.T
    lateral = np.array(_VIEWER) * ((-1, 1, 1) if ear.side is ear.side.LEFT else (1, 1, 1))
    seen = view_axes(turn @ lateral, turn @ np.array([0.0, 0.0, 1.0]))
    view = fitted_view(field > 0.5, grid, seen, margin_mm=1.5)
    balls = [
        Ball(ear.landmarks[structure.name], 0.5, rgb_of(structure))
        for structure in LANDMARKS
        if ear.landmarks.has(structure.name)
    ]
    rgb = rgb_of(LABYRINTH[ear.side])
    return render_surfaces(field, grid, view, rgb=rgb, balls=balls), view


def _draw_rendering(axes: "Axes", picture: Image, view: View) -> None:
    """The rendering, and the patient's axes, small, for orientation in the rotated view."""
    half = view.width_mm / 2
    axes.set_facecolor(_BACKGROUND)
    axes.imshow(picture, extent=(-half, half, -half, half), interpolation="antialiased")
    axes.set(xlim=(-half, half), ylim=(-half, half))
    foot, length = np.array([-0.82, -0.80]) * half, 0.13 * half
    for name, direction in (("S", (0, 0, 1)), ("A", (0, -1, 0)), ("L", (1, 0, 0))):
        tip = (np.asarray(direction, dtype=float) @ view.axes)[:2] * length
        axes.plot(*zip(foot, foot + tip, strict=True), color=MUTED, linewidth=1.2)
        x, y = foot + 1.45 * tip
        write_label(axes, x, y, name, size=7, color=MUTED, ha="center")


def _draw_legend(figure: "Figure") -> None:
    height = float(figure.get_figheight())
    x = GAP
    for structure in LANDMARKS:
        write_text(figure, x, height - 0.30, "●", size=11, color=rgb_of(structure))
        write_text(figure, x + 0.17, height - 0.28, structure.title, size=9)
        x += 1.25
    note = f"rings: landmarks more than {NEAR_MM:g} mm off the plane, projected"
    write_text(figure, x, height - 0.28, note, size=9, color=MUTED)


def _wrapped(sentences: Sequence[str], columns: int) -> list[str]:
    letters_per_line = columns * _LETTERS_PER_PANEL
    return [line for text in sentences for line in textwrap.wrap(f"▲ {text}", letters_per_line)]
