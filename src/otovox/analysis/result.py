"""The result of one scan in Python: ears, measurements, tables, files and an overview image."""

import base64
import io
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from otovox.core.anatomy import Side
from otovox.core.case import EarPrediction, Prediction, Quality
from otovox.core.geometry import FloatArray
from otovox.core.landmarks import Landmarks
from otovox.core.volume import LabelMap, Scan
from otovox.measure.measured_scan import MeasuredScan
from otovox.measure.measurements import EarMeasurements
from otovox.measure.values import Measurement
from otovox.results.description import describe
from otovox.results.schema import EarResult, ResultFile
from otovox.stages import Stage, report

if TYPE_CHECKING:
    import pandas as pd
    import SimpleITK as sitk

#: Characters of a scan's name that a `repr` shows: chosen, so that its total length is below 300.
_NAME_LENGTH = 40


@dataclass(frozen=True, eq=False, repr=False)
class AnalyzedEar:
    """One inner ear of a scan.

    In the examples, `result` is the result of `scan`: a right and a left ear, placed by hand.

    Attributes:
        prediction: the full output of the model, including pose and probability map.
        numbers: its measurements, with the underlying geometry.
        described: the same in the form of `result.json`.
        labels: both labyrinths, on the scan's grid.
    """

    prediction: EarPrediction
    numbers: EarMeasurements
    described: EarResult
    labels: LabelMap

    @property
    def side(self) -> Side:
        """Side of the patient, determined from the anatomy.

        >>> [str(ear.side) for ear in result.ears]
        ['right', 'left']
        """
        return self.prediction.side

    @property
    def landmarks(self) -> Landmarks:
        """Helicotrema, oval and round window, LPS mm; nan if absent.

        >>> ear = result.ears[0]
        >>> ear.landmarks["oval_window"].round(1).tolist()
        [4.8, 4.0, 3.7]
        >>> ear.landmarks.has("round_window")  # it lies outside this scan
        False
        """
        return self.prediction.landmarks

    @property
    def landmark_sd_mm(self) -> FloatArray:
        """(3,) spread of each landmark over the test-time samples, root mean square.

        >>> result.ears[0].landmark_sd_mm.tolist()
        [0.1, 0.2, nan]
        """
        return self.prediction.landmark_sd_mm

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """(i, j, k) mask of the labyrinth on the scan's grid.

        >>> ear = result.ears[1]
        >>> int(ear.mask.sum()), round(float(scan.values[ear.mask].mean()))  # voxels, mean CT value
        (64, 3)
        """
        return self.labels.values == self.side.label

    @property
    def volume_mm3(self) -> float:
        """Volume of the labyrinth mask.

        >>> result.ears[0].volume_mm3
        200.0
        """
        return self.prediction.volume_mm3

    @property
    def center_mm(self) -> FloatArray:
        """(3,) centroid of the labyrinth, LPS.

        >>> result.ears[0].center_mm.tolist()
        [5.75, 5.25, 4.75]
        """
        return self.prediction.center_mm

    @property
    def confidence(self) -> float:
        """0 to 1: Dice coefficient that the mask is expected to reach; nan if no model made it.

        >>> [ear.confidence for ear in result.ears]
        [0.9, 0.9]
        """
        return self.prediction.confidence

    @property
    def quality(self) -> Quality | None:
        """Expected Dice coefficient and landmark error, with intervals; None if not estimated.

        >>> quality = result.ears[0].quality
        >>> "not estimated" if quality is None else quality.dice
        'not estimated'
        """
        return self.prediction.quality

    @property
    def uncertainty(self) -> float:
        """Mean standard deviation of the voxels' probability within and near the labyrinth.

        >>> result.ears[0].uncertainty
        0.001
        """
        return self.prediction.uncertainty

    @property
    def measurements(self) -> dict[str, Measurement]:
        """By name: value (None if withheld), unit, interval, reference range, definition.

        >>> apart = result.ears[0].measurements["helicotrema_to_oval_window"]
        >>> round(apart.value or 0.0, 2), apart.unit
        (6.13, 'mm')
        """
        return self.numbers.table

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about this ear.

        >>> result.ears[0].warnings[0]
        'the round window lies outside the field'
        """
        return tuple(self.described.warnings)

    def __repr__(self) -> str:
        count = len(self.warnings)
        sure = "" if np.isnan(self.confidence) else f"confidence {self.confidence:.2f}, "
        return (
            f"<{self.side} ear: {self.volume_mm3:.0f} mm3, {sure}"
            f"{count} warning{'' if count == 1 else 's'}>"
        )


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """The result of analysing one scan; see `AnalyzedEar` for the examples.

    Attributes:
        measured: the prediction, its measurements and surfaces.
    """

    measured: MeasuredScan

    @property
    def prediction(self) -> Prediction:
        """The full output of the model for the scan.

        >>> result.prediction.ears[0]
        <EarPrediction: right, confidence 0.90>
        """
        return self.measured.prediction

    @property
    def scan(self) -> Scan:
        """The analysed scan.

        >>> result.scan is scan
        True
        """
        return self.prediction.scan

    @cached_property
    def ears(self) -> tuple[AnalyzedEar, ...]:
        """None, one or two ears, right first.

        >>> for ear in result.ears:
        ...     print(ear.side, ear.volume_mm3)
        right 200.0
        left 200.0
        """
        labels = self.prediction.labels
        parts = zip(self.prediction.ears, self.measured.ears, self._described.ears, strict=True)
        return tuple(AnalyzedEar(*own, labels) for own in parts)

    @property
    def measurements(self) -> dict[Side, dict[str, Measurement]]:
        """Per side ("right", "left") the measurements by name; see `AnalyzedEar.measurements`.

        >>> sorted(str(side) for side in result.measurements)
        ['left', 'right']
        """
        by_confidence = sorted(self.ears, key=lambda ear: ear.confidence)
        return {ear.side: ear.measurements for ear in by_confidence}

    @property
    def segmentation(self) -> "sitk.Image":
        """Label map on the scan's own grid: 0 background, 1 right, 2 left labyrinth.

        >>> result.segmentation.GetSize() == scan.grid.shape
        True
        """
        from otovox.formats.in_memory import to_sitk

        return to_sitk(self.prediction.labels.values, self.prediction.labels.grid)

    @property
    def uncertainty(self) -> NDArray[np.float32]:
        """(i, j, k) standard deviation of each voxel's probability, on the scan's grid.

        >>> result.uncertainty.shape == scan.grid.shape
        True
        """
        return self.prediction.uncertainty

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the scan and its ears.

        >>> len(result.warnings) >= sum(len(ear.warnings) for ear in result.ears)
        True
        """
        return tuple(warnings_of(self._described))

    @property
    def provenance(self) -> dict[str, Any]:
        """Software, models with their checksums, settings and time.

        >>> sorted(result.provenance)
        ['created', 'key', 'location', 'models', 'python', 'settings', 'software']
        """
        return self._described.provenance.model_dump(mode="json")

    def to_dict(self) -> dict[str, Any]:
        """The contents of `result.json`.

        >>> [ear["side"] for ear in result.to_dict()["ears"]]
        ['right', 'left']
        """
        return self._described.model_dump(mode="json")

    def to_dataframe(self) -> "pd.DataFrame":
        """One row per ear: side, volume, landmarks, expected quality and every measurement.

        The columns are those of `summary.csv`, which docs/results.md lists.

        >>> table = result.to_dataframe()
        >>> table[["side", "volume_mm3"]].to_dict("records")
        [{'side': 'right', 'volume_mm3': 200.0}, {'side': 'left', 'volume_mm3': 200.0}]
        """
        from otovox.results.tables import ear_table

        return ear_table({self.scan.name: self._described})

    def save(self, folder: str | Path) -> ResultFile:
        """Write the same files as `otovox analyze`.

        Args:
            folder: output folder; an earlier result in it is replaced.

        Returns:
            The contents of `result.json`.

        Raises:
            OutputError: if it cannot be written, or contains files that otovox did not write.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     _ = result.save(Path(folder) / "ear")
        ...     names = sorted(path.name for path in (Path(folder) / "ear").glob("*.nii.gz"))
        >>> names
        ['segmentation.nii.gz', 'uncertainty.nii.gz']
        """
        from otovox.results.folder import write_results

        report(Stage.WRITING)
        return write_results(self.measured, Path(folder), described=self._described)

    def picture(self) -> bytes:
        """The overview as a PNG file: planes through each labyrinth, and a rendering.

        >>> result.picture()[1:4]
        b'PNG'
        """
        from otovox.results.overview import overview

        file = io.BytesIO()
        overview(self.prediction, file)
        return file.getvalue()

    @cached_property
    def _described(self) -> ResultFile:
        return describe(self.measured)

    def __repr__(self) -> str:
        name, count = self.scan.name, len(self.warnings)
        name = name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…"
        ears = ", ".join(repr(ear)[1:-1].rpartition(",")[0] for ear in self.ears)
        warned = f"; {count} warning{'' if count == 1 else 's'}" if count else ""
        return f"<Result of {name!r}: {ears or 'no inner ear found'}{warned}>"

    def _repr_html_(self) -> str:
        """The overview and the warnings, for notebooks."""
        picture = base64.b64encode(self.picture()).decode("ascii")
        warnings = "".join(f"<li>{escape(sentence)}</li>" for sentence in self.warnings)
        return (
            f"<p>{escape(repr(self)[1:-1])}</p><ul>{warnings}</ul>"
            f'<img src="data:image/png;base64,{picture}" alt="overview" style="max-width: 100%">'
        )


def warnings_of(described: ResultFile) -> list[str]:
    """All warnings of a result: those about the scan, then those about each ear.

    >>> warnings_of(result._described) == list(result.warnings)
    True
    """
    ears = [sentence for ear in described.ears for sentence in ear.warnings]
    return [*described.warnings, *ears]
