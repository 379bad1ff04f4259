"""AutoCasNet learns, goes on where it stopped, and looks at a scan."""

import numpy as np
import pytest

from otovox.errors import ConfigError
from otovox.learning.bundle import load_bundle
from otovox.systems.autocasnet import training
from otovox.systems.whole_volume import Sweep
from systems.ball import AUTOCASNET, GRID, a_ball, overlap, predicted, settings, trained

pytestmark = pytest.mark.filterwarnings("ignore::Warning:lightning", "ignore::UserWarning:torch")


@pytest.mark.slow
def test_a_cascade_learns_a_ball_and_predicts_a_scan(tmp_path):
    config = settings(AUTOCASNET, 40)
    bundle = trained(config, tmp_path / "run", [a_ball("one"), a_ball("two", 1)])
    again = load_bundle(tmp_path / "run" / "model")
    assert again.sha256 == bundle.sha256
    assert again.facts["validation"]["dsc"] > 0.9
    assert {"iteration", "validation", "training_data", "intensity"} == set(again.facts)
    found = predicted(again, tmp_path / "work")
    assert found.grid.same_as(GRID)
    assert found.landmarks is None
    assert found.uncertainty is not None
    assert found.uncertainty.shape == GRID.shape
    assert overlap(found) > 0.9
    with pytest.raises(ConfigError, match="no test-time augmentation"):
        predicted(again, tmp_path / "work", sweep=Sweep("paper"))
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert not {"stacks", "slices"} & left
    assert "last.ckpt" in {path.name for path in (tmp_path / "run" / "stage-1").iterdir()}


@pytest.mark.slow
def test_independent_views_learn_a_ball_and_vote(tmp_path):
    config = settings(AUTOCASNET | {"combination": "majority"}, 40)
    bundle = trained(config, tmp_path / "run", [a_ball("one"), a_ball("two", 1)])
    first = [name for name in bundle.weights if name.endswith("downs.0.body.0.weight")]
    assert [bundle.weights[name].shape[1] for name in first] == [1, 1]
    found = predicted(bundle, tmp_path / "work")
    assert set(np.unique(np.round(np.asarray(found.probability)[::4, ::4, ::4], 3))) <= {
        0.0,
        0.5,
        1.0,
    }
    assert overlap(found) > 0.85


@pytest.mark.slow
def test_a_cascade_goes_on_where_it_stopped(tmp_path, monkeypatch):
    config = settings(AUTOCASNET, 4)
    cases = [a_ball("one"), a_ball("two", 1)]
    whole = trained(config, tmp_path / "whole", cases)
    fits = training._fit

    def only_the_first(stage, place, parts, **how):
        if place.name == "broken":
            raise KeyboardInterrupt
        return fits(stage, place, parts, **how)

    monkeypatch.setattr(training, "_fit", only_the_first)
    with pytest.raises(KeyboardInterrupt):
        trained(config, tmp_path / "broken", cases)
    monkeypatch.undo()
    before = (tmp_path / "broken" / "stage-1" / "validation.csv").read_text()
    resumed = trained(config, tmp_path / "broken", cases)
    assert (tmp_path / "broken" / "stage-1" / "validation.csv").read_text() == before
    for name, values in whole.weights.items():
        np.testing.assert_allclose(resumed.weights[name], values, rtol=0, atol=2e-3)


@pytest.mark.slow
def test_masks_out_of_fold_come_from_models_that_did_not_see_the_case(tmp_path, monkeypatch):
    seen: dict[str, list[str]] = {}
    fits = training._fit

    def remembered(stage, place, parts, **how):
        seen[place.name] = [case.case for case in parts[0].cases]
        return fits(stage, place, parts, **how)

    monkeypatch.setattr(training, "_fit", remembered)
    config = settings(AUTOCASNET | {"masks": "out-of-fold", "mask_folds": 2}, 2)
    names = ["one", "two", "three"]
    trained(config, tmp_path / "run", [a_ball(name, n) for n, name in enumerate(names)])
    inner = [set(seen[f"out-of-fold-{fold}"]) for fold in range(2)]
    assert set(seen["stage-1"]) == set(seen["run"]) == set(names)
    assert inner[0] | inner[1] == set(names)
    assert not inner[0] & inner[1]
