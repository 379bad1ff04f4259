"""The mean ear's canals, crus and vestibule, fitted to an ear to define their ends.

The mean ear only gives the positions of a canal's ends; the lines themselves follow each ear's own
lumen (`courses`).
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from otovox.core.anatomy import CANONICAL_MM
from otovox.core.ear_statistics import ear_statistics
from otovox.core.geometry import FloatArray
from otovox.core.landmarks import Landmarks
from otovox.measure.tori import CANALS, CanalTrace

#: Distance between neighbouring points of a line, mm: chosen, below a lumen's radius.
STEP_MM = 0.25
#: Points (stations) of a canal's line used to fit the mean ear: chosen, about one every 0.6 mm.
STATIONS = 28
#: Landmarks also used for the fit; the helicotrema is excluded because it tilts with the cochlea,
#: which displaces the canals' ends (0.12 mm along their lines versus 0.10 without, on 18 simulated
#: ears).
LANDMARKS = ("oval_window", "round_window", "common_crus")
#: Weight of a landmark, in stations of a canal: chosen.
LANDMARK_WEIGHT = 3.0
#: Minimum number of stations and landmarks for the fit: chosen, half a canal.
LEAST_STATIONS = 12
#: Iterations of matching each station with its nearest point and refitting: chosen.
ROUNDS = 12


@dataclass(frozen=True, eq=False)
class Centreline:
    """A tube: points about `STEP_MM` apart, and the lumen's radius at each.

    Attributes:
        points_mm: (n, 3).
        radius_mm: (n,).
    """

    points_mm: FloatArray
    radius_mm: FloatArray


@dataclass(frozen=True, eq=False)
class Similarity:
    """x -> scale * rotation x + shift, on rows."""

    scale: float
    rotation: FloatArray
    shift: FloatArray

    def __call__(self, points: FloatArray) -> FloatArray:
        return self.scale * points @ self.rotation.T + self.shift

    def moved(self, line: Centreline) -> Centreline:
        """The transformed line.

        >>> line = Centreline(np.array([[0.0, 0, 0], [1.0, 0, 0]]), np.array([0.5, 0.5]))
        >>> twice = Similarity(2.0, np.eye(3), np.array([0.0, 0.0, 1.0])).moved(line)
        >>> twice.points_mm.tolist(), twice.radius_mm.tolist()
        ([[0.0, 0.0, 1.0], [2.0, 0.0, 1.0]], [1.0, 1.0])
        """
        return Centreline(self(line.points_mm), line.radius_mm * self.scale)


@cache
def mean_canal(name: str) -> Centreline:
    """The mean line of a canal, canonical mm, starting at its ampulla.

    Args:
        name: name of the canal.

    Source: `core/ear_statistics.json`, mean centreline of 21 points of 72 labyrinths.

    >>> line = mean_canal("lateral")
    >>> round(float(along_mm(line.points_mm)[-1]), 1)
    11.6
    """
    canal = ear_statistics()["canals"][name]
    line = np.asarray(canal["centreline_mm"], dtype=float)
    points = resampled(line, count=_count(line))
    at = np.linspace(0, 1, len(points)), np.linspace(0, 1, len(line))
    return Centreline(points, np.interp(*at, canal["radius_mm"]))


@cache
def mean_crus() -> Centreline:
    """The mean line of the common crus, canonical mm, from the vestibule upward; same source.

    >>> round(float(along_mm(mean_crus().points_mm)[-1]), 1)
    1.9
    """
    data = ear_statistics()["common_crus"]
    ends = np.array([data["start_mm"], data["end_mm"]])
    points = resampled(ends, count=_count(ends))
    return Centreline(points, np.full(len(points), data["radius_mm"]))


def resampled(line: FloatArray, *, count: int) -> FloatArray:
    """A polyline resampled to `count` equidistant points, including its ends.

    >>> resampled(np.array([[0.0, 0, 0], [4, 0, 0]]), count=3).tolist()
    [[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [4.0, 0.0, 0.0]]
    """
    length = along_mm(line)
    at = np.linspace(0, length[-1], count)
    return np.stack([np.interp(at, length, axis) for axis in line.T], axis=1)


def along_mm(line: FloatArray) -> FloatArray:
    """(n,) length of a polyline up to each of its points.

    >>> along_mm(np.array([[0, 0, 0], [3, 4, 0], [3, 4, 2]])).tolist()
    [0.0, 5.0, 7.0]
    """
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])


def tangents(line: FloatArray) -> FloatArray:
    """(n, 3) unit directions along a polyline.

    >>> tangents(np.array([[0.0, 0, 0], [3, 4, 0]])).round(2).tolist()
    [[0.6, 0.8, 0.0], [0.6, 0.8, 0.0]]
    """
    forward = np.gradient(line, axis=0)
    return forward / np.maximum(np.linalg.norm(forward, axis=1, keepdims=True), 1e-9)


def nearest_on(points: FloatArray, curve: FloatArray) -> FloatArray:
    """(n, 3) nearest points of a polyline, nan beyond its ends.

    >>> line = np.array([[0.0, 0, 0], [199, 0, 0]])
    >>> nearest_on(np.array([[50.0, 7, 0], [-5, 1, 0]]), line).round(6).tolist()
    [[50.0, 0.0, 0.0], [nan, nan, nan]]
    """
    fine = resampled(curve, count=200)
    nearest = np.linalg.norm(points[:, None] - fine[None], axis=2).argmin(axis=1)
    on_curve = fine[nearest].copy()
    on_curve[(nearest == 0) | (nearest == len(fine) - 1)] = np.nan
    return on_curve


def place_mean_ear(traces: dict[str, CanalTrace | None], landmarks_mm: Landmarks) -> Similarity:
    """Fit the mean ear's canals to the traced ones with a similarity transform.

    Args:
        traces: per canal; None if it was not found.
        landmarks_mm: in the canonical frame; nan where absent.

    Returns:
        The transform from the mean ear to this one; the identity if too little was found.

    Source: iterated closest points (Besl and McKay 1992).

    >>> landmarks = Landmarks(tuple(CANONICAL_MM), np.array(list(CANONICAL_MM.values())))
    >>> place_mean_ear(dict.fromkeys(CANALS), landmarks).scale  # no canal was found
    1.0
    """
    canals = [name for name in CANALS if traces[name] is not None]
    stations = [resampled(mean_canal(name).points_mm, count=STATIONS) for name in canals]
    names = [name for name in LANDMARKS if landmarks_mm.has(name)]
    marks = np.array([CANONICAL_MM[name] for name in names]).reshape(-1, 3)
    there = np.array([landmarks_mm[name] for name in names]).reshape(-1, 3)
    source = np.concatenate([*stations, marks])
    share = np.ones(len(source))
    share[len(source) - len(names) :] = LANDMARK_WEIGHT
    place = Similarity(1.0, np.eye(3), np.zeros(3))
    for _ in range(ROUNDS):
        curves = [traces[name] for name in canals]
        target = [
            nearest_on(place(line), trace.points_mm)
            for line, trace in zip(stations, curves, strict=True)
            if trace is not None
        ]
        target = np.concatenate([*target, there])
        kept = np.isfinite(target).all(axis=1)
        if np.count_nonzero(kept) < LEAST_STATIONS:
            return place
        place = fit_similarity(source[kept], target[kept], share[kept])
    return place


def fit_similarity(source: FloatArray, target: FloatArray, weights: NDArray[Any]) -> Similarity:
    """The weighted least-squares similarity transform from (n, 3) points to others.

    Source: Umeyama 1991.

    >>> square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    >>> fit = fit_similarity(square, 2 * square + 1, np.ones(4))
    >>> round(fit.scale, 6), fit.shift.round(6).tolist()
    (2.0, [1.0, 1.0, 1.0])
    """
    share = weights / weights.sum()
    a, b = share @ source, share @ target
    u, s, vt = np.linalg.svd((target - b).T @ ((source - a) * share[:, None]))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs) @ vt
    scale = float((s * signs).sum() / (share @ np.sum((source - a) ** 2, axis=1)))
    return Similarity(scale, rotation, b - scale * rotation @ a)


def _count(line: FloatArray) -> int:
    return round(float(along_mm(line)[-1]) / STEP_MM) + 1
