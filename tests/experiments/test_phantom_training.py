"""Training on phantoms: for one system alone."""

import pytest

from otovox.config.training import load_preset
from otovox.errors import ConfigError
from otovox.experiments.phantom_training import train_on_phantoms
from otovox.learning.training import TrainingOptions


def test_other_systems_need_a_data_set(tmp_path):
    with pytest.raises(ConfigError, match="--data"):
        train_on_phantoms(load_preset("autocasnet-unet"), tmp_path / "run", run=TrainingOptions())
