"""Where networks are trained, and how this machine's memory serves them."""

import ctypes
import re
import sys
from dataclasses import dataclass, replace

from otovox.errors import ConfigError

#: Options of glibc's mallopt: M_MMAP_MAX, M_TRIM_THRESHOLD and M_TOP_PAD, in bytes. Source of the
#: numbers: malloc.h; no array is mapped by itself, 2 GiB may lie free. Chosen.
MALLOC_OPTIONS = ((-4, 0), (-1, 2**31 - 1), (-2, 2**26))


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

    @property
    def device(self) -> str:
        """Where a network runs between two trainings, in the words of `engine.on_device`."""
        return "cpu" if self.accelerator == "cpu" else "auto"

    def alone(self) -> "Hardware":
        """One device of these, for systems that do more than train one network.

        Raises:
            ConfigError: if several are requested by number or name.
        """
        if self.nodes > 1 or not re.fullmatch(r"auto|1|\d+,", self.devices):
            raise ConfigError("this system trains on one device: omit --devices and --nodes")
        return replace(self, devices="1" if self.devices == "auto" else self.devices)


def keep_freed_memory() -> None:
    """Let this process keep memory that torch frees, since the next step needs as much again.

    glibc returns large arrays to the system one by one and gets them back page by page: a tenth to
    a third of a training step on the CPU, more in workers of dask, which lets it keep even less
    (`benchmarks/speed.py`). Other operating systems are left alone.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in MALLOC_OPTIONS:
            mallopt(option, value)
