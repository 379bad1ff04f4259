"""The overview of a ball with a ring: drawn quickly, whatever the grid, the field and the name."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from otovox.core.anatomy import CANONICAL_MM, LABYRINTH, LANDMARK_NAMES, Side
from otovox.core.case import EarPrediction, Prediction
from otovox.core.geometry import mean_pose, random_rotation
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid, LabelMap, Scan
from otovox.results.overview import overview


def prediction(grid: Grid, sides: tuple[Side, ...], name: str = "ball and ring") -> Prediction:
    """A dark ball with a ring in bright bone, one per side, 60 mm apart if there are two."""
    labels = np.zeros(grid.shape, np.uint8)
    points = grid.to_mm(np.moveaxis(np.indices(grid.shape), 0, -1))
    ears = []
    for side in sides:
        away = 0.0 if len(sides) == 1 else (-30.0 if side is Side.RIGHT else 30.0)
        pose = mean_pose(side, grid.center_mm + np.array([away, 0, 0]))
        own = pose.to_canonical(points.reshape(-1, 3)).reshape(points.shape)
        ring = np.hypot(np.hypot(own[..., 0], own[..., 1] + 4) - 4, own[..., 2]) < 0.8
        labels[(np.linalg.norm(own, axis=-1) < 3) | ring] = side.label
        found = pose.to_lps([CANONICAL_MM[n] for n in LANDMARK_NAMES])
        ears.append(
            EarPrediction(
                side=side,
                pose=pose,
                landmarks=Landmarks(LANDMARK_NAMES, found),
                landmark_sd_mm=np.full(3, 0.1),
                volume_mm3=150.0,
                center_mm=pose.origin_mm,
                confidence=0.87,
                uncertainty=0.01,
            )
        )
    noise = np.random.default_rng(1).normal(0, 40, grid.shape)
    values = np.where(labels > 0, 100, 1200) + noise
    scan = Scan(values.astype(np.float32), grid, name)
    return Prediction(scan, tuple(ears), LabelMap(labels, grid), np.zeros(grid.shape, np.float32))


def near(image: np.ndarray, rgb: tuple[int, int, int]) -> int:
    """Pixels of about a colour."""
    return int((np.abs(image[..., :3] - np.array(rgb) / 255).max(axis=-1) < 0.12).sum())


@pytest.fixture
def draw(tmp_path: Path) -> Callable[[Prediction], np.ndarray]:
    def drawn(made: Prediction) -> np.ndarray:
        overview(made, tmp_path / "overview.png")
        return imread(tmp_path / "overview.png")

    return drawn


HEAD = Grid.centred((0, 0, 0), (140, 40, 40), spacing_mm=0.6)
EAR = Grid.centred((30, -20, 700), (40, 40, 40), spacing_mm=0.6)


@pytest.fixture(scope="module")
def one_ear(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The overview of a single left ear."""
    path = tmp_path_factory.mktemp("pictures") / "one.png"
    overview(prediction(EAR, (Side.LEFT,)), path)
    return imread(path)


def test_two_ears_have_a_row_each_in_their_colours(
    one_ear: np.ndarray, draw: Callable[..., np.ndarray]
) -> None:
    two = draw(prediction(HEAD, tuple(Side)))
    assert two.shape[0] > 1.7 * one_ear.shape[0]
    assert two.shape[1] == one_ear.shape[1] >= 1600
    right, left = (LABYRINTH[side].rgb for side in Side)
    assert near(one_ear, left) > 2000
    assert near(one_ear, right) < 0.1 * near(one_ear, left)
    assert near(two, right) > 2000


def test_an_ear_takes_less_than_four_seconds(one_ear: np.ndarray, tmp_path: Path) -> None:
    """Once everything is imported, as `one_ear` sees to."""
    assert one_ear.size
    start = time.process_time()
    overview(prediction(EAR, (Side.LEFT,)), tmp_path / "again.png")
    assert time.process_time() - start < 4


def test_the_same_ear_looks_the_same_from_any_grid(
    one_ear: np.ndarray, draw: Callable[..., np.ndarray]
) -> None:
    """Oblique, left-handed voxels show the same anatomy in the same place; the other side not."""
    turn = random_rotation(np.random.default_rng(7)) @ np.diag([1.0, 1.0, -1.0])
    oblique = Grid.centred((30, -20, 700), (64, 64, 64), spacing_mm=0.6, directions=turn)
    other_grid = draw(prediction(oblique, (Side.LEFT,)))
    other_side = draw(prediction(EAR, (Side.RIGHT,)))

    def apart(image: np.ndarray) -> float:
        """Mean difference in grey of blocks, so that noise and colours do not count."""
        grey = np.stack([one_ear[..., :3].mean(axis=-1), image[..., :3].mean(axis=-1)])
        n, m = (size // 16 for size in grey.shape[1:])
        blocks = grey[:, : n * 16, : m * 16].reshape(2, n, 16, m, 16).mean(axis=(2, 4))
        return float(np.abs(blocks[0] - blocks[1]).mean())

    assert apart(other_grid) < 0.3 * apart(other_side)


def test_planes_beyond_the_field_are_black(
    one_ear: np.ndarray, draw: Callable[..., np.ndarray]
) -> None:
    cut = Grid.centred((30, -20, 700), (40, 40, 14), spacing_mm=0.6)
    part = draw(prediction(cut, (Side.LEFT,)))
    black = [(image[..., :3].max(axis=-1) == 0).sum() for image in (one_ear, part)]
    assert black[1] > black[0] + 50_000


def test_warnings_add_lines_and_what_is_absent_is_no_trouble(
    one_ear: np.ndarray, draw: Callable[..., np.ndarray]
) -> None:
    made = prediction(EAR, (Side.LEFT,))
    absent = Landmarks(LANDMARK_NAMES, np.full((3, 3), np.nan))
    ear = replace(made.ears[0], landmarks=absent, warnings=("cut", "long " * 100))
    empty = LabelMap(np.zeros(EAR.shape, np.uint8), EAR)
    assert draw(replace(made, ears=(ear,), labels=empty)).shape[0] > one_ear.shape[0] + 60


@pytest.mark.parametrize("name", ["a_$scan$^2\\ 頭部", "n" * 300, "two words " * 40])
def test_no_ear_shows_the_scan_and_reports_it(name: str, draw: Callable[..., np.ndarray]) -> None:
    made = prediction(Grid.centred((0, 0, 0), (20, 22, 24), spacing_mm=0.8), (), name)
    image = draw(replace(made, warnings=("no inner ear found",)))
    assert image.shape[1] > 1000
    assert near(image, (245, 192, 74)) > 100
