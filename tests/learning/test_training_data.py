"""Chunks of a data set: where they come from, what becomes of their landmarks."""

from pathlib import Path

import numpy as np
import pytest

from examples import CASE_GRID, a_case
from otovox.config.training import AugmentationConfig, load_preset
from otovox.core.anatomy import CANONICAL_MM, LANDMARK_NAMES, Side
from otovox.core.case import Case
from otovox.core.geometry import MIDDLE_MM
from otovox.core.volume import Grid
from otovox.dataset.layout import Entry, add_case, read_index, start_dataset
from otovox.dataset.prepared import Prepared, prepare, working_grid
from otovox.errors import InputError
from otovox.imaging.intensity import Statistics, intensity_statistics
from otovox.learning.training_data import (
    EAR_SHAPE,
    EAR_SPACING_MM,
    MixedSamples,
    PhantomSamples,
    VolumeChunks,
    Volumes,
    canonical_ears,
)
from otovox.phantom.cases import make_case


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "set"
    start_dataset(path, name="test", source="made here")
    for number in range(2):
        add_case(path, a_case(f"c{number}", number), Entry("", patient=f"p{number}"))
    return path


def prepared(folder: Path, cache: Path, spacing_mm: float = 0.5) -> list[Prepared]:
    return prepare(
        folder,
        read_index(folder),
        cache,
        spacing_mm=spacing_mm,
        shape=(16, 16, 16),
        landmarks=LANDMARK_NAMES,
    )


def settings(**data):
    config = load_preset("tiny")
    return config.model_copy(
        update={
            "data": config.data.model_copy(
                update={"shape": (16, 16, 16), "spacing_mm": 0.5, "stride_voxels": 5, **data}
            )
        }
    )


def test_a_working_grid_keeps_field_and_middle():
    grid = Grid.centred((1, 2, 3), (100, 50, 30), spacing_mm=(0.2, 0.2, 0.6))
    found = working_grid(grid, 0.3, (1, 1, 64))
    assert found.shape == (67, 33, 64)
    np.testing.assert_allclose(found.center_mm, grid.center_mm)
    np.testing.assert_allclose(found.spacing_mm, 0.3)


def test_a_case_at_its_own_spacing_keeps_voxels_labels_and_landmarks(folder, tmp_path):
    case, (found, _) = a_case("c0", 0), prepared(folder, tmp_path / "cache")
    np.testing.assert_allclose(found.image, case.scan.values, atol=0.1)
    np.testing.assert_array_equal(found.labels, case.labels.values > 0)
    expected = case.scan.grid.to_ijk(case.landmarks[Side.LEFT].points_mm)
    np.testing.assert_allclose(found.points_ijk[0], expected, atol=1e-3)
    assert isinstance(found.image, np.memmap)


def test_what_is_kept_is_used_until_the_data_set_changes(folder, tmp_path):
    prepared(folder, tmp_path / "cache")
    card = tmp_path / "cache" / "c0" / "case.json"
    before = card.stat().st_mtime_ns
    prepared(folder, tmp_path / "cache")
    assert card.stat().st_mtime_ns == before
    add_case(folder, a_case("c0", 7), Entry("", patient="p0"))
    found = prepared(folder, tmp_path / "cache")[0]
    np.testing.assert_allclose(found.image, a_case("c0", 7).scan.values, atol=0.1)


def test_chunks_repeat_and_their_landmarks_lie_on_the_bright_spots(folder, tmp_path):
    cases = prepared(folder, tmp_path / "cache")
    config = settings().model_copy(
        update={"augmentation": AugmentationConfig(protocol="beta", probability=0)}
    )
    # Limits so wide that nothing is clipped.
    chunks = VolumeChunks(cases, config, Statistics(-1e4, 1e4, 0, 100))
    hits = 0
    for index in range(60):
        sample = chunks[index]
        again = chunks[index]
        assert all(np.array_equal(sample[key], again[key], equal_nan=True) for key in sample)
        image, points = sample["image"][0].numpy(), sample["points"].numpy()
        for point in points:
            if np.all((point > 3) & (point < 12)):
                i, j, k = np.rint(point).astype(int)
                hits += 1
                assert image[i, j, k] > 3
    assert hits > 5


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_share_of_chunks_near_the_labyrinth_is_kept(folder, tmp_path, share):
    chunks = VolumeChunks(
        prepared(folder, tmp_path / "cache"), settings(near_labyrinth=share), None
    )
    held = np.mean([bool(chunks[n]["labels"].any()) for n in range(60)])
    assert held == 1 if share == 1 else held < 0.9


def test_a_share_of_windows_is_read_by_either_stride(folder, tmp_path):
    cases = prepared(folder, tmp_path / "cache")
    few, many = (VolumeChunks(cases, settings(stride_voxels=stride), None) for stride in (12, 3))
    starts = [
        {one._window(0, np.random.default_rng(n))[0].start for n in range(150)}
        for one in (few, many)
    ]
    assert starts[0] == {0, 12, 24}
    assert len(starts[1]) > 6


def test_whole_volumes_come_as_they_are(folder, tmp_path):
    cases = prepared(folder, tmp_path / "cache")
    given = intensity_statistics(case.image for case in cases)
    sample = Volumes(cases, given)[1]
    assert sample["image"].shape == (1, *CASE_GRID.shape)
    assert sample["labels"].sum() == cases[1].labels.sum()
    np.testing.assert_allclose(sample["points"], cases[1].points_ijk[0], rtol=1e-6)
    assert float(sample["image"].max()) <= (given.high - given.mean) / given.sd + 1e-5


def test_nothing_to_train_on_is_refused():
    with pytest.raises(InputError, match="no cases"):
        VolumeChunks([], settings(), None)


@pytest.fixture(scope="module")
def ears(tmp_path_factory: pytest.TempPathFactory):
    """Two phantoms of either side as a data set of real ears."""
    path = tmp_path_factory.mktemp("ears")
    start_dataset(path, name="ears", source="made here")
    for seed in (1, 2, 3):
        case = make_case(seed, scanner="msct")
        landmarks = {side: points.only(LANDMARK_NAMES) for side, points in case.landmarks.items()}
        add_case(path, Case(case.scan, case.labels, landmarks), Entry("", patient=f"p{seed}"))
    return canonical_ears(path, read_index(path))


@pytest.mark.slow
def test_real_ears_lie_in_the_canonical_frame_with_what_is_known(ears) -> None:
    assert len(ears) == 3
    grid = Grid.centred(MIDDLE_MM, EAR_SHAPE, spacing_mm=EAR_SPACING_MM)
    for ear in ears:
        assert np.isfinite(ear.points_mm[:3]).all()
        assert np.isinf(ear.points_mm[3:]).all()
        expected = [CANONICAL_MM[name] for name in LANDMARK_NAMES]
        assert np.linalg.norm(ear.points_mm[:3] - expected, axis=1).max() < 1.5
        # The lateral canal's arc lies behind, the superior one's above: the mask is not mirrored.
        for name in ("lateral_arc", "anterior_arc"):
            near = np.rint(grid.to_ijk(np.array(CANONICAL_MM[name]))).astype(int)
            window = tuple(slice(n - 12, n + 13) for n in near)
            assert ear.share[window].max() > 200


@pytest.mark.slow
def test_real_ears_are_mixed_in_with_their_share(ears, tmp_path: Path) -> None:
    config = settings(shape=(32, 32, 32), spacing_mm=0.5, ears_share=1.0)
    mixed = MixedSamples(PhantomSamples(config.data, tmp_path), ears)
    for index in range(4):
        sample = mixed[index]
        assert sample["image"].shape == (1, 32, 32, 32)
        points = sample["points"].numpy()
        assert np.isinf(points[3:]).all()
        assert not np.isinf(points[:3]).any()
        for point in points[:3][np.isfinite(points[:3, 0])]:
            near = tuple(slice(max(int(n) - 2, 0), int(n) + 4) for n in point)
            assert sample["labels"][0][near].max() > 0.3
        again = mixed[index]
        assert (again["image"] == sample["image"]).all()
    with pytest.raises(InputError, match="no ear"):
        MixedSamples(PhantomSamples(config.data, tmp_path), [])
