"""Training on phantoms: for one system alone, also with real ears."""

import numpy as np
import pytest

from otovox.config.training import load_preset
from otovox.core.anatomy import LANDMARK_NAMES
from otovox.dataset.layout import Entry
from otovox.errors import ConfigError
from otovox.experiments import phantom_training
from otovox.experiments.phantom_training import RealEars, train_on_phantoms
from otovox.learning.training import TrainingOptions
from otovox.learning.training_data import EAR_SHAPE
from otovox.phantom.cache import Anatomy


def test_other_systems_need_a_data_set(tmp_path):
    with pytest.raises(ConfigError, match="--data"):
        train_on_phantoms(load_preset("autocasnet-unet"), tmp_path / "run", run=TrainingOptions())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning:lightning", "ignore::UserWarning:torch")
def test_a_network_may_learn_some_of_the_phantoms_landmarks(tmp_path):
    tiny, run, anatomies = load_preset("tiny"), TrainingOptions(), tmp_path / "anatomies"
    bundle = train_on_phantoms(tiny, tmp_path / "run", run=run, anatomies=anatomies)
    assert bundle.config.network.landmarks == LANDMARK_NAMES


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning:lightning", "ignore::UserWarning:torch")
def test_with_real_ears_the_last_weights_become_the_model(tmp_path, monkeypatch):
    """The validation is on phantoms, and would choose those that know the real ears least."""
    anatomies = tmp_path / "anatomies"
    ears = RealEars(tmp_path, (Entry("F01", patient="F01"),), "clinic", "made here")
    canonical = Anatomy(
        np.zeros(EAR_SHAPE, np.int16), np.zeros(EAR_SHAPE, np.uint8), np.full((7, 3), np.inf)
    )
    monkeypatch.setattr(phantom_training, "canonical_ears", lambda *_: [canonical])
    tiny, run = load_preset("tiny"), TrainingOptions()
    bundle = train_on_phantoms(tiny, tmp_path / "run", run=run, ears=ears, anatomies=anatomies)
    assert (tiny.kept, bundle.config.kept) == ("best", "last")
    assert bundle.facts["iteration"] == tiny.optimiser.total_iterations


def test_landmarks_that_phantoms_lack_are_refused(tmp_path):
    tiny = load_preset("tiny")
    network = tiny.network.model_copy(update={"landmarks": ("stapes",)})
    config = tiny.model_copy(update={"network": network})
    with pytest.raises(ConfigError, match="phantoms have no stapes"):
        train_on_phantoms(config, tmp_path / "run", run=TrainingOptions())
