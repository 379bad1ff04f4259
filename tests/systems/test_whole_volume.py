"""Whole scans by sliding windows: a network that copies its input must give back the scan."""

from dataclasses import replace

import numpy as np
import pytest

from examples import Copying, tiny_bundle
from otovox.core.geometry import cube_turns
from otovox.core.volume import Grid, Scan
from otovox.errors import ConfigError, InputError
from otovox.imaging.intensity import Scaling, Statistics
from otovox.imaging.windows import turned
from otovox.learning.engine import open_engine
from otovox.systems.registry import trained_network
from otovox.systems.whole_volume import Sweep, on_grid, postprocessed, predict_volume

GRID = Grid.centred((5, -8, 3), (30, 26, 20), spacing_mm=0.5)
UNCHANGED = Scaling(Statistics(0, 1, 0, 1))


class Lopsided(Copying):
    """Says a ramp along the first axis of the chunk, whatever it sees."""

    def run(self, images):
        ramp = np.broadcast_to(np.linspace(0, 1, 16, dtype=np.float32)[:, None, None], (16,) * 3)
        copies = np.broadcast_to(ramp, images.shape).copy()
        return copies, np.repeat(images, 3, axis=1)


@pytest.fixture
def scan() -> Scan:
    """A bright ball, brightest in its middle, away from the middle of the scan."""
    away = np.linalg.norm(np.moveaxis(np.indices(GRID.shape), 0, -1) - (19, 9, 12), axis=-1)
    return Scan(np.exp(-0.5 * (away / 3) ** 2).astype(np.float32), GRID)


@pytest.mark.parametrize("tta", ["none", "paper"])
def test_a_copying_network_gives_back_the_scan(tmp_path, scan, tta):
    sweep = Sweep(tta, overlap_voxels=5, batch_size=3, scaling=UNCHANGED)
    engine = Copying()
    found = predict_volume(scan, tiny_bundle(tmp_path / "m"), engine, tmp_path / "w", sweep=sweep)
    assert found.probability is not None
    assert found.uncertainty is not None
    assert found.landmarks is not None
    np.testing.assert_allclose(found.probability, scan.values, atol=1e-4)
    np.testing.assert_allclose(found.uncertainty, 0, atol=1e-3)
    np.testing.assert_allclose(
        found.landmarks.points_mm, np.tile(GRID.to_mm((19, 9, 12)), (3, 1)), atol=0.05
    )
    np.testing.assert_allclose(found.landmark_sd_mm, 0, atol=0.05)
    assert max(engine.calls) == 3
    labels = on_grid(found, GRID, label=2)
    np.testing.assert_array_equal(labels.values == 2, scan.values > 0.5)
    assert sorted(p.name for p in (tmp_path / "w").iterdir()) == [
        "probability.npy", "uncertainty.npy",
    ]  # fmt: skip


def test_chunks_cover_only_the_part_that_is_asked_for(tmp_path, scan):
    model, whole, part = tiny_bundle(tmp_path / "m"), Copying(), Copying()
    corners = GRID.to_mm([(16, 4, 12), (20, 12, 12)])
    sweep = Sweep(overlap_voxels=5, scaling=UNCHANGED)
    predict_volume(scan, model, whole, tmp_path / "whole", sweep=sweep)
    near = replace(sweep, around_mm=corners)
    found = predict_volume(scan, model, part, tmp_path / "part", sweep=near)
    # 4 voxels of 0.5 mm on both sides, and at least a chunk of 16.
    assert found.grid.shape == (16, 17, 16)
    np.testing.assert_allclose(found.grid.to_mm((0, 0, 0)), GRID.to_mm((11, 0, 4)), atol=1e-6)
    assert found.probability is not None
    np.testing.assert_allclose(found.probability, scan.values[11:27, :17, 4:], atol=1e-4)
    assert sum(part.calls) < sum(whole.calls)
    labels = on_grid(found, GRID).values
    assert labels[19, 9, 12]
    assert not labels[:11].any()


def test_a_plain_prediction_uses_the_rotations_for_the_uncertainty_only(tmp_path):
    """S9, set B: the output of the unrotated scan, with the spread over all ten samples."""
    grid = Grid.centred((0, 0, 0), (16, 16, 16), spacing_mm=0.5)
    scan = Scan(np.random.default_rng(0).random(grid.shape, dtype=np.float32), grid)
    model, sweep = tiny_bundle(tmp_path / "m"), Sweep("paper", overlap_voxels=5, scaling=UNCHANGED)
    plain, mean, none = (
        predict_volume(scan, model, Lopsided(), tmp_path / name, sweep=how)
        for name, how in (
            ("p", replace(sweep, plain=True)), ("m", sweep), ("n", replace(sweep, tta="none")),
        )
    )  # fmt: skip
    np.testing.assert_array_equal(plain.probability, none.probability)
    assert plain.landmarks is not None
    assert none.landmarks is not None
    np.testing.assert_array_equal(plain.landmarks.points_mm, none.landmarks.points_mm)
    np.testing.assert_array_equal(plain.uncertainty, mean.uncertainty)
    assert plain.mean_uncertainty > 0.1
    assert np.abs(np.asarray(plain.probability) - np.asarray(mean.probability)).max() > 0.1


@pytest.mark.parametrize("subvoxel", [True, False])
def test_landmarks_are_decoded_below_the_voxel_or_as_the_papers_argmax(tmp_path, subvoxel):
    """S20: the peak lies 0.3 voxels beside the highest voxel, which is kept either way."""
    away = np.linalg.norm(np.moveaxis(np.indices(GRID.shape), 0, -1) - (19.3, 9, 12), axis=-1)
    scan = Scan(np.exp(-0.5 * (away / 3) ** 2).astype(np.float32), GRID)
    sweep = Sweep(overlap_voxels=5, scaling=UNCHANGED, subvoxel=subvoxel)
    model = tiny_bundle(tmp_path / "m")
    found = predict_volume(scan, model, Copying(), tmp_path / "w", sweep=sweep)
    assert found.landmarks is not None
    assert found.highest is not None
    voxel = np.tile(GRID.to_mm((19, 9, 12)), (3, 1))
    np.testing.assert_allclose(found.highest.points_mm, voxel, atol=1e-9)
    expected = np.tile(GRID.to_mm((19.3, 9, 12)), (3, 1)) if subvoxel else voxel
    np.testing.assert_allclose(found.landmarks.points_mm, expected, atol=0.02 if subvoxel else 1e-9)


@pytest.mark.parametrize(("tta", "count"), [("paper", 10), ("full", 24)])
def test_mean_and_spread_are_those_of_the_turned_samples(tmp_path, tta, count):
    """On a scan of one chunk they can be computed by numpy from all samples at once."""
    grid = Grid.centred((0, 0, 0), (16, 16, 16), spacing_mm=0.5)
    scan = Scan(np.random.default_rng(0).random(grid.shape, dtype=np.float32), grid)
    sweep = Sweep(tta, overlap_voxels=5, scaling=UNCHANGED)
    found = predict_volume(
        scan, tiny_bundle(tmp_path / "m"), Lopsided(), tmp_path / "w", sweep=sweep
    )
    ramp = np.broadcast_to(np.linspace(0, 1, 16)[:, None, None], (16, 16, 16))
    samples = np.stack([turned(ramp, turn.T) for turn in cube_turns(tta)])
    assert len(samples) == count
    assert found.probability is not None
    assert found.uncertainty is not None
    np.testing.assert_allclose(found.probability, samples.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(found.uncertainty, samples.std(axis=0), atol=1e-5)
    assert found.mean_uncertainty == pytest.approx(samples.std(axis=0).mean(), abs=1e-5)


@pytest.mark.parametrize("heads", ["segmentation", "landmarks"])
def test_a_network_of_one_head_answers_for_that_alone(tmp_path, scan, heads):
    model = tiny_bundle(tmp_path / "m", heads)
    engine = open_engine(model, trained_network, device="torch", threads=1)
    sweep = Sweep(overlap_voxels=2, batch_size=4)
    found = predict_volume(scan, model, engine, tmp_path / "w", sweep=sweep)
    assert (found.probability is None) == (heads == "landmarks")
    assert (found.landmarks is None) == (heads == "segmentation")
    if heads == "landmarks":
        assert np.isnan(found.mean_uncertainty)
        with pytest.raises(ValueError, match="without segmentation"):
            on_grid(found, GRID)


def test_a_micro_ct_at_the_wrong_spacing_is_refused_before_anything_is_read(tmp_path):
    class Untouched(np.ndarray):
        def __getitem__(self, key):
            raise AssertionError("was read")

    grid = Grid.centred((0, 0, 0), (1500, 1500, 1500), spacing_mm=0.5)
    values = np.broadcast_to(np.float32(0), grid.shape).view(Untouched)
    model = tiny_bundle(tmp_path / "m")
    with pytest.raises(InputError, match=r"750 x 750 x 750 mm has 3.4e\+09 voxels"):
        predict_volume(Scan(values, grid), model, Copying(), tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_chunks_that_cannot_be_turned_or_overlap_are_refused(tmp_path, scan):
    flat = tiny_bundle(tmp_path / "m", shape=(16, 16, 24))
    with pytest.raises(ConfigError, match="cubic"):
        predict_volume(scan, flat, Copying(), tmp_path / "w", sweep=Sweep("full"))
    with pytest.raises(ConfigError, match="overlap by 16"):
        predict_volume(scan, flat, Copying(), tmp_path / "w", sweep=Sweep(overlap_voxels=16))


def test_smoothing_is_a_step_after_any_system(tmp_path, scan):
    speck = scan.values.copy()
    speck[2, 2, 2] = 1.0
    found = predict_volume(Scan(speck, GRID), tiny_bundle(tmp_path / "m"), Copying(), tmp_path,
                           sweep=Sweep(overlap_voxels=5, scaling=UNCHANGED))  # fmt: skip
    assert postprocessed(found, Sweep()) is found
    smooth = postprocessed(found, Sweep(smooth=True)).probability
    assert found.probability is not None
    assert smooth is not None
    assert set(np.unique(smooth)) == {0, 1}
    assert found.probability[2, 2, 2] > 0.5 > smooth[2, 2, 2]
    assert smooth[19, 9, 12] == 1
