"""The network in training: its losses, its optimiser, its validation figures (S15-S18)."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from otovox.chunks import slabs
from otovox.config import TrainConfig, heatmap_step
from otovox.heatmaps import decode, render
from otovox.intensity import normalise
from otovox.losses import total_loss
from otovox.networks import DualHeadUNet
from otovox.networks.unet import Output


class Training(pl.LightningModule):
    """The network with its losses, its optimiser and its validation figures."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__()
        self.config = config
        self.network = DualHeadUNet(config.network)
        self._scores: list[dict[str, float]] = []

    @property
    def iteration(self) -> int:
        """Forward passes of a batch so far, the present one among them."""
        return self.trainer.fit_loop.epoch_loop.total_batch_idx + 1

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        step = heatmap_step(self.config.heatmaps, self.iteration - 1)
        image = batch["image"].contiguous(memory_format=torch.channels_last_3d)
        loss = total_loss(
            self.network(image),
            batch["labels"],
            batch["points"],
            config=self.config.loss,
            step=step,
            auxiliary_factors=self.config.network.auxiliary_factors,
        )
        self.log("loss", loss.total, prog_bar=True)
        self.log("loss_segmentation", loss.segmentation)
        self.log("loss_heatmap", loss.heatmap)
        return loss.total

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        step = heatmap_step(self.config.heatmaps, self.iteration)
        output = self._output(batch["image"])
        if self.config.data.source == "dataset":
            # Whole volumes are put together in the machine's memory, not in the accelerator's.
            batch = {key: values.cpu() for key, values in batch.items()}
        shape = (batch["image"].shape[2], batch["image"].shape[3], batch["image"].shape[4])
        scores: dict[str, float] = {
            "val_loss": float(
                total_loss(
                    output, batch["labels"], batch["points"], config=self.config.loss, step=step
                ).total
            )
        }
        if output.segmentation_logits is not None:
            scores |= _overlap(output.segmentation_logits > 0, batch["labels"] > 0.5)
        if output.heatmaps is not None:
            truth = render(
                batch["points"], shape, spread_voxels=step.spread_voxels, amplitude=step.amplitude
            )
            heatmaps = output.heatmaps.float()
            scores["mse"] = float(functional.mse_loss(heatmaps, truth))
            scores["mae"] = float(functional.l1_loss(heatmaps, truth))
            scores["landmark_mm"] = self._landmark_error_mm(heatmaps, batch["points"])
        self._scores.append(scores)

    def _output(self, image: Tensor) -> Output:
        """Of one chunk at once; of a whole volume by sliding windows (S18)."""
        config = self.config
        if config.data.source != "dataset":
            return self.network(image, auxiliary=False)

        def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
            if config.data.intensity == "chunk":
                images = np.stack([normalise(one[0])[None] for one in images])
            output = self.network(torch.from_numpy(images).to(self.device), auxiliary=False)
            parts = (output.segmentation_logits, output.heatmaps)
            found = torch.cat([part.float() for part in parts if part is not None], dim=1)
            return found.cpu().numpy()

        i, j, k = (
            max(1, round(side * (1 - config.data.validation_overlap))) for side in config.data.shape
        )
        volume = image[0, 0].cpu().numpy()
        blended = slabs(volume, run, chunk=config.data.shape, stride=(i, j, k))
        whole = torch.from_numpy(np.concatenate([values for _, values in blended], axis=1))[None]
        first = 1 if config.network.has_segmentation else 0
        return Output(
            whole[:, :first] if config.network.has_segmentation else None,
            whole[:, first:] if config.network.has_landmarks else None,
        )

    def _landmark_error_mm(self, heatmaps: Tensor, points: Tensor) -> float:
        found = np.stack([decode(maps)[0] for maps in heatmaps])
        gap = np.linalg.norm(found - points.cpu().numpy(), axis=2)
        known = np.isfinite(gap)
        return float(gap[known].mean() * self.config.data.spacing_mm) if known.any() else np.nan

    def on_validation_epoch_end(self) -> None:
        names = self._scores[0].keys()
        means = {n: _mean([s.get(n, np.nan) for s in self._scores]) for n in names}
        self._scores = []
        # One figure to choose the best by: Dice, and with equal Dice the heatmaps' error (S18).
        # Without a segmentation the landmarks' distance: a schedule's steps change the heatmaps'
        # error, whatever the network does.
        if "dsc" in means:
            means["choice"] = means["dsc"] - 1e-4 * means.get("mse", 0.0)
        else:
            means["choice"] = -float(np.nan_to_num(means["landmark_mm"], nan=1e3))
        self.log_dict(means, prog_bar=False)
        if not self.trainer.sanity_checking and self.trainer.is_global_zero:
            _append_row(
                Path(self.trainer.default_root_dir) / "validation.csv", self.iteration, means
            )

    def configure_optimizers(self) -> Any:
        settings = self.config.optimiser
        if settings.name == "sgd":
            optimiser: torch.optim.Optimizer = torch.optim.SGD(
                self.parameters(),
                settings.peak_rate,
                momentum=settings.momentum,
                weight_decay=settings.weight_decay,
            )
        else:
            optimiser = torch.optim.AdamW(
                self.parameters(),
                settings.peak_rate,
                betas=settings.betas,
                weight_decay=settings.weight_decay,
            )
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda n: settings.rate(n * settings.accumulation) / settings.peak_rate
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _mean(values: Sequence[float]) -> float:
    """Of those that are known; nan if none is."""
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def _overlap(found: Tensor, truth: Tensor) -> dict[str, float]:
    both = float((found & truth).sum())
    either = float((found | truth).sum())
    total = float(found.sum() + truth.sum())
    return {
        "dsc": 2 * both / total if total else 1.0,
        "iou": both / either if either else 1.0,
    }


def _append_row(path: Path, iteration: int, figures: dict[str, float]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, ["iteration", *figures])
        if new:
            writer.writeheader()
        writer.writerow({"iteration": iteration, **figures})
