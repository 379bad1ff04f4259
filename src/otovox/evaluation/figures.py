"""Figures 1, 3, 5 and S.3 of Stebani et al. 2023 for our runs, in the colours of Okabe and Ito.

Every function writes one figure; the file name extension sets the format (PNG, PDF, SVG). Colours
are always combined with markers, line styles or hatches.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from otovox.errors import InputError
from otovox.evaluation.calibration import Reliability, Roc
from otovox.formats.writing import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

#: Okabe and Ito's palette, blue, orange, green, purple, light blue, vermilion, black, yellow.
COLOURS = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442",
)  # fmt: skip
_MARKS, _LINES, _HATCHES = "osD^vPX*", ("-", "--", "-.", ":"), ("", "//", "..", "xx")
# Size of a panel in inches and print resolution: chosen, two panels fill a page's width.
_PANEL, _DPI = (3.4, 2.9), 200

#: Legend of the lines across the bars of Figure 3.
PUBLISHED = "Stebani et al. 2023, on their scans"
#: Plotted columns of `validation.csv`, with their titles.
CURVES = {
    "train_loss": "training loss",
    "val_loss": "validation loss",
    "dsc": "DSC",
    "iou": "IoU",
    "mse": "MSE of the heatmaps",
    "mae": "MAE of the heatmaps",
    "landmark_mm": "landmark error, mm",
}


def bars(table: pd.DataFrame, path: Path) -> None:
    """Figure 3: systems side by side, segmentation left, localisation right; SD over folds.

    Args:
        table: from `paper_tables.figure_3_table`: `system`, `set`, `measure`, `mean`, `sd`, and
            `published`, the published figure, drawn as a line across the bar.
        path: path of the figure.
    """
    titles = {"dice": "DSC", "landmark_mean_voxels": "landmark error, voxels of 0.099 mm"}
    with _panels(path, len(titles)) as panels:
        for axes, (measure, title) in zip(panels, titles.items(), strict=True):
            _bars(axes, [row for row in table.to_dict("records") if row["measure"] == measure])
            axes.set_ylabel(title)
        panels[0].set_ylim(0, 1)
        legends = [panel.get_legend_handles_labels() for panel in panels]
        named = {
            name: mark for marks, names in legends for mark, name in zip(marks, names, strict=True)
        }
        published = {name: mark for name, mark in named.items() if name == PUBLISHED}
        named = {name: mark for name, mark in named.items() if name != PUBLISHED} | published
        panels[0].figure.legend(
            list(named.values()), list(named), frameon=False, fontsize=8, ncols=3,
            loc="outside upper center",
        )  # fmt: skip


def _bars(axes: "Axes", rows: Sequence[dict]) -> None:
    """One group per set, one bar per system."""
    systems = list(dict.fromkeys(row["system"] for row in rows))
    sets = list(dict.fromkeys(row["set"] for row in rows))
    width = 0.8 / max(len(systems), 1)
    published = False
    for number, system in enumerate(systems):
        own = [row for row in rows if row["system"] == system]
        at = [sets.index(row["set"]) + (number - (len(systems) - 1) / 2) * width for row in own]
        spreads = [np.nan_to_num(row["sd"]) for row in own]
        axes.bar(
            at, [row["mean"] for row in own], 0.92 * width, yerr=spreads, label=system, capsize=2,
            color=COLOURS[number % 8], hatch=_HATCHES[number % 4], edgecolor="white",
            error_kw={"elinewidth": 1},
        )  # fmt: skip
        for place, row in zip(at, own, strict=True):
            if np.isfinite(row["published"]):
                ends = [place - 0.46 * width, place + 0.46 * width]
                label = "" if published else PUBLISHED
                axes.plot(ends, [row["published"]] * 2, color="black", linewidth=2, label=label)
                published = True
    axes.set_xticks(range(len(sets)), sets)


def uncertainty_scatter(
    table: pd.DataFrame,
    path: Path,
    *,
    measure: Literal["uncertainty", "volume_uncertainty"] = "uncertainty",
    published: Mapping[str, float] | None = None,
    threshold: float | None = None,
) -> None:
    """Figure 5c: uncertainty against DSC, one marker per ear, by diagnosis.

    Args:
        table: the measure, `dice` and `diagnosis` per ear; an empty diagnosis counts as healthy.
        path: path of the figure.
        measure: near the labyrinth, or of the whole volume as in the paper (S24).
        published: values of the measure that are marked by a line, by label.
        threshold: uncertainty above which an ear is flagged as unusual, if there is one.
    """
    rows = table.to_dict("records")
    diagnoses = {row["diagnosis"] or "healthy" for row in rows}
    names = sorted(diagnoses, key=lambda name: (name != "healthy", name))
    with _panels(path, 1, width=1.5) as (axes,):
        for number, name in enumerate(names):
            own = [row for row in rows if (row["diagnosis"] or "healthy") == name]
            axes.scatter(
                [row[measure] for row in own], [row["dice"] for row in own], s=26,
                color=COLOURS[number % 8], marker=_MARKS[(number + number // 8) % 8], alpha=0.85,
                linewidths=0.4, edgecolors="white", label=f"{name.replace('_', ' ')} ({len(own)})",
            )  # fmt: skip
        if threshold is not None and np.isfinite(threshold):
            axes.axvline(threshold, color="0.3", linewidth=1, linestyle="--", label="threshold")
        for number, (label, value) in enumerate((published or {}).items()):
            axes.axvline(
                value, color="black", linewidth=1, linestyle=_LINES[1 + number % 3], label=label
            )
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis)
        where = {"uncertainty": "in and near the labyrinth", "volume_uncertainty": "of the volume"}
        axes.set(xlabel=f"uncertainty: mean voxel SD {where[measure]}", ylabel="DSC")
        axes.legend(frameon=False, fontsize=7.5, loc="center left", bbox_to_anchor=(1.0, 0.5))


def roc_curves(curves: Mapping[str, Roc], path: Path) -> None:
    """ROC curves of scores for unusual ears: false-positive rate against sensitivity.

    Args:
        curves: curves by the name of the score.
        path: path of the figure.
    """
    with _panels(path, 1, width=1.15, height=1.15) as (axes,):
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
        for number, (name, curve) in enumerate(curves.items()):
            axes.plot(
                curve.false_alarms, curve.sensitivity, drawstyle="steps-post", linewidth=1.6,
                color=COLOURS[number % 8], linestyle=_LINES[number % 4],
                label=f"{name.replace('_', ' ')}: AUC {curve.auc:.2f}",
            )  # fmt: skip
        axes.set(
            xlabel="false-positive rate among usual ears", ylabel="sensitivity", aspect="equal"
        )
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        axes.legend(frameon=False, fontsize=8, loc="lower right")


def reliability_diagram(curves: Mapping[str, Reliability], path: Path) -> None:
    """Predicted voxel probabilities against observed frequencies, and the distribution of voxels.

    Args:
        curves: curves by name, such as the scanner.
        path: path of the figure.
    """
    with _panels(path, 2) as (axes, counts):
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.8)
        for number, (name, curve) in enumerate(curves.items()):
            style: dict[str, Any] = {
                "color": COLOURS[number % 8], "linestyle": _LINES[number % 4], "linewidth": 1.5,
                "marker": _MARKS[number % 8], "markersize": 4,
            }  # fmt: skip
            label = f"{name}: ECE {curve.expected_error:.3f}"
            axes.plot(curve.probability, curve.frequency, label=label, **style)
            share = curve.count / max(curve.count.sum(), 1)
            counts.plot((np.arange(len(share)) + 0.5) / len(share), share, **style)
        axes.set(
            xlabel="mean predicted probability in the bin", ylabel="fraction of labyrinth voxels"
        )
        axes.legend(frameon=False, fontsize=8, loc="upper left")
        counts.set(xlabel="probability", ylabel="fraction of voxels", yscale="log", xlim=(0, 1))
        _plain_ticks(counts.yaxis)


def learning_curves(runs: Mapping[str, Path], path: Path) -> None:
    """Figure S.3: losses and validation during training, a thin line per fold, their mean bold.

    Args:
        runs: fold name to its `validation.csv`.
        path: path of the figure.

    Raises:
        InputError: if a file cannot be read, or there are no curves.
    """
    tables = {name: _validation(file) for name, file in runs.items()}
    titles = {key: text for key, text in CURVES.items() if any(key in t for t in tables.values())}
    if not titles:
        raise InputError("no validation.csv contains a curve to plot")
    with _panels(path, len(titles), columns=3) as panels:
        for axes, (key, title) in zip(panels, titles.items(), strict=True):
            curves = {name: t[key] for name, t in tables.items() if key in t}
            for number, (name, curve) in enumerate(curves.items()):
                axes.plot(
                    curve.index / 1000, curve, linewidth=0.9, alpha=0.8, label=name,
                    color=COLOURS[number % 8], linestyle=_LINES[number % 4],
                )  # fmt: skip
            # Folds may differ in length: the mean ends with the shortest.
            mean = pd.DataFrame(curves).dropna().mean(axis=1)
            if len(curves) > 1:
                axes.plot(mean.index / 1000, mean, color="black", linewidth=1.8, label="mean")
            axes.set(xlabel="iterations, thousands", ylabel=title)
        panels[0].legend(frameon=False, fontsize=8)


def contrast_matching(
    before: Mapping[str, NDArray[np.floating]],
    after: Mapping[str, NDArray[np.floating]],
    path: Path,
    *,
    inside: tuple[float, float],
) -> None:
    """Figure 1: tissue of clusters after standardisation, and after matching to the training set.

    Args:
        before, after: tissue samples per cluster.
        path: path of the figure.
        inside: mean and SD of the training set's labyrinths; a band shows five SD on either side.
    """
    mean, sd = inside
    with _panels(path, 2) as panels:
        for axes, groups, title in zip(
            panels, (before, after), ("standardised", "matched"), strict=True
        ):
            axes.axvspan(mean - 5 * sd, mean + 5 * sd, color="#56B4E9", alpha=0.2, linewidth=0)
            label = "training labyrinths"
            axes.axvline(mean, color="0.3", linewidth=1, linestyle="--", label=label)
            for number, (name, values) in enumerate(groups.items()):
                share, edges = np.histogram(values, bins=120, density=True)
                axes.plot(
                    (edges[1:] + edges[:-1]) / 2, share, label=name, linewidth=1.4,
                    color=COLOURS[number % 8], linestyle=_LINES[number % 4],
                )  # fmt: skip
            axes.set(xlabel=f"grey value of tissue, {title}, SDs", ylabel="density")
        panels[0].legend(frameon=False, fontsize=8)


def levels(table: pd.DataFrame, path: Path, *, title: str) -> None:
    """A factor's levels side by side: Dice left, localisation right; SD over folds.

    Args:
        table: `level`, `set`, `measure` ("dice" or "landmark_mean_voxels"), `mean`, `sd`,
            `published`, drawn as a dash if available; the first level is the reference, marked by
            a line through each set.
        path: path of the figure.
        title: name of the factor.
    """
    titles = {"dice": "DSC", "landmark_mean_voxels": "landmark error, voxels"}
    sets = list(dict.fromkeys(table["set"]))
    with _panels(path, 2, width=max(1.0, len(set(table["level"])) / 9), height=1.2) as panels:
        for axes, (measure, label) in zip(panels, titles.items(), strict=True):
            rows = [row for row in table.to_dict("records") if row["measure"] == measure]
            names = list(dict.fromkeys(row["level"] for row in rows))
            for number, name in enumerate(sets):
                own = [row for row in rows if row["set"] == name]
                at = [names.index(row["level"]) + 0.16 * (number - 1) for row in own]
                colour = COLOURS[number % 8]
                axes.errorbar(
                    at, [row["mean"] for row in own], [np.nan_to_num(row["sd"]) for row in own],
                    linestyle="none", marker=_MARKS[number % 8], markersize=5, capsize=2,
                    elinewidth=1, color=colour, label=name,
                )  # fmt: skip
                axes.plot(at, [row["published"] for row in own], "_", markersize=12, color=colour)
                for row in own:
                    if row["level"] == names[0]:
                        axes.axhline(row["mean"], color=colour, linewidth=0.8, alpha=0.5)
            axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
            for first in axes.get_xticklabels()[:1]:
                first.set_fontweight("bold")
            axes.set(ylabel=label, xlabel=title)
        legend = panels[0].get_legend_handles_labels()
        panels[0].figure.legend(
            *legend, frameon=False, fontsize=8, ncols=3, loc="outside upper center"
        )


def _plain_ticks(axis: "Axis") -> None:
    """Ticks of a logarithmic axis as plain numbers: 0.01, 0.02, 0.05, ...; few if it is short."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    low, high = axis.get_view_interval()
    short = high < 5 * low
    axis.set_major_locator(MaxNLocator(4) if short else LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def _validation(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path).set_index("iteration")
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read as a table of a training run") from error
    return table.groupby(level=0).last()


@contextmanager
def _panels(
    path: Path, count: int, *, columns: int = 2, width: float = 1.0, height: float = 1.0
) -> "Iterator[list[Axes]]":
    """Panels of a new figure, which is written on success."""
    from matplotlib.figure import Figure

    columns = min(columns, count)
    rows = -(-count // columns)
    size = (columns * _PANEL[0] * width, rows * _PANEL[1] * height)
    figure = Figure(size, layout="constrained", facecolor="white")
    panels = [figure.add_subplot(rows, columns, number + 1) for number in range(count)]
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.xaxis.label.set_fontsize(9)
        axes.yaxis.label.set_fontsize(9)
    yield panels
    with replacing(path) as beside:
        figure.savefig(beside, dpi=_DPI)
