"""Training on phantoms: for one system alone."""

import pytest

from otovox.config.training import load_preset
from otovox.core.anatomy import LANDMARK_NAMES
from otovox.errors import ConfigError
from otovox.experiments.phantom_training import train_on_phantoms
from otovox.learning.training import TrainingOptions


def test_other_systems_need_a_data_set(tmp_path):
    with pytest.raises(ConfigError, match="--data"):
        train_on_phantoms(load_preset("autocasnet-unet"), tmp_path / "run", run=TrainingOptions())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning:lightning", "ignore::UserWarning:torch")
def test_a_network_may_learn_some_of_the_phantoms_landmarks(tmp_path):
    tiny, run, anatomies = load_preset("tiny"), TrainingOptions(), tmp_path / "anatomies"
    bundle = train_on_phantoms(tiny, tmp_path / "run", run=run, anatomies=anatomies)
    assert bundle.config.network.landmarks == LANDMARK_NAMES


def test_landmarks_that_phantoms_lack_are_refused(tmp_path):
    tiny = load_preset("tiny")
    network = tiny.network.model_copy(update={"landmarks": ("stapes",)})
    config = tiny.model_copy(update={"network": network})
    with pytest.raises(ConfigError, match="phantoms have no stapes"):
        train_on_phantoms(config, tmp_path / "run", run=TrainingOptions())
