"""Estimate of a study's time and memory from one timed training step of each system."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from otovox.config.training import TrainConfig
from otovox.learning.hardware import Hardware, keep_freed_memory
from otovox.learning.training import Task
from otovox.systems.registry import system_of

#: On a CPU the sides of the timed chunk or slice are halved until it has at most this many voxels,
#: and the figures scaled up accordingly: chosen, a few seconds per step.
TIMED_VOXELS = 2**17


@dataclass(frozen=True)
class Cost:
    """Cost of training one fold.

    Attributes:
        step_s: seconds per iteration, summed over all networks that are trained in sequence.
        hours: hours for all iterations.
        memory_gib: weights, gradients, optimiser moments and activations kept for the gradients.
    """

    step_s: float
    hours: float
    memory_gib: float


def cost(config: TrainConfig, device: str) -> Cost:
    """Estimate from one step on random data, without reading, validation and prediction.

    Args:
        config: all settings.
        device: "cpu" or "cuda".
    """
    seconds, memory = 0.0, 0.0
    keep_freed_memory()
    for task in system_of(config).tasks(config):
        shape = task.shape
        timed = shape if device == "cuda" else _smaller(shape, config.stride)
        ratio = float(np.prod(shape) / np.prod(timed))
        taken, kept = _step(task, timed, config, device)
        weights = sum(one.numel() for one in task.network.parameters())
        seconds += taken * ratio
        # Weights, gradients and two moments, 4 bytes each.
        memory = max(memory, (kept * ratio + 16 * weights) / 2**30)
    return Cost(seconds, seconds * config.optimiser.total_iterations / 3600, memory)


def costs(configs: Iterable[TrainConfig], device: str, workers: int = 1) -> dict[str, Cost]:
    """Cost of each variant of a system, from the first settings of that variant.

    Args:
        configs: settings of all runs; those of the same variant are assumed to cost the same.
        device: "cpu" or "cuda".
        workers: number of workers that share this machine's cores.
    """
    first = {config.system.variant: config for config in reversed(list(configs))}
    threads = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // workers))
    try:
        return {name: cost(config, device) for name, config in first.items()}
    finally:
        torch.set_num_threads(threads)


def _smaller(shape: Sequence[int], stride: int) -> tuple[int, ...]:
    batch, channels, *sides = shape
    while np.prod(sides) > TIMED_VOXELS and all(side % (2 * stride) == 0 for side in sides):
        sides = [side // 2 for side in sides]
    # Two cases of a large batch are enough; one is not, because some networks normalise over it.
    return (batch if batch * np.prod(sides) <= TIMED_VOXELS else min(batch, 2), channels, *sides)


def _step(
    task: Task, shape: tuple[int, ...], config: TrainConfig, device: str
) -> tuple[float, float]:
    """Seconds, and bytes kept for the gradients, of the second of two steps."""
    network = task.network.to(device).train()
    network.to(memory_format=task.memory_format)  # pyright: ignore[reportCallIssue]
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    batch = task.example(noise.to(device, memory_format=task.memory_format))
    taken, kept = 0.0, {}
    for _ in range(2):
        kept = {}

        def keep(tensor: Tensor, seen: dict = kept) -> Tensor:
            storage = tensor.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
            return tensor

        network.zero_grad()
        started = time.perf_counter()
        hardware = Hardware("cpu" if device == "cpu" else "gpu")
        mixed = hardware.precision(config.precision) != "32-true"
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, _same),
            torch.autocast(device, torch.bfloat16, enabled=mixed),
        ):
            loss = task.losses(batch, 0)["loss"]
        loss.backward()
        if device == "cuda":
            torch.cuda.synchronize()
        taken = time.perf_counter() - started
    _forget(network)
    return taken, float(sum(kept.values()))


def _same(tensor: Tensor) -> Tensor:
    return tensor


def _forget(network: nn.Module) -> None:
    network.zero_grad(set_to_none=True)
    network.cpu()
