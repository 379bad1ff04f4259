"""Elastic deformation moves image and labels together; robust scaling ignores outliers."""

import numpy as np
import pytest

from otovox.systems.mpunet.elastic import Elastic, deform, draw_elastic, robust_scale


@pytest.fixture
def disc():
    away = np.linalg.norm(np.moveaxis(np.indices((96, 80)), 0, -1) - (40, 44), axis=-1)
    return np.clip(20 - away, 0, 1).astype(np.float32)


def test_nothing_drawn_changes_nothing(disc):
    image, labels = deform(Elastic(), disc, disc > 0.5, outside=-3)
    assert np.array_equal(image, disc)
    assert np.array_equal(labels, disc > 0.5)


def test_image_and_labels_move_together(disc):
    elastic = Elastic(strength=450, smoothness=20, seed=4)
    image, labels = deform(elastic, disc, disc > 0.5, outside=0)
    moved = np.abs(image - disc) > 0.5
    assert np.count_nonzero(moved) > 50
    assert set(np.unique(labels)) == {0, 1}
    # At a sharp border linear and nearest differ on it alone.
    assert np.count_nonzero((image > 0.5) != (labels > 0.5)) < 40
    again, _ = deform(elastic, disc, disc > 0.5, outside=0)
    assert np.array_equal(again, image)


def test_displacements_scale_with_the_strength():
    ramp = np.tile(np.arange(120, dtype=np.float32)[:, None], (1, 120))
    inner = (slice(40, 80), slice(40, 80))
    moves = [
        (deform(Elastic(strength, 20, 1), ramp, ramp, outside=0)[0] - ramp)[inner]
        for strength in (100, 200)
    ]
    assert np.abs(moves[1]).max() > 0.3
    assert np.allclose(moves[1], 2 * moves[0], atol=1e-3)
    # Smooth: neighbours move almost alike.
    assert np.abs(np.diff(moves[1], axis=0)).max() < 0.2 * np.abs(moves[1]).max()


def test_beyond_the_image_is_as_requested():
    image = np.full((64, 64), 5, np.float32)
    moved, labels = deform(Elastic(4000, 10, 2), image, np.ones((64, 64)), outside=-3)
    assert moved.min() == -3
    assert (labels[moved == -3] == 0).all()


def test_a_third_of_the_planes_is_deformed_within_the_limits():
    rng = np.random.default_rng(0)
    drawn = [draw_elastic(rng) for _ in range(2000)]
    changed = [one for one in drawn if one.strength]
    assert len(changed) / len(drawn) == pytest.approx(1 / 3, abs=0.03)
    assert all(0 < one.strength <= 450 and 20 <= one.smoothness <= 30 for one in changed)
    assert len({one.seed for one in changed}) == len(changed)


def test_robust_scaling_by_hand():
    values = np.array([0, 1, 2, 3, 4.0])
    scale = robust_scale(values)
    assert scale.applied(values).tolist() == [-1, -0.5, 0, 0.5, 1]
    assert scale.beyond == pytest.approx(-0.98)
    outlying = np.array([0, 1, 2, 3, 4e6])
    assert robust_scale(outlying).applied(outlying)[:4].tolist() == [-1, -0.5, 0, 0.5]


def test_a_flat_volume_is_only_shifted():
    flat = np.full((2, 2), 7)
    assert robust_scale(flat).applied(flat).tolist() == [[0, 0], [0, 0]]
