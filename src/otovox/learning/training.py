"""Training (S17, S18): Lightning runs the loop; the protocol is defined here.

An interval is `validate_every` iterations and one Lightning epoch: validation and checkpoints
follow at its end, and an interrupted run resumes from there.
"""

import csv
import json
import logging
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import (
    EarlyStopping,
    ModelCheckpoint,
    TQDMProgressBar,
    WeightAveraging,
)
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler

from otovox.config.training import TrainConfig
from otovox.errors import ConfigError
from otovox.learning.bundle import Bundle, load_bundle, save_bundle
from otovox.learning.hardware import Hardware, keep_freed_memory

logger = logging.getLogger(__name__)

Samples = Dataset[dict[str, Tensor]]
_EVERY_INTERVAL: dict[str, Any] = {"save_on_train_epoch_end": True, "enable_version_counter": False}


class Task(Protocol):
    """A training task: a network, its losses and its metrics.

    Attributes:
        network: everything that is trained; frozen parts require no gradient.
        memory_format: memory format of the network and its images.
        shape: shape of a batch of images, (b, c, ...).
    """

    network: nn.Module
    memory_format: torch.memory_format
    shape: tuple[int, ...]

    def losses(self, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
        """Scalars of one batch, starting at iteration 0; "loss" is minimised."""
        ...

    def scores(self, batch: dict[str, Tensor], iteration: int) -> dict[str, float]:
        """Metrics of one validation batch at an iteration."""
        ...

    def choice(self, figures: Mapping[str, float]) -> float:
        """The metric that selects the best model; larger is better.

        Args:
            figures: means over validation, and the mean "train_loss" since the last validation.
        """
        ...

    def example(self, image: Tensor) -> dict[str, Tensor]:
        """A batch with random images of any size, and everything that `losses` needs."""
        ...


class Training(pl.LightningModule):
    """A task with its optimiser, with its network under the name used in checkpoints."""

    def __init__(self, config: TrainConfig, task: Task) -> None:
        super().__init__()
        self.config = config
        self.task = task
        self.network = task.network
        self._losses: list[Tensor] = []
        self._scores: list[dict[str, float]] = []

    @property
    def iteration(self) -> int:
        """Number of forward passes so far, including the current one."""
        return self.trainer.fit_loop.epoch_loop.total_batch_idx + 1

    def on_train_epoch_start(self) -> None:
        # Randomness inside a network, such as dropout, is the same whether resumed or not.
        torch.manual_seed(self.config.seed + self.current_epoch)

    def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
        image = batch["image"].contiguous(memory_format=self.task.memory_format)
        losses = self.task.losses(batch | {"image": image}, self.iteration - 1)
        for name, value in losses.items():
            self.log(name, value, prog_bar=name == "loss")
        self._losses.append(losses["loss"].detach())
        return losses["loss"]

    def validation_step(self, batch: dict[str, Tensor], _: int) -> None:
        self._scores.append(self.task.scores(batch, self.iteration))

    def on_validation_epoch_end(self) -> None:
        names = self._scores[0].keys()
        means = {n: float(np.nanmean([s.get(n, np.nan) for s in self._scores])) for n in names}
        trained = float(torch.stack(self._losses).mean()) if self._losses else float("nan")
        self._losses, self._scores = [], []
        means["train_loss"] = trained
        means["choice"] = self.task.choice(means)
        self.log_dict(means, prog_bar=False)
        if not self.trainer.sanity_checking and self.trainer.is_global_zero:
            _append_row(
                Path(self.trainer.default_root_dir) / "validation.csv", self.iteration, means
            )

    def configure_optimizers(self) -> Any:
        settings = self.config.optimiser
        trained = [one for one in self.parameters() if one.requires_grad]
        if settings.name == "sgd":
            optimiser: torch.optim.Optimizer = torch.optim.SGD(
                trained,
                settings.peak_rate,
                momentum=settings.momentum,
                weight_decay=settings.weight_decay,
            )
        else:
            optimiser = torch.optim.AdamW(
                trained,
                settings.peak_rate,
                betas=settings.betas,
                weight_decay=settings.weight_decay,
            )
        if settings.schedule == "reduce-on-plateau":
            # Counts and threshold as in Keras, which MPUNet uses: torch reduces one later.
            reduced = torch.optim.lr_scheduler.ReduceLROnPlateau(
                optimiser, "max", factor=settings.reduce_factor,
                patience=settings.reduce_patience - 1, threshold=1e-4, threshold_mode="abs",
            )  # fmt: skip
            return {
                "optimizer": optimiser,
                "lr_scheduler": {"scheduler": reduced, "interval": "epoch", "monitor": "choice"},
            }
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimiser, lambda n: settings.rate(n * settings.accumulation) / settings.peak_rate
        )
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Intervals(Sampler[int]):
    """Sample indices, interval by interval, the same whether resumed or not.

    With n processes each takes every n-th sample, so that none is used twice.
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


@dataclass(frozen=True)
class TrainingOptions:
    """Options of a training run.

    Attributes:
        resume: continue from the last checkpoint, if there is one.
        hardware: hardware for training.
        iterations: stop after this many, if fewer than in the settings; a multiple of the interval.
        start: model with the initial weights; None for random ones.
    """

    resume: bool = True
    hardware: Hardware = field(default_factory=Hardware)
    iterations: int | None = None
    start: Bundle | None = None


@rank_zero_only
def clear(folders: Iterable[Path]) -> None:
    """Remove the files of an earlier run, only once for all processes."""
    for folder in folders:
        if folder.exists():
            shutil.rmtree(folder)


def begin(config: TrainConfig, output: Path, origin: Mapping[str, Any]) -> None:
    """Record settings and data of a training run, and seed the weight initialisation.

    Args:
        config: all settings; written to `output`/config.json.
        output: folder of the run; created if necessary.
        origin: data description for the model card, JSON values; written to `output`/data.json.
    """
    output.mkdir(parents=True, exist_ok=True)
    (output / "data.json").write_text(json.dumps(dict(origin), indent=2))
    (output / "config.json").write_text(config.model_dump_json(indent=2) + "\n", "utf-8")
    pl.seed_everything(config.seed, workers=True, verbose=False)


def fit(
    task: Task,
    output: Path,
    datasets: tuple[Samples, Samples],
    *,
    config: TrainConfig,
    run: TrainingOptions,
) -> dict[str, Any]:
    """Train a task's network, or resume its training; a finished network is only loaded.

    Args:
        task: its network receives the weights that `config.kept` names.
        output: folder for checkpoints, curves and metrics of this task only.
        datasets: training samples with unlimited indices, and validation samples.
        config: all settings.
        run: training options.

    Returns:
        The "iteration" and "validation" metrics of these weights.
    """
    keep_freed_memory()
    output.mkdir(parents=True, exist_ok=True)
    last = output / "last.ckpt"
    resumed = run.resume and last.is_file()
    if not resumed:
        (output / "validation.csv").unlink(missing_ok=True)
    training = Training(config, task)
    training.to(memory_format=task.memory_format)
    if not (resumed and _stopped_early(last)):
        _trainer(output, config, run).fit(
            training,
            *_loaders(config, datasets),
            ckpt_path=str(last) if resumed else None,
            weights_only=True,
        )
    return _kept(task, output, config)


def _trainer(output: Path, config: TrainConfig, run: TrainingOptions) -> pl.Trainer:
    best = ModelCheckpoint(output, "best", monitor="choice", mode="max", **_EVERY_INTERVAL)
    # Lightning's `save_last` writes only together with a new best one.
    last = ModelCheckpoint(output, "last", **_EVERY_INTERVAL)
    callbacks: list[Any] = [best, last, TQDMProgressBar(refresh_rate=10)]
    if config.optimiser.average_decay:
        callbacks.append(WeightAveraging(avg_fn=_Average(config.optimiser.average_decay)))
    if config.optimiser.stop_patience:
        patience = config.optimiser.stop_patience
        callbacks.append(EarlyStopping("choice", patience=patience, mode="max"))
    hardware = run.hardware
    return pl.Trainer(
        default_root_dir=output,
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        strategy=hardware.strategy,
        max_epochs=intervals(config, run.iterations),
        limit_train_batches=config.validate_every,
        accumulate_grad_batches=config.optimiser.accumulation,
        gradient_clip_val=config.optimiser.gradient_clip or None,
        precision=hardware.precision(config.precision),
        logger=TensorBoardLogger(output, name="curves", version=""),
        callbacks=callbacks,
        num_sanity_val_steps=0,
        log_every_n_steps=min(20, config.validate_every),
        enable_model_summary=False,
        use_distributed_sampler=False,
        deterministic="warn" if hardware.accelerator == "gpu" else None,
    )


def _stopped_early(checkpoint: Path) -> bool:
    """Whether training ended there because the validation no longer improved."""
    states = torch.load(checkpoint, map_location="cpu", weights_only=True)["callbacks"]
    return any(
        state["wait_count"] >= state["patience"]
        for name, state in states.items()
        if name.startswith("EarlyStopping")
    )


def finish(
    network: nn.Module, output: Path, config: TrainConfig, facts: Mapping[str, Any]
) -> Bundle:
    """Write a trained network as a bundle to `output`/model.

    Args:
        network: network of the whole system, trained.
        output: folder of the run, in which `begin` recorded the data.
        config: all settings.
        facts: information for the model card, JSON values; that of the data is added.
    """
    all_facts = {**facts, **json.loads((output / "data.json").read_text("utf-8"))}
    save_bundle(output / "model", network, config, facts=all_facts)
    logger.info(
        "weights of iteration %d: %s", all_facts["iteration"], json.dumps(all_facts["validation"])
    )
    return load_bundle(output / "model")


def _kept(task: Task, output: Path, config: TrainConfig) -> dict[str, Any]:
    """Load the kept weights into the task's network; returns their iteration and metrics."""
    kept = torch.load(output / f"{config.kept}.ckpt", map_location="cpu", weights_only=True)
    training = Training(config, task)
    training.load_state_dict(kept["state_dict"])
    training.cpu()
    with (output / "validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    figures = {int(row["iteration"]): row for row in rows}
    reached = (kept["epoch"] + 1) * config.validate_every
    row = figures.get(reached, rows[-1])
    return {
        "iteration": reached,
        "validation": {
            k: float(v) for k, v in row.items() if k not in ("iteration", "train_loss", "choice")
        },
    }


def intervals(config: TrainConfig, iterations: int | None) -> int:
    """Number of intervals of a training run.

    Args:
        config: all settings.
        iterations: stop after this many, if fewer than in the settings.

    Raises:
        ConfigError: if the iterations are not a multiple of the interval.
    """
    total = config.optimiser.total_iterations
    if iterations is not None:
        total = min(total, iterations)
    if total % config.validate_every:
        raise ConfigError(
            f"{total} iterations are not a multiple of {config.validate_every}, the interval "
            "between validations"
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
    """One thread per worker: more would compete with the training itself."""
    import SimpleITK as sitk
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    threadpool_limits(1)


class _Average:
    """Running mean of the weights, with faster decay at first to forget the start."""

    def __init__(self, decay: float) -> None:
        self.decay = decay

    def __call__(self, average: Tensor, current: Tensor, count: Tensor | int) -> Tensor:
        decay = min(self.decay, (1 + float(count)) / (10 + float(count)))
        return average.lerp(current, 1 - decay)


def _append_row(path: Path, iteration: int, figures: dict[str, float]) -> None:
    """Add a row to a table of metrics; a run started by an earlier version keeps its columns.

    Rows of this iteration and later ones go: their run was killed before its checkpoint.
    """
    columns, rows = ["iteration", *figures], []
    if path.exists():
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if int(row["iteration"]) < iteration]
            columns = list(reader.fieldnames or columns)
    beside = path.with_suffix(".part")
    with beside.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows([*rows, {"iteration": iteration, **figures}])
    beside.replace(path)
