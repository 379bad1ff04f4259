"""A prediction with its measurements, from which results are written."""

from dataclasses import dataclass
from functools import cached_property

from otovox.core.anatomy import Side
from otovox.core.case import Prediction
from otovox.core.geometry import FloatArray
from otovox.imaging.surfaces import FaceArray, ear_surface
from otovox.measure.canals import HeadPlanes, head_planes
from otovox.measure.measurements import EarMeasurements, measure_ear

Surface = tuple[FloatArray, FaceArray]


@dataclass(frozen=True, eq=False)
class MeasuredScan:
    """A prediction, its measurements and its surfaces; each is computed once.

    Attributes:
        prediction: prediction for one scan.
        ears: measurements of each ear, in the same order.
    """

    prediction: Prediction
    ears: tuple[EarMeasurements, ...]

    @cached_property
    def surfaces(self) -> tuple[Surface, ...]:
        """For each ear vertices (n, 3) in LPS mm and faces (m, 3), oriented outward."""
        labels = self.prediction.labels
        return tuple(ear_surface(ear, labels) for ear in self.prediction.ears)

    @cached_property
    def head(self) -> HeadPlanes | None:
        """Both ears in one head frame; None unless both sides could be measured."""
        canals = {ear.canals.side: ear.canals for ear in self.ears if ear.canals is not None}
        if len(canals) < 2:
            return None
        return head_planes(canals[Side.RIGHT], canals[Side.LEFT])

    @cached_property
    def sides(self) -> tuple[Side, ...]:
        """Sides that have an ear with its own voxels."""
        labels = self.prediction.labels.values
        named = dict.fromkeys(ear.side for ear in self.prediction.ears)
        return tuple(side for side in named if (labels == side.label).any())


def measure_scan(prediction: Prediction, *, threads: int | None = None) -> MeasuredScan:
    """Measure every ear of a prediction.

    Args:
        prediction: of one scan.
        threads: that measure side by side; None for as many as there are cores.

    Returns:
        The same prediction with its measurements.
    """
    field = prediction.labels.grid
    ears = tuple(measure_ear(ear, field, threads=threads) for ear in prediction.ears)
    return MeasuredScan(prediction, ears)
