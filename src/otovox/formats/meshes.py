"""Surfaces as STL and PLY in LPS mm, and as binary glTF in metres."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from otovox.core.anatomy import LABYRINTH, LANDMARKS, Side, Structure
from otovox.core.geometry import FloatArray
from otovox.core.landmarks import Landmarks
from otovox.core.segments import STRUCTURES, Part
from otovox.errors import OutputError
from otovox.formats.writing import replacing

# trimesh is slow to import, and most commands do not write surfaces.
if TYPE_CHECKING:
    import trimesh

#: Vertices (n, 3) in LPS mm and faces (m, 3), wound outward.
Surface = tuple[FloatArray, NDArray[np.integer]]

#: LPS mm to glTF's metres with y up and z forward (glTF 2.0, section 3.4): x still points to the
#: patient's left, y points to the head, z to the front.
LPS_TO_GLTF = np.array(
    [[1e-3, 0, 0, 0], [0, 0, 1e-3, 0], [0, -1e-3, 0, 0], [0, 0, 0, 1]], dtype=float
)
#: Radius of a landmark's sphere, mm: chosen, half a round window.
_BALL_MM = 0.5
#: Surface roughness, 0 to 1: chosen, to look like bone under a dissecting microscope.
_ROUGHNESS = 0.6

_TRIANGLE = np.dtype([("normal", "<f4", 3), ("points", "<f4", (3, 3)), ("attribute", "<u2")])


def write_stl(path: Path, vertices_mm: FloatArray, faces: NDArray[np.integer]) -> None:
    """Write a binary STL in LPS, stated in its header as 3D Slicer does.

    Args:
        path: file to write.
        vertices_mm: (n, 3) LPS.
        faces: (m, 3) indices, wound outward.

    Raises:
        OutputError: if it cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> corners_mm = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    >>> faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "ear.stl")
    ...     write_stl(path, corners_mm, faces)
    ...     path.read_bytes()[:80].rstrip(), path.stat().st_size
    (b'otovox SPACE=LPS', 284)
    """
    triangles = np.zeros(len(faces), dtype=_TRIANGLE)
    points = np.asarray(vertices_mm)[faces]
    normals = np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0])
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    triangles["points"] = points
    triangles["normal"] = normals / np.where(length > 0, length, 1)
    with replacing(path) as beside, beside.open("wb") as file:
        file.write(b"otovox SPACE=LPS".ljust(80))
        file.write(np.uint32(len(faces)).tobytes())
        file.write(triangles.tobytes())


def write_ply(path: Path, vertices_mm: FloatArray, faces: NDArray[np.integer], side: Side) -> None:
    """Write a binary PLY in LPS mm, in the colour of the side's labyrinth.

    Args:
        path: file to write.
        vertices_mm: (n, 3) LPS.
        faces: (m, 3) indices, wound outward.
        side: of the ear.

    Raises:
        OutputError: if it cannot be written, or is empty.
    """
    import trimesh
    from trimesh.visual.color import ColorVisuals

    if not len(faces):
        raise OutputError(f"{path}: cannot be written (the surface is empty)")
    surface = trimesh.Trimesh(vertices_mm, faces, process=False)
    colours = np.tile((*LABYRINTH[side].rgb, 255), (len(vertices_mm), 1)).astype(np.uint8)
    surface.visual = ColorVisuals(surface, vertex_colors=colours)
    _write(path, surface.export(file_type="ply", encoding="binary"))


def write_glb(
    path: Path,
    surfaces: Mapping[Side, Surface],
    landmarks: Mapping[Side, Landmarks],
    parts: Mapping[Side, Mapping[Part, NDArray[np.integer]]] | None = None,
) -> None:
    """Write labyrinths and landmarks as one binary glTF scene, each as a named node.

    The root node rotates and scales LPS mm to glTF's metres, y up; the meshes stay in LPS mm.

    Args:
        path: file to write.
        surfaces: of the detected labyrinths.
        landmarks: LPS mm; absent ones are omitted.
        parts: per side the faces of each part, which become nodes below that of the labyrinth.

    Raises:
        OutputError: if it cannot be written, or is empty.
    """
    import trimesh

    scene = trimesh.Scene(base_frame="world")
    scene.graph.update("lps_mm", "world", matrix=LPS_TO_GLTF)
    structures = {structure.name: structure for structure in LANDMARKS}
    for side, (vertices_mm, faces) in surfaces.items():
        whole = LABYRINTH[side]
        those = (parts or {}).get(side, {})
        if those:
            scene.graph.update(whole.name, "lps_mm")
        elif len(faces):
            _add(scene, whole.name, trimesh.Trimesh(vertices_mm, faces, process=False), whole)
        for part, its_faces in those.items():
            surface = trimesh.Trimesh(vertices_mm, its_faces, process=False)
            surface.remove_unreferenced_vertices()
            look = STRUCTURES[part]
            _add(scene, f"{side}_{look.name}", surface, look, parent=whole.name)
    for side, points in landmarks.items():
        for name in points.names:
            if points.has(name) and name in structures:
                sphere = trimesh.creation.icosphere(subdivisions=2, radius=_BALL_MM)
                sphere.apply_translation(points[name])
                _add(scene, f"{side}_{name}", sphere, structures[name])
    if not scene.geometry:
        raise OutputError(f"{path}: cannot be written (there are no surfaces and no landmarks)")
    _write(path, scene.export(file_type="glb", include_normals=True))


def _add(
    scene: "trimesh.Scene",
    name: str,
    surface: "trimesh.Trimesh",
    look: Structure,
    parent: str = "lps_mm",
) -> None:
    """Add a surface to the scene's LPS frame, in the colour of its structure."""
    from trimesh.visual.material import PBRMaterial
    from trimesh.visual.texture import TextureVisuals

    material = PBRMaterial(
        name=look.title,
        baseColorFactor=(*look.rgb, 255),
        metallicFactor=0.0,
        roughnessFactor=_ROUGHNESS,
    )
    surface.visual = TextureVisuals(material=material)
    scene.add_geometry(surface, node_name=name, geom_name=name, parent_node_name=parent)


def _write(path: Path, content: object) -> None:
    if not isinstance(content, bytes):
        raise TypeError("trimesh returned no bytes")
    with replacing(path) as beside:
        beside.write_bytes(content)
