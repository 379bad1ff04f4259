"""Segmentation and heatmap losses and their sum over deep supervision (S12, S15)."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from otovox.config.training import HeatmapStep, LossConfig
from otovox.learning.heatmaps import draw_heatmaps
from otovox.learning.networks import Output


class Loss(NamedTuple):
    """Scalars: the total to minimise, and its two parts summed over the levels."""

    total: Tensor
    segmentation: Tensor
    heatmap: Tensor


def soft_dice_loss(
    probability: Tensor, truth: Tensor, *, smoothing: float, squared: bool = False
) -> Tensor:
    """1 - (2 sum(ps) + e) / (sum(p) + sum(s) + e) per case, averaged over the batch.

    Args:
        probability: (b, 1, i, j, k) in 0 to 1.
        truth: (b, 1, i, j, k) in 0 to 1; partial volumes are allowed.
        smoothing: e, voxels.
        squared: squares in the denominator (Milletari et al. 2016).

    >>> truth = torch.tensor([1.0, 1.0, 0.0, 0.0]).reshape(1, 1, 4, 1, 1)
    >>> round(float(soft_dice_loss(truth / 2, truth, smoothing=0.0)), 4)
    0.3333
    """
    axes = (1, 2, 3, 4)
    both = (probability * truth).sum(axes)
    sizes = (
        probability.square().sum(axes) + truth.square().sum(axes)
        if squared
        else probability.sum(axes) + truth.sum(axes)
    )
    return (1.0 - (2.0 * both + smoothing) / (sizes + smoothing)).mean()


def mask_overlap(predicted: Tensor, truth: Tensor) -> dict[str, float]:
    """Dice ("dsc") and intersection over union ("iou") of two masks; 1 if both are empty.

    Args:
        predicted, truth: boolean, of the same shape; all cases of a batch are pooled.

    >>> mask_overlap(torch.tensor([True, True, False]), torch.tensor([True, False, False]))
    {'dsc': 0.6666666666666666, 'iou': 0.5}
    """
    both = float((predicted & truth).sum())
    total = float(predicted.sum() + truth.sum())
    return {
        "dsc": 2 * both / total if total else 1.0,
        "iou": both / (total - both) if total else 1.0,
    }


def segmentation_loss(logits: Tensor, truth: Tensor, *, config: LossConfig) -> Tensor:
    """The configured segmentation loss.

    Args:
        logits: (b, 1, i, j, k) before the sigmoid.
        truth: (b, 1, i, j, k) in 0 to 1.
        config: type of loss.

    Source: Stebani et al. 2023 (S15); log cosh Dice after Jadon 2020.

    >>> truth = torch.tensor([1.0, 0.0]).reshape(1, 1, 2, 1, 1)
    >>> sure = 20 * (2 * truth - 1)
    >>> round(float(segmentation_loss(sure, truth, config=LossConfig())), 4)
    0.0
    """
    logits = logits.float()
    kind = config.segmentation
    if kind == "bce":
        return functional.binary_cross_entropy_with_logits(logits, truth)
    squared = kind == "squared_dice"
    probability = torch.sigmoid(logits)
    dice = soft_dice_loss(probability, truth, smoothing=config.smoothing, squared=squared)
    if kind == "ce+dice":
        return dice + functional.binary_cross_entropy_with_logits(logits, truth)
    if kind == "logcosh_dice":
        return torch.log(torch.cosh(dice))
    return dice


def heatmap_loss(heatmaps: Tensor, truth: Tensor, points_ijk: Tensor) -> Tensor:
    """Mean squared error over the heatmaps of landmarks whose presence is known.

    Args:
        heatmaps, truth: (b, n, i, j, k).
        points_ijk: (b, n, 3); inf marks a landmark whose presence is unknown.
    """
    judged = (~torch.isinf(points_ijk).any(dim=2)).float()
    error = (heatmaps - truth).square().mean(dim=(2, 3, 4))
    return (error * judged).sum() / judged.sum().clamp(min=1)


def total_loss(
    output: Output,
    labels: Tensor,
    points_ijk: Tensor,
    *,
    config: LossConfig,
    step: HeatmapStep,
    auxiliary_factors: tuple[int, ...] = (),
) -> Loss:
    """Weighted sum over the levels; labels are averaged, heatmaps rendered per level.

    Args:
        output: output of the network; auxiliary outputs are included if present.
        labels: (b, 1, i, j, k) in 0 to 1, finest grid.
        points_ijk: (b, n, 3) voxels of the finest grid; nan where absent, inf where unknown.
        config: losses and weights.
        step: shape of the Gaussians.
        auxiliary_factors: coarsening of each auxiliary output.
    """
    levels = [
        (1, output.segmentation_logits, output.heatmaps),
        *(
            (factor, logits, heatmaps)
            for factor, (logits, heatmaps) in zip(
                auxiliary_factors[: len(output.auxiliary)], output.auxiliary, strict=True
            )
        ),
    ]
    weights = config.level_weights[: len(levels)]
    shape = (labels.shape[2], labels.shape[3], labels.shape[4])
    segmentation = heatmap = labels.new_zeros(())
    for weight, (factor, logits, heatmaps) in zip(weights, levels, strict=True):
        share = weight / sum(weights)
        if logits is not None:
            truth = labels if factor == 1 else functional.avg_pool3d(labels, factor)
            segmentation = segmentation + share * segmentation_loss(logits, truth, config=config)
        if heatmaps is not None:
            drawn = draw_heatmaps(
                points_ijk,
                shape,
                spread_voxels=step.spread_voxels,
                amplitude=step.amplitude,
                factor=factor,
            )
            heatmap = heatmap + share * heatmap_loss(heatmaps.float(), drawn, points_ijk)
    total = config.segmentation_weight * segmentation + config.heatmap_weight * heatmap
    return Loss(total, segmentation, heatmap)
