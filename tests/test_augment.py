"""Augmentation: what moves voxels moves points; a drawn set is applied as drawn (S8)."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from otovox.augment import TILT_DEG, Augmentation, augment, draw_augmentation
from otovox.config import AugmentConfig
from otovox.geometry import rotation_angle_deg
from otovox.heatmaps import decode, render

SHAPE = (32, 32, 32)


def blob(point: np.ndarray, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    drawn = render(
        torch.from_numpy(point.astype(np.float32))[None, None],
        shape,
        spread_voxels=2.0,
        amplitude=1.0,
    )
    return drawn[0, 0].numpy()


@settings(deadline=None, max_examples=40)
@given(
    point=st.tuples(*[st.floats(12, 19)] * 3),
    turn=st.tuples(st.integers(0, 2), st.integers(0, 3)),
    tilt=st.tuples(st.integers(0, 2), st.floats(-45, 45)),
    shape=st.sampled_from([SHAPE, (32, 30, 34)]),
)
def test_a_blob_at_a_landmark_stays_on_the_landmark(point, turn, tilt, shape) -> None:
    image = blob(np.array(point), shape)
    by = Augmentation(*turn, *tilt)
    moved, labels, points = augment(image, image, np.array([point]), by=by)
    found, _ = decode(moved[None])
    np.testing.assert_allclose(found, points, atol=0.25)
    np.testing.assert_array_equal(moved, labels)
    assert moved.shape == shape
    # The heatmap drawn anew from the moved point is the moved heatmap.
    np.testing.assert_allclose(blob(points[0], shape), moved, atol=0.12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_quarter_turns_are_exact(axis: int) -> None:
    image = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    top = np.array([np.unravel_index(int(image.argmax()), SHAPE)], dtype=float)
    by = Augmentation(turn_axis=axis, quarter_turns=1)
    moved, _, points = augment(image, image, top, by=by)
    assert moved[tuple(np.rint(points[0]).astype(int))] == image.max()
    np.testing.assert_array_equal(np.sort(moved, axis=None), np.sort(image, axis=None))
    back, _, home = augment(moved, moved, points, by=Augmentation(axis, 3))
    np.testing.assert_array_equal(back, image)
    np.testing.assert_allclose(home, top, atol=1e-9)


def test_a_quarter_turn_by_hand() -> None:
    """About the first axis, +90 degrees: j becomes k, as the right-hand rule has it."""
    point = np.array([[5.0, 31.0, 15.5]])
    _, _, moved = augment(blob(point[0]), blob(point[0]), point, by=Augmentation(0, 1))
    np.testing.assert_allclose(moved, [[5.0, 15.5, 31.0]])


def test_points_that_leave_are_absent() -> None:
    corner = np.array([[16.0, 0.0, 0.0], [16.0, 16.0, 16.0], [np.nan] * 3])
    empty = np.zeros(SHAPE, np.float32)
    _, _, points = augment(empty, empty, corner, by=Augmentation(tilt_axis=0, tilt_deg=45.0))
    assert np.isfinite(points[:, 0]).tolist() == [False, True, False]


def test_intensities_by_hand() -> None:
    ones = np.ones(SHAPE, np.float32)
    nowhere = np.full((1, 3), np.nan)
    image, labels, _ = augment(ones, ones, nowhere, by=Augmentation(contrast=1.4))
    np.testing.assert_allclose(image, 1.4, rtol=1e-6)
    np.testing.assert_array_equal(labels, ones)
    image, _, _ = augment(ones, ones, nowhere, by=Augmentation(gaussian_sd=0.5))
    assert image.mean() == pytest.approx(1, abs=0.02)
    assert image.std() == pytest.approx(0.5, abs=0.02)
    image, _, _ = augment(ones, ones, nowhere, by=Augmentation(poisson_rate=0.8, poisson_scale=0.2))
    assert image.mean() == pytest.approx(1, abs=0.01)
    assert image.std() == pytest.approx(0.2 * np.sqrt(0.8), abs=0.01)


def test_the_same_draw_gives_the_same_chunk() -> None:
    config = AugmentConfig(protocol="beta", intensity_probability=0.9)
    image = np.random.default_rng(0).random(SHAPE, dtype=np.float32)
    drawn = [draw_augmentation(config, np.random.default_rng(5)) for _ in range(2)]
    assert drawn[0] == drawn[1]
    first, second = (augment(image, image, np.zeros((1, 3)), by=by)[0] for by in drawn)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("protocol", ["alpha", "beta"])
def test_protocols_stay_within_the_papers_bounds(protocol) -> None:
    config = AugmentConfig(protocol=protocol)
    rng = np.random.default_rng(0)
    drawn = [draw_augmentation(config, rng) for _ in range(400)]
    assert {by.turn_axis for by in drawn} == ({0} if protocol == "alpha" else {0, 1, 2})
    assert {by.quarter_turns for by in drawn} == {0, 1, 2, 3}
    assert {by.tilt_axis for by in drawn} == {0, 1, 2}
    tilts = [abs(by.tilt_deg) for by in drawn]
    assert 0.9 * TILT_DEG[protocol] < max(tilts) <= TILT_DEG[protocol]
    free = [by for by in drawn if not by.quarter_turns]
    assert all(
        rotation_angle_deg(by.rotation) == pytest.approx(abs(by.tilt_deg), abs=1e-4) for by in free
    )
    contrasts = [by.contrast for by in drawn if by.contrast != 1]
    assert len(contrasts) / 400 == pytest.approx(config.intensity_probability, abs=0.05)
    assert config.contrast[0] <= min(contrasts)
    assert max(contrasts) <= config.contrast[1]


def test_none_does_nothing() -> None:
    rng = np.random.default_rng(0)
    assert draw_augmentation(AugmentConfig(protocol="none"), rng) == Augmentation()
    image = rng.random(SHAPE, dtype=np.float32)
    kept, _, points = augment(image, image, np.ones((1, 3)), by=Augmentation())
    np.testing.assert_array_equal(kept, image)
    np.testing.assert_array_equal(points, np.ones((1, 3)))
