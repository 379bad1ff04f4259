"""Losses against numbers computed by hand."""

import math
from typing import get_args

import pytest
import torch

from otovox.config.training import HeatmapStep, LossConfig
from otovox.learning.heatmaps import draw_heatmaps
from otovox.learning.losses import heatmap_loss, segmentation_loss, soft_dice_loss, total_loss
from otovox.learning.networks import Output

STEP = HeatmapStep(iteration=0, spread_voxels=2.0, amplitude=5.0)
KINDS = get_args(LossConfig.model_fields["segmentation"].annotation)


def cube() -> torch.Tensor:
    truth = torch.zeros(1, 1, 8, 8, 8)
    truth[..., 2:6, 2:6, 2:6] = 1
    return truth


def test_dice_by_hand():
    found, truth = torch.tensor([1.0, 0.5, 0.0, 0.0]), torch.tensor([1.0, 1.0, 0.0, 0.0])
    found, truth = found.reshape(1, 1, 4, 1, 1), truth.reshape(1, 1, 4, 1, 1)
    plain = soft_dice_loss(found, truth, smoothing=1.0)
    squared = soft_dice_loss(found, truth, smoothing=1.0, squared=True)
    assert float(plain) == pytest.approx(1 - (2 * 1.5 + 1) / (1.5 + 2 + 1))
    assert float(squared) == pytest.approx(1 - (2 * 1.5 + 1) / (1.25 + 2 + 1))


def test_kinds_by_hand_at_logit_nought():
    truth = cube()
    dice = 1 - (64 + 1) / (256 + 64 + 1)
    by_hand = {
        "bce": math.log(2),
        "dice": dice,
        "ce+dice": dice + math.log(2),
        "logcosh_dice": math.log(math.cosh(dice)),
        "squared_dice": 1 - (64 + 1) / (128 + 64 + 1),
    }
    assert set(by_hand) == set(KINDS)
    for kind, value in by_hand.items():
        config = LossConfig(segmentation=kind)  # pyright: ignore[reportArgumentType]
        found = segmentation_loss(torch.zeros_like(truth), truth, config=config)
        assert float(found) == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_answer_costs_next_to_nothing_and_the_wrong_one_much(kind):
    truth, config = cube(), LossConfig(segmentation=kind)
    right = segmentation_loss(40 * truth - 20, truth, config=config)
    wrong = segmentation_loss(20 - 40 * truth, truth, config=config)
    assert float(right) < 1e-3
    assert float(wrong) > 0.3


def test_soft_labels_are_best_met_by_their_own_value():
    truth = torch.full((1, 1, 4, 4, 4), 0.3)
    logits = [torch.full_like(truth, math.log(p / (1 - p))) for p in (0.2, 0.3, 0.4)]
    values = [
        float(segmentation_loss(x, truth, config=LossConfig(segmentation="bce"))) for x in logits
    ]
    assert min(values) == values[1]


def test_levels_are_weighted_and_normalised():
    truth, points = cube(), torch.tensor([[[4.0, 4.0, 4.0]]])
    drawn = [
        draw_heatmaps(points, (8, 8, 8), spread_voxels=2.0, amplitude=5.0, factor=factor)
        for factor in (1, 2)
    ]
    logits = 40 * truth - 20
    coarse = torch.nn.functional.avg_pool3d(truth, 2) * 40 - 20
    output = Output(logits, drawn[0], ((coarse, drawn[1] + 3.0),))
    loss = total_loss(output, truth, points, config=LossConfig(), step=STEP, auxiliary_factors=(2,))
    # Only the coarser heatmap is wrong, by 3 everywhere; its share is (1/2) / (1 + 1/2).
    assert float(loss.heatmap) == pytest.approx(9.0 / 3.0, rel=1e-5)
    assert float(loss.segmentation) < 1e-3
    assert float(loss.total) == pytest.approx(float(loss.segmentation + loss.heatmap))


def test_a_single_task_has_its_own_loss_alone():
    truth, points = cube(), torch.full((1, 1, 3), torch.nan)
    loss = total_loss(
        Output(None, torch.ones(1, 1, 8, 8, 8)), truth, points, config=LossConfig(), step=STEP
    )
    assert float(loss.segmentation) == 0
    assert float(loss.heatmap) == pytest.approx(1.0)


def test_a_landmark_that_nobody_looked_for_costs_nothing():
    points = torch.tensor([[[3.0, 3, 3], [math.nan] * 3, [math.inf] * 3]])
    truth = draw_heatmaps(points, (8, 8, 8), spread_voxels=2.0, amplitude=5.0)
    assert float(truth[0, 1:].abs().max()) == 0
    guess = torch.zeros(1, 3, 8, 8, 8)
    known = heatmap_loss(guess, truth, points)
    guess[0, 2] = 100
    assert heatmap_loss(guess, truth, points) == known
    guess[0, 1] = 1
    assert float(heatmap_loss(guess, truth, points) - known) == pytest.approx(0.5)
