"""Named points in LPS mm; nan where a landmark is absent."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from otovox.core.geometry import FloatArray, apply_affine


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Named points.

    Attributes:
        names: n unique names.
        points_mm: (n, 3) LPS; a row of nan where the landmark is absent.
    """

    names: tuple[str, ...]
    points_mm: FloatArray

    def __post_init__(self) -> None:
        points = np.array(self.points_mm, dtype=float)
        if points.shape != (len(self.names), 3):
            raise ValueError(f"{len(self.names)} names do not match points of shape {points.shape}")
        if len(set(self.names)) != len(self.names):
            raise ValueError("a landmark name occurs twice")
        points.setflags(write=False)
        object.__setattr__(self, "points_mm", points)

    def __getitem__(self, name: str) -> FloatArray:
        return self.points_mm[self.names.index(name)]

    def has(self, name: str) -> bool:
        """Whether the landmark is named and present.

        >>> points = Landmarks(("helicotrema", "oval_window"), [[1.0, 2.0, 3.0], [np.nan] * 3])
        >>> points.has("helicotrema"), points.has("oval_window"), points.has("round_window")
        (True, False, False)
        """
        return name in self.names and bool(np.isfinite(self[name]).all())

    def only(self, names: tuple[str, ...]) -> "Landmarks":
        """Only these landmarks, in this order.

        >>> points = Landmarks(("helicotrema", "oval_window"), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
        >>> points.only(("oval_window",)).points_mm.tolist()
        [[4.0, 5.0, 6.0]]
        """
        return Landmarks(names, np.array([self[name] for name in names]).reshape(-1, 3))

    def moved(self, affine: ArrayLike) -> "Landmarks":
        """All points mapped with a (4, 4) affine.

        >>> points = Landmarks(("helicotrema",), [[1.0, 2.0, 3.0]])
        >>> points.moved(np.diag([-1.0, -1.0, 1.0, 1.0]))["helicotrema"].tolist()  # LPS to RAS
        [-1.0, -2.0, 3.0]
        """
        return Landmarks(self.names, apply_affine(affine, self.points_mm))

    def distance_mm(self, first: str, second: str) -> float:
        """Euclidean distance between two landmarks; nan if either is absent.

        >>> points = Landmarks(("oval_window", "round_window"), [[0.0, 0.0, 0.0], [1.2, 1.6, 0.0]])
        >>> points.distance_mm("oval_window", "round_window")
        2.0
        """
        return float(np.linalg.norm(self[first] - self[second]))
