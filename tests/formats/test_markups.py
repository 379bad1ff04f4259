"""3D Slicer Markups: curves and planes out, landmarks in as people name them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otovox.core.anatomy import Side
from otovox.core.landmarks import Landmarks
from otovox.errors import InputError
from otovox.formats.markups import (
    Curve,
    Plane,
    read_landmarks,
    read_markups,
    write_curves,
    write_markups,
    write_planes,
)

POINTS = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 10]])


def saved(path: Path, *points: Any, system: str = "LPS", **more: Any) -> Path:
    """A file as 3D Slicer saves it."""
    controls = [
        {"label": label, "position": place, "positionStatus": "defined" if place else "undefined"}
        for label, place in points
    ]
    markup = {"type": "Fiducial", "coordinateSystem": system, "controlPoints": controls, **more}
    path.write_text(json.dumps({"@schema": "x", "markups": [markup]}))
    return path


def markups_of(path: Path) -> list[dict[str, Any]]:
    return json.loads(path.read_text("utf-8"))["markups"]


def test_landmarks_come_back(tmp_path: Path) -> None:
    path = tmp_path / "a.mrk.json"
    names = ("helicotrema", "oval_window", "common_crus")
    points = np.vstack([POINTS[:2], [[np.nan] * 3]])
    write_markups(path, {Side.LEFT: Landmarks(names, points)})
    again = read_landmarks(path)
    assert list(again) == [Side.LEFT]
    assert again[Side.LEFT].names == names
    np.testing.assert_array_equal(again[Side.LEFT].points_mm, points)


@pytest.mark.parametrize(
    ("label", "side", "name"),
    [
        ("Right helicotrema", Side.RIGHT, "helicotrema"),
        ("L_oval-window", Side.LEFT, "oval_window"),
        ("Round Window (left)", Side.LEFT, "round_window"),
        ("RIGHT/Anterior arc", Side.RIGHT, "anterior_arc"),
    ],
)
def test_labels_of_ones_own_are_understood(tmp_path: Path, label, side, name) -> None:
    path = saved(tmp_path / "a.mrk.json", (label, [1, 2, 3]), ("F-2", None), system="RAS")
    found = read_landmarks(path)
    assert {key: one.names for key, one in found.items()} == {side: (name,)}
    np.testing.assert_array_equal(found[side][name], (-1, -2, 3))


@pytest.mark.parametrize("label", ["F-1", "helicotrema", "right/left oval_window", "right", ""])
def test_other_labels_are_refused_by_name(tmp_path: Path, label: str) -> None:
    path = saved(tmp_path / "a.mrk.json", (label, [1, 2, 3]))
    with pytest.raises(InputError, match="is not a landmark with a side") as caught:
        read_landmarks(path)
    assert repr(label) in str(caught.value)


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mrk.json"
    twice = ("right/helicotrema", [1, 2, 3])
    for points, more, sentence in (
        ((twice, twice), {}, "two points with the label"),
        ((twice, ("R helicotrema", [1, 2, 3])), {}, "two points for right/helicotrema"),
        (((1, [1, 2]),), {}, "without a label or position"),
        ((twice,), {"coordinateUnits": "inch"}, "are in inch"),
        ((twice,), {"system": "IJK"}, "LPS or RAS"),
    ):
        with pytest.raises(InputError, match=sentence):
            read_landmarks(saved(path, *points, **more))
    path.write_text('{"markups": [3]}')
    with pytest.raises(InputError, match="cannot be read"):
        read_markups(path)


def test_micrometres_are_turned(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.mrk.json", ("a", [1000, 2000, 3000]), coordinateUnits="um")
    np.testing.assert_allclose(read_markups(path)["a"], (1, 2, 3))


def test_curves_are_written_each_by_name(tmp_path: Path) -> None:
    path = tmp_path / "curves.mrk.json"
    colour = (255, 0, 51)
    write_curves(path, [Curve("a", POINTS, colour), Curve("b", POINTS[:2], colour, closed=True)])
    first, second = markups_of(path)
    assert (first["type"], first["name"]) == ("Curve", "a")
    assert (second["type"], second["name"]) == ("ClosedCurve", "b")
    assert first["coordinateSystem"] == "LPS"
    assert [point["position"] for point in first["controlPoints"]] == POINTS.tolist()
    assert first["display"]["color"] == [1, 0, 0.2]


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(lambda v: np.linalg.norm(v) > 0.01)
)
def test_planes_are_squares_across_their_normal(tmp_path_factory, normal: list[float]) -> None:
    path = tmp_path_factory.mktemp("plane") / "planes.mrk.json"
    center = np.array([10.0, -20, 30])
    write_planes(path, [Plane("p", center, np.array(normal), 8.0, (0, 0, 0))])
    plane = markups_of(path)[0]
    assert (plane["type"], plane["planeType"], plane["name"]) == ("Plane", "pointNormal", "p")
    to_node = np.reshape(plane["baseToNode"], (4, 4))
    np.testing.assert_allclose(to_node[:3, :3] @ to_node[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(to_node) == pytest.approx(1)
    np.testing.assert_allclose(to_node[:3, 2], np.array(normal) / np.linalg.norm(normal), atol=1e-9)
    np.testing.assert_allclose(plane["normal"], to_node[:3, 2])
    np.testing.assert_allclose(to_node[:3, 3], center)
    assert plane["planeBounds"] == [-4, 4, -4, 4]
    assert [point["position"] for point in plane["controlPoints"]] == [center.tolist()]
