"""`cohort.html`: what became of every scan, distributions against norms, outliers with links."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from otovox.analysis.scan import Outcome, Status
from otovox.results.page import plotly_script, template
from otovox.results.schema import FILES
from otovox.results.tables import outliers

#: Panels of the distributions side by side: chosen.
_COLUMNS = 4


def write_cohort_page(outcomes: Sequence[Outcome], table: pd.DataFrame, path: Path) -> None:
    """Write the page of many scans.

    Args:
        outcomes: of every scan.
        table: their measurements, from `tables.long_table`.
        path: HTML file, in the folder that holds the scans' result folders.

    Raises:
        OSError: if it cannot be written.
    """
    counts = {status.value: sum(o.status is status for o in outcomes) for status in Status}
    text = template("cohort.html").render(
        counts={status: count for status, count in counts.items() if count},
        ears=sum(len(outcome.sides) for outcome in outcomes),
        failures=[o for o in outcomes if o.result is None],
        scans=[o for o in outcomes if o.result is not None],
        outliers=outliers(table).to_dict("records"),
        page=FILES["report"],
        picture=_distributions(table),
        script=plotly_script(),
    )
    path.write_text(text, "utf-8")


def _distributions(table: pd.DataFrame) -> str:
    """A box with all its points per quantity, the norm as a band behind it."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    known = table.dropna(subset=["value"])
    quantities = list(dict.fromkeys(known["quantity"]))
    if not quantities:
        return ""
    rows = -(-len(quantities) // _COLUMNS)
    titles = [name.replace("_", " ") for name in quantities]
    figure = make_subplots(rows, _COLUMNS, subplot_titles=titles, vertical_spacing=0.35 / rows)
    for number, name in enumerate(quantities):
        place: dict[str, Any] = {"row": number // _COLUMNS + 1, "col": number % _COLUMNS + 1}
        part = known[known["quantity"] == name]
        first = part.iloc[0]
        figure.add_trace(
            go.Box(
                x=part["value"], text=part["scan"] + ", " + part["side"], boxpoints="all",
                jitter=0.5, pointpos=0, marker={"size": 4, "color": "#0072b2"},
                line={"width": 1}, name="", showlegend=False,
                hovertemplate="%{text}: %{x:.4g} " + str(first["unit"]),
            ),
            **place,
        )  # fmt: skip
        if pd.notna(first["norm_low"]):
            figure.add_vrect(
                x0=first["norm_low"], x1=first["norm_high"], fillcolor="#009e73", opacity=0.18,
                line_width=0, **place,
            )  # fmt: skip
        figure.update_xaxes(title_text=str(first["unit"]), title_standoff=2, **place)
    figure.update_annotations(font_size=12)
    figure.update_layout(
        height=170 * rows + 60, margin={"l": 10, "r": 10, "t": 40, "b": 30}, template="simple_white"
    )
    config = {"displaylogo": False}
    return figure.to_html(full_html=False, include_plotlyjs=False, config=config)
