"""Whole volumes: turned, blended and gathered back to what one pass would say (S7, S9, S24)."""

from dataclasses import replace

import numpy as np
import pytest

from otovox import volume_inference
from otovox.anatomy import LANDMARK_NAMES, Side
from otovox.bundle import Bundle
from otovox.config import config_from
from otovox.errors import ConfigError, InputError
from otovox.geometry import affine_from
from otovox.volume import Grid, Scan
from otovox.volume_inference import (
    TURNS,
    VolumeOptions,
    VolumePrediction,
    as_prediction,
    predict_volume,
)

SCALING = {"low": -1e6, "high": 1e6, "mean": 0.0, "sd": 1.0}
SPACING = 0.5
GRID = Grid((40, 30, 26), affine_from(np.eye(3) * SPACING, [2.0, -3.0, 7.0]))


def bundle(shape=(16, 16, 16), heads: str = "both", scaling=SCALING) -> Bundle:
    network = {"channels": [4, 8], "heads": heads, "decoders": 2 if heads == "both" else 1}
    plain = {
        "name": "test",
        "network": network,
        "heatmaps": [{"iteration": 0, "spread_voxels": 3.0, "amplitude": 1.0}],
        "data": {"shape": list(shape), "spacing_mm": SPACING},
    }
    return Bundle(config_from(plain, origin="test"), {}, {"scaling": scaling}, "0")


class Echo:
    """Says what it sees: the image is the probability and, thrice, the heatmap."""

    batch_size = 3

    def __init__(self, heads: str = "both") -> None:
        self.heads = heads
        self.sizes: list[int] = []

    def run(self, images):
        self.sizes.append(len(images))
        nothing = images[:, :0]
        heatmaps = np.repeat(images, 3, axis=1) if self.heads != "segmentation" else nothing
        return (images if self.heads != "landmarks" else nothing), heatmaps


class Uneven(Echo):
    """Brighter towards the end of the window's first axis: turns disagree."""

    def run(self, images):
        slope = np.linspace(0.5, 1.0, images.shape[2], dtype=np.float32)[:, None, None]
        return super().run(images * slope)


def maps(found: VolumePrediction) -> tuple[np.ndarray, np.ndarray]:
    assert found.probability is not None
    assert found.spread is not None
    return found.probability, found.spread


@pytest.fixture
def scan() -> Scan:
    """A bright blob off the middle, 0 to 1."""
    places = np.moveaxis(np.indices(GRID.shape), 0, -1)
    away = np.linalg.norm(places - [25, 12, 8], axis=-1)
    return Scan(np.exp(-0.5 * (away / 4) ** 2).astype(np.float32), GRID, "blob")


@pytest.mark.parametrize("tta", list(TURNS))
@pytest.mark.parametrize("shape", [(16, 16, 16), (16, 20, 24)])
def test_turns_come_back_to_where_they_started(scan, tta, shape):
    options = VolumeOptions(tta=tta, overlap=0.3)
    found = predict_volume(scan, bundle(shape), Echo(), options=options)
    assert found.samples == len(TURNS[tta])
    assert found.grid.same_as(GRID)
    np.testing.assert_allclose(maps(found)[0], scan.values, atol=1e-4)
    assert maps(found)[1].max() < 1e-3
    expected = GRID.to_mm([25, 12, 8])
    np.testing.assert_allclose(found.landmarks.points_mm, [expected] * 3, atol=0.05)
    np.testing.assert_allclose(found.landmark_sd_mm, 0, atol=1e-9)
    np.testing.assert_allclose(found.peaks, 1, atol=1e-3)


def test_mean_and_spread_are_those_of_the_turns(scan):
    """Against every turn done by itself, all at once, by other means."""
    options = VolumeOptions(tta="paper", overlap=0.3)
    found = predict_volume(scan, bundle(), Uneven(), options=options)
    alone = []
    for axis in range(3):
        for turns in range(4):
            if axis and not turns:
                continue
            turned = np.rot90(scan.values, turns, axes=((1, 2), (2, 0), (0, 1))[axis])
            grid = Grid(turned.shape, GRID.affine)
            plain = predict_volume(
                Scan(np.ascontiguousarray(turned), grid), bundle(), Uneven(),
                options=VolumeOptions(overlap=0.3),
            )  # fmt: skip
            back = np.rot90(maps(plain)[0], -turns, axes=((1, 2), (2, 0), (0, 1))[axis])
            alone.append(back)
    np.testing.assert_allclose(maps(found)[0], np.mean(alone, axis=0), atol=1e-4)
    np.testing.assert_allclose(maps(found)[1], np.std(alone, axis=0), atol=1e-4)
    assert found.mean_spread == pytest.approx(np.std(alone, axis=0).mean(), rel=1e-3)
    assert found.mean_spread > 0.001


def test_sums_in_files_are_the_sums_in_memory(scan, monkeypatch):
    options = VolumeOptions(tta="fast", overlap=0.3)
    expected = predict_volume(scan, bundle(), Uneven(), options=options)
    monkeypatch.setattr(volume_inference, "IN_MEMORY", 0)
    found = predict_volume(scan, bundle(), Uneven(), options=options)
    np.testing.assert_array_equal(maps(found)[0], maps(expected)[0])
    np.testing.assert_array_equal(maps(found)[1], maps(expected)[1])
    np.testing.assert_array_equal(found.landmarks.points_mm, expected.landmarks.points_mm)
    assert not isinstance(maps(found)[0], np.memmap)


@pytest.mark.parametrize("heads", ["segmentation", "landmarks"])
def test_a_network_with_one_head(scan, heads):
    found = predict_volume(scan, bundle(heads=heads), Echo(heads))
    assert (found.probability is None) == (heads == "landmarks")
    assert len(found.landmarks.names) == (3 if heads == "landmarks" else 0)
    (ear,) = as_prediction(found, scan, Side.RIGHT).ears
    assert np.isfinite(ear.landmarks.points_mm).all() == (heads == "landmarks")
    assert (ear.volume_mm3 > 0) == (heads == "segmentation")
    place = GRID.to_mm([25, 12, 8])
    np.testing.assert_allclose(ear.center_mm, place, atol=0.1)


def test_the_training_sets_scaling_is_used(scan):
    shifted = SCALING | {"mean": 0.25, "sd": 0.5}
    found = predict_volume(scan, bundle(scaling=shifted), Echo())
    np.testing.assert_allclose(maps(found)[0], (scan.values - 0.25) / 0.5, atol=1e-3)
    own = volume_inference.Scaling(0.0, 1.0, 0.0, 0.1)
    found = predict_volume(scan, bundle(), Echo(), options=VolumeOptions(scaling=own))
    np.testing.assert_allclose(maps(found)[0], scan.values * 10, atol=1e-3)


def test_without_a_sets_scaling_every_window_has_its_own(scan):
    bright = replace(scan, values=scan.values * 700 - 300)
    plain = predict_volume(scan, bundle(scaling=None), Echo())
    other = predict_volume(bright, bundle(scaling=None), Echo())
    np.testing.assert_allclose(maps(other)[0], maps(plain)[0], atol=1e-2)


def test_windows_come_in_batches_that_suit_the_engine(scan):
    engine = Echo()
    predict_volume(scan, bundle(), engine, options=VolumeOptions(overlap=0.0))
    assert max(engine.sizes) == 3
    # 40 x 30 x 26 voxels in windows of 16: 3 x 2 x 2.
    assert sum(engine.sizes) == 12


def test_a_field_that_is_too_large_is_refused_before_it_is_resampled(monkeypatch):
    """A micro-CT whose header gives mm for what are micrometres."""
    monkeypatch.setattr(volume_inference, "resample", lambda *_, **__: pytest.fail("resampled"))
    large = Grid((60, 60, 60), affine_from(np.eye(3) * 16.0, np.zeros(3)))
    scan = Scan(np.zeros(large.shape, np.float32), large)
    with pytest.raises(InputError, match="voxel size"):
        predict_volume(scan, bundle(), Echo())
    with pytest.raises(InputError, match="at most 1000"):
        predict_volume(
            Scan(np.zeros(GRID.shape, np.float32), GRID), bundle(), Echo(),
            options=VolumeOptions(most_voxels=1000),
        )  # fmt: skip


def test_overlaps_wider_than_a_window_are_refused(scan):
    with pytest.raises(ConfigError, match="overlap"):
        predict_volume(scan, bundle(), Echo(), options=VolumeOptions(overlap=1.0))


def test_results_lie_on_the_scans_own_grid(scan):
    """Stored on a finer grid, axes reversed: labels and points are where they were."""
    fine = Grid((80, 60, 52), affine_from(np.eye(3) * -0.25, GRID.to_mm([39.75, 29.75, 25.75])))
    places = fine.to_mm(np.moveaxis(np.indices(fine.shape), 0, -1))
    away = np.linalg.norm(places - GRID.to_mm([25, 12, 8]), axis=-1)
    stored = Scan(np.exp(-0.5 * (away / 2.0) ** 2).astype(np.float32), fine, "blob")
    found = predict_volume(stored, bundle(), Echo(), options=VolumeOptions(tta="fast"))
    prediction = as_prediction(found, stored, Side.LEFT)
    assert prediction.labels.values.shape == fine.shape
    assert set(np.unique(prediction.labels.values)) == {0, Side.LEFT.label}
    inside = prediction.labels.values > 0
    assert np.count_nonzero(inside & (stored.values > 0.5)) > 0.93 * np.count_nonzero(inside)
    (ear,) = prediction.ears
    assert ear.landmarks.names == LANDMARK_NAMES
    np.testing.assert_allclose(ear.landmarks.points_mm, [GRID.to_mm([25, 12, 8])] * 3, atol=0.1)
    np.testing.assert_allclose(ear.center_mm, GRID.to_mm([25, 12, 8]), atol=0.1)
    assert ear.confidence > 0.9


def test_nothing_found_is_said(scan):
    dark = replace(scan, values=scan.values * 0.1)
    prediction = as_prediction(predict_volume(dark, bundle(), Echo()), dark, Side.RIGHT)
    assert not prediction.ears
    assert prediction.warnings == ("no inner ear found",)
