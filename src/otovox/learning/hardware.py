"""Hardware for training, and memory settings of this machine."""

import ctypes
import logging
import re
import sys
from dataclasses import dataclass, replace

from otovox.config.training import TrainPrecision
from otovox.errors import ConfigError

logger = logging.getLogger(__name__)

#: Options of glibc's mallopt: M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD, in bytes. Source of the
#: numbers: malloc.h; arrays are not mapped individually, 2 GiB may stay free. Chosen.
MALLOC_OPTIONS = ((-4, 0), (-1, 2**31 - 1), (-2, 2**26))


@dataclass(frozen=True)
class Hardware:
    """Hardware for training, in Lightning's terms.

    Attributes:
        accelerator: "auto", "cpu" or "gpu".
        devices: devices per node; "auto" for all, a number, or a list such as "0,1".
        nodes: number of machines.
        strategy: strategy for several devices, such as "ddp".
    """

    accelerator: str = "auto"
    devices: str = "auto"
    nodes: int = 1
    strategy: str = "auto"

    @property
    def device(self) -> str:
        """Device for inference between two training runs, see `engine.on_device`."""
        return "cpu" if self.accelerator == "cpu" else "auto"

    def alone(self) -> "Hardware":
        """A single device, for systems that train more than one network.

        Raises:
            ConfigError: if several are requested by number or name.
        """
        if self.nodes > 1 or not re.fullmatch(r"auto|1|\d+,", self.devices):
            raise ConfigError("this system trains on one device: omit --devices and --nodes")
        return replace(self, devices="1" if self.devices == "auto" else self.devices)

    def precision(self, wanted: TrainPrecision) -> TrainPrecision:
        """The precision to train in: float32 instead of bfloat16 on a CPU that emulates it.

        Without AVX-512, a training step of the base network took 11 s instead of 0.3 s (two cores,
        the scale of `benchmarks/comparison`).

        >>> Hardware("cpu").precision("32-true")
        '32-true'
        """
        import torch

        on_cpu = self.accelerator == "cpu" or not torch.cuda.is_available()
        emulated = torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "NO AVX", "AVX2")
        if wanted != "bf16-mixed" or not (on_cpu and emulated):
            return wanted
        logger.info("this CPU computes bfloat16 slowly; training in float32 instead")
        return "32-true"


def keep_freed_memory() -> None:
    """Let this process keep memory freed by torch, because the next step needs it again.

    glibc returns large arrays to the system individually and reallocates them page by page, which
    takes 10 to 33 % of a training step on the CPU, and more in dask workers, where it keeps even
    less (`benchmarks/speed.py`). This has no effect on other operating systems.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in MALLOC_OPTIONS:
            mallopt(option, value)
