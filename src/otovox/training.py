"""Training (S17, S18): Lightning runs the loop; the protocol is written down here.

An interval is `validate_every` iterations and one Lightning epoch: validation and checkpoints come
at its end, and a killed run goes on from there.
"""

import csv
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from otovox.bundle import Bundle, load_bundle, save_bundle
from otovox.config import TrainConfig, heatmap_step
from otovox.errors import ConfigError
from otovox.losses import total_loss
from otovox.networks import DualHeadUNet
from otovox.phantom.cache import VERSION as PHANTOM_VERSION
from otovox.training_data import phantom_datasets
from otovox.validation import scores

logger = logging.getLogger(__name__)

Samples = Dataset[dict[str, Tensor]]


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
        self._scores.append(scores(self.network, batch, config=self.config, step=step))

    def on_validation_epoch_end(self) -> None:
        names = self._scores[0].keys()
        means = {n: float(np.nanmean([s.get(n, np.nan) for s in self._scores])) for n in names}
        self._scores = []
        # One figure to choose the best by: Dice, and with equal Dice the heatmaps' error (S18).
        # Without masks it is the landmarks' error: the heatmaps' depends on the schedule's step.
        means["choice"] = -means.get("landmark_mm", 0.0)
        if "dsc" in means:
            means["choice"] = means["dsc"] - 1e-4 * means.get("mse", 0.0)
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


@dataclass(frozen=True)
class Hardware:
    """Where to train, in Lightning's words.

    Attributes:
        accelerator: "auto", "cpu" or "gpu".
        devices: per node; "auto" for all, a number, or a list such as "0,1".
        nodes: how many machines.
        strategy: how several devices share the work, such as "ddp".
    """

    accelerator: str = "auto"
    devices: str = "auto"
    nodes: int = 1
    strategy: str = "auto"


class Intervals(Sampler[int]):
    """The sample numbers of one interval after the other, the same whether resumed or not.

    With several processes each takes every n-th sample, so that none is seen twice.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before every epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rank, world = 0, 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        first = self.epoch * self.size * world
        return iter(range(first + rank, first + self.size * world, world))

    def __len__(self) -> int:
        return self.size


def train(
    config: TrainConfig,
    output: Path,
    datasets: tuple[Samples, Samples],
    *,
    resume: bool = True,
    hardware: Hardware | None = None,
    iterations: int | None = None,
    origin: Mapping[str, Any] | None = None,
) -> Bundle:
    """Train a network.

    Args:
        config: everything that is set.
        output: folder for checkpoints, curves, figures and the finished model (`model/`).
        datasets: training samples, indexed without end, and validation samples.
        resume: go on from the last checkpoint in `output`, if there is one.
        hardware: where to train; by default what there is.
        iterations: stop earlier than the settings say, after a whole interval.
        origin: what the model's card says of the data, JSON values; of phantoms by default.

    Returns:
        The best model so far, also written to `output`/model.
    """
    hardware = hardware or Hardware()
    pl.seed_everything(config.seed, workers=True, verbose=False)
    output.mkdir(parents=True, exist_ok=True)
    last = output / "last.ckpt"
    if not (resume and last.is_file()):
        (output / "validation.csv").unlink(missing_ok=True)
    (output / "data.json").write_text(json.dumps(dict(origin or _phantoms(config)), indent=2))
    (output / "config.json").write_text(config.model_dump_json(indent=2) + "\n", "utf-8")
    training = Training(config)
    training.to(memory_format=torch.channels_last_3d)
    best = ModelCheckpoint(
        output, "best", monitor="choice", mode="max", save_last=True, save_on_train_epoch_end=True,
        enable_version_counter=False,
    )  # fmt: skip
    callbacks: list[Any] = [best, TQDMProgressBar(refresh_rate=10)]
    if config.optimiser.average_decay:
        callbacks.append(WeightAveraging(avg_fn=_Average(config.optimiser.average_decay)))
    trainer = pl.Trainer(
        default_root_dir=output,
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        strategy=hardware.strategy,
        max_epochs=_intervals(config, iterations),
        limit_train_batches=config.validate_every,
        accumulate_grad_batches=config.optimiser.accumulation,
        gradient_clip_val=config.optimiser.gradient_clip or None,
        precision=config.precision,
        logger=TensorBoardLogger(output, name="curves", version=""),
        callbacks=callbacks,
        num_sanity_val_steps=0,
        log_every_n_steps=min(20, config.validate_every),
        enable_model_summary=False,
        use_distributed_sampler=False,
        deterministic="warn" if hardware.accelerator == "gpu" else None,
    )
    trainer.fit(
        training,
        *_loaders(config, datasets),
        ckpt_path=str(last) if resume and last.is_file() else None,
        weights_only=True,
    )
    return export(output, config)


def export(output: Path, config: TrainConfig) -> Bundle:
    """Write the best checkpoint of a run as a bundle to `output`/model."""
    kept = torch.load(output / "best.ckpt", map_location="cpu", weights_only=True)
    training = Training(config)
    training.load_state_dict(kept["state_dict"])
    with (output / "validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    figures = {int(row["iteration"]): row for row in rows}
    reached = (kept["epoch"] + 1) * config.validate_every
    row = figures.get(reached, rows[-1])
    facts = {
        "iteration": reached,
        "validation": {k: float(v) for k, v in row.items() if k not in ("iteration", "choice")},
        **json.loads((output / "data.json").read_text("utf-8")),
    }
    save_bundle(output / "model", training.network, config, facts=facts)
    logger.info("best at iteration %d: %s", reached, json.dumps(facts["validation"]))
    return load_bundle(output / "model")


def train_preset(
    config: TrainConfig,
    output: Path,
    *,
    resume: bool = True,
    iterations: int | None = None,
    hardware: Hardware | None = None,
) -> Bundle:
    """Train on phantoms, as the settings say; anatomies are kept in `output`/anatomies."""
    datasets = phantom_datasets(config.data, output / "anatomies")
    return train(config, output, datasets, resume=resume, hardware=hardware, iterations=iterations)


def _phantoms(config: TrainConfig) -> dict[str, Any]:
    return {
        "validation_data": f"{config.data.validation_cases} unseen phantom samples",
        "training_data": f"phantoms of version {PHANTOM_VERSION}, seeds from {config.data.seed}",
    }


def _intervals(config: TrainConfig, iterations: int | None) -> int:
    total = config.optimiser.total_iterations
    if iterations is not None:
        total = min(total, iterations)
    if total % config.validate_every:
        raise ConfigError(
            f"{total} iterations are no whole number of intervals of {config.validate_every}"
        )
    return total // config.validate_every


def _loaders(
    config: TrainConfig, datasets: tuple[Samples, Samples]
) -> tuple[DataLoader, DataLoader]:
    data = config.data
    sampler = Intervals(config.validate_every * data.batch_size)
    workers: dict[str, Any] = {}
    if data.workers:
        workers = {
            "num_workers": data.workers,
            "worker_init_fn": _single_threaded,
            "persistent_workers": True,
        }
    training = DataLoader(datasets[0], batch_size=data.batch_size, sampler=sampler, **workers)
    return training, DataLoader(datasets[1], batch_size=1)


def _single_threaded(_: int) -> None:
    """One thread per worker: more would take the cores from the training itself."""
    import SimpleITK as sitk
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    threadpool_limits(1)


class _Average:
    """Running mean of the weights, faster at first, so that the start is soon forgotten."""

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def __call__(self, average: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        decay = min(self.decay, (1 + float(count)) / (10 + float(count)))
        return average.lerp(current, 1 - decay)


def _append_row(path: Path, iteration: int, figures: dict[str, float]) -> None:
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, ["iteration", *figures])
        if new:
            writer.writeheader()
        writer.writerow({"iteration": iteration, **figures})
