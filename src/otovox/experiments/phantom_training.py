"""Training on phantoms, of which there are as many as one likes."""

from pathlib import Path

from otovox.config.training import TrainConfig
from otovox.errors import ConfigError
from otovox.learning.bundle import Bundle
from otovox.learning.training import Run
from otovox.learning.training_data import phantom_datasets
from otovox.phantom.cache import VERSION
from otovox.systems.dual_head.training import train_on


def train_on_phantoms(config: TrainConfig, output: Path, *, run: Run) -> Bundle:
    """Train on phantoms, as the settings say; anatomies are kept in `output`/anatomies.

    Args:
        config: everything that is set.
        output: see `train_on`.
        run: how.

    Raises:
        ConfigError: if the system is not the dual-headed U-Net, which alone learns from these.
    """
    if config.system.kind != "dual-head":
        raise ConfigError(f"{config.name}: a {config.system.kind} system learns from --data alone")
    origin = {
        "validation_data": f"{config.data.validation_cases} unseen phantom samples",
        "training_data": f"phantoms of version {VERSION}, seeds from {config.data.seed}",
    }
    datasets = phantom_datasets(config.data, output / "anatomies")
    return train_on(datasets, config, output, origin=origin, run=run)
