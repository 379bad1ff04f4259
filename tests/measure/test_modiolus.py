"""The modiolar axis: exact on a logarithmic spiral, robust, and refused where it means nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otovox.core.anatomy import Side
from otovox.core.geometry import FloatArray, Pose, random_rotation, unit
from otovox.core.landmarks import Landmarks
from otovox.measure.modiolus import fit_modiolus, fit_spiral_motion

PITCH = -0.11  # gamma / |c|, as on real cochleae
APEX = np.array([1.0, -2.0, 0.5])


def log_spiral() -> tuple[FloatArray, FloatArray]:
    """Points and normals of a tube about a logarithmic spiral that closes on APEX along +z."""
    theta = np.linspace(0, 5 * np.pi, 160)
    around = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    t, a = np.meshgrid(theta, around, indexing="ij")

    def tube(t: FloatArray, a: FloatArray) -> FloatArray:
        size = 4.5 * np.exp(PITCH * t)
        radius = size * (1 + 0.25 * np.cos(a))
        height = size * (-0.7 + 0.25 * np.sin(a))
        return np.stack([radius * np.cos(t), radius * np.sin(t), height], axis=-1)

    step = 1e-6
    along = tube(t + step, a) - tube(t - step, a)
    across = tube(t, a + step) - tube(t, a - step)
    normals = np.cross(along, across).reshape(-1, 3)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return tube(t, a).reshape(-1, 3) + APEX, normals


def angle_deg(first: FloatArray, second: FloatArray) -> float:
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(first, second)), first @ second)))


def test_exact_on_a_logarithmic_spiral() -> None:
    found = fit_spiral_motion(*log_spiral())
    # Winding counter-clockwise about +z as it closes: the axis points to the apex.
    assert angle_deg(found.axis, np.array([0.0, 0.0, 1.0])) < 1e-4
    assert found.point_mm == pytest.approx(APEX, abs=1e-5)
    assert found.pitch == pytest.approx(PITCH, abs=1e-6)


def test_noise_and_strangers_move_the_axis_little() -> None:
    points, normals = log_spiral()
    rng = np.random.default_rng(0)
    points = points + rng.normal(0, 0.1, points.shape)
    # A fifth of the wall belongs to something else.
    strange = rng.random(len(points)) < 0.2
    points[strange] = rng.uniform(-4, 4, (int(strange.sum()), 3))
    normals[strange] = [unit(v) for v in rng.normal(0, 1, (int(strange.sum()), 3))]
    found = fit_spiral_motion(points, normals)
    assert angle_deg(found.axis, np.array([0.0, 0.0, 1.0])) < 1.5
    assert np.linalg.norm(found.point_mm[:2] - APEX[:2]) < 0.1


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.5, 2.0))
def test_the_axis_turns_moves_and_grows_with_the_surface(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    turn, shift = random_rotation(rng), rng.uniform(-50, 50, 3)
    points, normals = log_spiral()
    found = fit_spiral_motion(scale * points @ turn.T + shift, normals @ turn.T)
    assert angle_deg(found.axis, turn[:, 2]) < 1e-3
    assert found.point_mm == pytest.approx(scale * turn @ APEX + shift, abs=1e-3)


def test_no_axis_without_a_helicotrema() -> None:
    pose = Pose(Side.RIGHT, np.eye(3), np.zeros(3))
    landmarks = Landmarks(("helicotrema",), np.full((1, 3), np.nan))
    found, why = fit_modiolus((np.empty((0, 3)), np.empty((0, 3), np.int64)), landmarks, pose)
    assert found is None
    assert "helicotrema" in why
