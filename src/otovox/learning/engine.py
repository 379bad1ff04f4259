"""Forward passes: OpenVINO on the CPU, torch elsewhere, with the same results."""

import sys
import warnings
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from otovox.config.training import NetworkConfig, TrainConfig
from otovox.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

Batch = NDArray[np.float32]
Precision = Literal["f32", "bf16"]

DEVICES = ("auto", "cpu", "torch", "cuda", "mps")

#: Chunks per forward pass on an accelerator: chosen, 128^3 chunks of the paper's network then need
#: about 10 GiB.
ACCELERATED = 4


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
    network: "nn.Module",
    config: TrainConfig,
    *,
    device: str = "auto",
    threads: int | None = None,
    precision: Precision = "f32",
) -> Engine:
    """Prepare a model for inference.

    Args:
        network: network with weights whose output is `networks.Output`.
        config: its training settings.
        device: "cpu" is OpenVINO; "torch" is torch on the CPU; "cuda", "cuda:N", "mps" are torch on
            an accelerator; "auto" uses CUDA if available, otherwise OpenVINO.
        threads: CPU threads; None for all cores.
        precision: arithmetic precision of OpenVINO. bf16 takes about 0.6 of the time on recent
            CPUs, and changes probabilities, mostly near 0.5.

    Raises:
        ConfigError: if there is no such device.
    """
    if device == "cpu" or (device == "auto" and not _has_cuda()):
        return OpenVinoEngine(network, config, threads, precision)
    return TorchEngine(network, config, device, threads)


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
        self, network: "nn.Module", config: TrainConfig, device: str, threads: int | None
    ) -> None:
        self._heads = config.network
        self._network = on_device(_plain(network), device, threads)
        self._device = next(self._network.parameters()).device
        self.batch = 1 if self._device.type == "cpu" else ACCELERATED

    def run(self, images: Batch) -> tuple[Batch, Batch]:
        """See `Engine.run`."""
        import torch

        with torch.inference_mode():
            answers = self._network(torch.from_numpy(images).to(self._device))
        return _both(self._heads, [answer.float().cpu().numpy() for answer in answers], images)


class OpenVinoEngine:
    """A network in OpenVINO, converted in memory."""

    batch = 1

    def __init__(
        self, network: "nn.Module", config: TrainConfig, threads: int | None, precision: Precision
    ) -> None:
        # OpenVINO sends usage data on import, unless its reporter cannot be imported.
        sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]
        import openvino
        import torch

        heads = self._heads = config.network
        shape = [1, heads.in_channels, *config.data.shape]
        # Traced on the smallest valid volume, which is faster.
        example = torch.rand(1, heads.in_channels, *(2 * heads.stride,) * 3)
        # The tracer warns about its own deprecation and about checks that are constant here.
        with torch.inference_mode(), warnings.catch_warnings(action="ignore"):
            model = openvino.convert_model(_plain(network), example_input=example, input=[shape])
        settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": precision}
        if threads is not None:
            settings["INFERENCE_NUM_THREADS"] = threads
        self._model = openvino.Core().compile_model(model, "CPU", settings)
        # A compiled model has one request, which must not be used by several threads at once.
        self._alone = Lock()

    def run(self, images: Batch) -> tuple[Batch, Batch]:
        """See `Engine.run`; one case at a time, with the shape used in training."""
        with self._alone:
            parts = [self._model(image[None]) for image in images]
        count = self._heads.has_segmentation + self._heads.has_landmarks
        answers = [np.concatenate([part[n] for part in parts]) for n in range(count)]
        return _both(self._heads, answers, images)


def _both(heads: NetworkConfig, answers: list[Batch], images: Batch) -> tuple[Batch, Batch]:
    """Probabilities and heatmaps, without channels if a head is missing."""
    none = np.zeros((len(images), 0, *images.shape[2:]), dtype=np.float32)
    given = iter(answers)
    probability = next(given) if heads.has_segmentation else none
    return probability, next(given) if heads.has_landmarks else none


def _plain(network: "nn.Module"):
    """The network with plain tensors as output, one per head, including the sigmoid."""
    import torch

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
            logits, heatmaps, _ = self.network(image, auxiliary=False)
            probability = None if logits is None else torch.sigmoid(logits)
            return tuple(answer for answer in (probability, heatmaps) if answer is not None)

    return Plain().eval()


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()
