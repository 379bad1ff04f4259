"""Graphs: the network without its weights; converted once, and never with other weights."""

import numpy as np
import pytest

from otovox.errors import ModelError
from otovox.learning import graph_cache
from otovox.learning.bundle import Bundle, embedded, embedded_names, load_bundle, save_bundle
from otovox.learning.engine import open_engine
from otovox.learning.graph_cache import graph_of
from otovox.systems.conversion import convert_model
from otovox.systems.registry import trained_network


@pytest.fixture
def folder(tmp_path):
    bundle = embedded("locator")
    save_bundle(tmp_path / "model", trained_network(bundle), bundle.config, facts={})
    return tmp_path / "model"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(graph_cache, "cache_folder", lambda: tmp_path / "cache")
    return tmp_path / "cache"


def never(bundle: Bundle):
    raise AssertionError("no network is needed")


@pytest.mark.parametrize("name", embedded_names())
def test_a_shipped_graph_holds_no_weights_and_misses_none(name):
    bundle = embedded(name)
    assert bundle.graph is not None
    others = sum(len(text) for text in bundle.graph.others.values())
    assert others < 1000
    used = set(bundle.graph.weights.values())
    assert used == {weight for weight in bundle.weights if "auxiliary" not in weight}


def test_another_model_is_converted_once(folder, cache):
    bundle = load_bundle(folder)
    first = graph_of(bundle, trained_network)
    assert len(list(cache.iterdir())) == 1
    assert graph_of(bundle, never) == first


def test_a_damaged_cache_is_made_anew(folder, cache):
    bundle = load_bundle(folder)
    graph_of(bundle, trained_network)
    for path in cache.iterdir():
        path.write_text("{")
    again = graph_of(bundle, trained_network)
    assert graph_of(bundle, never) == again


def test_a_cache_that_cannot_be_written_changes_nothing(folder, cache):
    cache.write_text("a file")
    assert graph_of(load_bundle(folder), trained_network).weights


def test_a_shipped_model_needs_no_torch_and_refuses_another_graph(folder):
    convert_model(folder)
    bundle = load_bundle(folder)
    shape = bundle.config.data.shape
    image = np.random.default_rng(0).normal(size=(1, 1, *shape)).astype(np.float32)
    ours = open_engine(bundle, never, device="cpu").run(image)
    for one, other in zip(
        ours, open_engine(bundle, trained_network, device="torch").run(image), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=0, atol=0.1)
    (folder / "graph.json").write_text("{}")
    with pytest.raises(ModelError, match="damaged"):
        load_bundle(folder)
