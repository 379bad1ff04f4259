"""Surfaces as STL."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otovox.formats.writing import replacing
from otovox.geometry import FloatArray

_TRIANGLE = np.dtype([("normal", "<f4", 3), ("points", "<f4", (3, 3)), ("attribute", "<u2")])


def write_stl(path: Path, vertices_mm: FloatArray, faces: NDArray[np.integer]) -> None:
    """Write a binary STL in LPS, and say so in its header, as 3D Slicer does.

    Args:
        path: file to write.
        vertices_mm: (n, 3) LPS.
        faces: (m, 3) indices, wound outward.

    Raises:
        OutputError: if it cannot be written.
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
