"""A data set on disk as training data: kept beside the run, read by chunks (S4-S8)."""

import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from otovox.anatomy import CANONICAL_MM, LANDMARK_NAMES, Side
from otovox.case import Case
from otovox.config import TrainConfig, config_from
from otovox.dataset import Entry, Fold, add_case, read_index, start_dataset
from otovox.errors import ConfigError, InputError
from otovox.geometry import affine_from, mean_pose
from otovox.landmarks import Landmarks
from otovox.training_data import disk_datasets
from otovox.volume import Grid, LabelMap, Scan
from otovox.volume_data import Volume, draw_window, open_all

#: Stored with the axes S, L, P, the second reversed: not the working grid's order.
LINEAR = np.array([[0, -0.4, 0], [0, 0, 0.5], [0.3, 0, 0]])
GRID = Grid((60, 50, 40), affine_from(LINEAR, [3.0, -4.0, 5.0]))


def make_case(name: str, brightness: float, sides=(Side.RIGHT,)) -> Case:
    """A bright ball in the dark, its landmarks around it; on the left a second one."""
    places = GRID.to_mm(np.moveaxis(np.indices(GRID.shape), 0, -1))
    noise = np.random.default_rng(0).normal(0, 5, GRID.shape)
    values = (noise - 500).astype(np.float32)
    labels = np.zeros(GRID.shape, np.uint8)
    landmarks = {}
    for number, side in enumerate(sides):
        middle = GRID.center_mm + np.array([4.0 * number - 1.0, 1.0, 2.0])
        ball = np.linalg.norm(places - middle, axis=-1) < 1.5
        values[ball] = brightness + noise[ball]
        labels[ball] = side.label
        points = mean_pose(side, middle).to_lps([CANONICAL_MM[n] for n in LANDMARK_NAMES]) * 0.1
        landmarks[side] = Landmarks(LANDMARK_NAMES, points + middle * 0.9)
    return Case(Scan(values, GRID, name), LabelMap(labels, GRID), landmarks)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    start_dataset(folder, name="balls", source="made")
    for number in range(3):
        name = f"ball-{number}"
        add_case(folder, make_case(name, 1000.0 * (number + 1)), Entry(name, f"patient-{number}"))
    return folder


def settings(**data) -> TrainConfig:
    plain = {"source": "dataset", "spacing_mm": 0.5, "shape": [16, 16, 16], "intensity": "set"}
    return config_from(
        {
            "name": "test",
            "network": {"channels": [4, 8]},
            "data": plain | {"window_voxels": 4, "near_share": 1.0, "workers": 0} | data,
        },
        origin="test",
    )


def test_a_case_is_brought_onto_the_working_grid(dataset: Path, tmp_path: Path) -> None:
    entry = read_index(dataset)[0]
    (volume,) = open_all(dataset, [entry], settings(), tmp_path / "cache")
    case = make_case("ball-0", 1000.0)
    # Extent 60 x 0.3, 50 x 0.4, 40 x 0.5 mm along S, L, P.
    assert volume.image.shape == volume.labels.shape == (40, 40, 36)
    assert isinstance(volume.image, np.memmap)
    mm3 = np.count_nonzero(volume.labels) * 0.125
    assert mm3 == pytest.approx(case.labels.volume_mm3(Side.RIGHT.label), rel=0.08)
    assert volume.image[volume.labels > 0].mean() > 700
    ball_ijk = (np.array([-1.0, 1.0, 2.0]) / 0.5) + (np.array(volume.image.shape) - 1) / 2
    np.testing.assert_allclose(volume.middle, ball_ijk, atol=1)
    gaps = np.linalg.norm(np.diff(volume.points_ijk, axis=0), axis=1) * 0.5
    expected = np.linalg.norm(np.diff(case.landmarks[Side.RIGHT].points_mm, axis=0), axis=1)
    np.testing.assert_allclose(gaps, expected, atol=1e-6)
    assert not list(dataset.rglob("*.npy"))
    sent = pickle.dumps(volume)
    assert len(sent) < 1000
    assert isinstance(pickle.loads(sent).image, np.memmap)


def test_what_is_kept_is_used_again_until_the_case_changes(dataset: Path, tmp_path: Path) -> None:
    entry, cache = read_index(dataset)[0], tmp_path / "cache"
    open_all(dataset, [entry], settings(), cache)
    (kept,) = cache.iterdir()
    made = kept.stat().st_mtime_ns
    open_all(dataset, [entry], settings(), cache)
    assert [path.stat().st_mtime_ns for path in cache.iterdir()] == [made]
    os.utime(dataset / entry.image, ns=(1, 1))
    open_all(dataset, [entry], settings(), cache)
    assert len(list(cache.iterdir())) == 2


def test_of_both_ears_each_is_cut_out(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    start_dataset(folder, name="two", source="made")
    add_case(folder, make_case("two", 900.0, (Side.RIGHT, Side.LEFT)), Entry("two", "a"))
    volumes = open_all(folder, read_index(folder), settings(), tmp_path / "cache")
    assert [volume.name for volume in volumes] == ["two-left", "two-right"]
    for volume in volumes:
        assert volume.image.shape == (101, 101, 80)  # 50.5 x 50.5 x 39.9 mm at 0.5 mm
        np.testing.assert_allclose(volume.middle, (np.array(volume.image.shape) - 1) / 2, atol=1)


def test_a_case_without_a_labyrinth_is_refused(dataset: Path, tmp_path: Path) -> None:
    empty = make_case("empty", 100.0)
    labels = LabelMap(np.zeros(GRID.shape, np.uint8), GRID)
    add_case(dataset, replace(empty, labels=labels), Entry("empty", "e"))
    entries = [entry for entry in read_index(dataset) if entry.case == "empty"]
    with pytest.raises(InputError, match="no labelled labyrinth"):
        open_all(dataset, entries, settings(), tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*"))


def test_the_scaling_is_the_training_cases_alone(dataset: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    fold = Fold(("ball-0", "ball-1"), ("ball-2",))
    first = disk_datasets(settings(quantiles=[0.0, 0.9999]), dataset, fold, cache)
    assert first.facts["scaling"]["high"] <= 2030
    other = Fold(("ball-0", "ball-2"), ("ball-1",))
    second = disk_datasets(settings(quantiles=[0.0, 0.9999]), dataset, other, cache)
    assert second.facts["scaling"]["high"] > 2030
    json.dumps(first.facts)


def test_chunks_hold_image_mask_and_landmarks_together(dataset: Path, tmp_path: Path) -> None:
    fold = Fold(("ball-0",), ("ball-1",))
    data = disk_datasets(settings(), dataset, fold, tmp_path / "cache")
    (volume,) = open_all(dataset, read_index(dataset)[:1], settings(), tmp_path / "cache")
    for index in range(8):
        sample = data.training[index]
        assert sample["image"].shape == sample["labels"].shape == (1, 16, 16, 16)
        assert sample["labels"].any()
        inside = sample["labels"][0] > 0
        assert sample["image"][0][inside].mean() > sample["image"][0][~inside].mean()
        # The chunk's place in the volume tells where its landmarks are.
        corner = np.argwhere(volume.labels).min(axis=0) - np.argwhere(inside.numpy()).min(axis=0)
        known = np.isfinite(sample["points"][:, 0].numpy())
        mask = inside.numpy()
        if not (mask[0].any() or mask[:, 0].any() or mask[:, :, 0].any()):
            np.testing.assert_allclose(
                sample["points"][known].numpy() + corner, volume.points_ijk[known], atol=1e-3
            )
    again = data.training[3]
    np.testing.assert_array_equal(again["image"], data.training[3]["image"])
    whole = data.validation[0]
    assert whole["image"].shape == (1, 40, 40, 36)
    assert data.facts["validation_data"] == "1 whole volumes of 1 cases"


def ball(shape: tuple[int, int, int], middle: tuple[int, int, int]) -> Volume:
    image = np.zeros(shape, np.float32)
    return Volume("ball", image, image.astype(np.uint8), np.zeros((1, 3)), np.array(middle))


def test_windows_lie_at_multiples_of_the_stride() -> None:
    volume = ball((60, 41, 20), (30, 20, 10))
    rng = np.random.default_rng(0)
    drawn = {draw_window(volume, (20, 20, 20), (10, 10, 10), rng, near=False) for _ in range(200)}
    assert {window[0] for window in drawn} == {0, 10, 20, 30, 40}
    assert {window[1] for window in drawn} == {0, 10, 20, 21}
    assert {window[2] for window in drawn} == {0}


def test_windows_near_the_labyrinth_hold_its_middle() -> None:
    volume = ball((60, 60, 60), (30, 3, 59))
    rng = np.random.default_rng(0)
    for stride in (4, 20):
        for _ in range(20):
            start = draw_window(volume, (20, 20, 20), (stride, stride, stride), rng, near=True)
            assert np.all(np.array(start) <= volume.middle)
            assert np.all(volume.middle < np.array(start) + 20)


def test_a_volume_smaller_than_a_chunk_lies_in_its_middle(dataset: Path, tmp_path: Path) -> None:
    config = settings(shape=[64, 64, 64])
    data = disk_datasets(config, dataset, Fold(("ball-0",), ("ball-1",)), tmp_path / "cache")
    sample = data.training[0]
    assert sample["image"].shape == (1, 64, 64, 64)
    assert data.validation[0]["image"].shape == (1, 64, 64, 64)
    (volume,) = open_all(dataset, read_index(dataset)[:1], config, tmp_path / "cache")
    np.testing.assert_allclose(
        sample["points"].numpy(), volume.points_ijk + np.array([12, 12, 14]), atol=1e-3
    )


def test_settings_for_phantoms_refuse_a_data_set(dataset: Path, tmp_path: Path) -> None:
    config = settings(source="ear")
    with pytest.raises(ConfigError, match="--data"):
        disk_datasets(config, dataset, Fold(("ball-0",), ("ball-1",)), tmp_path)
    with pytest.raises(InputError, match="ball-9"):
        disk_datasets(settings(), dataset, Fold(("ball-9",), ("ball-1",)), tmp_path)


@pytest.mark.filterwarnings("ignore::Warning:lightning", "ignore::UserWarning:torch")
def test_a_run_on_a_data_set(dataset: Path, tmp_path: Path) -> None:
    """Two iterations, then whole volumes by windows; the model's card tells scaling and figures."""
    from otovox.training import Machine, train

    config = settings(intensity="set").model_copy(update={"validate_every": 2})
    optimiser = config.optimiser.model_copy(
        update={
            "total_iterations": 2,
            "accumulation": 1,
            "warmup_iterations": 0,
            "plateau_iterations": 2,
        }
    )
    config = config.model_copy(update={"optimiser": optimiser})
    data = disk_datasets(config, dataset, Fold(("ball-0",), ("ball-1",)), tmp_path / "cache")
    bundle = train(config, tmp_path / "run", data, machine=Machine("cpu", "1"))
    assert bundle.facts["scaling"] == data.facts["scaling"]
    measured = bundle.facts["validation"]
    assert {"val_loss", "dsc", "iou", "mse", "mae"} <= set(measured)
    assert 0 <= measured["dsc"] <= 1
