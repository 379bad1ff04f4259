"""Planes in the world: radiological convention, and one picture from any grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otovox.core.anatomy import CANONICAL_MM, LANDMARK_NAMES, MODIOLAR_AXIS, Side
from otovox.core.case import EarPrediction
from otovox.core.geometry import affine_from, mean_pose, random_rotation, unit
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid
from otovox.imaging.planes import PIXELS, ImagePlane, ear_planes, letters, middle_planes, sample


def ear_of(side: Side, missing: str = "") -> EarPrediction:
    pose = mean_pose(side, (20.0, -10.0, 5.0))
    points = pose.to_lps([CANONICAL_MM[name] for name in LANDMARK_NAMES])
    if missing:
        points[LANDMARK_NAMES.index(missing)] = np.nan
    return EarPrediction(
        side=side,
        pose=pose,
        landmarks=Landmarks(LANDMARK_NAMES, points),
        landmark_sd_mm=np.zeros(3),
        volume_mm3=200.0,
        center_mm=pose.origin_mm,
        confidence=1.0,
        uncertainty=0.0,
    )


def test_letters() -> None:
    assert [letters(d) for d in np.eye(3)] == ["L", "P", "S"]
    assert [letters(d) for d in -np.eye(3)] == ["R", "A", "I"]
    assert letters((1, -0.1, 0.2)) == "L"
    assert letters((-0.6, -0.8, 0.1)) == "AR"


def test_patient_planes_are_radiological() -> None:
    """The patient's right on the left; front above in the axial, to the left in the sagittal."""
    axial, coronal, sagittal, _ = ear_planes(ear_of(Side.RIGHT))
    sides = [(letters(-p.right), letters(p.right), letters(p.up)) for p in (axial, coronal)]
    assert sides == [("R", "L", "A"), ("R", "L", "S")]
    assert (letters(-sagittal.right), letters(sagittal.up)) == ("A", "S")


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("missing", ["", "helicotrema", "round_window"])
def test_the_cochlear_view_looks_down_the_modiolus(side: Side, missing: str) -> None:
    ear = ear_of(side, missing)
    view = ear_planes(ear)[3]
    towards = np.cross(view.right, view.up)
    assert towards == pytest.approx(ear.pose.matrix @ unit(MODIOLAR_AXIS))
    apex, base = ear.pose.to_lps([CANONICAL_MM[n] for n in ("helicotrema", "round_window")])
    x, y, off = view.place(apex)
    assert (x, y) == pytest.approx((0, 0))
    assert off > 2.5
    assert view.place(base)[2] == pytest.approx(-0.7)
    # The round window lies behind the apex: to the image's left on the right, else mirrored.
    assert np.sign(view.place(base)[0]) == (-1 if side is Side.RIGHT else 1)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), flip=st.sampled_from([1.0, -1.0]))
def test_any_grid_gives_the_same_picture(seed: int, flip: float) -> None:
    """A linear field survives interpolation, so every pixel must hold its own place's value."""
    rng = np.random.default_rng(seed)
    grid = Grid.centred(
        (5.0, 6.0, 7.0),
        (30, 28, 26),
        spacing_mm=0.5,
        directions=random_rotation(rng) @ np.diag([1.0, 1.0, flip]),
    )
    slope = np.array([1.0, -2.0, 3.0])
    values = grid.to_mm(np.moveaxis(np.indices(grid.shape), 0, -1)) @ slope
    plane = ImagePlane("", np.array([5.5, 6.0, 7.0]), np.eye(3)[0], -np.eye(3)[1], 6.0)
    image = sample(values.astype(np.float32), grid, plane)
    at = ((np.arange(PIXELS) + 0.5) / PIXELS - 0.5) * plane.width_mm
    points = plane.center_mm + at[None, :, None] * plane.right - at[:, None, None] * plane.up
    assert image == pytest.approx(points @ slope, abs=1e-2)
    assert plane.place(points[3, 5])[:2] == pytest.approx([at[5], -at[3]])


def test_beyond_the_field_is_nan() -> None:
    grid = Grid((10, 10, 10), affine_from(np.eye(3), np.zeros(3)))
    values = np.ones(grid.shape, np.float32)
    plane = ImagePlane("", np.array([9.5, 5.0, 5.0]), np.eye(3)[0], np.eye(3)[2], 4.0)
    image = sample(values, grid, plane)
    assert np.isfinite(image[:, : PIXELS // 2 - 2]).all()
    assert np.isnan(image[:, PIXELS // 2 + 2 :]).all()
    far = ImagePlane("", np.array([50.0, 5.0, 5.0]), np.eye(3)[0], np.eye(3)[2], 4.0)
    assert np.isnan(sample(values, grid, far)).all()


def test_middle_planes_show_the_whole_field() -> None:
    grid = Grid.centred((1, 2, 3), (20, 10, 12), spacing_mm=(1, 1, 2))
    for plane in middle_planes(grid):
        assert plane.center_mm == pytest.approx([1, 2, 3])
        assert plane.width_mm >= 22
