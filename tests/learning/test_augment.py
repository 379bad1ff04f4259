"""Augmentation: what moves voxels moves points; a draw says everything that happens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otovox.config.training import AugmentationConfig
from otovox.learning.augment import Augmentation, apply, draw
from otovox.learning.peaks import decode

SIZE = 24
MIDDLE = (SIZE - 1) / 2


def blob(point: np.ndarray) -> np.ndarray:
    away = np.moveaxis(np.indices((SIZE,) * 3), 0, -1) - point
    return np.exp(-0.5 * (away**2).sum(axis=-1) / 2.0**2).astype(np.float32)


def turned(augmentation: Augmentation) -> Augmentation:
    """Its turns alone."""
    return Augmentation(
        augmentation.quarter_turns, augmentation.quarter_axis, augmentation.turn_deg
    )


@given(
    seed=st.integers(0, 10_000),
    protocol=st.sampled_from(["none", "alpha", "beta"]),
    offset=st.tuples(*[st.floats(-4, 4)] * 3),
)
@settings(max_examples=20, deadline=None)
def test_a_blob_at_a_landmark_warped_stays_on_the_warped_landmark(seed, protocol, offset):
    config = AugmentationConfig(protocol=protocol, turn_probability=1)
    point = np.array(offset) + MIDDLE
    image = blob(point)
    warp = turned(draw(config, np.random.default_rng(seed)))
    warped, labels, points = apply(warp, image, image, point[None])
    for values in (warped, labels):
        found, _ = decode(values[None])
        np.testing.assert_allclose(found[0], points[0], atol=0.2)
    if protocol != "none":
        assert warp.rotation != pytest.approx(np.eye(3))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns_are_exact(axis, turns):
    image = np.random.default_rng(0).normal(size=(6, 6, 6)).astype(np.float32)
    labels = (image > 0).astype(np.float32)
    warp = Augmentation(quarter_turns=turns, quarter_axis=axis)
    first, second = (axis + 1) % 3, (axis + 2) % 3
    found = apply(warp, image, labels, np.zeros((1, 3)))
    np.testing.assert_allclose(found[0], np.rot90(image, turns, axes=(first, second)), atol=1e-6)
    np.testing.assert_array_equal(found[1], np.rot90(labels, turns, axes=(first, second)))


def test_points_beyond_the_chunk_turn_with_it():
    image = np.zeros((10, 10, 10), np.float32)
    points = np.array([[14.5, 4.5, 0.0], [4.5, 4.5, 4.5], [np.nan] * 3])
    warped = apply(Augmentation(turn_deg=(0, 0, 30)), image, image, points)[2]
    np.testing.assert_allclose(warped[0], [4.5 + 10 * np.cos(np.pi / 6), 9.5, 0.0])
    np.testing.assert_allclose(warped[1], 4.5)
    assert np.isnan(warped[2]).all()


def test_contrast_and_noise_are_as_drawn_and_repeat():
    image = np.random.default_rng(0).normal(size=(32, 32, 32)).astype(np.float32)
    nothing = np.zeros((0, 3))
    mask = (image > 0).astype(np.float32)
    factor, labels, _ = apply(Augmentation(contrast=1.5), image, mask, nothing)
    np.testing.assert_allclose(factor, 1.5 * image, rtol=1e-6)
    np.testing.assert_array_equal(labels, mask)
    noisy = Augmentation(gaussian_sd=0.5, noise_seed=7)
    once, twice = (apply(noisy, image, image, nothing)[0] for _ in range(2))
    np.testing.assert_array_equal(once, twice)
    assert float((once - image).std()) == pytest.approx(0.5, rel=0.03)
    counted = Augmentation(poisson_rate=0.8, poisson_scale=0.2)
    added = apply(counted, image, image, nothing)[0] - image
    assert float(added.mean()) == pytest.approx(0, abs=0.005)
    assert float(added.std()) == pytest.approx(0.2 * 0.8**0.5, rel=0.03)


def test_draws_keep_to_their_protocol():
    rng = np.random.default_rng(0)
    draws = {
        name: [draw(AugmentationConfig(protocol=name), rng) for _ in range(600)]
        for name in ("none", "alpha", "beta")
    }
    assert set(draws["none"]) == {Augmentation()}
    for name, greatest in (("alpha", 30), ("beta", 45)):
        angles = np.linalg.norm([one.turn_deg for one in draws[name]], axis=1)
        assert 0.95 * greatest < angles.max() <= greatest
        assert np.mean(angles > 0) == pytest.approx(0.5, abs=0.08)
        assert {one.quarter_turns for one in draws[name]} == {0, 1, 2, 3}
        factors = np.array([one.contrast for one in draws[name]])
        assert np.mean(factors != 1) == pytest.approx(0.1, abs=0.05)
        assert factors.min() >= 0.5
        assert factors.max() <= 1.5
    assert {one.quarter_axis for one in draws["alpha"]} == {0}
    assert {one.quarter_axis for one in draws["beta"]} == {0, 1, 2}
