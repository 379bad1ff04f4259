"""Forward passes: OpenVINO on the CPU, torch elsewhere, with the same results."""

import ctypes
import os
import sys
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from otovox.config.training import NetworkConfig
from otovox.errors import ConfigError
from otovox.learning.bundle import Bundle
from otovox.learning.graph import openvino_library, plain
from otovox.learning.graph_cache import graph_of

if TYPE_CHECKING:
    from torch import nn

Batch = NDArray[np.float32]
Precision = Literal["f32", "bf16"]
#: OpenVINO's name of what a device can calculate with.
_CAPABILITIES = "OPTIMIZATION_CAPABILITIES"

DEVICES = ("auto", "cpu", "torch", "cuda", "mps")

#: Chunks per forward pass on an accelerator: chosen, 128^3 chunks of the paper's network then need
#: about 10 GiB.
ACCELERATED = 4
#: Most chunks that a CPU runs at once, as each takes memory; and how many times that a call holds,
#: so that no core waits for long. Chosen.
MOST_STREAMS, BATCHES = 4, 4


class Engine(Protocol):
    """Runs a network."""

    @property
    def batch(self) -> int:
        """Number of chunks per forward pass for this hardware."""
        ...

    def run(self, images: Batch) -> tuple[Batch, Batch]:
        """(b, 1, i, j, k) images -> (b, 1, i, j, k) probabilities and (b, n, i, j, k) heatmaps.

        A missing head gives an array without channels, (b, 0, i, j, k).
        """
        ...


def open_engine(
    bundle: Bundle,
    network: "Callable[[Bundle], nn.Module]",
    *,
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "f32",
    many: bool = False,
) -> Engine:
    """Prepare a model for inference.

    Args:
        bundle: the model.
        network: makes its network, which answers as `networks.Output`; called only where torch
            runs it, or has to convert it.
        device: "cpu" is OpenVINO; "torch" is torch on the CPU; "cuda", "cuda:N", "mps" are torch on
            an accelerator; "auto" uses CUDA if available, otherwise OpenVINO.
        threads: CPU threads; None for all cores.
        precision: of OpenVINO's arithmetic. bf16, used where the CPU has it, takes about 0.6 of
            the time, and moves probabilities, most where they are near a half.
        many: whether OpenVINO is to run many chunks one beside the other, each slower than alone.

    Raises:
        ConfigError: if there is no such device.
    """
    if device == "cpu" or (device == "auto" and not _has_cuda()):
        streams = min(threads or os.cpu_count() or 1, MOST_STREAMS) if many else 1
        return OpenVinoEngine(bundle, network, threads, precision, streams)
    return TorchEngine(network(bundle), bundle.config.network, device, threads)


def on_device(network: "nn.Module", device: str, threads: int | None = None) -> "nn.Module":
    """Move a network to a torch device in evaluation mode, for networks without an engine.

    Args:
        network: modified in place.
        device: as in `open_engine`; "cpu" and "torch" are equivalent here.
        threads: CPU threads; None to leave the setting unchanged.

    Raises:
        ConfigError: if there is no such device.
    """
    import torch

    if device not in DEVICES and not device.startswith("cuda:"):
        raise ConfigError(
            f"there is no device {device!r}; choose one of {', '.join(DEVICES)}, cuda:N"
        )
    if device == "auto":
        device = "cuda" if _has_cuda() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"device {device!r} was requested, but torch finds no CUDA device")
    if device == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device 'mps' was requested, but torch finds none")
    if threads is not None:
        torch.set_num_threads(threads)
    try:
        return network.eval().to("cpu" if device == "torch" else device)
    except RuntimeError as error:
        raise ConfigError(f"device {device!r} cannot be used ({error})") from error


class TorchEngine:
    """A network in torch."""

    def __init__(
        self, network: "nn.Module", heads: NetworkConfig, device: str, threads: int | None
    ) -> None:
        self._heads = heads
        self._network = on_device(plain(network), device, threads)
        self._device = next(self._network.parameters()).device
        self.batch = 1 if self._device.type == "cpu" else ACCELERATED

    def run(self, images: Batch) -> tuple[Batch, Batch]:
        """See `Engine.run`."""
        import torch

        with torch.inference_mode():
            answers = self._network(torch.from_numpy(images).to(self._device))
        return _both(self._heads, [answer.float().cpu().numpy() for answer in answers], images)


class OpenVinoEngine:
    """A network in OpenVINO."""

    def __init__(
        self,
        bundle: Bundle,
        network: "Callable[[Bundle], nn.Module]",
        threads: int | None,
        precision: Precision,
        streams: int,
    ) -> None:
        self._heads = bundle.config.network
        openvino, graph = openvino_library(), graph_of(bundle, network)
        core = openvino.Core()
        constants = openvino.Tensor(graph.constants(bundle.weights))
        if precision == "bf16" and "BF16" not in core.get_property("CPU", _CAPABILITIES):
            precision = "f32"
        model = core.read_model(graph.operations.encode(), constants)
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": streams}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        compiled = core.compile_model(model, "CPU", settings)
        self._queue = openvino.AsyncInferQueue(compiled, streams)
        self._queue.set_callback(_keep)
        self.batch = 1 if streams == 1 else BATCHES * streams
        # Threads must not share the queue at the same time.
        self._alone = Lock()

    def run(self, images: Batch) -> tuple[Batch, Batch]:
        """See `Engine.run`; chunks of the shape the model was trained on."""
        parts: list[list[Batch]] = [[] for _ in images]
        with self._alone:
            for image, outputs in zip(images, parts, strict=True):
                self._queue.start_async({0: image[None]}, outputs)
            self._queue.wait_all()
        answers = [np.concatenate(answer) for answer in zip(*parts, strict=True)]
        return _both(self._heads, answers, images)


def _keep(request: Any, outputs: list[Batch]) -> None:
    """Copy a chunk's answers before its request is used again."""
    outputs.extend(tensor.data.copy() for tensor in request.output_tensors)


def _both(heads: NetworkConfig, answers: list[Batch], images: Batch) -> tuple[Batch, Batch]:
    """Probabilities and heatmaps, without channels if a head is missing."""
    none = np.zeros((len(images), 0, *images.shape[2:]), dtype=np.float32)
    given = iter(answers)
    probability = next(given) if heads.has_segmentation else none
    return probability, next(given) if heads.has_landmarks else none


def _has_cuda() -> bool:
    """Whether torch finds a CUDA device; without a driver it is not asked, for it loads slowly."""
    driver = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(driver)
    except OSError:
        return False
    import torch

    return torch.cuda.is_available()
