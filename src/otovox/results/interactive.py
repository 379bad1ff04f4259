"""The interactive 3D model of a page: each ear's surface and landmarks, rendered by plotly."""

from functools import cache
from typing import Any

import numpy as np

from otovox.core.anatomy import LABYRINTH, LANDMARKS, Structure
from otovox.core.case import EarPrediction
from otovox.measure.measured_scan import MeasuredScan, Surface


def model_html(measured: MeasuredScan) -> str:
    """Surfaces and landmarks as a plotly element, without plotly itself; empty without an ear.

    Args:
        measured: one scan.
    """
    from plotly.subplots import make_subplots

    ears = measured.prediction.ears
    if not ears:
        return ""
    titles = [f"{ear.side.value} ear" for ear in ears]
    scenes = [[{"type": "scene"}] * len(ears)]
    figure = make_subplots(1, len(ears), specs=scenes, subplot_titles=titles)
    for column, (ear, surface) in enumerate(zip(ears, measured.surfaces, strict=True), start=1):
        _add_labyrinth(figure, ear, surface, column)
        _add_landmarks(figure, ear, column)
    hidden = {"visible": False}
    figure.update_scenes(
        aspectmode="data",
        xaxis=hidden,
        yaxis=hidden,
        zaxis=hidden,
        # From the front, slightly from above; LPS y points to the back.
        camera={"eye": {"x": 0.3, "y": -1.6, "z": 0.5}, "up": {"x": 0, "y": 0, "z": 1}},
    )
    figure.update_layout(
        margin={"l": 0, "r": 0, "t": 30, "b": 0}, height=520, legend={"orientation": "h"}
    )
    return figure.to_html(
        full_html=False, include_plotlyjs=False, div_id="model", config={"displaylogo": False}
    )


@cache
def plotly_script() -> str:
    """plotly.js, to be embedded in a page."""
    from plotly.offline import get_plotlyjs

    return get_plotlyjs()


def css_colour(structure: Structure) -> str:
    """A structure's colour as CSS."""
    return "rgb({}, {}, {})".format(*structure.rgb)


def _add_labyrinth(figure: Any, ear: EarPrediction, surface: Surface, column: int) -> None:
    import plotly.graph_objects as go

    points, faces = surface
    x, y, z = points.astype(np.float32).T
    i, j, k = faces.astype(np.int32).T
    figure.add_trace(
        go.Mesh3d(
            x=x, y=y, z=z, i=i, j=j, k=k, color=css_colour(LABYRINTH[ear.side]), opacity=0.55,
            name=f"{ear.side.value} labyrinth", hoverinfo="name",
            lighting={"ambient": 0.5, "diffuse": 0.8, "specular": 0.1},
        ),
        1, column,
    )  # fmt: skip


def _add_landmarks(figure: Any, ear: EarPrediction, column: int) -> None:
    import plotly.graph_objects as go

    for landmark in LANDMARKS:
        if ear.landmarks.has(landmark.name):
            point = ear.landmarks[landmark.name]
            figure.add_trace(
                go.Scatter3d(
                    x=point[:1], y=point[1:2], z=point[2:], mode="markers",
                    marker={"size": 6, "color": css_colour(landmark)}, name=landmark.title,
                    legendgroup=landmark.name, showlegend=column == 1,
                ),
                1, column,
            )  # fmt: skip
