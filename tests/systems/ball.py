"""A ball in noise, which any system learns in seconds."""

from pathlib import Path
from typing import Any

import numpy as np

from otovox.config.training import TrainConfig, config_from
from otovox.core.volume import Grid, Scan
from otovox.dataset.layout import Entry
from otovox.dataset.prepared import Prepared
from otovox.imaging.intensity import intensity_statistics
from otovox.learning.hardware import Hardware
from otovox.systems.interface import TrainingInput
from otovox.systems.registry import system_of
from otovox.systems.whole_volume import VolumePrediction

SIDE = 16
#: Axes (superior, left, anterior): neither the order nor the sense of LPS.
TURNED = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
SHAPE = (SIDE, SIDE, SIDE)
GRID = Grid.centred((4, -7, 2), SHAPE, spacing_mm=0.5, directions=TURNED)


def a_ball(name: str = "one", seed: int = 0) -> Prepared:
    """A bright ball in noise away from the middle, a point at its middle and two beside it."""
    rng = np.random.default_rng(seed)
    middle = np.array([9.0, 6.0, 8.0]) + rng.integers(-1, 2, 3).astype(float)
    away = np.linalg.norm(np.moveaxis(np.indices(GRID.shape), 0, -1) - middle, axis=-1)
    image = rng.normal(0, 30, GRID.shape) + 1000 * (away < 4)
    points = middle + np.array([[0.0, 0, 0], [4, 0, 0], [0, 0, 4]])
    return Prepared(
        Entry(name, name),
        image.astype(np.float32),
        (away < 4).astype(np.uint8),
        points[None],
        GRID,
    )


def settings(system: dict[str, Any], iterations: int, **optimiser: Any) -> TrainConfig:
    """For the ball: small, and with a rate at which it is learnt in seconds."""
    return config_from(
        {
            "name": "ball",
            "system": system,
            "validate_every": iterations // 2,
            "heatmaps": [{"iteration": 0, "spread_voxels": 2.0, "amplitude": 10.0}],
            "loss": {"segmentation": "bce"},
            "optimiser": {
                "peak_rate": 1e-2,
                "weight_decay": 0.0,
                "warmup_iterations": 0,
                "plateau_iterations": iterations // 2,
                "total_iterations": iterations,
                "accumulation": 1,
                "average_decay": 0.0,
                "gradient_clip": 1.0,
                **optimiser,
            },
            "data": {
                "spacing_mm": 0.5,
                "shape": [SIDE] * 3,
                "batch_size": 8 if system["kind"] == "autocasnet" else 1,
                "stride_voxels": 8,
                "workers": 0,
            },
        },
        origin="test",
    )


AUTOCASNET = {"kind": "autocasnet", "order": ["coronal", "axial"], "filters": [4, 8]}
JSDNET = {"kind": "jsdnet", "channels": [4, 8], "displacement_unit_voxels": 8}


def trained(config: TrainConfig, output: Path, cases: list[Prepared], **how: Any):
    given = intensity_statistics(case.image for case in cases)
    facts = {"training_data": "a ball"}
    course = TrainingInput(cases, [a_ball()], given, facts, hardware=Hardware("cpu"), **how)
    return system_of(config).train(config, output, course)


def predicted(bundle: Any, workspace: Path, **how: Any) -> VolumePrediction:
    scan = Scan(a_ball().image, GRID)
    system = system_of(bundle.config)
    return system.predict(scan, bundle, workspace, device="torch", **how)


def overlap(found: VolumePrediction) -> float:
    assert found.probability is not None
    mask, truth = found.probability > 0.5, a_ball().labels > 0
    return 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
