"""Training on an unlimited number of phantoms, optionally mixed with real ears."""

from dataclasses import dataclass
from pathlib import Path

from otovox.config.training import TrainConfig
from otovox.dataset.layout import Entry
from otovox.errors import ConfigError
from otovox.learning.bundle import Bundle
from otovox.learning.training import TrainingOptions
from otovox.learning.training_data import (
    PHANTOM_LANDMARKS,
    MixedSamples,
    canonical_ears,
    phantom_datasets,
)
from otovox.phantom.cache import VERSION
from otovox.systems.dual_head.training import train_on


@dataclass(frozen=True)
class RealEars:
    """Real ears that are mixed into the phantoms.

    Attributes:
        folder: folder of the data set.
        entries: its training cases.
        title, source: credit and licence of the data set, for the model card.
    """

    folder: Path
    entries: tuple[Entry, ...]
    title: str
    source: str


def train_on_phantoms(
    config: TrainConfig,
    output: Path,
    *,
    run: TrainingOptions,
    ears: RealEars | None = None,
    anatomies: Path | None = None,
) -> Bundle:
    """Train on phantoms according to the settings, optionally mixed with real ears.

    Validation uses phantoms only: held-out real ears evaluate a model, but do not select it. Nor do
    phantoms, which would choose the weights that know the real ears least: with real ears, the last
    weights become the model.

    Args:
        config: all settings.
        output: see `train_on`.
        run: training options.
        ears: real ears, a fraction `config.data.ears_share` of all samples.
        anatomies: folder for rendered phantoms; `output`/anatomies if None.

    Raises:
        ConfigError: if the system is not the dual-headed U-Net, the only one trained on phantoms,
            or if phantoms lack one of the landmarks.
    """
    if config.system.kind != "dual-head":
        raise ConfigError(
            f"{config.name}: a {config.system.kind} system can only be trained with --data"
        )
    origin = {
        "validation_data": f"{config.data.validation_cases} unseen phantom samples",
        "training_data": f"phantoms of version {VERSION}, seeds from {config.data.seed}",
    }
    names = config.network.landmarks
    strange = set(names) - set(PHANTOM_LANDMARKS)
    if config.data.source == "ear" and strange:
        raise ConfigError(f"{config.name}: phantoms have no {', '.join(sorted(strange))}")
    training, validation = phantom_datasets(config.data, anatomies or output / "anatomies", names)
    if ears is None:
        return train_on((training, validation), config, output, origin=origin, run=run)
    cases = ", ".join(entry.case for entry in ears.entries)
    origin["training_data"] += (
        f"; {len(ears.entries)} real ears in {config.data.ears_share:.0%} of the samples: "
        f"{ears.title} ({cases})"
    )
    config = config.model_copy(update={"kept": "last"})
    origin["credit"] = f"{ears.title}, {ears.source}"
    mixed = MixedSamples(training, canonical_ears(ears.folder, ears.entries))
    return train_on((mixed, validation), config, output, origin=origin, run=run)
