"""The simulated CT: blur, sampling, noise, artefacts and scale, every one drawn at random.

Blur and sampling act axis by axis as small matrices, so a scan costs a few matrix products. Noise
is added on the scanner's own voxels, before any later resampling, as in a real scan.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.floating]

#: A Gaussian's full width at half maximum over its SD.
FWHM_PER_SD = 2.354820045


@dataclass(frozen=True)
class Protocol:
    """How a specimen is scanned.

    Attributes:
        voxel_mm: voxel edges along i, j, k.
        fwhm_mm: full width at half maximum of the point spread along i, j, k.
        noise_hu: noise SD on the scanner's voxels, HU.
        noise_grain: share of the noise that is correlated between neighbours, 0 to 1.
        streak_hu: SD of streaks along a random in-plane direction, HU.
        cupping: darkening of the middle, share of the bone's density.
        gain, offset_hu: linear error of the HU scale.
        floor_hu, ceiling_hu: values beyond are cut, as by a detector or a 12-bit file.
        levels: number of grey levels, 0 for no quantisation.
        overshoot: edge enhancement of a sharp kernel, 0 for none.
    """

    voxel_mm: tuple[float, float, float]
    fwhm_mm: tuple[float, float, float]
    noise_hu: float
    noise_grain: float = 0.0
    streak_hu: float = 0.0
    cupping: float = 0.0
    gain: float = 1.0
    offset_hu: float = 0.0
    floor_hu: float = -1024.0
    ceiling_hu: float = 3071.0
    levels: int = 0
    overshoot: float = 0.0


#: Voxel and FWHM ranges by modality. Source: from memory with medium to low confidence; the noise
#: is drawn wider than is usual, so that worse scans than the usual ones are in the world.
SCANNERS: dict[str, dict[str, tuple[float, float]]] = {
    "fpvct": {
        "voxel": (0.10, 0.10),
        "slice": (0.10, 0.10),
        "fwhm": (0.15, 0.30),
        "noise": (80, 220),
    },
    "msct": {
        "voxel": (0.20, 0.30),
        "slice": (0.40, 0.60),
        "fwhm": (0.40, 0.60),
        "noise": (60, 180),
    },
    "cbct": {"voxel": (0.125, 0.25), "slice": (0.0, 0.0), "fwhm": (0.25, 0.40), "noise": (60, 180)},
    "pcct": {
        "voxel": (0.10, 0.20),
        "slice": (0.10, 0.20),
        "fwhm": (0.15, 0.25),
        "noise": (60, 150),
    },
}


def draw_protocol(rng: np.random.Generator, scanner: str = "any") -> Protocol:
    """Draw a protocol.

    Args:
        rng: all randomness.
        scanner: a name of `SCANNERS`, or "any": the whole range of real scanners and beyond.
    """
    if scanner == "any":
        voxel = float(np.exp(rng.uniform(np.log(0.1), np.log(0.5))))
        thick = voxel if rng.random() < 0.4 else voxel * rng.uniform(1.0, 3.0)
        if rng.random() < 0.08:  # a coarse whole-head scan
            voxel, thick = rng.uniform(0.5, 1.0), rng.uniform(0.6, 1.0)
        thick = min(thick, 1.0)
        fwhm = voxel * rng.uniform(0.8, 2.2)
        edges = [voxel, voxel, thick]
        widths = [fwhm, fwhm, max(fwhm * rng.uniform(0.7, 1.2), thick * 0.9)]
        order = rng.permutation(3)
        edges, widths = [edges[o] for o in order], [widths[o] for o in order]
        noise = float(np.exp(rng.uniform(np.log(10), np.log(320))))
        wild = rng.random() < 0.5
    else:
        ranges = SCANNERS[scanner]
        voxel = rng.uniform(*ranges["voxel"])
        thick = rng.uniform(*ranges["slice"]) or voxel
        fwhm = rng.uniform(*ranges["fwhm"])
        edges, widths = [voxel, voxel, thick], [fwhm, fwhm, max(fwhm, thick)]
        noise, wild = rng.uniform(*ranges["noise"]), scanner == "cbct"
    x, y, z = (float(v) for v in edges)
    wx, wy, wz = (float(w) for w in widths)
    return Protocol(
        voxel_mm=(x, y, z),
        fwhm_mm=(wx, wy, wz),
        noise_hu=noise,
        noise_grain=float(rng.uniform(0, 0.9)),
        streak_hu=float(rng.uniform(0, 80)) if rng.random() < 0.4 else 0.0,
        cupping=float(rng.uniform(-0.05, 0.2)),
        gain=float(rng.uniform(0.7, 1.3)) if wild else float(rng.uniform(0.95, 1.05)),
        offset_hu=float(rng.uniform(-400, 400)) if wild else float(rng.normal(0, 15)),
        floor_hu=float(rng.choice([-1024.0, -1000.0, -400.0], p=[0.6, 0.3, 0.1])),
        ceiling_hu=float(rng.choice([3071.0, 2000.0, 20000.0], p=[0.7, 0.1, 0.2])),
        levels=int(rng.choice([0, 256], p=[0.9, 0.1])),
        overshoot=float(rng.uniform(0, 0.6)) if rng.random() < 0.4 else 0.0,
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
        protocol: how.
        rng: noise and artefacts.

    Returns:
        Volume of `scanned_shape`, float32; its middle is the specimen's middle.
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
    volume = volume + _noise(volume.shape, protocol, rng)
    volume = volume * protocol.gain + protocol.offset_hu
    volume = np.clip(volume, protocol.floor_hu, protocol.ceiling_hu)
    if protocol.levels:
        low, high = float(volume.min()), float(volume.max()) + 1e-3
        step = (high - low) / protocol.levels
        volume = np.round((volume - low) / step) * step + low
    return volume.astype(np.float32)


def sampling(fine: int, coarse: int, ratio: float, sd: float) -> NDArray[np.float32]:
    """(coarse, fine) matrix: Gaussian blur and sampling at voxel centres, the middles aligned.

    Args:
        fine: input voxels.
        coarse: output voxels.
        ratio: output voxel edge in input voxels.
        sd: blur in input voxels, never less than what linear interpolation does.
    """
    centers = (np.arange(coarse) - (coarse - 1) / 2) * ratio + (fine - 1) / 2
    gap = np.arange(fine)[None, :] - centers[:, None]
    weights = np.exp(-0.5 * (gap / max(sd, 0.35)) ** 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def along(matrix: NDArray[np.floating], volume: Volume, axis: int) -> Volume:
    """Apply a matrix along one axis of a volume."""
    return np.moveaxis(np.tensordot(matrix, volume, axes=(1, axis)), 0, axis)


def _bowl(shape: tuple[int, ...]) -> Volume:
    """1 in the middle of the first two axes, 0 at their borders."""
    i, j = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape[:2])
    return np.clip(1 - (i[:, None, None] ** 2 + j[None, :, None] ** 2) / 2, 0, None)


def _noise(shape: tuple[int, ...], protocol: Protocol, rng: np.random.Generator) -> Volume:
    """Quantum noise, partly correlated in plane, and streaks."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    if protocol.noise_grain > 0:
        smooth = noise.copy()
        for axis in range(2):
            smooth = along(sampling(shape[axis], shape[axis], 1.0, 0.9), smooth, axis)
        smooth /= max(float(smooth.std()), 1e-6)
        grain = np.float32(protocol.noise_grain)
        noise = (1 - grain) * noise + grain * smooth
        noise /= max(float(noise.std()), 1e-6)
    noise *= np.float32(protocol.noise_hu)
    if protocol.streak_hu > 0:
        angle = rng.uniform(0, np.pi)
        i, j = np.arange(shape[0]), np.arange(shape[1])
        phase = np.cos(angle) * i[:, None] + np.sin(angle) * j[None, :]
        profile = rng.standard_normal(int(phase.max() - phase.min()) + 3)
        profile = np.convolve(profile, [0.25, 0.5, 0.25], mode="same")
        streaks = profile[(phase - phase.min()).astype(int)]
        slices = rng.standard_normal(shape[2])
        noise += (protocol.streak_hu * streaks[..., None] * slices).astype(np.float32)
    return noise
