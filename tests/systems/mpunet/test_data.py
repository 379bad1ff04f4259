"""Planes of prepared cases: the same index gives the same plane, half of them hold labyrinth."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from otovox.dataset.prepared import Prepared
from otovox.errors import ConfigError, InputError
from otovox.systems.mpunet.data import VALIDATION_PLANES, TrainingPlanes, ValidationPlanes
from otovox.systems.mpunet.elastic import robust_scale
from otovox.systems.mpunet.views import draw_views
from systems.mpunet.blob import a_blob, settings

VIEWS = draw_views(3, rng=np.random.default_rng(0))


def smaller(**data):
    config = settings(elastic=False)
    return config.model_copy(update={"data": config.data.model_copy(update=data)})


def test_the_same_index_gives_the_same_plane():
    planes = TrainingPlanes([a_blob()], settings(), VIEWS)
    one, two, other = planes[5], planes[5], planes[6]
    assert one["image"].shape == (1, 32, 32)
    assert one["labels"].shape == (32, 32)
    assert one["labels"].dtype == torch.int64
    assert torch.equal(one["image"], two["image"])
    assert not torch.equal(one["image"], other["image"])


@pytest.mark.parametrize("side", [16, 32])
def test_the_share_asked_for_holds_labyrinth(side):
    every = TrainingPlanes([a_blob()], smaller(shape=(side,) * 3, near_labyrinth=1.0), VIEWS)
    assert all(every[n]["labels"].any() for n in range(60))
    few = TrainingPlanes([a_blob()], smaller(shape=(side,) * 3, near_labyrinth=0.0), VIEWS)
    held = np.mean([bool(few[n]["labels"].any()) for n in range(60)])
    assert 0 < held < 0.75


def test_labels_lie_where_the_image_is_dark():
    planes = TrainingPlanes([a_blob()], smaller(near_labyrinth=1.0), VIEWS)
    for number in range(10):
        one = planes[number]
        inside = one["labels"] > 0
        field = one["image"][0] != one["image"][0].min()
        assert one["image"][0][inside].median() < one["image"][0][~inside & field].median() - 2


def test_some_planes_are_deformed_and_count_less():
    deformed = TrainingPlanes([a_blob()], settings(), VIEWS)
    weights = {round(float(deformed[n]["weight"]), 3) for n in range(20)}
    assert weights == {1.0, 0.33}
    plain = TrainingPlanes([a_blob()], settings(elastic=False), VIEWS)
    assert {float(plain[n]["weight"]) for n in range(20)} == {1.0}


def test_validation_shows_the_labyrinth_of_each_case_from_each_view():
    planes = ValidationPlanes([a_blob(), a_blob(1)], settings(), VIEWS)
    assert len(planes) == 6
    for number in range(6):
        one = planes[number]
        assert one["image"].shape == (VALIDATION_PLANES, 1, 32, 32)
        assert one["labels"].any(dim=2).any(dim=1).sum() >= VALIDATION_PLANES - 2


def test_a_case_without_labyrinth_is_seen_as_a_whole():
    blob = a_blob()
    none = Prepared(blob.entry, blob.image, np.zeros_like(blob.labels), blob.points_ijk, blob.grid)
    assert not ValidationPlanes([none], settings(), VIEWS)[0]["labels"].any()
    assert not TrainingPlanes([none], settings(), VIEWS)[0]["labels"].any()


def test_nothing_to_train_on_and_oblong_planes_are_refused():
    with pytest.raises(InputError, match="no cases"):
        TrainingPlanes([], settings(), VIEWS)
    with pytest.raises(ConfigError, match="square"):
        TrainingPlanes([a_blob()], smaller(shape=(32, 16, 16)), VIEWS)


def test_values_beyond_the_window_are_not_distinguished():
    """L1: a width of 4,000 HU about 700; robust scaling then uses the clipped values."""
    blob = a_blob()
    metal, middle = blob.image.copy(), tuple(slice(n // 2 - 2, n // 2 + 2) for n in blob.grid.shape)
    metal[middle] = 30_000
    window = settings(elastic=False, window_hu=(4000.0, 700.0))
    found = {}
    for name, config in (("window", window), ("all", settings(elastic=False, window_hu=None))):
        planes = TrainingPlanes([replace(blob, image=metal)], config, VIEWS)
        found[name] = max(float(planes[number]["image"].max()) for number in range(40))
    scale = robust_scale(np.clip(metal, -1300, 2700))
    assert found["window"] == pytest.approx(
        float(scale.applied(np.array(2700, np.float32))), rel=1e-3
    )
    assert found["all"] > 5 * found["window"]
