"""Training (S17, S18): Lightning runs the loop; the protocol is written down here.

An interval is `validate_every` iterations and one Lightning epoch: validation and checkpoints come
at its end, and a killed run goes on from there.
"""

import csv
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import ModelCheckpoint, TQDMProgressBar, WeightAveraging
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from otovox.bundle import Bundle, load_bundle, save_bundle
from otovox.config import TrainConfig
from otovox.errors import ConfigError
from otovox.learner import Training
from otovox.training_data import Datasets, phantom_datasets

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Machine:
    """Where to train, in Lightning's own words.

    Attributes:
        accelerator: "auto", "cpu" or "gpu".
        devices: how many per node, which ("0,2"), or "auto".
        nodes: how many machines.
        strategy: such as "auto", "ddp", "fsdp"; every device then draws chunks of its own.
    """

    accelerator: str = "auto"
    devices: str = "auto"
    nodes: int = 1
    strategy: str = "auto"


#: This machine, as Lightning finds it.
HERE = Machine()


class Intervals(Sampler[int]):
    """The sample numbers of one interval after the other, the same whether resumed or not.

    Of several devices each takes every other number, so that none sees what another does.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before every epoch."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rank, devices = 0, 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, devices = torch.distributed.get_rank(), torch.distributed.get_world_size()
        first, last = (n * self.size * devices for n in (self.epoch, self.epoch + 1))
        return iter(range(first + rank, last, devices))

    def __len__(self) -> int:
        return self.size


def train(
    config: TrainConfig,
    output: Path,
    datasets: Datasets,
    *,
    resume: bool = True,
    machine: Machine = HERE,
    iterations: int | None = None,
) -> Bundle:
    """Train a network.

    Args:
        config: everything that is set.
        output: folder for checkpoints, curves, figures and the finished model (`model/`).
        datasets: training samples, indexed without end, and validation samples.
        resume: go on from the last checkpoint in `output`, if there is one.
        machine: where to train.
        iterations: stop earlier than the settings say, after a whole interval.

    Returns:
        The best model so far, also written to `output`/model.
    """
    pl.seed_everything(config.seed, workers=True, verbose=False)
    output.mkdir(parents=True, exist_ok=True)
    last = output / "last.ckpt"
    if is_main():
        if not (resume and last.is_file()):
            (output / "validation.csv").unlink(missing_ok=True)
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
        accelerator=machine.accelerator,
        devices=int(machine.devices) if machine.devices.isdigit() else machine.devices,
        num_nodes=machine.nodes,
        strategy=machine.strategy,
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
        deterministic="warn" if machine.accelerator == "gpu" else None,
    )
    trainer.fit(
        training,
        *_loaders(config, datasets),
        ckpt_path=str(last) if resume and last.is_file() else None,
        weights_only=True,
    )
    if trainer.is_global_zero:
        export(output, config, facts=datasets.facts)
    trainer.strategy.barrier("exported")
    return load_bundle(output / "model")


def is_main() -> bool:
    """Whether this process is the first of those that train together; it alone writes results."""
    return rank_zero_only.rank in (None, 0)


def export(output: Path, config: TrainConfig, *, facts: dict[str, Any]) -> Bundle:
    """Write the best checkpoint of a run as a bundle to `output`/model.

    Args:
        output: folder of the run.
        config: of the run.
        facts: about its data, for the model's card.
    """
    kept = torch.load(output / "best.ckpt", map_location="cpu", weights_only=True)
    training = Training(config)
    training.load_state_dict(kept["state_dict"])
    with (output / "validation.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    figures = {int(row["iteration"]): row for row in rows}
    reached = (kept["epoch"] + 1) * config.validate_every
    row = figures.get(reached, rows[-1])
    measured = {k: float(v) for k, v in row.items() if k not in ("iteration", "choice")}
    measured = {k: v for k, v in measured.items() if np.isfinite(v)}
    card = {"iteration": reached, "validation": measured, **facts}
    save_bundle(output / "model", training.network, config, facts=card)
    logger.info("best at iteration %d: %s", reached, json.dumps(measured))
    return load_bundle(output / "model")


def train_preset(
    config: TrainConfig,
    output: Path,
    *,
    resume: bool = True,
    iterations: int | None = None,
    machine: Machine = HERE,
) -> Bundle:
    """Train on phantoms, as the settings say; anatomies are kept in `output`/anatomies."""
    datasets = phantom_datasets(config.data, output / "anatomies")
    return train(config, output, datasets, resume=resume, machine=machine, iterations=iterations)


def _intervals(config: TrainConfig, iterations: int | None) -> int:
    total = config.optimiser.total_iterations
    if iterations is not None:
        total = min(total, iterations)
    if total % config.validate_every:
        raise ConfigError(
            f"{total} iterations are no whole number of intervals of {config.validate_every}"
        )
    return total // config.validate_every


def _loaders(config: TrainConfig, datasets: Datasets) -> tuple[DataLoader, DataLoader]:
    data = config.data
    sampler = Intervals(config.validate_every * data.batch_size)
    workers: dict[str, Any] = {}
    if data.workers:
        workers = {
            "num_workers": data.workers,
            "worker_init_fn": _single_threaded,
            "persistent_workers": True,
        }
    training = DataLoader(datasets.training, batch_size=data.batch_size, sampler=sampler, **workers)
    return training, DataLoader(datasets.validation, batch_size=1)


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
