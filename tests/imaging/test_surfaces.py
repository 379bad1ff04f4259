"""Surfaces of balls and rings of known volume, on grids of any handedness."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otovox.core.geometry import affine_from, random_rotation
from otovox.core.volume import Grid
from otovox.imaging.surfaces import cropped, mesh, signed_volume_mm3, smooth_mesh, smoothed


def ring(grid: Grid, *, major_mm: float = 3.0, minor_mm: float = 0.6) -> np.ndarray:
    """A ring in the x-y plane around the middle of a grid, as boolean (i, j, k)."""
    points = grid.to_mm(np.moveaxis(np.indices(grid.shape), 0, -1)) - grid.center_mm
    off = np.hypot(np.hypot(points[..., 0], points[..., 1]) - major_mm, points[..., 2])
    return off < minor_mm


def test_a_ball_as_probability_has_its_volume() -> None:
    grid = Grid.centred((50.0, -20.0, 900.0), (30, 28, 26), spacing_mm=0.4)
    points = grid.to_mm(np.moveaxis(np.indices(grid.shape), 0, -1)) - grid.center_mm
    probability = 1 / (1 + np.exp((np.linalg.norm(points, axis=-1) - 4.0) / 0.3))
    vertices, faces = mesh(probability.astype(np.float32), grid)
    assert signed_volume_mm3(vertices, faces) == pytest.approx(4 / 3 * np.pi * 64, rel=0.01)
    assert np.linalg.norm(vertices - grid.center_mm, axis=1) == pytest.approx(4.0, abs=0.03)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), flip=st.sampled_from([1.0, -1.0]))
def test_faces_point_outward_for_any_axes(seed: int, flip: float) -> None:
    rng = np.random.default_rng(seed)
    linear = random_rotation(rng) @ np.diag([0.3, 0.4, 0.5 * flip])
    grid = Grid((12, 11, 10), affine_from(linear, rng.uniform(-100, 100, 3)))
    mask = np.zeros(grid.shape, dtype=bool)
    mask[3:9, 3:8, 3:7] = True
    vertices, faces = mesh(mask, grid)
    volume = signed_volume_mm3(vertices, faces)
    assert 0.8 * mask.sum() * 0.06 < volume < mask.sum() * 0.06
    assert signed_volume_mm3(vertices, faces[:, ::-1]) == pytest.approx(-volume)
    assert vertices.mean(axis=0) == pytest.approx(grid.to_mm([5.5, 5, 4.5]), abs=0.1)


def test_a_mask_cut_by_the_field_is_closed_at_the_voxels_border() -> None:
    grid = Grid((6, 6, 6), np.eye(4))
    vertices, faces = mesh(np.ones(grid.shape, dtype=bool), grid)
    assert vertices.min() == pytest.approx(-0.5)
    assert vertices.max() == pytest.approx(5.5)
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    assert set(np.unique(edges, axis=0, return_counts=True)[1]) == {2}


@pytest.mark.parametrize("spacing_mm", [(0.1, 0.1, 0.1), (0.3, 0.3, 0.3), (0.25, 0.25, 0.6)])
def test_smoothing_keeps_the_volume_of_thin_rings(spacing_mm: tuple[float, ...]) -> None:
    shape = tuple(int(9 / s) for s in spacing_mm)
    grid = Grid.centred((10, 20, 30), (shape[0], shape[1], shape[2]), spacing_mm=spacing_mm)
    mask = ring(grid)
    volume = signed_volume_mm3(*smooth_mesh(mask, grid))
    assert volume == pytest.approx(mask.sum() * grid.voxel_mm3, rel=0.03)
    field, _ = smoothed(mask, grid)
    assert np.count_nonzero(field > 0.5) == pytest.approx(mask.sum(), rel=0.02)


def test_smoothing_takes_the_steps_off() -> None:
    """A smooth ball's surface varies less in radius than that of its voxels."""
    grid = Grid.centred((0, 0, 0), (24, 24, 24), spacing_mm=0.5)
    mask = np.linalg.norm(grid.to_mm(np.moveaxis(np.indices(grid.shape), 0, -1)), axis=-1) < 4
    rough, _ = mesh(mask, grid)
    smooth, _ = smooth_mesh(mask, grid)
    assert np.linalg.norm(smooth, axis=1).std() < 0.6 * np.linalg.norm(rough, axis=1).std()


def test_an_empty_mask_has_no_surface() -> None:
    grid = Grid((5, 6, 7), np.eye(4))
    for make in (mesh, smooth_mesh):
        vertices, faces = make(np.zeros(grid.shape, dtype=bool), grid)
        assert (vertices.shape, faces.shape) == ((0, 3), (0, 3))
        assert signed_volume_mm3(vertices, faces) == 0


def test_cropping_keeps_places_and_pads_with_zeros() -> None:
    grid = Grid((8, 8, 8), affine_from(np.diag([0.5, 0.5, -1.0]), np.array([1.0, 2.0, 3.0])))
    values = np.zeros(grid.shape)
    values[0, 4, 5] = 0.8
    part, crop = cropped(values, grid, margin=2)
    assert part.shape == (5, 5, 5)
    assert part.sum() == pytest.approx(0.8)
    assert crop.to_mm(np.argwhere(part)[0]) == pytest.approx(grid.to_mm([0, 4, 5]))
