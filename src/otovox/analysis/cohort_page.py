"""`cohort.html`: outcomes of all scans, distributions with reference ranges, outliers."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import Any

import pandas as pd

from otovox.analysis.scan import ScanOutcome
from otovox.formats.arguments import printable
from otovox.results.page import template
from otovox.results.schema import FILES
from otovox.results.tables import outliers
from otovox.results.titles import title_of, unit_of
from otovox.workers import Status

#: Number of panels per row: chosen.
_COLUMNS = 4
#: Letters per line of a panel's title: chosen, what fits above it.
_LETTERS = 34


def write_cohort_page(outcomes: Sequence[ScanOutcome], table: pd.DataFrame, path: Path) -> None:
    """Write the page of a cohort.

    Args:
        outcomes: one per scan.
        table: their measurements, from `tables.long_table`.
        path: HTML file, in the folder that contains the scans' results folders.

    Raises:
        OSError: if it cannot be written.
    """
    from plotly.offline import get_plotlyjs

    counts = {status.value: sum(o.status is status for o in outcomes) for status in Status}
    text = template("cohort.html").render(
        counts={status: count for status, count in counts.items() if count},
        ears=sum(len(outcome.answer.ears) for outcome in outcomes if outcome.answer),
        failures=[o for o in outcomes if o.answer is None],
        scans=[o for o in outcomes if o.answer is not None],
        outliers=outliers(table).to_dict("records"),
        page=FILES["report"],
        picture=_distributions(table),
        script=get_plotlyjs(),
    )
    path.write_text(printable(text), "utf-8")


def _distributions(table: pd.DataFrame) -> str:
    """A box plot with all points per quantity, with the reference range as a band."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    measured = table.dropna(subset=["value"])
    quantities = list(dict.fromkeys(measured["quantity"]))
    if not quantities:
        return ""
    rows = -(-len(quantities) // _COLUMNS)
    titles = ["<br>".join(wrap(title_of(name), _LETTERS)) for name in quantities]
    figure = make_subplots(rows, _COLUMNS, subplot_titles=titles, vertical_spacing=0.35 / rows)
    boxes: list[Any] = []
    # Added one by one, bands and titles would take as long as all the rest of an analysis.
    layout: dict[str, Any] = {"shapes": []}
    for number, name in enumerate(quantities):
        axis = str(number + 1) if number else ""
        ears = measured[measured["quantity"] == name]
        first = ears.iloc[0]
        boxes.append(
            go.Box(
                x=ears["value"], text=ears["scan"] + ", " + ears["side"], boxpoints="all",
                jitter=0.5, pointpos=0, marker={"size": 4, "color": "#0072b2"},
                line={"width": 1}, name="", showlegend=False, xaxis=f"x{axis}", yaxis=f"y{axis}",
                hovertemplate="%{text}: %{x:.4g} " + unit_of(first["unit"]),
            )
        )  # fmt: skip
        if pd.notna(first["norm_low"]):
            layout["shapes"].append(
                {
                    "type": "rect", "xref": f"x{axis}", "yref": f"y{axis} domain",
                    "x0": first["norm_low"], "x1": first["norm_high"], "y0": 0, "y1": 1,
                    "fillcolor": "#009e73", "opacity": 0.18, "line": {"width": 0},
                }
            )  # fmt: skip
        layout[f"xaxis{axis}_title"] = {"text": unit_of(first["unit"]), "standoff": 2}
    figure.add_traces(boxes)
    figure.update_layout(layout)
    figure.update_annotations(font_size=12)
    figure.update_layout(
        height=205 * rows + 60, margin={"l": 10, "r": 10, "t": 40, "b": 30}, template="simple_white"
    )
    config = {"displaylogo": False}
    return figure.to_html(full_html=False, include_plotlyjs=False, config=config)
