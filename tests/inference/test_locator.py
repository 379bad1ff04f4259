"""Candidates: with a stand-in for the network, so that the bookkeeping alone is tested."""

from dataclasses import dataclass

import numpy as np
import pytest

from otovox.core.geometry import random_rotation
from otovox.core.volume import Grid, Scan
from otovox.inference.locator import APART_MM, covering_grid, find_candidates


@dataclass(frozen=True)
class BrightSpots:
    """A network that sees an ear wherever the image is bright."""

    amplitude: float
    batch: int = 1

    def run(self, images):
        heatmaps = np.where(images > 3, self.amplitude, 0).astype(np.float32)
        return np.zeros_like(images), heatmaps


def find(scan: Scan):
    return find_candidates(
        scan, BrightSpots(50.0), spacing_mm=1.0, chunk=(32, 32, 32), amplitude=50.0
    )


def scan_with_spots(spots_mm, grid: Grid) -> Scan:
    values = np.random.default_rng(0).normal(0, 1, grid.shape).astype(np.float32)
    ijk = np.moveaxis(np.indices(grid.shape), 0, -1)
    away = [np.linalg.norm(grid.to_mm(ijk) - spot, axis=-1) for spot in spots_mm]
    values[np.min(away, axis=0) < 5.5] = 400
    return Scan(values, grid)


def test_spots_are_found_wherever_they_lie_and_however_the_grid_is_turned():
    spots = np.array([[-30.0, 4, 2], [28, -6, 5]])
    turned = random_rotation(np.random.default_rng(3))
    for axes in (np.eye(3), turned):
        grid = Grid.centred((0, 0, 0), (100, 60, 40), spacing_mm=1.0, directions=axes)
        found = find(scan_with_spots(spots @ axes.T, grid))
        assert len(found) == 2
        centers = np.array([candidate.center_mm for candidate in found])
        gaps = np.linalg.norm((spots @ axes.T)[:, None] - centers, axis=2)
        assert gaps.min(axis=1).max() < 3


def test_two_peaks_of_one_ear_are_one_candidate():
    grid = Grid.centred((0, 0, 0), (60, 60, 60), spacing_mm=1.0)
    near = APART_MM - 8
    assert len(find(scan_with_spots(np.array([[0.0, 0, 0], [near, 0, 0]]), grid))) == 1


def test_nothing_is_found_in_nothing():
    grid = Grid.centred((0, 0, 0), (40, 40, 40), spacing_mm=1.0)
    assert find(Scan(np.zeros(grid.shape, np.float32), grid)) == []


def test_the_covering_grid_holds_the_whole_field():
    turned = random_rotation(np.random.default_rng(1))
    grid = Grid.centred((5, 6, 7), (30, 20, 10), spacing_mm=(0.3, 0.4, 2), directions=turned)
    cover = covering_grid(grid, 1.0)
    ends = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape])).reshape(3, -1).T
    assert cover.contains(grid.to_mm(ends)).all()
    assert cover.spacing_mm == pytest.approx(1.0)
