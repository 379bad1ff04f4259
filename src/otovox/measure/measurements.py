"""The reported measurements of an ear: value, unit, definition, interval, norm, or why withheld.

Values come from `measure` and the landmarks, names and norms from `quantities`, intervals from the
test-time samples. Unreliable values are withheld, with the reason.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import special

from otovox.core.anatomy import CANONICAL_MM
from otovox.core.case import EarPrediction
from otovox.core.geometry import Pose
from otovox.core.landmarks import Landmarks
from otovox.core.segments import STRUCTURES
from otovox.core.volume import Grid, Probability
from otovox.measure.canals import Canals, measure_canals
from otovox.measure.cochlea import Cochlea, measure_cochlea
from otovox.measure.completeness import Completeness, score_completeness
from otovox.measure.quantities import (
    CANAL_MEASURES,
    COCHLEAR_GROUPS,
    DISTANCES,
    QUANTITIES,
    WALL_ANGLES_DEG,
    Quantity,
    key_of,
)
from otovox.measure.values import Measurement

#: Coverage of an interval, the usual one.
LEVEL = 0.95
#: Half-width of an interval relative to its value above which it is withheld: chosen, not measured.
WIDEST = 0.3
#: Minimum number of samples for a spread: chosen.
LEAST_SAMPLES = 3


@dataclass(frozen=True, eq=False)
class EarMeasurements:
    """All measurements of one ear.

    Attributes:
        table: measurements by name, in the order of the report.
        cochlea, canals, completeness: geometry and completeness; None without a probability map.
    """

    table: dict[str, Measurement]
    cochlea: Cochlea | None = None
    canals: Canals | None = None
    completeness: Completeness | None = None


def measure_ear(ear: EarPrediction, field: Grid, *, threads: int | None = None) -> EarMeasurements:
    """Measure one ear, and how much each number varies over the test-time samples.

    Args:
        ear: as found.
        field: the scan's grid; what it cuts is withheld.
        threads: that measure samples side by side; None for as many as there are cores.

    Returns:
        Values, or the reasons for withholding them.
    """
    plain = _plain(ear.volume_mm3, ear.landmarks)
    if ear.probability is None:
        return EarMeasurements(_table(QUANTITIES[: len(plain)], plain, _not_given(ear), []))
    fields = [(ear.probability, ear.landmarks)]
    fields += [(sample.probability, sample.landmarks) for sample in ear.samples]
    # Side by side: most of the time is spent in libraries that leave Python to others.
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        first, *others = [pool.submit(_shape, *one, ear.pose, field) for one in fields]
        cochlea, canals, values = first.result()
        completeness = _completeness(ear, field, canals)
        samples = [
            _plain(_volume_mm3(sample.probability), sample.landmarks) | shape.result()[2]
            for sample, shape in zip(ear.samples, others, strict=True)
        ]
    reasons = _not_given(ear) | _reasons(cochlea, canals, completeness)
    if _malformed(completeness):
        cochlear = {one.name for one in QUANTITIES if one.group in COCHLEAR_GROUPS}
        values = {name: value for name, value in values.items() if name not in cochlear}
    values |= plain | {"completeness_likert": float(completeness.likert)}
    return EarMeasurements(
        _table(QUANTITIES, values, reasons, samples), cochlea, canals, completeness
    )


def _plain(volume_mm3: float, landmarks: Landmarks) -> dict[str, float]:
    """Measurements that do not need the shape."""
    distances = {name: landmarks.distance_mm(one, other) for name, one, other in DISTANCES}
    return {"labyrinth_volume": volume_mm3} | distances


def _not_given(ear: EarPrediction) -> dict[str, str]:
    """Why distances are withheld whose ends nobody marked."""
    return {
        name: "a landmark that it needs was not given"
        for name, *ends in DISTANCES
        if not (ear.landmarks_sought or all(ear.landmarks.has(end) for end in ends))
    }


def _shape(
    probability: Probability, landmarks: Landmarks, pose: Pose, field: Grid
) -> tuple[Cochlea, Canals, dict[str, float]]:
    """Measurements of a segmentation's shape."""
    values, grid = probability.values, probability.grid
    cochlea = measure_cochlea(values, grid, landmarks, pose, field=field)
    canals = measure_canals(values, grid, landmarks, pose)
    return cochlea, canals, dict(_cochlear(cochlea)) | dict(_vestibular(canals))


def _completeness(ear: EarPrediction, field: Grid, canals: Canals) -> Completeness:
    assert ear.probability is not None
    grid, landmarks = ear.probability.grid, ear.landmarks
    if not ear.landmarks_sought:
        # What was not given is not lost: it is taken where an average ear has it.
        usual_mm = ear.pose.to_lps([CANONICAL_MM[name] for name in landmarks.names])
        given = np.isfinite(landmarks.points_mm)
        landmarks = Landmarks(landmarks.names, np.where(given, landmarks.points_mm, usual_mm))
    return score_completeness(
        ear.probability.values,
        grid,
        landmarks,
        ear.pose,
        field=grid.inside(field),
        parts=canals.parts,
    )


def _malformed(completeness: Completeness) -> bool:
    """Whether the cochlear measurements would be misleading."""
    return "cochlea" in completeness.missing or completeness.likert > 2


def _reasons(cochlea: Cochlea, canals: Canals, completeness: Completeness) -> dict[str, str]:
    """Reasons for withholding values, by group or name."""
    reasons = {
        f"{name}_canal_{what}": canal.problem
        for name, canal in canals.canals.items()
        for what in CANAL_MEASURES
    }
    if _malformed(completeness):
        why = f"not valid because parts are missing: {', '.join(completeness.missing)}"
        return reasons | dict.fromkeys(COCHLEAR_GROUPS, why)
    reasons |= dict.fromkeys(COCHLEAR_GROUPS, "; ".join(cochlea.problems))
    for insertion in cochlea.insertions:
        array = key_of(insertion.array)
        if np.isnan(insertion.angle_deg):
            too_long = "the array is longer than the duct"
            for what in ("insertion_angle", "coverage", "tip_frequency"):
                reasons[f"{what}_{array}"] = too_long
        elif np.isnan(insertion.tip_ganglion_hz):
            reasons[f"tip_frequency_{array}"] = "the published map ends at 720 degrees"
    return reasons


def _cochlear(cochlea: Cochlea) -> Iterator[tuple[str, float]]:
    yield "cochlea_a", cochlea.a_mm
    yield "cochlea_a_wall", cochlea.a_wall_mm
    yield "cochlea_b", cochlea.b_mm
    yield "cochlea_b_to_a", cochlea.b_to_a
    yield "cochlea_height", cochlea.height_mm
    yield "cochlea_turns", cochlea.turns
    yield "basal_lumen_diameter", cochlea.lumen_diameter_mm
    for name, duct in (("lw", cochlea.wall), ("center", cochlea.centre)):
        if duct is not None:
            yield f"duct_length_{name}", duct.total_mm
    if cochlea.wall is not None:
        for angle in WALL_ANGLES_DEG:
            yield f"duct_length_lw_{angle}", float(cochlea.wall.length_at_mm(angle))
    for name, length in cochlea.formulas.items():
        yield f"duct_length_{name}", length
    for insertion in cochlea.insertions:
        array = key_of(insertion.array)
        if insertion.from_length:
            yield f"insertion_angle_{array}", insertion.angle_deg
        yield f"coverage_{array}", insertion.coverage
        yield f"tip_frequency_{array}", insertion.tip_ganglion_hz


def _vestibular(canals: Canals) -> Iterator[tuple[str, float]]:
    for part, volume in canals.volumes_mm3.items():
        yield f"{STRUCTURES[part].name}_volume", volume
    for name, canal in canals.canals.items():
        lumen = canal.lumen_radius_mm
        measured = (canal.radius_mm, canal.arc_mm, canal.coverage_deg, lumen)
        for what, value in zip(CANAL_MEASURES, (*measured, canal.non_planarity_mm), strict=True):
            yield f"{name}_canal_{what}", value
        if name == "lateral":
            yield "lateral_canal_island", 2 * (canal.radius_mm - lumen)
    for pair, angle in canals.angles_deg.items():
        yield f"{pair}_angle", angle


def _table(
    quantities: Sequence[Quantity],
    values: Mapping[str, float],
    reasons: Mapping[str, str],
    samples: Sequence[Mapping[str, float]],
) -> dict[str, Measurement]:
    return {
        one.name: _measurement(
            one,
            values.get(one.name, np.nan),
            [sample[one.name] for sample in samples if one.name in sample],
            reasons.get(one.name) or reasons.get(one.group, ""),
        )
        for one in quantities
    }


def _measurement(
    quantity: Quantity, value: float, samples: Sequence[float], reason: str
) -> Measurement:
    """One value with its interval; withheld if it varies too much or is missing in most samples."""
    finite = np.asarray(samples, dtype=float)
    finite = finite[np.isfinite(finite)]
    interval = None
    if not np.isfinite(value):
        reason = reason or "a required landmark or part of the ear was not found"
    elif len(samples) >= LEAST_SAMPLES and 2 * len(finite) <= len(samples):
        reason = f"only {len(finite)} of {len(samples)} test-time samples could be measured"
    else:
        reason = ""
        if len(finite) >= LEAST_SAMPLES:
            half = float(special.stdtrit(len(finite) - 1, (1 + LEVEL) / 2) * finite.std(ddof=1))
            interval = [_rounded(value - half), _rounded(value + half)]
            if half > WIDEST * abs(value):
                reason = f"the value varies by ±{half:.2g} between test-time samples"
    return Measurement(
        value=None if reason else _rounded(value),
        unit=quantity.unit,
        definition=quantity.definition,
        group=quantity.group,
        interval=interval,
        norm=quantity.norm,
        withheld=reason,
    )


def _volume_mm3(probability: Probability) -> float:
    return float(np.count_nonzero(probability.values > 0.5)) * probability.grid.voxel_mm3


def _rounded(value: float) -> float:
    # Adding 0 turns -0.0 into 0.0.
    return round(float(value), 4) + 0.0
