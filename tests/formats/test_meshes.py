"""Surfaces for other tools: read back by trimesh, in place, in colour, with nothing lost."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import trimesh
from trimesh.visual.color import ColorVisuals

from otovox.core.anatomy import HELICOTREMA, LABYRINTH, OVAL_WINDOW, Side
from otovox.core.landmarks import Landmarks
from otovox.core.segments import Part
from otovox.errors import OutputError
from otovox.formats.meshes import LPS_TO_GLTF, write_glb, write_ply

BOX = trimesh.creation.box(extents=(2, 4, 6))
CORNERS = np.add(BOX.vertices, (100.0, -20.0, 30.0))
POINTS = Landmarks(
    ("helicotrema", "oval_window", "round_window"),
    np.array([[100.2, -21, 31], [99.8, -19, 29], [np.nan] * 3]),
)


def colour_of(factor: list[float]) -> tuple[int, ...]:
    return tuple(round(255 * value) for value in factor[:3])


def gltf(path: Path) -> dict:
    """The JSON chunk of a GLB, after the glTF 2.0 specification, section 4.4."""
    data = path.read_bytes()
    magic, version, length, size, kind = struct.unpack("<4sIII4s", data[:20])
    assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON")
    return json.loads(data[20 : 20 + size])


def test_a_ply_keeps_place_volume_and_colour(tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", CORNERS, BOX.faces, Side.LEFT)
    again = trimesh.load_mesh(tmp_path / "a.ply")
    assert again.volume == pytest.approx(48)
    np.testing.assert_allclose(again.bounds, [[99, -22, 27], [101, -18, 33]])
    assert isinstance(again.visual, ColorVisuals)
    assert tuple(again.visual.vertex_colors[0][:3]) == LABYRINTH[Side.LEFT].rgb


def test_a_glb_holds_surfaces_and_landmarks_by_name(tmp_path: Path) -> None:
    path = tmp_path / "labyrinth.glb"
    write_glb(path, {Side.RIGHT: (CORNERS, BOX.faces)}, {Side.RIGHT: POINTS})
    scene = trimesh.load_scene(path)
    assert set(scene.geometry) == {"right_labyrinth", "right_helicotrema", "right_oval_window"}
    # LPS (100, -20, 30) mm: x stays, y up is z, z to the front is -y; in metres.
    placed = scene.to_mesh()
    np.testing.assert_allclose(placed.bounds, [[0.099, 0.027, 0.018], [0.101, 0.033, 0.022]])
    assert scene.geometry["right_labyrinth"].volume == pytest.approx(48)
    ball = scene.geometry["right_helicotrema"]
    np.testing.assert_allclose(ball.vertices.mean(axis=0), POINTS["helicotrema"], atol=1e-4)
    content = gltf(path)
    colours = {
        material["name"]: colour_of(material["pbrMetallicRoughness"]["baseColorFactor"])
        for material in content["materials"]
    }
    assert colours[LABYRINTH[Side.RIGHT].title] == LABYRINTH[Side.RIGHT].rgb
    assert colours[HELICOTREMA.title] == HELICOTREMA.rgb
    assert colours[OVAL_WINDOW.title] == OVAL_WINDOW.rgb
    assert np.linalg.det(LPS_TO_GLTF[:3, :3]) == pytest.approx(1e-9)


def test_parts_are_nodes_below_the_labyrinth(tmp_path: Path) -> None:
    path = tmp_path / "labyrinth.glb"
    faces = {Part.COCHLEA: BOX.faces[:5], Part.CRUS: BOX.faces[5:]}
    write_glb(path, {Side.RIGHT: (CORNERS, BOX.faces)}, {}, {Side.RIGHT: faces})
    scene = trimesh.load_scene(path)
    assert set(scene.geometry) == {"right_cochlea", "right_common_crus"}
    np.testing.assert_allclose(
        scene.to_mesh().bounds, [[0.099, 0.027, 0.018], [0.101, 0.033, 0.022]]
    )
    assert sum(len(mesh.faces) for mesh in scene.geometry.values()) == len(BOX.faces)
    nodes = gltf(path)["nodes"]
    (labyrinth,) = [node for node in nodes if node["name"] == "right_labyrinth"]
    children = {nodes[number]["name"] for number in labyrinth["children"]}
    assert children == {"right_cochlea", "right_common_crus"}


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    empty = (np.empty((0, 3)), np.empty((0, 3), dtype=int))
    with pytest.raises(OutputError, match="empty"):
        write_ply(tmp_path / "a.ply", *empty, Side.LEFT)
    with pytest.raises(OutputError, match="no surface"):
        write_glb(tmp_path / "a.glb", {Side.LEFT: empty}, {})
    assert not list(tmp_path.iterdir())
