"""Data for the viewer: volumes around each ear, landmarks, lines, surfaces."""

import gzip
import io
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otovox.core.anatomy import LABYRINTH, LANDMARK_NAMES, LANDMARKS, Side
from otovox.core.geometry import affine_from
from otovox.core.landmarks import Landmarks
from otovox.core.segments import PARTS, present
from otovox.core.volume import Grid, LabelMap
from otovox.errors import InputError
from otovox.formats.images import load_label_map, opened, pixels_of, save_label_map
from otovox.formats.markups import write_markups
from otovox.formats.writing import make_folder
from otovox.imaging.windows import Window
from otovox.results.schema import FILES, RESULT, ResultFile, read_result
from otovox.serve.uploads import Refused
from otovox.serve.work import read_view

#: Displayed field around an ear, mm: chosen, the middle of a temporal bone.
FIELD_MM = 44.0
#: The area of the whole scan, and its largest number of displayed voxels: chosen, drawn smoothly by
#: the graphics of a notebook. A larger scan is subsampled, and its mask is corrected ear by ear.
WHOLE, MOST_VOXELS = "whole", 16_000_000
#: NIfTI and the viewer use RAS coordinates.
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Bytes before the voxels of a NIfTI file, and its code of unsigned bytes (NIfTI-1).
_HEADER, _UINT8 = 352, 2


def describe_view(results: Path) -> dict[str, Any]:
    """Description of a version for the viewer, without volumes."""
    result = read_result(results / RESULT)
    return {
        "areas": [*(ear.side.value for ear in result.ears), WHOLE],
        "whole_editable": thinning(result.input.shape) == 1,
        "centers": {ear.side.value: ear.center_mm for ear in result.ears},
        "landmarks": {
            ear.side.value: {name: point.mm for name, point in ear.landmarks.items()}
            for ear in result.ears
        },
        "titles": {one.name: one.title for one in LANDMARKS},
        "colours": {one.name: one.rgb for one in LANDMARKS}
        | {side.value: LABYRINTH[side].rgb for side in Side},
        "uncertainty": (results / FILES["uncertainty"]).is_file(),
        "parts": _parts(results / FILES["parts"]),
        "surfaces": [s.value for s in Side if (results / FILES[f"labyrinth_{s}"]).is_file()],
        "lines": _lines(results / FILES["lines"]),
    }


def volume(view: Path, results: Path, area: str, kind: str) -> bytes:
    """An area of the scan, of the mask, of its parts or of the uncertainty, as a NIfTI file.

    Args:
        view: folder written by `work.write_view`.
        results: result folder of a version.
        area: a side, or `WHOLE`.
        kind: "scan", "mask", "parts" or "uncertainty".

    Raises:
        InputError: if it does not exist.
    """
    values, grid = read_view(view)
    window = window_of(read_result(results / RESULT), grid, area)
    if kind == "mask":
        values = _loaded(results / FILES["segmentation"])
    elif kind in ("parts", "uncertainty"):
        values = _loaded(results / FILES[kind])
    elif kind != "scan":
        raise InputError(f"no such volume: {kind!r}")
    start = [side.start for side in window]
    step = thinning(values.shape) if area == WHOLE else 1
    crop = np.asarray(values[window][::step, ::step, ::step])
    affine = affine_from(grid.affine[:3, :3] * step, grid.to_mm(start))
    return _nifti(crop, Grid(crop.shape, affine))  # pyright: ignore[reportArgumentType]


def thinning(shape: Sequence[int]) -> int:
    """Subsampling step of the view of the whole scan.

    >>> thinning((300, 300, 100)), thinning((512, 512, 234))
    (1, 2)
    """
    step = 1
    while np.prod([-(-size // step) for size in shape]) > MOST_VOXELS:
        step += 1
    return step


def surface(results: Path, side: str) -> bytes:
    """A labyrinth's surface as binary STL in the viewer's coordinates.

    Raises:
        InputError: if it does not exist.

    >>> import trimesh
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = trimesh.creation.box().export(Path(folder, FILES["labyrinth_left"]))
    ...     len(surface(Path(folder), "left"))  # 84 bytes, and 50 for each of 12 triangles
    684
    """
    import trimesh

    path = results / FILES.get(f"labyrinth_{side}", "none")
    if not path.is_file():
        raise InputError("no such surface")
    mesh = trimesh.load_mesh(path)
    mesh.apply_transform(_TO_RAS)
    content = mesh.export(file_type="stl")
    assert isinstance(content, bytes)
    return content


def corrected(
    results: Path,
    view: Path,
    *,
    area: str,
    mask: bytes | None,
    points: Mapping[str, Mapping[str, Any]],
    beside: Path,
) -> dict[str, bytes]:
    """The files of a correction from the data sent by the viewer.

    Args:
        results: result folder of the corrected version.
        view: folder written by `work.write_view`.
        area: the displayed area.
        mask: the drawn mask of that area as NIfTI, perhaps gzipped; None if it was not changed.
        points: per side and landmark LPS mm, or null.
        beside: folder for temporary files.

    Raises:
        Refused: if the data do not have the viewer's format.
    """
    _, grid = read_view(view)
    labels = np.asarray(_loaded(results / FILES["segmentation"]))
    if mask is not None:
        window = window_of(read_result(results / RESULT), grid, area)
        if area == WHOLE and thinning(grid.shape) > 1:
            raise Refused("the mask of a scan of this size is corrected ear by ear")
        labels = labels.copy()
        labels[window] = _drawn(mask, labels[window].shape)
    make_folder(beside)
    paths = [beside / FILES["segmentation"], beside / FILES["landmarks"]]
    save_label_map(LabelMap(labels, grid), paths[0])
    write_markups(paths[1], _landmarks(points))
    return {path.name: path.read_bytes() for path in paths}


def window_of(result: ResultFile, grid: Grid, area: str) -> Window:
    """The voxels of an area.

    Raises:
        InputError: if no such area.

    >>> from otovox.results.schema import EarResult
    >>> ear = EarResult.model_construct(side=Side.LEFT, center_mm=[0, 0, 0])
    >>> grid = Grid.centred((0, 0, 0), (101, 51, 5), spacing_mm=1)
    >>> window_of(ResultFile.model_construct(ears=[ear]), grid, "left")
    (slice(28, 73, None), slice(3, 48, None), slice(0, 5, None))
    """
    if area == WHOLE:
        i, j, k = (slice(0, size) for size in grid.shape)
        return i, j, k
    ear = next((ear for ear in result.ears if ear.side.value == area), None)
    if ear is None:
        raise InputError(f"no such area: {area!r}")
    middle, half = grid.to_ijk(ear.center_mm), FIELD_MM / 2 / grid.spacing_mm
    start = np.clip(np.floor(middle - half), 0, np.asarray(grid.shape) - 1).astype(int)
    stop = np.clip(np.ceil(middle + half) + 1, start + 1, grid.shape).astype(int)
    i, j, k = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    return i, j, k


def _drawn(content: bytes, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The voxels of a mask saved by the viewer."""
    need = _HEADER + int(np.prod(shape))
    if content[:2] == b"\x1f\x8b":
        try:
            with gzip.open(io.BytesIO(content)) as file:
                content = file.read(need + 2**16)
        except (OSError, EOFError, ValueError) as error:
            raise Refused("the mask is damaged") from error
    if len(content) < _HEADER or content[344:347] != b"n+1":
        raise Refused("the mask is not a NIfTI file")
    size = np.frombuffer(content, "<i2", 4, offset=40)
    kind = int(np.frombuffer(content, "<i2", 1, offset=70)[0])
    start = int(np.frombuffer(content, "<f4", 1, offset=108)[0])
    if tuple(size[1:].tolist()) != shape or kind != _UINT8 or not _HEADER <= start < 2**15:
        raise Refused("the mask lies on another voxel grid")
    count = int(np.prod(shape))
    if len(content) < start + count:
        raise Refused("the mask is damaged")
    values = np.frombuffer(content, np.uint8, count, offset=start).reshape(shape, order="F")
    if values.max() > Side.LEFT.label:
        raise Refused("the mask has labels other than right and left")
    return values


def _landmarks(points: Mapping[str, Mapping[str, Any]]) -> dict[Side, Landmarks]:
    landmarks = {}
    try:
        for side, named in points.items():
            rows = [named.get(name) or [np.nan] * 3 for name in LANDMARK_NAMES]
            landmarks[Side(side)] = Landmarks(LANDMARK_NAMES, np.asarray(rows, dtype=float))
    except (ValueError, TypeError, AttributeError) as error:
        raise Refused("the landmarks do not have the viewer's format") from error
    if any(np.isinf(one.points_mm).any() for one in landmarks.values()):
        raise Refused("a landmark has no valid position")
    return landmarks


def _lines(path: Path) -> list[dict[str, Any]]:
    """Centrelines: name, colour, and points in LPS mm."""
    try:
        markups = json.loads(path.read_text("utf-8"))["markups"]
    except (OSError, ValueError, KeyError):
        return []
    return [
        {
            "name": str(one.get("name", "")),
            "colour": [round(255 * c) for c in one["display"]["color"]],
            "points": [point["position"] for point in one["controlPoints"]],
        }
        for one in markups
    ]


def _parts(path: Path) -> list[dict[str, Any]]:
    """Parts in the label map: title without the side, colour, and values of both sides."""
    if not path.is_file():
        return []
    by_meaning: dict[str, dict[str, Any]] = {}
    for segment in present(PARTS, _loaded(path)):
        shown = {"title": segment.meaning, "colour": segment.structure.rgb, "values": []}
        by_meaning.setdefault(segment.meaning, shown)["values"].append(segment.value)
    return list(by_meaning.values())


def _loaded(path: Path) -> NDArray[Any]:
    """Voxels of a result file, which never changes."""
    if not path.is_file():
        raise InputError("no such volume")
    return _read(path)


@lru_cache(maxsize=4)
def _read(path: Path) -> NDArray[Any]:
    if path.name == FILES["uncertainty"]:
        return pixels_of(opened(path), path)
    return load_label_map(path).values


def _nifti(values: NDArray[Any], grid: Grid) -> bytes:
    from nibabel.nifti1 import Nifti1Image

    return Nifti1Image(values, _TO_RAS @ grid.affine).to_bytes()
