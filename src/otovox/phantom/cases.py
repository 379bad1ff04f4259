"""Whole synthetic scans with their ground truth, for tests, benchmarks and the demonstration."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from otovox.core.anatomy import Side
from otovox.core.case import Case
from otovox.core.geometry import MIDDLE_MM, FloatArray, Pose, rotation_from_vector
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid, LabelMap, Scan
from otovox.errors import ConfigError
from otovox.imaging.resample import resample
from otovox.phantom.bone import paint_temporal_bone
from otovox.phantom.cache import VERSION
from otovox.phantom.canvas import Canvas, Field
from otovox.phantom.disease import DIAGNOSES, malformed
from otovox.phantom.head import draw_pose, render_head
from otovox.phantom.labyrinth import draw_labyrinth
from otovox.phantom.scanner import SCANNERS, Protocol, draw_protocol, scan, scanned_shape
from otovox.phantom.tissues import draw_tissues

Kind = Literal["ear", "head"]

#: Field of view of a bilateral temporal bone scan, mm: chosen, the width of the head.
HEAD_FIELD_MM = (164.0, 200.0, 64.0)
#: Edge of the field of view of the "any" scanner, mm: chosen.
ANY_FIELD_MM = 30.0
#: Finest voxels of a head: chosen; a whole head at 0.1 mm has two billion.
HEAD_VOXEL_MM = 0.2
#: Maximum number of voxels of a case, about 5 GiB during rendering: chosen.
MOST_VOXELS = 4e8
#: Seeds of whole cases never coincide with those of training anatomies.
CASE_STREAM = 11


@dataclass(frozen=True, eq=False)
class _Scene:
    """The scanned specimen: densities, lumen, landmarks, and the position of each labyrinth."""

    hu: Field
    share: Field
    grid: Grid
    landmarks: dict[Side, Landmarks]
    middles_mm: FloatArray


def make_case(
    seed: int,
    *,
    kind: Kind = "ear",
    scanner: str = "fpvct",
    diagnosis: str = "healthy",
    field_mm: tuple[float, float, float] | None = None,
    protocol: Protocol | None = None,
) -> Case:
    """Render one synthetic scan: a single ear of a random side, or a head with both.

    Specimens are those of the scanner's set, rotated with its spread; with "any" they are those of
    training.

    Args:
        seed: the same seed gives the same case.
        kind: "ear" or "head".
        scanner: a name of `SCANNERS`, or "any".
        diagnosis: a name of `DIAGNOSES`; heads are healthy.
        field_mm: field of view, by default the scanner's, or `HEAD_FIELD_MM`.
        protocol: of the scan, instead of one drawn for the scanner: the same specimen, scanned
            otherwise (voxels on the same side of 0.15 mm).

    Returns:
        The scan with its ground truth; `facts` contains scanner, diagnosis and, per side, the
        landmarks that the ear lacks, and those that are absent or outside the field of view.

    Raises:
        ConfigError: if scanner or diagnosis do not exist, or the scan would be too large.
    """
    check_case(kind=kind, scanner=scanner, diagnosis=diagnosis)
    rng = np.random.default_rng([VERSION, CASE_STREAM, seed])
    drawn = draw_protocol(rng, scanner)
    protocol = protocol or drawn
    if kind == "head":
        x, y, z = (max(edge, HEAD_VOXEL_MM) for edge in protocol.voxel_mm)
        protocol = replace(protocol, voxel_mm=(x, y, z))
    if field_mm is None:
        field_mm = _usual_field_mm(rng, kind, scanner)
    _check_size(field_mm, protocol, scanner)
    if kind == "ear":
        scene = _ear(rng, np.asarray(field_mm), protocol, scanner, diagnosis)
    else:
        scene = _head(seed, np.asarray(field_mm), protocol)
    name = case_name(seed, kind=kind, scanner=scanner, diagnosis=diagnosis)
    image, labels = _scanned(scene, protocol, rng, name)
    landmarks = {side: _in_field(points, image.grid) for side, points in scene.landmarks.items()}
    facts = {
        "seed": seed,
        "scanner": scanner,
        "kind": kind,
        "diagnosis": diagnosis,
        "sides": [str(side) for side in scene.landmarks],
        "missing": {str(side): _absent(points) for side, points in scene.landmarks.items()},
        "missing_or_outside": {str(side): _absent(points) for side, points in landmarks.items()},
    }
    return Case(image, labels, landmarks, facts)


def _usual_field_mm(
    rng: np.random.Generator, kind: Kind, scanner: str
) -> tuple[float, float, float]:
    """Default field of view."""
    edge = ANY_FIELD_MM
    if scanner in SCANNERS:
        edge = float(rng.choice(SCANNERS[scanner].field_mm))
    return (edge, edge, edge) if kind == "ear" else HEAD_FIELD_MM


def _check_size(field_mm: tuple[float, ...], protocol: Protocol, scanner: str) -> None:
    """Refuse scans that would not fit into memory."""
    voxels = float(np.prod(np.asarray(field_mm) / protocol.voxel_mm))
    if voxels > MOST_VOXELS:
        raise ConfigError(
            f"a field of {field_mm} mm scanned by {scanner} has {voxels / 1e9:.1f} billion voxels; "
            "choose a smaller field or a coarser scanner"
        )


def _scanned(
    scene: _Scene, protocol: Protocol, rng: np.random.Generator, name: str
) -> tuple[Scan, LabelMap]:
    """The scanner's image of a scene, and the labyrinths' labels on its grid."""
    values = scan(scene.hu, scene.grid.spacing_mm, protocol, rng)
    i, j, k = scanned_shape(scene.hu.shape, scene.grid.spacing_mm, protocol)
    grid = Grid.centred(
        scene.grid.center_mm,
        (i, j, k),
        spacing_mm=protocol.voxel_mm,
        directions=scene.grid.directions,
    )
    inside = resample(scene.share, scene.grid, grid, outside=0.0) > 0.5
    labels = np.zeros(grid.shape, dtype=np.uint8)
    sides = list(scene.landmarks)
    labels[inside] = sides[0].label if len(sides) == 1 else _nearer(grid, scene.middles_mm)[inside]
    return Scan(values, grid, name), LabelMap(labels, grid)


def case_name(seed: int, *, kind: str, scanner: str, diagnosis: str) -> str:
    """Name of the case of a seed.

    >>> case_name(7, kind="ear", scanner="cbct", diagnosis="otosclerosis")
    'cbct-otosclerosis-ear-0007'
    """
    state = "" if diagnosis == "healthy" else f"{diagnosis}-"
    return f"{scanner}-{state}{kind}-{seed:04d}"


def check_case(*, kind: str, scanner: str, diagnosis: str) -> None:
    """Check that the scanner and the diagnosis exist.

    Raises:
        ConfigError: if one does not.

    >>> check_case(kind="ear", scanner="msct", diagnosis="healthy") is None
    True
    """
    for what, name, names in (
        ("scanner", scanner, (*SCANNERS, "any")),
        ("diagnosis", diagnosis, DIAGNOSES),
    ):
        if name not in names:
            raise ConfigError(f"there is no {what} {name!r}; choose one of {', '.join(names)}")
    if kind == "head" and diagnosis != "healthy":
        raise ConfigError("phantom heads are always healthy; use --kind ear for a diagnosis")


def _ear(
    rng: np.random.Generator, field_mm: FloatArray, protocol: Protocol, scanner: str, diagnosis: str
) -> _Scene:
    kind = SCANNERS.get(scanner)
    side = Side.RIGHT if rng.random() < 0.5 else Side.LEFT
    pose = draw_pose(side, rng, rng.uniform(-60, 60, 3))
    tilt = kind.tilt_deg if kind else 9.0
    nod = rotation_from_vector(np.radians(rng.normal(0, (tilt, 0.6 * tilt, 0.5 * tilt))))
    pose = Pose(side, nod @ pose.matrix, pose.origin_mm)
    # A specimen finer than 0.1 mm is expensive and adds little.
    step = 0.1 if min(protocol.voxel_mm) < 0.15 else 0.15
    i, j, k = (int(n) for n in np.rint(field_mm / step))
    shape = malformed(draw_labyrinth(rng, spread=1.0), diagnosis, rng)
    center = pose.to_lps(MIDDLE_MM[None])[0] + rng.normal(0, 1.5, 3)
    if diagnosis == "cut_field":  # the scan ends below the top of the superior canal
        top = pose.to_lps(shape.landmarks["anterior_arc"][None])[0, 2] - rng.uniform(0.3, 2.0)
        center[2] = top - field_mm[2] / 2
    grid = Grid.centred(center, (i, j, k), spacing_mm=step)
    tissues = draw_tissues(rng, kind.specimen if kind else "any")
    hu, share = paint_temporal_bone(shape, Canvas(grid, pose), tissues, rng, diagnosis=diagnosis)
    points = Landmarks(shape.landmarks.names, pose.to_lps(shape.landmarks.points_mm))
    return _Scene(hu, share, grid, {side: points}, center[None])


def _head(seed: int, field_mm: FloatArray, protocol: Protocol) -> _Scene:
    step = max(0.4, min(protocol.voxel_mm))
    i, j, k = (int(n) for n in np.rint(field_mm / step))
    grid = Grid.centred((0.0, -8.0, 2.0), (i, j, k), spacing_mm=step)
    head = render_head(seed, grid, bone_spacing_mm=0.25, plausible=True)
    return _Scene(
        head.hu.astype(np.float32), head.share / 255, grid, head.landmarks, head.middles_mm
    )


def _nearer(grid: Grid, middles_mm: FloatArray) -> np.ndarray:
    """Label of the nearer ear at every voxel; centres are given right first."""
    between = middles_mm.mean(axis=0)
    normal = middles_mm[1] - middles_mm[0]
    along = grid.affine[:3, :3].T @ normal
    offset = float((grid.affine[:3, 3] - between) @ normal)
    i, j, k = (np.arange(n) * a for n, a in zip(grid.shape, along, strict=True))
    left = i[:, None, None] + j[None, :, None] + k[None, None, :] + offset > 0
    return np.where(left, Side.LEFT.label, Side.RIGHT.label).astype(np.uint8)


def _absent(points: Landmarks) -> list[str]:
    return [name for name in points.names if not points.has(name)]


def _in_field(landmarks: Landmarks, grid: Grid) -> Landmarks:
    inside = grid.contains(landmarks.points_mm)
    points = np.where(inside[:, None], landmarks.points_mm, np.nan)
    return Landmarks(landmarks.names, points)
