"""Whole synthetic scans with their truth, for tests, benchmarks and the demonstration."""

from typing import Literal

import numpy as np

from otovox.anatomy import Side
from otovox.case import Case
from otovox.geometry import FloatArray, Pose, rotation_from_vector
from otovox.landmarks import Landmarks
from otovox.phantom.bone import Tissues, draw_tissues, render
from otovox.phantom.cache import MIDDLE_MM, VERSION
from otovox.phantom.canvas import Canvas
from otovox.phantom.head import draw_pose, render_head
from otovox.phantom.labyrinth import draw_labyrinth
from otovox.phantom.scanner import Protocol, draw_protocol, scan, scanned_shape
from otovox.resample import resample
from otovox.volume import Grid, LabelMap, Scan

Kind = Literal["ear", "head"]

#: Field of a single-ear scan, mm: chosen, 300 voxels of an fpVCT.
EAR_FIELD_MM = (30.0, 30.0, 30.0)
#: Field of a bilateral temporal bone scan, mm: chosen, the head from side to side.
HEAD_FIELD_MM = (164.0, 200.0, 64.0)
#: Seeds of whole cases never meet those of training anatomies.
CASE_STREAM = 11


def make_case(
    seed: int,
    *,
    kind: Kind = "ear",
    scanner: str = "fpvct",
    field_mm: tuple[float, float, float] | None = None,
) -> Case:
    """One synthetic scan: a single ear of a random side, or a head with both.

    Patients are plausible here (no densities that only training needs), their heads turned by the
    measured spread.

    Args:
        seed: the same seed gives the same case.
        kind: "ear" or "head".
        scanner: a name of `SCANNERS`.
        field_mm: size of the field, by default `EAR_FIELD_MM` or `HEAD_FIELD_MM`.
    """
    rng = np.random.default_rng([VERSION, CASE_STREAM, seed])
    protocol = draw_protocol(rng, scanner)
    field = np.asarray(field_mm or (EAR_FIELD_MM if kind == "ear" else HEAD_FIELD_MM))
    make = _ear if kind == "ear" else _head
    specimen, share, sides, grid, landmarks = make(seed, rng, field, protocol)
    values = scan(specimen, grid.spacing_mm, protocol, rng)
    shape = scanned_shape(specimen.shape, grid.spacing_mm, protocol)
    i, j, k = shape
    target = Grid.centred(
        grid.center_mm, (i, j, k), spacing_mm=protocol.voxel_mm, directions=grid.directions
    )
    inside = resample(share, grid, target, outside=0.0) > 0.5
    labels = np.zeros(shape, dtype=np.uint8)
    labels[inside] = sides if isinstance(sides, int) else _nearer(target, sides)[inside]
    name = f"{scanner}-{kind}-{seed:04d}"
    facts = {"seed": seed, "scanner": scanner, "kind": kind, "sides": [str(s) for s in landmarks]}
    return Case(
        Scan(values, target, name),
        LabelMap(labels, target),
        {side: _in_field(points, target) for side, points in landmarks.items()},
        facts,
    )


def _plausible(rng: np.random.Generator) -> Tissues:
    """Densities of a living patient."""
    while True:
        tissues = draw_tissues(rng)
        bright = 900 < tissues.cortex < 2000 and tissues.cortex < tissues.capsule
        if bright and -50 < tissues.labyrinth < 250 and tissues.soft > -80 and tissues.brain > -80:
            return tissues


def _ear(seed: int, rng: np.random.Generator, field: FloatArray, protocol: Protocol):
    side = Side.RIGHT if rng.random() < 0.5 else Side.LEFT
    pose = draw_pose(side, rng, rng.uniform(-60, 60, 3))
    nod = rotation_from_vector(np.radians(rng.normal(0, (9, 5, 4))))
    pose = Pose(side, nod @ pose.matrix, pose.origin_mm)
    step = 0.1 if max(protocol.voxel_mm) < 0.15 else 0.15
    i, j, k = (int(n) for n in np.rint(field / step))
    center = pose.to_lps(MIDDLE_MM[None])[0] + rng.normal(0, 1.5, 3)
    grid = Grid.centred(center, (i, j, k), spacing_mm=step)
    shape = draw_labyrinth(rng, spread=1.0)
    specimen, share = render(shape, Canvas(grid, pose), _plausible(rng), rng)
    points = Landmarks(shape.landmarks.names, pose.to_lps(shape.landmarks.points_mm))
    return specimen, share, side.label, grid, {side: points}


def _head(seed: int, rng: np.random.Generator, field: FloatArray, protocol: Protocol):
    step = max(0.4, min(protocol.voxel_mm))
    i, j, k = (int(n) for n in np.rint(field / step))
    grid = Grid.centred((0.0, -8.0, 2.0), (i, j, k), spacing_mm=step)
    head = render_head(seed, grid, bone_spacing_mm=0.25, plausible=True)
    return head.hu.astype(np.float32), head.share / 255, head.middles_mm, grid, head.landmarks


def _nearer(grid: Grid, middles_mm: FloatArray) -> np.ndarray:
    """Label of the nearer ear at every voxel; the middles come right first."""
    between = middles_mm.mean(axis=0)
    normal = middles_mm[1] - middles_mm[0]
    along = grid.affine[:3, :3].T @ normal
    offset = float((grid.affine[:3, 3] - between) @ normal)
    i, j, k = (np.arange(n) * a for n, a in zip(grid.shape, along, strict=True))
    left = i[:, None, None] + j[None, :, None] + k[None, None, :] + offset > 0
    return np.where(left, Side.LEFT.label, Side.RIGHT.label).astype(np.uint8)


def _in_field(landmarks: Landmarks, grid: Grid) -> Landmarks:
    inside = grid.contains(landmarks.points_mm)
    points = np.where(inside[:, None], landmarks.points_mm, np.nan)
    return Landmarks(landmarks.names, points)
