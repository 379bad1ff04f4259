import numpy as np
import pytest
from scipy import ndimage

from otovox.core.volume import Grid
from otovox.imaging.metrics import dice
from otovox.imaging.resample import resample
from otovox.inference.wall import LOST_WIDTH_MM, find_wall, to_logits, voxel_evidence

#: Lumen and bone, HU.
FLUID, BONE = 50.0, 1900.0
EAR_GRID = Grid.centred((0, 0, 0), (60, 60, 60), spacing_mm=0.2)
SCAN_GRID = Grid.centred((0.03, 0, 0), (100, 100, 100), spacing_mm=0.12)


def bumpy_mask(grid, amplitude_mm=0.4):
    """A ball of 3 mm with bumps finer than the network's resolution."""
    points = grid.to_mm(np.argwhere(np.ones(grid.shape)))
    radius = np.linalg.norm(points, axis=1)
    bumps = amplitude_mm * np.sin(9 * points).prod(axis=1)
    return (radius < 3 + bumps).reshape(grid.shape)


def scan_of(mask, noise_hu, rng, bone=BONE):
    values = ndimage.gaussian_filter(np.where(mask, FLUID, bone), 0.8)
    return (values + rng.normal(0, noise_hu, mask.shape)).astype(np.float32)


def refined(noise_hu, bone=BONE, shift_mm=0.0):
    """Mask, the network's smooth mask, the same with the evidence, and the wall."""
    mask = bumpy_mask(SCAN_GRID)
    values = scan_of(mask, noise_hu, np.random.default_rng(0), bone)
    radius = np.linalg.norm(EAR_GRID.to_mm(np.argwhere(np.ones(EAR_GRID.shape))), axis=1)
    probability = 1 / (1 + np.exp(-8 * (3 + shift_mm - radius)))
    probability = probability.reshape(EAR_GRID.shape).astype(np.float32)
    wall = find_wall(resample(values, SCAN_GRID, EAR_GRID, outside="edge"), probability, EAR_GRID)
    logits = resample(to_logits(probability), EAR_GRID, SCAN_GRID, outside=-5.0)
    evidence = voxel_evidence(wall, values, SCAN_GRID)
    return mask, logits > 0, logits + evidence > 0, wall


def test_the_voxels_add_detail_that_the_network_cannot_resolve():
    mask, smooth, detailed, _ = refined(noise_hu=100)
    assert dice(detailed, mask) > dice(smooth, mask) + 0.01


@pytest.mark.parametrize("shift_mm", [-0.1, 0.1])
def test_the_mean_position_of_the_wall_stays_with_the_network(shift_mm):
    _, smooth, detailed, _ = refined(noise_hu=100, shift_mm=shift_mm)
    assert detailed.sum() == pytest.approx(smooth.sum(), rel=0.05)


def test_noise_and_missing_contrast_give_less_evidence_and_none():
    clear = refined(noise_hu=50)[3].weight
    noisy = refined(noise_hu=400)[3].weight
    assert 0 < noisy < clear
    assert refined(noise_hu=400, bone=FLUID + 150)[3].weight == 0
    # Bone darker than the lumen is not bone.
    assert refined(noise_hu=50, bone=-900)[3].weight == 0


def test_voxels_as_large_as_the_band_give_no_evidence():
    coarse = Grid.centred((0, 0, 0), (20, 20, 20), spacing_mm=0.5)
    wall = refined(noise_hu=100)[3]
    evidence = voxel_evidence(wall, np.full(coarse.shape, FLUID, np.float32), coarse)
    assert wall.weight > 0
    assert not evidence.any()


@pytest.mark.parametrize("noise_hu", [0, 200])
@pytest.mark.parametrize("fwhm_mm", [0.6, 1.2])
def test_the_width_of_the_edge_is_that_of_the_point_spread(fwhm_mm, noise_hu):
    radius = np.linalg.norm(EAR_GRID.to_mm(np.argwhere(np.ones(EAR_GRID.shape))), axis=1)
    radius = radius.reshape(EAR_GRID.shape)
    scan = ndimage.gaussian_filter(np.where(radius < 3, FLUID, BONE), fwhm_mm / 2.3548 / 0.2)
    scan = scan + np.random.default_rng(0).normal(0, noise_hu, scan.shape)
    probability = (1 / (1 + np.exp(-8 * (3 - radius)))).astype(np.float32)
    wall = find_wall(scan.astype(np.float32), probability, EAR_GRID)
    assert wall.width_mm == pytest.approx(1.06 * fwhm_mm, rel=0.2)


def test_without_bone_around_the_width_is_the_greatest():
    assert refined(noise_hu=50, bone=-900)[3].width_mm == LOST_WIDTH_MM
