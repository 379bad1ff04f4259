"""Validation metrics (S18): IoU, DSC, MSE, MAE and loss, of chunks or of whole volumes."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from otovox.config.training import HeatmapStep, TrainConfig
from otovox.imaging.intensity import normalise
from otovox.imaging.windows import Blend, Shape, usual_stride, windows
from otovox.learning.heatmaps import draw_heatmaps
from otovox.learning.losses import heatmap_loss, mask_overlap, total_loss
from otovox.learning.networks import Output
from otovox.learning.peaks import decode


def validation_scores(
    network: nn.Module, batch: dict[str, Tensor], *, config: TrainConfig, step: HeatmapStep
) -> dict[str, float]:
    """Validate on one batch.

    Args:
        network: in evaluation mode.
        batch: image and labels (b, 1, i, j, k), points (b, n, 3) in voxels. With the shape of
            a chunk, or one whole volume, b = 1, which is predicted in sliding windows.
        config: settings of the training.
        step: shape of the heatmap targets.

    Returns:
        Metrics by name: val_loss; dsc and iou with a segmentation head; mse, mae and landmark_mm
        with a heatmap head.
    """
    shape = _shape(batch["image"])
    if shape == config.data.shape:
        output = network(batch["image"], auxiliary=False)
        loss = total_loss(output, batch["labels"], batch["points"], config=config.loss, step=step)
        logits, heatmaps, _ = output
        output = Output(logits, None if heatmaps is None else heatmaps.float())
        return {"val_loss": float(loss.total)} | _scores(output, batch, config, step)
    output, loss = _swept(network, batch, config, step)
    on_cpu = {name: tensor.cpu() for name, tensor in batch.items()}
    return {"val_loss": loss} | _scores(output, on_cpu, config, step)


def _shape(image: Tensor) -> Shape:
    return image.shape[2], image.shape[3], image.shape[4]


def _swept(
    network: nn.Module, batch: dict[str, Tensor], config: TrainConfig, step: HeatmapStep
) -> tuple[Output, float]:
    """Prediction of a whole volume, blended on the CPU, and the mean loss of its chunks."""
    chunk, shape, heads = config.data.shape, _shape(batch["image"]), config.network
    count = heads.has_segmentation + heads.has_landmarks * len(heads.landmarks)
    total = np.zeros((count, *shape), dtype=np.float32)
    blend = Blend(total, np.zeros(shape, dtype=np.float32), chunk)
    losses = []
    for window in windows(shape, chunk, usual_stride(chunk)):
        where = (slice(None), slice(None), *window)
        image = batch["image"][where]
        if config.data.normalisation == "chunk":
            own = normalise(image[0, 0].cpu().numpy())
            image = torch.from_numpy(own[None, None]).to(image.device)
        output = network(image, auxiliary=False)
        points = batch["points"] - batch["points"].new_tensor([side.start for side in window])
        labels = batch["labels"][where]
        loss = total_loss(output, labels, points, config=config.loss, step=step)
        losses.append(float(loss.total))
        parts = [tensor for tensor in output[:2] if tensor is not None]
        blend.add(window, torch.cat(parts, dim=1)[0].float().cpu().numpy())
    blended = torch.from_numpy(blend.finish())[None]
    logits = blended[:, :1] if heads.has_segmentation else None
    heatmaps = blended[:, -len(heads.landmarks) :] if heads.has_landmarks else None
    return Output(logits, heatmaps), float(np.mean(losses))


def _scores(
    output: Output, batch: dict[str, Tensor], config: TrainConfig, step: HeatmapStep
) -> dict[str, float]:
    figures: dict[str, float] = {}
    if output.segmentation_logits is not None:
        figures |= mask_overlap(output.segmentation_logits > 0, batch["labels"] > 0.5)
    if output.heatmaps is not None:
        truth = draw_heatmaps(
            batch["points"],
            _shape(batch["image"]),
            spread_voxels=step.spread_voxels,
            amplitude=step.amplitude,
        )
        figures["mse"] = float(heatmap_loss(output.heatmaps, truth, batch["points"]))
        figures["mae"] = float(functional.l1_loss(output.heatmaps, truth))
        figures["landmark_mm"] = _landmark_error_mm(output.heatmaps, batch["points"], config)
    return figures


def _landmark_error_mm(heatmaps: Tensor, points: Tensor, config: TrainConfig) -> float:
    decoded = np.stack([decode(maps)[0] for maps in heatmaps.detach().float().cpu().numpy()])
    gaps = np.linalg.norm(decoded - points.cpu().numpy(), axis=2)
    present = np.isfinite(gaps)
    return float(gaps[present].mean() * config.data.spacing_mm) if present.any() else np.nan
