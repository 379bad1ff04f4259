"""Training samples: a stored anatomy, at a random angle, imaged by a random scanner."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otovox.core.geometry import (
    MIDDLE_MM,
    MIRROR,
    FloatArray,
    random_rotation,
    rotation_from_vector,
)
from otovox.core.volume import Grid
from otovox.imaging.intensity import normalise
from otovox.imaging.resample import resample
from otovox.phantom.cache import Anatomy, anatomy_grid, load_anatomy
from otovox.phantom.head import load_head
from otovox.phantom.scanner import Protocol, along, draw_protocol, sampling, scan

#: Voxel size of a specimen before scanning, relative to the working voxel.
OVERSAMPLING = 0.8


@dataclass(frozen=True, eq=False)
class PhantomSample:
    """A training sample.

    Attributes:
        image: (i, j, k) float32, normalised.
        labels: (i, j, k) float32, labyrinth's fraction of each voxel.
        points_ijk: (n, 3) voxel coordinates, nan outside the chunk, inf where unknown.
    """

    image: NDArray[np.float32]
    labels: NDArray[np.float32]
    points_ijk: FloatArray


def ear_sample(
    folder: Path,
    seed: int,
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    spacing_mm: float,
) -> PhantomSample:
    """One ear: mostly near its canonical pose, as in the second look, else arbitrarily rotated.

    Args:
        folder: folder of stored anatomies.
        seed: seed of the anatomy.
        rng: view and scanner.
        shape: voxels of the working grid.
        spacing_mm: its voxel size.
    """
    return view_of(load_anatomy(folder, seed), anatomy_grid(), rng, shape, spacing_mm)


def view_of(
    anatomy: Anatomy,
    source: Grid,
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    spacing_mm: float,
    *,
    scanned: bool = True,
) -> PhantomSample:
    """One ear at a random angle, imaged by a random scanner or unchanged.

    Args:
        anatomy: phantom, or a real ear in the canonical frame.
        source: its grid, canonical.
        rng: view and scanner.
        shape, spacing_mm: see `ear_sample`.
        scanned: simulate a scanner; False for an image that is already a scan.
    """
    target = Grid.centred(
        MIDDLE_MM + rng.normal(0, 1, 3) * rng.choice([1.0, 3.0], p=[0.6, 0.4]),
        shape,
        spacing_mm=spacing_mm,
        directions=_view(rng),
    )
    labels = resample(anatomy.share, source, target, outside=0.0, antialias=False) / 255
    present = np.isfinite(anatomy.points_mm)
    points = np.where(
        present, target.to_ijk(np.where(present, anatomy.points_mm, 0)), anatomy.points_mm
    )
    if not scanned:
        image = resample(anatomy.hu, source, target, outside="edge")
        return _framed(image, labels, points, rng)
    fine = _finer(target)
    specimen = resample(anatomy.hu, source, fine, outside="edge", antialias=False)
    return _seen(specimen, fine, labels, points, rng)


def head_sample(
    folder: Path,
    seed: int,
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    spacing_mm: float,
) -> PhantomSample:
    """A piece of a head, around an ear or elsewhere; its only point is the labyrinth's centre.

    Args:
        folder, seed, rng, shape, spacing_mm: see `ear_sample`.
    """
    head = load_head(folder, seed)
    if rng.random() < 0.6:
        center = head.middles_mm[rng.integers(len(head.middles_mm))] + rng.uniform(-24, 24, 3)
    else:
        center = head.grid.to_mm(rng.uniform(0.1, 0.9, 3) * head.grid.shape)
    turn = rotation_from_vector(rng.normal(0, np.radians(14), 3))
    target = Grid.centred(center, shape, spacing_mm=spacing_mm, directions=turn)
    labels = resample(head.share, head.grid, target, outside=0.0, antialias=False) / 255
    specimen = resample(head.hu, head.grid, target, outside=-1000.0, antialias=False)
    points = target.to_ijk(head.middles_mm)
    return _seen(specimen, target, labels, points, rng, small=rng.random() < 0.3)


def lone_ear_sample(
    folder: Path,
    seed: int,
    rng: np.random.Generator,
    shape: tuple[int, int, int],
    spacing_mm: float,
) -> PhantomSample:
    """A temporal bone without its head, arbitrarily rotated; its only point is its centre.

    Args:
        folder, seed, rng, shape, spacing_mm: see `ear_sample`.
    """
    anatomy = load_anatomy(folder, seed)
    source = anatomy_grid()
    room = np.asarray(shape) * spacing_mm / 2 - 10
    target = Grid.centred(
        MIDDLE_MM + rng.uniform(-1, 1, 3) * np.maximum(room, 1.0),
        shape,
        spacing_mm=spacing_mm,
        directions=_view(rng, tame=0.5),
    )
    labels = resample(anatomy.share, source, target, outside=0.0) / 255
    filling = "edge" if rng.random() < 0.5 else float(rng.choice([-1000.0, 0.0, 40.0, 1200.0]))
    specimen = resample(anatomy.hu, source, target, outside=filling)
    return _seen(specimen, target, labels, target.to_ijk(MIDDLE_MM[None]), rng)


def _view(rng: np.random.Generator, tame: float = 0.55) -> FloatArray:
    """(3, 3) axes of the chunk in the canonical frame; may contain a mirror."""
    kind = rng.random()
    if kind < tame:
        return rotation_from_vector(rng.normal(0, np.radians(11), 3))
    turn = rotation_from_vector(rng.normal(0, np.radians(25), 3))
    if kind > 1 - 0.2:
        turn = random_rotation(rng)
    return turn @ MIRROR if rng.random() < 0.5 else turn


def _finer(target: Grid) -> Grid:
    """The same field of view with finer voxels."""
    shape = np.rint(np.asarray(target.shape) / OVERSAMPLING).astype(int)
    i, j, k = (int(n) for n in shape)
    return Grid.centred(
        target.center_mm,
        (i, j, k),
        spacing_mm=target.extent_mm / shape,
        directions=target.directions,
    )


def _seen(
    specimen: NDArray[np.float32],
    fine: Grid,
    labels: NDArray[np.floating],
    points: FloatArray,
    rng: np.random.Generator,
    small: bool = False,
) -> PhantomSample:
    """Scan, and resample to the chunk's grid."""
    protocol = _no_finer(draw_protocol(rng), 0.45 * float(fine.spacing_mm.min()))
    image = scanned_onto(specimen, fine.spacing_mm, labels.shape, protocol, rng)
    return _framed(image, labels, points, rng, small)


def _framed(
    image: NDArray[np.float32],
    labels: NDArray[np.floating],
    points: FloatArray,
    rng: np.random.Generator,
    small: bool = False,
) -> PhantomSample:
    """Remove points outside, cut the field of view in some samples, normalise."""
    outside = ~_inside(points, labels.shape) & ~np.isinf(points).any(axis=1)
    points = np.where(outside[:, None], np.nan, points)
    if small or rng.random() < 0.12:
        image, labels, points = _cut(image, labels, points, rng)
    return PhantomSample(normalise(image), labels.astype(np.float32), points)


def _no_finer(protocol: Protocol, edge_mm: float) -> Protocol:
    """The protocol with voxels of at least `edge_mm`, its noise averaged accordingly."""
    voxel = np.maximum(protocol.voxel_mm, edge_mm)
    noise = protocol.noise_hu * float(np.sqrt(np.prod(protocol.voxel_mm) / np.prod(voxel)))
    x, y, z = (float(v) for v in voxel)
    return replace(protocol, voxel_mm=(x, y, z), noise_hu=noise)


def scanned_onto(
    specimen: NDArray[np.float32],
    step_mm: FloatArray,
    shape: tuple[int, ...],
    protocol: Protocol,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """A scan of the specimen, resampled to `shape` voxels of the same field of view."""
    image = scan(specimen, step_mm, protocol, rng)
    extent = np.asarray(specimen.shape) * step_mm
    for axis, size in enumerate(shape):
        ratio = extent[axis] / size / protocol.voxel_mm[axis]
        sd = 0.5 * np.sqrt(max(ratio**2 - 1, 0))
        image = along(sampling(image.shape[axis], size, ratio, sd), image, axis)
    return image


def _inside(points: FloatArray, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.all((points >= 0) & (points <= np.asarray(shape) - 1), axis=1)


def _cut(
    image: NDArray[np.float32],
    labels: NDArray[np.floating],
    points: FloatArray,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.floating], FloatArray]:
    """End the field of view inside the chunk: repeat its border, without labels outside."""
    axis = int(rng.integers(3))
    size = image.shape[axis]
    keep = int(size * rng.uniform(0.5, 0.95))
    start = 0 if rng.random() < 0.5 else size - keep
    index = np.clip(np.arange(size), start, start + keep - 1)
    image = np.take(image, index, axis=axis)
    beyond = index != np.arange(size)
    labels = labels.copy()
    np.moveaxis(labels, axis, 0)[beyond] = 0
    lost = (points[:, axis] < start) | (points[:, axis] > start + keep - 1)
    lost &= np.isfinite(points[:, axis])
    points = np.where(lost[:, None], np.nan, points)
    return image, labels, points
