"""Made by hand, and used by several test files: an ear, a case, settings, a model."""

from pathlib import Path

import numpy as np
import torch

from otovox.config.training import load_preset
from otovox.core.anatomy import CANONICAL_MM, LANDMARK_NAMES, Side
from otovox.core.case import Case, EarPrediction
from otovox.core.geometry import mean_pose
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid, LabelMap, Scan
from otovox.learning.bundle import Bundle, load_bundle, save_bundle
from otovox.systems.dual_head.network import DualHeadUNet

#: Of `a_case`.
CASE_GRID = Grid.centred((10, -20, 30), (40, 36, 44), spacing_mm=0.5)
#: The least that `otovox cross-validate` can train with.
SMOKE = """
name = "smoke"
validate_every = 1
heatmaps = [{ iteration = 0, spread_voxels = 2.0, amplitude = 10.0 }]
[network]
channels = [4, 8]
[optimiser]
warmup_iterations = 0
plateau_iterations = 1
total_iterations = 2
accumulation = 1
average_decay = 0.0
[augmentation]
protocol = "alpha"
[data]
spacing_mm = 1.0
shape = [16, 16, 16]
stride_voxels = 4
workers = 0
"""


def ear_of(scan: Scan, side: Side) -> EarPrediction:
    """A mean ear in the middle of a scan; its round window is absent."""
    pose = mean_pose(side, scan.grid.center_mm)
    points = pose.to_lps([CANONICAL_MM[name] for name in LANDMARK_NAMES])
    points[LANDMARK_NAMES.index("round_window")] = np.nan
    return EarPrediction(
        side=side,
        pose=pose,
        landmarks=Landmarks(LANDMARK_NAMES, points),
        landmark_sd_mm=np.array([0.1, 0.2, np.nan]),
        volume_mm3=200.0,
        center_mm=scan.grid.center_mm,
        confidence=0.9,
        uncertainty=0.001,
        warnings=("the round window lies outside the field",),
    )


def a_case(name: str, seed: int) -> Case:
    """Noise with three bright spots at the landmarks, and a ball for a labyrinth."""
    rng = np.random.default_rng(seed)
    points = CASE_GRID.center_mm + rng.uniform(-4, 4, (3, 3))
    places = CASE_GRID.to_mm(np.moveaxis(np.indices(CASE_GRID.shape), 0, -1))
    values = rng.normal(0, 10, CASE_GRID.shape)
    for point in points:
        values += 1000 * np.exp(-0.5 * ((places - point) ** 2).sum(axis=-1) / 0.6**2)
    ball = np.linalg.norm(places - CASE_GRID.center_mm, axis=-1) < 2
    labels = np.where(ball, Side.LEFT.label, 0).astype(np.uint8)
    landmarks = {Side.LEFT: Landmarks(LANDMARK_NAMES, points)}
    return Case(
        Scan(values.astype(np.float32), CASE_GRID, name), LabelMap(labels, CASE_GRID), landmarks
    )


class Copying:
    """Says that every voxel's grey value is its probability and its heatmap."""

    batch = 2

    def __init__(self, share: float = 1.0) -> None:
        self.share, self.calls = share, []

    def run(self, images):
        self.calls.append(len(images))
        return images.copy(), np.repeat(self.share * images, 3, axis=1)


def tiny_bundle(folder: Path, heads: str = "both", **data) -> Bundle:
    config = load_preset("tiny")
    data = config.data.model_copy(update={"spacing_mm": 0.5, "shape": (16, 16, 16), **data})
    network = config.network.model_copy(update={"heads": heads})
    config = config.model_copy(update={"data": data, "network": network})
    torch.manual_seed(0)
    save_bundle(folder, DualHeadUNet(network), config, facts={})
    return load_bundle(folder)
