"""The numbers told of an ear: value, unit, definition, interval, norm, or why there is no value.

`measure` and the landmarks give the values, `quantities` their names and norms, the test-time
samples their intervals. What cannot be trusted is withheld, with its reason.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from scipy import stats

from otovox.case import EarPrediction
from otovox.geometry import Pose
from otovox.landmarks import Landmarks
from otovox.measure import Cochlea, measure_cochlea
from otovox.quantities import DISTANCES, QUANTITIES, WALL_ANGLES_DEG, Norm, Quantity, Unit, key_of
from otovox.volume import Grid, Probability

#: Share of an interval. The usual one.
LEVEL = 0.95
#: Half an interval over its value, beyond which a value tells nothing: chosen, not measured.
WIDEST = 0.3
#: Fewer samples tell no spread: chosen.
LEAST_SAMPLES = 3


class Measurement(BaseModel):
    """A value with its unit and definition; null where it cannot be measured, with the reason.

    `interval` holds 95 of 100 values if the scan's test-time samples are what it varies by.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    value: float | None
    unit: Unit
    definition: str
    group: str = "labyrinth"
    interval: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    norm: Norm | None = None
    withheld: str = ""

    @property
    def unusual(self) -> Literal["", "low", "high"]:
        """Whether the value lies outside the norm, and on which side."""
        if self.value is None or self.norm is None:
            return ""
        if self.value < self.norm.low:
            return "low"
        return "high" if self.value > self.norm.high else ""


@dataclass(frozen=True, eq=False)
class EarMeasurements:
    """Everything measured of one ear.

    Attributes:
        table: by name, in the order of the report.
        cochlea: its geometry; None without a probability map.
    """

    table: dict[str, Measurement]
    cochlea: Cochlea | None = None


def measure_ear(ear: EarPrediction, field: Grid) -> EarMeasurements:
    """Measure one ear, and how much each number varies over the test-time samples.

    Args:
        ear: as found.
        field: the scan's grid; what it cuts is withheld.

    Returns:
        Values, or reasons why there is none.
    """
    landmarks = _Values({"labyrinth_volume": ear.volume_mm3} | _distances(ear.landmarks), {})
    if ear.probability is None:
        return EarMeasurements(_table(QUANTITIES[: len(landmarks.found)], landmarks, []))
    cochlea, shape = _shape(ear.probability, ear.landmarks, ear.pose, field)
    samples = [
        {"labyrinth_volume": _volume_mm3(sample.probability)}
        | _distances(sample.landmarks)
        | _shape(sample.probability, sample.landmarks, ear.pose, field)[1].found
        for sample in ear.samples
    ]
    values = _Values(landmarks.found | shape.found, shape.reasons)
    return EarMeasurements(_table(QUANTITIES, values, samples), cochlea)


@dataclass(frozen=True)
class _Values:
    """Values by name, nan where there is none, and by group the reason for what is missing."""

    found: dict[str, float]
    reasons: dict[str, str]


def _shape(
    probability: Probability, landmarks: Landmarks, pose: Pose, field: Grid
) -> tuple[Cochlea, _Values]:
    """What a segmentation's shape tells."""
    cochlea = measure_cochlea(probability.values, probability.grid, landmarks, pose, field=field)
    reason = "; ".join(cochlea.problems)
    groups = ("cochlea", "cochlear duct length", "electrode arrays")
    return cochlea, _Values(dict(_cochlear(cochlea)), {group: reason for group in groups})


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


def _table(
    quantities: Sequence[Quantity], values: _Values, samples: Sequence[Mapping[str, float]]
) -> dict[str, Measurement]:
    return {
        quantity.name: _measurement(
            quantity,
            values.found.get(quantity.name, np.nan),
            [sample.get(quantity.name, np.nan) for sample in samples],
            values.reasons.get(quantity.group, ""),
        )
        for quantity in quantities
    }


def _measurement(
    quantity: Quantity, value: float, samples: Sequence[float], reason: str
) -> Measurement:
    """One value with its interval; withheld if it varies too much or most samples lack it."""
    known = np.asarray(samples, dtype=float)
    known = known[np.isfinite(known)]
    interval = None
    if not np.isfinite(value):
        reason = reason or "a landmark or a part of the ear that it needs was not found"
    elif len(samples) >= LEAST_SAMPLES and 2 * len(known) <= len(samples):
        reason = f"only {len(known)} of {len(samples)} test-time samples could be measured"
    else:
        reason = ""
        if len(known) >= LEAST_SAMPLES:
            half = float(stats.t.ppf((1 + LEVEL) / 2, len(known) - 1) * known.std(ddof=1))
            interval = [_rounded(value - half), _rounded(value + half)]
            if half > WIDEST * abs(value):
                reason = f"it varies by ±{half:.2g} between the test-time samples"
    return Measurement(
        value=None if reason else _rounded(value),
        unit=quantity.unit,
        definition=quantity.definition,
        group=quantity.group,
        interval=interval,
        norm=quantity.norm,
        withheld=reason,
    )


def _distances(landmarks: Landmarks) -> dict[str, float]:
    return {
        name: landmarks.distance_mm(first, second)
        if landmarks.has(first) and landmarks.has(second)
        else np.nan
        for name, first, second in DISTANCES
    }


def _volume_mm3(probability: Probability) -> float:
    return float(np.count_nonzero(probability.values > 0.5)) * probability.grid.voxel_mm3


def _rounded(value: float) -> float:
    # Adding 0 turns -0.0 into 0.0.
    return round(float(value), 4) + 0.0
