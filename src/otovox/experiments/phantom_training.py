"""Training on phantoms, of which there are as many as one likes, with real ears among them."""

from dataclasses import dataclass
from pathlib import Path

from otovox.config.training import TrainConfig
from otovox.dataset.layout import Entry
from otovox.errors import ConfigError
from otovox.learning.bundle import Bundle
from otovox.learning.training import TrainingOptions
from otovox.learning.training_data import MixedSamples, canonical_ears, phantom_datasets
from otovox.phantom.cache import VERSION
from otovox.systems.dual_head.training import train_on


@dataclass(frozen=True)
class RealEars:
    """Real ears that are mixed into the phantoms.

    Attributes:
        folder: of the data set.
        entries: its cases that train.
        title, source: of the data set, for the model's card: whom to credit, under which licence.
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
    """Train on phantoms, as the settings say, and on real ears among them.

    Validation is on phantoms alone: held-out real ears judge a model, they do not choose it.

    Args:
        config: everything that is set.
        output: see `train_on`.
        run: how.
        ears: real ears, a share `config.data.ears_share` of all samples.
        anatomies: folder in which rendered phantoms are kept; `output`/anatomies if None.

    Raises:
        ConfigError: if the system is not the dual-headed U-Net, which alone learns from these.
    """
    if config.system.kind != "dual-head":
        raise ConfigError(
            f"{config.name}: a {config.system.kind} system can only be trained with --data"
        )
    origin = {
        "validation_data": f"{config.data.validation_cases} unseen phantom samples",
        "training_data": f"phantoms of version {VERSION}, seeds from {config.data.seed}",
    }
    training, validation = phantom_datasets(config.data, anatomies or output / "anatomies")
    if ears is None:
        return train_on((training, validation), config, output, origin=origin, run=run)
    cases = ", ".join(entry.case for entry in ears.entries)
    origin["training_data"] += (
        f"; {len(ears.entries)} real ears in {config.data.ears_share:.0%} of the samples: "
        f"{ears.title} ({cases})"
    )
    origin["credit"] = f"{ears.title}, {ears.source}"
    mixed = MixedSamples(training, canonical_ears(ears.folder, ears.entries))
    return train_on((mixed, validation), config, output, origin=origin, run=run)
