"""A coarse head around two temporal bones, for the locator and the demonstration."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otovox.core.anatomy import Side
from otovox.core.geometry import MIDDLE_MM, FloatArray, Pose, mean_pose, rotation_from_vector
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid
from otovox.imaging.resample import corners, resample
from otovox.phantom.bone import paint_temporal_bone
from otovox.phantom.cache import VERSION
from otovox.phantom.canvas import Canvas, Field, occupancy
from otovox.phantom.labyrinth import draw_labyrinth
from otovox.phantom.tissues import Tissues, draw_tissues

#: Half of the distance between the vestibules. Source: doubled midplane distance of the oval
#: window, 76.9 +- 4.0 mm, n = 59.
EAR_X_MM, EAR_X_SD_MM = 38.0, 2.0
#: Region in which the detailed temporal bone replaces the coarse skull, mm: chosen, not measured.
BONE_BOX_MM, FADE_MM = 56.0, 6.0


@dataclass(frozen=True, eq=False)
class Head:
    """A head before the scanner.

    Attributes:
        hu: (i, j, k) densities.
        share: (i, j, k) uint8, labyrinths' fraction of each voxel times 255.
        sides: (i, j, k) uint8, label of the nearer ear, for the ground truth.
        grid: LPS; the origin is midway between the ears.
        middles_mm: (2, 3) LPS centre of each labyrinth, right first.
        landmarks: landmarks per side.
    """

    hu: NDArray[np.int16]
    share: NDArray[np.uint8]
    grid: Grid
    middles_mm: FloatArray
    landmarks: dict[Side, Landmarks]


def draw_pose(side: Side, rng: np.random.Generator, origin_mm: FloatArray) -> Pose:
    """The mean ear's pose, rotated with the measured spread within the head (about 5 degrees).

    >>> pose = draw_pose(Side.LEFT, np.random.default_rng(0), np.zeros(3))
    >>> pose.side, pose.tilt_deg < 20
    (<Side.LEFT: 'left'>, True)
    """
    mean = mean_pose(side, origin_mm)
    turn = rotation_from_vector(rng.normal(0, np.radians(4.5), 3))
    return Pose(side, turn @ mean.matrix, mean.origin_mm)


def render_head(
    seed: int, grid: Grid, bone_spacing_mm: float = 0.4, plausible: bool = False
) -> Head:
    """Render a head.

    Args:
        seed: seed of all randomness.
        grid: LPS, axes of the head; it may cover only a part of the head.
        bone_spacing_mm: voxel edge at which the temporal bones are rendered.
        plausible: use only densities that occur in patients.
    """
    rng = np.random.default_rng([VERSION, 7, seed])
    tissues = draw_tissues(rng, "patient" if plausible else "any")
    size = int(BONE_BOX_MM / bone_spacing_mm)
    hu = _skull(grid, tissues, rng)
    share = np.zeros(grid.shape, dtype=np.float32)
    middles, landmarks = [], {}
    for side in Side:
        sign = -1.0 if side is Side.RIGHT else 1.0
        origin = np.array([sign * EAR_X_MM, 0.0, 0.0]) + rng.normal(0, EAR_X_SD_MM, 3)
        pose = draw_pose(side, rng, origin)
        shape = draw_labyrinth(rng)
        box = Grid.centred(
            pose.to_lps(MIDDLE_MM[None])[0],
            (size, size, size),
            spacing_mm=bone_spacing_mm,
        )
        bone, lumen = paint_temporal_bone(shape, Canvas(box, pose), tissues, rng)
        _insert(hu, share, grid, box, bone, lumen)
        middles.append(pose.to_lps(MIDDLE_MM[None])[0])
        landmarks[side] = Landmarks(shape.landmarks.names, pose.to_lps(shape.landmarks.points_mm))
    return Head(
        np.clip(np.rint(hu), -32000, 32000).astype(np.int16),
        np.rint(share * 255).astype(np.uint8),
        grid,
        np.stack(middles),
        landmarks,
    )


def load_head(folder: Path, seed: int) -> Head:
    """The coarse head of a seed (1 mm), rendered and stored on first use."""
    grid = Grid.centred((0.0, -8.0, 8.0), (164, 204, 196), spacing_mm=1.0)
    path = folder / f"head-v{VERSION}-{seed:07d}.npz"
    if not path.exists():
        head = render_head(seed, grid)
        folder.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.stem}.tmp.npz")
        np.savez(beside, hu=head.hu, share=head.share, middles_mm=head.middles_mm)
        beside.replace(path)
    with np.load(path, allow_pickle=False) as kept:
        return Head(kept["hu"], kept["share"], grid, kept["middles_mm"], {})


def _insert(hu: Field, share: Field, grid: Grid, box: Grid, bone: Field, lumen: Field) -> None:
    """Blend a detailed temporal bone into the head, in place."""
    ijk = grid.to_ijk(corners(box))
    start = np.clip(np.floor(ijk.min(axis=0)), 0, grid.shape).astype(int)
    stop = np.clip(np.ceil(ijk.max(axis=0)) + 1, 0, grid.shape).astype(int)
    if np.any(start >= stop):
        return
    i, j, k = (int(n) for n in stop - start)
    cropped = grid.crop(start, (i, j, k))
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    inner = resample(bone, box, cropped, outside="edge")
    away = Canvas(cropped, Pose(Side.RIGHT, np.eye(3), box.center_mm))
    reach = np.maximum.reduce([np.abs(away.along(axis)) for axis in np.eye(3)])
    weight = np.clip((BONE_BOX_MM / 2 - 0.5 - reach) / FADE_MM, 0, 1)
    hu[window] += weight * (inner - hu[window])
    share[window] = np.maximum(share[window], resample(lumen, box, cropped, outside=0.0))


def _skull(grid: Grid, tissues: Tissues, rng: np.random.Generator) -> Field:
    """Head without its temporal bones: scalp, vault, base, face, sinuses, teeth, spine."""
    canvas = Canvas(grid, Pose(Side.RIGHT, np.eye(3), np.zeros(3)))
    low = canvas.coarse(2.0)
    size = np.exp(rng.normal(0, 0.05, 3))

    def ellipsoid(center: tuple[float, ...], radii: tuple[float, ...]) -> Field:
        middle = (np.asarray(center) + rng.normal(0, 1.5, 3)) * size
        half = np.asarray(radii) * size * np.exp(rng.normal(0, 0.06, 3))
        near = sum(
            (low.along(axis, middle) / r) ** 2 for axis, r in zip(np.eye(3), half, strict=True)
        )
        near = np.sqrt(near, dtype=np.float32)
        return (near - 1) * np.float32(half.min())

    hu = np.full(low.grid.shape, tissues.air, dtype=np.float32)

    def put(distance: Field, density: float | Field) -> None:
        nonlocal hu
        hu = hu + occupancy(distance, 2.0) * (density - hu)

    bone = tissues.cortex * (1 + 0.12 * low.noise(rng, 4.0))
    vault = ellipsoid((0, -8, 34), (68, 90, 72))
    face = ellipsoid((0, -52, -38), (56, 52, 66))
    neck = ellipsoid((0, 10, -80), (52, 56, 110))
    skin = np.minimum(np.minimum(vault - 7.0, face), neck)
    if rng.random() < 0.9:
        put(skin, tissues.soft)
    put(np.maximum(vault, -low.along((0.0, 0.3, 1.0)) - 14.0), bone)
    thickness = rng.uniform(4, 8)
    inner = np.maximum(vault + thickness, -low.along((0.0, 0.3, 1.0)) - 6.0)
    base = np.maximum(vault, np.abs(low.along((0.0, 0.3, 1.0)) + 9.0) - rng.uniform(3, 7))
    put(base, bone)
    put(inner, tissues.brain)
    for sign in (-1, 1):
        put(ellipsoid((sign * 32, -74, 4), (19, 22, 18)), tissues.soft - 60)
        put(ellipsoid((sign * 27, -68, -30), (17, 18, 20)) - 2, bone)
        put(ellipsoid((sign * 27, -68, -30), (17, 18, 20)), tissues.middle_ear)
        put(ellipsoid((sign * 48, -30, -55), (7, 18, 34)), bone)
    put(ellipsoid((0, -38, -4), (14, 16, 12)) - 2, bone)
    put(ellipsoid((0, -38, -4), (13, 15, 11)), tissues.middle_ear)
    cells = rng.uniform(0.1, 0.6) - low.noise(rng, 4.5)
    put(np.maximum(ellipsoid((0, -66, -4), (14, 24, 16)), 2 * cells), tissues.air)
    put(ellipsoid((0, -62, -36), (9, 32, 22)), tissues.air)
    put(ellipsoid((0, -28, -62), (10, 8, 40)), tissues.air)
    put(ellipsoid((0, 14, -66), (20, 18, 60)), bone)
    put(ellipsoid((0, 22, -60), (9, 9, 90)), tissues.soft)
    arch = np.abs(ellipsoid((0, -62, -66), (30, 38, 40))) - 5.0
    teeth = np.maximum(arch, np.abs(low.along((0, 0, 1)) + 64.0) - 9.0)
    teeth = np.maximum(teeth, low.along((0, 1, 0)) + 60.0)
    put(np.maximum(teeth, 1.5 * low.noise(rng, 5.0)), tissues.cortex * rng.uniform(1.3, 2.2))
    return canvas.refine(hu)
