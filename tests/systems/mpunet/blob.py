"""A blob in noise, which planes of three views learn in seconds."""

import numpy as np

from otovox.config.training import config_from, load_preset
from otovox.core.volume import Grid
from otovox.dataset.layout import Entry
from otovox.dataset.prepared import Prepared

GRID = Grid.centred((10, -20, 30), (32, 32, 32), spacing_mm=0.5)


def a_blob(seed: int = 0) -> Prepared:
    """A dark ellipsoid in bright noise, off the middle; darker air on one side."""
    rng = np.random.default_rng(seed)
    away = (np.moveaxis(np.indices(GRID.shape), 0, -1) - (18, 14, 16)) / (8, 6, 5)
    inside = np.linalg.norm(away, axis=-1) < 1
    image = np.where(inside, 0, 1000) + rng.normal(0, 150, GRID.shape)
    image[:3] -= 2000
    points = np.full((1, 3, 3), np.nan)
    labels = inside.astype(np.uint8)
    return Prepared(Entry("blob", "p"), image.astype(np.float32), labels, points, GRID)


def settings(**system):
    given = load_preset("mpunet").model_dump()
    given["system"] |= {"depth": 2, "filters": 6, "views": 3} | system
    given["data"] |= {"spacing_mm": 0.5, "shape": (32, 32, 32), "batch_size": 4, "workers": 0}
    given["optimiser"] |= {"peak_rate": 3e-3, "plateau_iterations": 120, "total_iterations": 120}
    return config_from(given | {"validate_every": 60, "precision": "32-true"}, origin="test")
