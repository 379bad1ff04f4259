"""The cochlea's lumen: its mean profile, varied with the polynomial spiral of its lateral wall.

Source of the spiral: its model and covariance, as tabulated below; of the mean lumen:
`ear_statistics.json`, 72 labyrinths.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from otovox.core.anatomy import MODIOLAR_AXIS
from otovox.core.ear_statistics import ear_statistics
from otovox.core.geometry import FloatArray, rotation_from_vector, unit
from otovox.phantom.tubes import Tube

#: Modiolar axis, base to apex, and its apical point. Source: 72 labyrinths.
AXIS = np.array(MODIOLAR_AXIS)
APEX_MM = np.array([3.6782, 5.4286, -3.2747])

#: Azimuth of the round window about the axis, from the vestibule; same source.
ROUND_WINDOW_AZIMUTH_DEG = 32.5
#: Round window in the canonical frame, same source.
ROUND_WINDOW_MM = np.array([-0.43, -0.05, -3.24])

#: Spiral of the lateral wall: rows are coefficients of phi^n, columns of (1, A1, B1, A2, B2).
SPIRAL_R = np.array(
    [
        [-0.0972007, 0.745408, 0.349941, 0.0567728, -0.0613995],
        [0.0652778, -0.297796, -0.0488174, 0.115931, 0.170503],
        [0.00579010, 0.0353079, 0.00235713, -0.0170604, -0.0267553],
        [-4.10053e-4, -1.257747e-3, -3.38189e-5, 6.05305e-4, 1.115729e-3],
    ]
)
SPIRAL_Z = np.array(
    [
        [-2.025562, -0.483934, 0.0936907, 0.437216, 0.198843],
        [0.308685, 0.150263, 0.0485929, -0.609467, 0.0706539],
        [-0.0245971, -0.0249701, -0.0111389, 0.147019, -0.0490270],
        [9.37435e-4, 1.841128e-3, 8.52543e-4, -0.01234547, 5.536125e-3],
        [-6.49143e-6, -4.68697e-5, -2.39666e-5, 3.41806e-4, -1.780361e-4],
    ]
)
SPIRAL_EXTENT_DEG = np.array([963.166, 6.37773, -26.9585, -36.3954, 66.9416])
SPIRAL_MEAN = np.array([5.97, 3.95, 3.26, 2.85])
SPIRAL_SD = np.array([0.36, 0.35, 0.28, 0.33])
SPIRAL_CORRELATION = np.array(
    [
        [1.0, 0.535, -0.124, -0.073],
        [0.535, 1.0, 0.117, -0.437],
        [-0.124, 0.117, 1.0, 0.578],
        [-0.073, -0.437, 0.578, 1.0],
    ]
)


#: SD of the direction of the modiolar axis about each axis, degrees: chosen, about that of 72 ears.
TILT_SD_DEG = 4.3
#: SD of the cochlea's height, relative. Source: SD of z in 72 ears.
STEEPNESS_SD = 0.075
#: Minimum half-width and half-height of the lumen, mm: chosen, like the other numbers of
#: `_draw_profile`, which join the two sources smoothly at the hook and at the tip.
LEAST_HALF_MM = 0.25


@dataclass(frozen=True, eq=False)
class DrawnCochlea:
    """The cochlea of a simulated ear, canonical mm.

    Attributes:
        tube: lumen of all turns.
        axis: (3,) modiolar axis, base to apex.
        apex_mm: (3,) point of the axis at the apex.
        facts: random parameters.
    """

    tube: Tube
    axis: FloatArray
    apex_mm: FloatArray
    facts: dict[str, float]


@dataclass(frozen=True, eq=False)
class _Profile:
    """A lumen in cylindrical coordinates about its axis; rows along the lumen.

    Attributes:
        theta_deg, radius_mm, height_mm: (n,) coordinates of its centre.
        half_width_mm, half_height_mm: (n,) half-axes of its section.
        steepness: factor on the mean height.
        base_mm: mean height at the round window.
        facts: random parameters.
    """

    theta_deg: FloatArray
    radius_mm: FloatArray
    height_mm: FloatArray
    half_width_mm: FloatArray
    half_height_mm: FloatArray
    steepness: float
    base_mm: float
    facts: dict[str, float]


def spiral(parameters: ArrayLike, angle_deg: ArrayLike) -> tuple[NDArray, NDArray, float]:
    """The polynomial spiral of the cochlear lateral wall.

    Args:
        parameters: (A1, B1, A2, B2), mm.
        angle_deg: (n,) angles from the round window.

    Returns:
        Radius (n,) mm, height (n,) mm (0 near the apex), and the angle of the apex, degrees.
    """
    row = np.concatenate([[1.0], np.asarray(parameters, dtype=float)])
    phi = np.radians(np.asarray(angle_deg, dtype=float))
    radius = np.polynomial.polynomial.polyval(phi, SPIRAL_R @ row)
    height = np.polynomial.polynomial.polyval(phi, SPIRAL_Z @ row)
    return np.asarray(radius), np.asarray(height), float(SPIRAL_EXTENT_DEG @ row)


def draw_spiral(rng: np.random.Generator, spread: float = 1.0) -> FloatArray:
    """Draw (A1, B1, A2, B2) from a multivariate normal, SDs times `spread`, truncated at 3 SD.

    >>> draw_spiral(np.random.default_rng(0)).shape
    (4,)
    """
    covariance = SPIRAL_CORRELATION * np.outer(SPIRAL_SD, SPIRAL_SD)
    drawn = rng.multivariate_normal(np.zeros(4), covariance) * spread
    return SPIRAL_MEAN + np.clip(drawn, -3 * spread * SPIRAL_SD, 3 * spread * SPIRAL_SD)


def draw_cochlea(rng: np.random.Generator, spread: float, lumen: float) -> DrawnCochlea:
    """Draw the cochlear lumen: the mean profile times the ratio of a random spiral to the mean one.

    Args:
        rng: all randomness.
        spread: factor on the measured SDs.
        lumen: factor on the width of all lumina.
    """
    profile = _draw_profile(rng, spread, lumen)
    tilt = rotation_from_vector(np.radians(rng.normal(0, TILT_SD_DEG * spread, 3)))
    axis = unit(tilt @ AXIS)
    # The cochlea is tilted about its base, which is fixed to the vestibule.
    apex = ROUND_WINDOW_MM + tilt @ (APEX_MM - ROUND_WINDOW_MM)
    apex = apex - (profile.steepness - 1) * profile.base_mm * axis
    first = tilt @ unit(-APEX_MM - np.dot(-APEX_MM, AXIS) * AXIS)
    second = np.cross(axis, first)

    azimuth = np.radians(profile.theta_deg + ROUND_WINDOW_AZIMUTH_DEG)
    outward = np.cos(azimuth)[:, None] * first + np.sin(azimuth)[:, None] * second
    points = apex + profile.radius_mm[:, None] * outward + profile.height_mm[:, None] * axis
    forward = np.cross(axis, outward)
    axes = np.stack([outward, np.broadcast_to(axis, outward.shape), forward], axis=1)
    along = np.maximum(0.5 * (profile.half_width_mm + profile.half_height_mm), 0.3)
    radii = np.stack([profile.half_width_mm, profile.half_height_mm, along], axis=1)
    return DrawnCochlea(Tube(points, radii, axes), axis, apex, profile.facts)


def _draw_profile(rng: np.random.Generator, spread: float, lumen: float) -> _Profile:
    data = ear_statistics()["cochlea"]
    parameters = draw_spiral(rng, spread)
    mean_end = spiral(SPIRAL_MEAN, [0.0])[2]
    extent = spiral(parameters, [0.0])[2] - mean_end
    # The measured lumen ends at 865-957 degrees; the random apex adds its own angle beyond.
    end_deg = float(np.clip(925 + extent + rng.normal(0, 15), 780, 1010))
    theta = np.arange(-7.0, end_deg, 2.5)
    inside = np.clip(theta, 0, 945)
    table = {key: np.interp(inside, data["theta_deg"], data[key]) for key in data}
    wall, height, _ = spiral(parameters, np.clip(theta, 0, mean_end))
    mean_wall, mean_height, _ = spiral(SPIRAL_MEAN, np.clip(theta, 0, mean_end))
    # A fraction of the spiral model's own mean shape, so that both published means are covered.
    share = float(rng.uniform(0, 0.6))
    tube = 0.6 + 0.5 * (1 - inside / mean_end)
    r_mean = (1 - share) * table["r_mm"] + share * np.maximum(mean_wall - tube, 0.25)
    z_mean = (1 - share) * table["z_mm"] + share * mean_height
    # At its base the lumen varies less than the model of the wall: it is fixed to the vestibule.
    free = np.clip(0.35 + theta / 90, 0.35, 1)
    radius = r_mean * np.clip(wall / mean_wall, 0.75, 1.3) ** free
    steepness = 1 + rng.normal(0, STEEPNESS_SD * spread)
    z = steepness * z_mean + free * (height - mean_height)
    z = z - np.interp(end_deg, theta, height - mean_height)
    # The hook widens towards the vestibule, and the tip closes.
    radius = radius + np.clip(-theta, 0, None) * 0.02
    z = z - np.clip(-theta, 0, None) * 0.012
    taper = np.clip((end_deg - theta) / 60, 0.35, 1)
    radius = radius * np.clip((end_deg - theta) / 90, 0.5, 1)
    width = ((1 - share) * table["half_width_mm"] + share * tube) * taper
    tall = ((1 - share) * table["half_height_mm"] + share * tube) * taper
    growth = float(np.exp(rng.normal(0, 0.04 * spread))) * lumen**0.5
    spiral_facts = dict(zip(("A1", "B1", "A2", "B2"), map(float, parameters), strict=True))
    return _Profile(
        theta_deg=theta,
        radius_mm=radius,
        height_mm=z,
        half_width_mm=np.maximum(width * growth, LEAST_HALF_MM),
        half_height_mm=np.maximum(tall * growth, LEAST_HALF_MM),
        steepness=steepness,
        base_mm=float(np.interp(0, theta, z_mean)),
        facts={"turns": end_deg / 360, "spiral_share": share, **spiral_facts},
    )
