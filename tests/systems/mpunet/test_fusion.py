"""Fusion learns which view is worth listening to."""

import numpy as np
import pytest
import torch

from otovox.systems.mpunet.fusion import contested, fuse, train_fusion
from otovox.systems.mpunet.network import ViewFusion


@pytest.fixture
def noisy():
    """Six views, of which one sees the truth; the others are noise."""
    rng = np.random.default_rng(0)
    labels = (rng.random(40_000) < 0.3).astype(np.uint8)
    views = rng.random((6, 40_000)).astype(np.float32)
    views[2] = np.clip(0.5 + 0.3 * (2.0 * labels - 1) + rng.normal(0, 0.15, 40_000), 0, 1)
    return views, labels


def errors(probability, labels):
    return float(np.mean((probability > 0.5) != labels))


def test_the_better_view_is_recovered(noisy):
    views, labels = noisy
    fusion = train_fusion(views[:, :30_000].T, labels[:30_000], rate=0.05)
    weights = fusion.weights.detach().numpy().sum(axis=1)
    assert np.argmax(weights) == 2
    assert weights[2] > 5 * np.abs(np.delete(weights, 2)).max()
    held_out = views[:, 30_000:], labels[30_000:]
    learned = errors(fuse(held_out[0], fusion), held_out[1])
    alone = errors(held_out[0][2], held_out[1])
    summed = errors(fuse(held_out[0], fusion, "sum"), held_out[1])
    assert learned < alone + 0.01
    assert summed > 5 * learned


def test_what_is_fused_is_the_modules_softmax(noisy):
    views = noisy[0][:, :50]
    fusion = ViewFusion(6)
    torch.nn.init.normal_(fusion.weights)
    torch.nn.init.normal_(fusion.bias)
    both = torch.from_numpy(np.stack((1 - views.T, views.T), axis=2))
    expected = torch.softmax(fusion(both), dim=1)[:, 1].detach().numpy()
    assert np.allclose(fuse(views, fusion), expected, atol=1e-6)


def test_as_it_begins_it_decides_as_the_sum(noisy):
    views = noisy[0][:, :500]
    start = fuse(views, ViewFusion(6))
    assert np.array_equal(start > 0.5, fuse(views, ViewFusion(6), "sum") > 0.5)


def test_training_is_repeatable_and_never_worse_than_the_sum(noisy):
    views, labels = noisy
    one, two = (train_fusion(views.T, labels, epochs=2, seed=3) for _ in range(2))
    assert torch.equal(one.weights, two.weights)
    assert errors(fuse(views, one), labels) <= errors(fuse(views, one, "sum"), labels)


def test_without_voxels_it_is_the_plain_sum():
    fusion = train_fusion(np.zeros((0, 4), np.float32), np.zeros(0, np.uint8))
    assert torch.equal(fusion.weights, torch.ones(4, 2))


def test_contested_voxels_are_those_that_any_view_or_the_truth_claims():
    views = np.zeros((2, 4, 4, 4), np.float32)
    labels = np.zeros((4, 4, 4), np.uint8)
    views[1, 0, 0, 0], labels[3, 3, 3] = 0.4, 1
    rng = np.random.default_rng(0)
    given, truth = contested(views, labels, most=10, rng=rng)
    assert given.tolist() == [[0, pytest.approx(0.4)], [0, 0]]
    assert truth.tolist() == [0, 1]
    assert len(contested(views, labels, most=1, rng=rng)[1]) == 1


def test_a_majority_of_the_masks_decides_not_of_the_probabilities():
    """Fauser et al. 2019, three views; with an even number, equal votes are background."""
    views = np.array([[0.6, 0.6, 0.9], [0.6, 0.1, 0.2], [0.1, 0.45, 0.8]], np.float32)
    majority = fuse(views, ViewFusion(3), "majority")
    assert majority == pytest.approx([2 / 3, 1 / 3, 2 / 3])
    assert ((majority > 0.5) == [True, False, True]).all()
    assert ((fuse(views, ViewFusion(3), "sum") > 0.5) == [False, False, True]).all()
    assert (fuse(views[:2], ViewFusion(2), "majority") > 0.5).tolist() == [True, False, False]
