"""One semicircular canal: the mean centreline, tilted and bent, with measured sections."""

import numpy as np

from otovox.core.ear_statistics import ear_statistics
from otovox.core.geometry import FloatArray, rotation_from_vector, unit
from otovox.phantom.tubes import Tube, resampled_line


def draw_canal(name: str, rng: np.random.Generator, lumen: float) -> Tube:
    """Draw one canal.

    Args:
        name: anterior, posterior or lateral.
        rng: all randomness.
        lumen: factor on its width.
    """
    data = ear_statistics()["canals"][name]
    line = np.asarray(data["centreline_mm"])
    middle = line.mean(axis=0)
    tilt = rotation_from_vector(np.radians(rng.normal(0, 2.5, 3)))
    size = float(np.exp(rng.normal(0, 0.03)))
    bent = middle + size * (line - middle) @ tilt.T
    # The ends stay at the vestibule and the crus; the arc moves.
    hold = np.sin(np.linspace(0, np.pi, len(line)))[:, None] ** 0.5
    line = line + hold * (bent - line) + _waves(line, rng)
    fine = resampled_line(line)
    along = np.linspace(0, 1, len(line)), np.linspace(0, 1, len(fine))
    aspect = float(rng.uniform(0, 1.2))  # 0 round, 1 as measured: chosen range
    radius = np.asarray(data["radius_mm"])
    major = np.interp(along[1], along[0], radius * (data["semi_major_mm"] / radius) ** aspect)
    minor = np.interp(along[1], along[0], radius * (data["semi_minor_mm"] / radius) ** aspect)
    # The width varies along the canal: smooth noise of 5 % (chosen).
    ripple = np.interp(along[1], np.linspace(0, 1, 6), np.exp(rng.normal(0, 0.05, 6)))
    normal = unit(np.linalg.svd(fine - fine.mean(axis=0))[2][2])
    forward = np.gradient(fine, axis=0)
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    outward = np.cross(forward, normal)
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    # The section's long axis is in the canal's plane.
    axes = np.stack([outward, np.cross(forward, outward), forward], axis=1)
    radii = np.stack([major, minor, minor], axis=1) * lumen * ripple[:, None]
    return Tube(fine, radii, axes)


def _waves(line: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Random bending of a canal out of its plane and within it, zero at its ends.

    SDs fitted so that the residuals from plane and circle vary as in 72 ears.
    """
    along = np.linspace(0, np.pi, len(line))
    plane = np.linalg.svd(line - line.mean(axis=0))[2]
    outward = unit(line[len(line) // 2] - (line[0] + line[-1]) / 2)
    sizes = rng.normal(0, 1, (2, 2)) * [[0.09], [0.125]]
    shapes = np.stack([np.sin(2 * along), np.sin(3 * along)])
    return np.outer(sizes[0] @ shapes, plane[2]) + np.outer(sizes[1] @ shapes, outward)
