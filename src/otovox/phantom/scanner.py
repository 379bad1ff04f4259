"""The simulated CT: blur, sampling, noise, artefacts and scale, all random.

Blur and sampling are small matrices along each axis, so a scan needs only a few matrix products.
Noise is added on the scanner's own voxels, before any resampling, as in a real scan.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from otovox.phantom.tissues import Specimen

Volume = NDArray[np.floating]

#: Density above which a voxel is metal. Chosen: above any bone, below partial volumes of metal.
METAL_FROM_HU = 4_000.0
#: Fraction of scans reconstructed with a sharp kernel, which overshoots at edges. Chosen: it is the
#: usual kernel for temporal bones. The position of the wall depends on it: brighter bone next to
#: the lumen is either dense capsule or overshoot, and the half-height positions differ by .05 mm.
#: In the nine ears of Wimmer et al. 2019 it is overshoot: the experts' walls are at 500 HU (air
#: inside) and 1000 HU (fluid inside), halfway to the plateau of the bone, not to its peak at the
#: wall.
SHARP_KERNELS = 0.7
#: Full width at half maximum of a Gaussian divided by its SD.
FWHM_PER_SD = 2.354820045


@dataclass(frozen=True)
class Protocol:
    """Parameters of a scan.

    Attributes:
        voxel_mm: voxel edges along i, j, k.
        fwhm_mm: full width at half maximum of the point spread along i, j, k.
        noise_hu: noise SD on the scanner's voxels, HU.
        noise_grain: fraction of the noise that is correlated between neighbours, up to 1;
            negative for the fine grain of a sharp kernel.
        streak_hu: SD of streaks along a random in-plane direction, HU.
        ring_hu: SD of rings around a point in plane, HU.
        cupping: darkening of the centre, as a fraction of the bone's density.
        motion: fraction of a second image, shifted by one or two voxels.
        gain, offset_hu: linear error of the HU scale.
        floor_hu, ceiling_hu: clipping limits, as of a detector or a 12-bit file.
        gamma: exponent of the grey scale between floor and ceiling; 1 for a linear one.
        levels: number of grey levels, 0 for no quantisation.
        overshoot: edge enhancement of a sharp kernel, 0 for none.
    """

    voxel_mm: tuple[float, float, float]
    fwhm_mm: tuple[float, float, float]
    noise_hu: float
    noise_grain: float = 0.0
    streak_hu: float = 0.0
    ring_hu: float = 0.0
    cupping: float = 0.0
    motion: float = 0.0
    gain: float = 1.0
    offset_hu: float = 0.0
    floor_hu: float = -1024.0
    ceiling_hu: float = 3071.0
    gamma: float = 1.0
    levels: int = 0
    overshoot: float = 0.0


@dataclass(frozen=True)
class Scanner:
    """A type of scanner and its specimens; values are drawn uniformly from the ranges.

    Attributes:
        voxel_mm: in-plane voxel size.
        slice_mm: slice thickness; None for isotropic voxels.
        fwhm_mm: in-plane full width at half maximum of the point spread.
        noise_hu: noise SD.
        specimen: type of specimen, see `tissues.draw_tissues`.
        field_mm: edges of a single-ear field of view, the alternatives of this set.
        tilt_deg: SD of the specimen's rotation about each axis.
        bias: SD of the relative gain; the SD of the offset is 1000 HU times this.
    """

    voxel_mm: tuple[float, float]
    slice_mm: tuple[float, float] | None
    fwhm_mm: tuple[float, float]
    noise_hu: tuple[float, float]
    specimen: Specimen = "patient"
    field_mm: tuple[float, ...] = (30.0,)
    tilt_deg: float = 9.0
    bias: float = 0.015


#: Generic scanners, then the five data sets of Stebani et al. 2023 (S1, S2; letters in brackets),
#: with their published voxels. FWHM ranges: from memory, medium to low confidence. Noise has
#: a wider range than usual, to include worse scans. The specimens, fields of view and tilts of the
#: sets are described in words only; the numbers are chosen, not measured.
SCANNERS: dict[str, Scanner] = {
    "fpvct": Scanner((0.10, 0.10), None, (0.15, 0.30), (80, 220)),
    "msct": Scanner((0.20, 0.30), (0.40, 0.60), (0.40, 0.60), (60, 180)),
    "cbct": Scanner((0.125, 0.25), None, (0.25, 0.40), (60, 180), bias=0.15),
    "pcct": Scanner((0.10, 0.20), (0.10, 0.20), (0.15, 0.25), (60, 150)),
    # [A] frozen temporal bones; [B] patients, the same scanner.
    "fpvct-frozen": Scanner(
        (0.0986, 0.0986), None, (0.15, 0.30), (80, 220), "frozen", tilt_deg=25.0
    ),
    "fpvct-clinical": Scanner((0.0986, 0.0986), None, (0.15, 0.30), (80, 220)),
    # [W] formalin and Thiel.
    "msct-embalmed": Scanner(
        (0.15, 0.15), (0.20, 0.20), (0.30, 0.50), (60, 180), "embalmed", tilt_deg=20.0, bias=0.05
    ),
    # [O] cast in resin, with a drilled access.
    "cbct-resin": Scanner(
        (0.125, 0.125), None, (0.25, 0.40), (60, 180), "resin", tilt_deg=40.0, bias=0.15
    ),
    # [G] macerated bone, two fields of view; 16.3 and 19.5 um, here averaged to 65 um.
    "microct-dry": Scanner(
        (0.065, 0.065), None, (0.07, 0.12), (40, 150), "dry", (14.0, 22.0), 60.0, 0.2
    ),
}


def draw_protocol(rng: np.random.Generator, scanner: str = "any") -> Protocol:
    """Draw a protocol.

    Args:
        rng: all randomness.
        scanner: a name of `SCANNERS`, or "any": the whole range of real scanners and beyond.

    >>> first, second = (draw_protocol(np.random.default_rng(1), "msct") for _ in range(2))
    >>> first == second
    True
    """
    if scanner == "any":
        return _any_protocol(rng)
    kind = SCANNERS[scanner]
    voxel = rng.uniform(*kind.voxel_mm)
    thick = voxel if kind.slice_mm is None else rng.uniform(*kind.slice_mm)
    fwhm = rng.uniform(*kind.fwhm_mm)
    gain, offset = 1 + kind.bias * rng.standard_normal(), 1000 * kind.bias * rng.standard_normal()
    return Protocol(
        voxel_mm=(voxel, voxel, thick),
        fwhm_mm=(fwhm, fwhm, max(fwhm, thick)),
        noise_hu=rng.uniform(*kind.noise_hu),
        noise_grain=float(rng.uniform(-0.3, 0.9)),
        streak_hu=float(rng.uniform(0, 60)) if rng.random() < 0.3 else 0.0,
        cupping=float(rng.uniform(-0.02, 0.12)),
        gain=float(np.clip(gain, 0.6, 1.4)),
        offset_hu=float(np.clip(offset, -400, 400)),
        ceiling_hu=float(rng.choice([3071.0, 20_000.0])),
        overshoot=float(rng.uniform(0, 0.5)) if rng.random() < SHARP_KERNELS else 0.0,
    )


def _any_protocol(rng: np.random.Generator) -> Protocol:
    """The whole range, for training. All chosen, not measured: wide."""

    def sometimes(share: float, low: float, high: float) -> float:
        value = float(rng.uniform(low, high))
        return value if rng.random() < share else 0.0

    voxel = float(np.exp(rng.uniform(np.log(0.08), np.log(0.5))))
    thick = voxel if rng.random() < 0.4 else voxel * rng.uniform(1.0, 3.0)
    thick = min(thick, 1.0)
    if rng.random() < 0.18:  # a coarse scan, as of a whole head
        voxel, thick = rng.uniform(0.4, 1.0), rng.uniform(0.5, 1.5)
    fwhm = voxel * rng.uniform(0.8, 2.2)
    edges = [voxel, voxel, thick]
    widths = [fwhm, fwhm, max(fwhm * rng.uniform(0.7, 1.2), thick * 0.9)]
    order = rng.permutation(3)
    x, y, z = (float(edges[o]) for o in order)
    wx, wy, wz = (float(widths[o]) for o in order)
    wild = rng.random() < 0.5
    return Protocol(
        voxel_mm=(x, y, z),
        fwhm_mm=(wx, wy, wz),
        noise_hu=float(np.exp(rng.uniform(np.log(10), np.log(320)))),
        noise_grain=float(rng.uniform(-0.7, 0.9)),
        streak_hu=sometimes(0.35, 0, 80),
        ring_hu=sometimes(0.15, 0, 100),
        cupping=float(rng.uniform(-0.05, 0.2)),
        motion=sometimes(0.08, 0.1, 0.45),
        gain=float(rng.uniform(0.7, 1.3)) if wild else float(rng.uniform(0.95, 1.05)),
        offset_hu=float(rng.uniform(-400, 400)) if wild else float(rng.normal(0, 15)),
        floor_hu=float(rng.choice([-1024.0, -1000.0, -400.0], p=[0.6, 0.3, 0.1])),
        ceiling_hu=float(rng.choice([3071.0, 2000.0, 1500.0, 20_000.0], p=[0.6, 0.1, 0.1, 0.2])),
        gamma=float(rng.uniform(0.6, 1.6)) if rng.random() < 0.15 else 1.0,
        levels=int(rng.choice([0, 256], p=[0.9, 0.1])),
        overshoot=sometimes(SHARP_KERNELS, 0, 0.6),
    )


def scanned_shape(shape: tuple[int, ...], step_mm: NDArray, protocol: Protocol) -> tuple[int, ...]:
    """Voxels of the scan of a specimen of `shape` voxels with edges `step_mm`."""
    extent = np.asarray(shape) * step_mm
    return tuple(int(n) for n in np.maximum(np.floor(extent / protocol.voxel_mm + 1e-6), 1))


def scan(
    specimen: Volume, step_mm: NDArray[np.floating], protocol: Protocol, rng: np.random.Generator
) -> Volume:
    """Scan a specimen.

    Args:
        specimen: (i, j, k) densities, HU.
        step_mm: (3,) its voxel edges.
        protocol: scan parameters.
        rng: noise and artefacts.

    Returns:
        Volume of `scanned_shape`, float32, with the specimen's centre.
    """
    volume = specimen.astype(np.float32)
    if protocol.cupping:
        volume = volume - protocol.cupping * _bowl(volume.shape) * np.clip(volume + 1000, 0, None)
    shape = scanned_shape(volume.shape, np.asarray(step_mm), protocol)
    for axis, (fine, coarse) in enumerate(zip(volume.shape, shape, strict=True)):
        sd = protocol.fwhm_mm[axis] / FWHM_PER_SD / step_mm[axis]
        weights = sampling(fine, coarse, protocol.voxel_mm[axis] / step_mm[axis], sd)
        if protocol.overshoot:
            wide = sampling(fine, coarse, protocol.voxel_mm[axis] / step_mm[axis], 2 * sd)
            weights = weights + protocol.overshoot / 2 * (weights - wide)
        volume = along(weights, volume, axis)
    if protocol.motion:
        shifts = tuple(int(n) for n in rng.integers(-2, 3, 2))
        volume = volume + protocol.motion * (np.roll(volume, shifts, (0, 1)) - volume)
    volume = volume + _noise(volume.shape, protocol, rng) + _metal_streaks(volume, rng)
    volume = volume * protocol.gain + protocol.offset_hu
    volume = np.clip(volume, protocol.floor_hu, protocol.ceiling_hu)
    if protocol.gamma != 1:
        low, high = float(volume.min()), float(volume.max()) + 1e-3
        volume = low + (high - low) * ((volume - low) / (high - low)) ** protocol.gamma
    if protocol.levels:
        low, high = float(volume.min()), float(volume.max()) + 1e-3
        step = (high - low) / protocol.levels
        volume = np.round((volume - low) / step) * step + low
    return volume.astype(np.float32)


def sampling(fine: int, coarse: int, ratio: float, sd: float) -> NDArray[np.float32]:
    """(coarse, fine) matrix: Gaussian blur and sampling at voxel centres, with aligned centres.

    Args:
        fine: input voxels.
        coarse: output voxels.
        ratio: output voxel edge in input voxels.
        sd: blur in input voxels, at least that of linear interpolation.
    """
    centers = (np.arange(coarse) - (coarse - 1) / 2) * ratio + (fine - 1) / 2
    gap = np.arange(fine)[None, :] - centers[:, None]
    weights = np.exp(-0.5 * (gap / max(sd, 0.35)) ** 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def along(matrix: NDArray[np.floating], volume: Volume, axis: int) -> Volume:
    """Apply a matrix along one axis of a volume.

    >>> halves = np.array([[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]])
    >>> along(halves, np.array([[[1.0], [3.0], [5.0], [7.0]]]), 1).ravel().tolist()
    [2.0, 6.0]
    """
    return np.moveaxis(np.tensordot(matrix, volume, axes=(1, axis)), 0, axis)


def _bowl(shape: tuple[int, ...]) -> Volume:
    """1 at the centre of the first two axes, 0 at their borders."""
    i, j = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape[:2])
    return np.clip(1 - (i[:, None, None] ** 2 + j[None, :, None] ** 2) / 2, 0, None)


def _noise(shape: tuple[int, ...], protocol: Protocol, rng: np.random.Generator) -> Volume:
    """Quantum noise of coarse or fine grain, streaks and rings."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    if protocol.noise_grain:
        smooth = noise.copy()
        for axis in range(int(rng.integers(2, 4))):
            smooth = along(sampling(shape[axis], shape[axis], 1.0, 0.9), smooth, axis)
        grain = np.float32(abs(protocol.noise_grain))
        if protocol.noise_grain < 0:
            noise -= grain * smooth
        else:
            smooth /= max(float(smooth.std()), 1e-6)
            noise = (1 - grain) * noise + grain * smooth
        noise /= max(float(noise.std()), 1e-6)
    noise *= np.float32(protocol.noise_hu)
    i, j = np.arange(shape[0])[:, None], np.arange(shape[1])[None, :]
    if protocol.streak_hu > 0:
        angle = rng.uniform(0, np.pi)
        phase = np.cos(angle) * i + np.sin(angle) * j
        noise += protocol.streak_hu * _profiled(phase - phase.min(), shape[2], rng)
    if protocol.ring_hu > 0:
        middle = rng.uniform(-0.5, 1.5, 2) * shape[:2]
        noise += protocol.ring_hu * _profiled(np.hypot(i - middle[0], j - middle[1]), shape[2], rng)
    return noise


def _profiled(position: NDArray, slices: int, rng: np.random.Generator) -> Volume:
    """A random in-plane profile with a different strength in every slice."""
    profile = rng.standard_normal(int(position.max()) + 3)
    profile = np.convolve(profile, [0.25, 0.5, 0.25], mode="same")
    strength = rng.standard_normal(slices)
    return (profile[position.astype(int)][..., None] * strength).astype(np.float32)


def _metal_streaks(volume: Volume, rng: np.random.Generator) -> Volume | float:
    """Bright and dark fans around metal, slice by slice; 0 without metal."""
    metal = volume > METAL_FROM_HU
    if not metal.any():
        return 0.0
    streaks = np.zeros_like(volume)
    i, j = np.arange(volume.shape[0])[:, None], np.arange(volume.shape[1])[None, :]
    strength = rng.uniform(100, 900)
    for k in np.flatnonzero(metal.any(axis=(0, 1))):
        x, y = (float(n.mean()) for n in np.nonzero(metal[:, :, k]))
        angle = np.arctan2(j - y, i - x)
        fan = sum(
            rng.standard_normal() * np.cos(n * angle + rng.uniform(0, 2 * np.pi)) / np.sqrt(n)
            for n in range(2, 40, 3)
        )
        reach = 0.15 * min(volume.shape[:2])
        streaks[:, :, k] = strength * fan * np.exp(-np.hypot(i - x, j - y) / reach)
    streaks[metal] = 0
    return streaks
