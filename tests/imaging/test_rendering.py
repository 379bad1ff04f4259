"""Pictures of a ring with balls: what is where, and what hides what."""

import numpy as np
import pytest

from otovox.core.geometry import affine_from
from otovox.core.volume import Grid
from otovox.imaging.rendering import Ball, View, fitted_view, render_surfaces, view_axes

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.3, 1.0)
GRID = Grid((50, 50, 24), affine_from(np.diag([-0.25, 0.25, 0.4]), np.array([6.2, -6.1, -4.6])))
MASK = (lambda p: np.hypot(np.hypot(p[..., 0], p[..., 1]) - 4.0, p[..., 2]) < 1.0)(
    GRID.to_mm(np.moveaxis(np.indices(GRID.shape), 0, -1))
)
FROM_ABOVE = View(view_axes((0, 0, 1), (0, 1, 0)), np.zeros(3), 12.0)


def pixel(picture: np.ndarray, right_mm: float, up_mm: float) -> np.ndarray:
    """The picture of `FROM_ABOVE` at a place."""
    n = len(picture)
    return picture[int((0.5 - up_mm / 12) * n), int((0.5 + right_mm / 12) * n)]


def test_axes_are_right_handed() -> None:
    axes = view_axes((0, -1, 0), (0, 0.3, 1))
    assert axes.T @ axes == pytest.approx(np.eye(3))
    assert np.linalg.det(axes) == pytest.approx(1)
    # Seen from the front the patient's left is on the right.
    assert axes[:, 0] == pytest.approx([1, 0, 0])


def test_a_ring_has_a_hole() -> None:
    picture = render_surfaces(MASK, GRID, FROM_ABOVE, rgb=BLUE)
    assert picture.shape[2] == 4
    assert (picture.min(), picture.max()) >= (0.0, 0.0)
    assert picture.max() <= 1
    assert pixel(picture, 0, 0)[3] == 0
    for right, up in ((4, 0), (-4, 0), (0, 4), (0, -4)):
        assert pixel(picture, right, up)[3] == 1
        assert pixel(picture, right, up)[2] > 0.5
    covered = picture[..., 3].mean() * 144
    assert covered == pytest.approx(np.pi * (25 - 9), rel=0.06)


def test_light_comes_from_the_upper_left() -> None:
    picture = render_surfaces(MASK, GRID, FROM_ABOVE, rgb=BLUE)
    assert pixel(picture, -3.1, 3.1).sum() > pixel(picture, 3.3, -3.3).sum()


def test_balls_before_the_surface_hide_it_and_those_behind_shine_through() -> None:
    def at(z: float) -> np.ndarray:
        ball = Ball(np.array([4.0, 0.0, z]), 0.5, RED)
        return pixel(render_surfaces(MASK, GRID, FROM_ABOVE, rgb=BLUE, balls=[ball]), 4.0, 0.0)

    bare = pixel(render_surfaces(MASK, GRID, FROM_ABOVE, rgb=BLUE), 4.0, 0.0)
    before, behind = at(2.0), at(-2.0)
    assert before[0] > before[2]
    assert bare[0] < behind[0]
    assert behind[2] > before[2]


def test_a_ball_off_the_surface_is_drawn_in_its_place() -> None:
    ball = Ball(np.array([1.0, 0.5, 0.0]), 0.5, RED)
    picture = render_surfaces(MASK, GRID, FROM_ABOVE, rgb=BLUE, balls=[ball])
    assert pixel(picture, 1.0, 0.5)[3] == 1
    assert pixel(picture, -1.0, 0.5)[3] == 0
    assert pixel(picture, 1.0, -0.5)[3] == 0


def test_the_fitted_view_holds_all() -> None:
    axes = view_axes((0.3, -0.8, 0.5), (0, 0, 1))
    view = fitted_view(MASK, GRID, axes, margin_mm=1.0)
    picture = render_surfaces(MASK, GRID, view, rgb=BLUE)
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    assert border[:, 3].max() == 0
    assert picture[..., 3].max() == 1


def test_a_probability_looks_like_its_mask() -> None:
    grid = Grid.centred((0, 0, 0), (40, 40, 40), spacing_mm=0.5)
    away = np.linalg.norm(grid.to_mm(np.moveaxis(np.indices(grid.shape), 0, -1)), axis=-1)
    share = np.clip((6 - away) / 0.5 + 0.5, 0, 1).astype(np.float32)
    view = fitted_view(share > 0.5, grid, np.eye(3), margin_mm=1.0)
    soft = render_surfaces(share, grid, view, rgb=(1, 0.5, 0))
    hard = render_surfaces(share > 0.5, grid, view, rgb=(1, 0.5, 0))
    assert np.abs(soft[..., 3] - hard[..., 3]).mean() < 0.02


def test_every_voxel_may_have_its_own_colour() -> None:
    """Red on the patient's right, blue on the left, the seam between them narrow."""
    x = GRID.to_mm(np.moveaxis(np.indices(GRID.shape), 0, -1))[..., 0]
    paint = np.where((x < 0)[..., None], RED, BLUE).astype(np.float32)
    picture = render_surfaces(MASK, GRID, FROM_ABOVE, rgb=paint)
    plain = render_surfaces(MASK, GRID, FROM_ABOVE, rgb=RED)
    assert pixel(picture, -4.0, 0.0) == pytest.approx(pixel(plain, -4.0, 0.0), abs=1e-3)
    plain = render_surfaces(MASK, GRID, FROM_ABOVE, rgb=BLUE)
    assert pixel(picture, 0.4, 4.0) == pytest.approx(pixel(plain, 0.4, 4.0), abs=1e-3)
    assert picture[..., 3] == pytest.approx(plain[..., 3])
