"""Models without a pose, such as the paper's: a whole scan of one ear, on the scan's own grid.

Their three landmarks determine neither the ear's orientation nor its side. A data set lists the
side; for other scans the embedded models determine it, and the position of each ear in a head.
"""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from otovox.config.training import TrainConfig
from otovox.core.anatomy import LANDMARK_NAMES
from otovox.core.case import EarPrediction, Prediction, PredictionSettings, Provenance, stepped
from otovox.core.geometry import MIDDLE_MM, FloatArray, Pose
from otovox.core.landmarks import Landmarks
from otovox.core.segments import boxes_of
from otovox.core.volume import Grid, LabelMap, Probability, Scan
from otovox.imaging.resample import resample
from otovox.imaging.windows import Window, window_grid
from otovox.inference.confidence import confidence_warning, scan_warnings
from otovox.inference.ears import Analyzer, open_analyzer
from otovox.inference.poses import POSE_LANDMARKS
from otovox.learning.bundle import Bundle, load_bundle
from otovox.learning.engine import Precision
from otovox.systems.interface import Predict
from otovox.systems.registry import system_of
from otovox.systems.whole_volume import (
    Sweep,
    Turns,
    VolumePrediction,
    on_grid,
    sd_on_grid,
)

#: Field of view around each ear of a head, mm: chosen, that of a temporal bone.
FIELD_MM = 40.0


@dataclass(frozen=True, eq=False)
class SingleEarAnalyzer:
    """A model without a pose, combined with the embedded models, which have one.

    Attributes:
        bundle, look: the model, and the same ready to predict scans.
        guide: finds the ears with their sides and poses; its other outputs are not used.
        sweep: settings of the sliding window.
    """

    bundle: Bundle
    look: Predict
    guide: Analyzer
    sweep: Sweep

    def predict(self, scan: Scan) -> Prediction:
        """Analyse one scan, each ear where the embedded models found its labyrinth.

        Grey values are scaled as in the whole scan if it contains one ear, otherwise as in a region
        around each ear. Chunks cover the labyrinth that was found, and a margin.

        Args:
            scan: any field of view, orientation and grey scale.

        Returns:
            None, one or two ears, on the scan's own grid.
        """
        guided = self.guide.predict(scan)
        parts = []
        for ear in guided.ears:
            window = _whole(scan.grid) if len(guided.ears) == 1 else _around(scan.grid, ear)
            sweep = replace(self.sweep, around_mm=_corners(guided.labels, ear.side.label))
            parts.append((window, self._predict(_cropped(scan, window), ear.pose, sweep)))
        prediction = joined(scan, parts)
        models = {self.bundle.config.name: self.bundle.sha256, **guided.provenance.models}
        settings = PredictionSettings(tta=self.sweep.tta, sides="from the embedded models")
        return replace(prediction, provenance=Provenance(models, settings))

    def _predict(self, scan: Scan, pose: Pose, sweep: Sweep) -> Prediction:
        with tempfile.TemporaryDirectory(prefix="otovox-") as folder:
            predicted = self.look(scan, Path(folder), sweep=sweep)
            shown = one_ear(predicted, scan, pose)
            if predicted.probability is None or not shown.ears:
                return shown
            data = self.guide.labyrinth.config.data
            middle = pose.to_lps(MIDDLE_MM[None])[0]
            grid = Grid.centred(
                middle, data.shape, spacing_mm=data.spacing_mm, directions=pose.matrix
            )
            values = resample(predicted.probability, predicted.grid, grid, outside=0.0)
            ear = replace(shown.ears[0], probability=Probability(values, grid))
            return replace(shown, ears=(ear,))


def open_any(
    *, device: str, threads: int | None, tta: str, model: str | Path
) -> Analyzer | SingleEarAnalyzer:
    """Any model, ready to analyse scans; for the arguments see `ears.open_analyzer`.

    Raises:
        ConfigError, ModelError: if a name or a model is not valid.
    """
    bundle = load_bundle(model)
    system, heads = system_of(bundle.config), bundle.config.network
    if system.posed and heads.heads == "both" and len(heads.landmarks) >= POSE_LANDMARKS:
        return open_analyzer(device=device, threads=threads, tta=tta, model=str(model))
    look = system.open_model(
        bundle, device=device, threads=threads, precision=_precision(bundle.config)
    )
    guide = open_analyzer(device=device, threads=threads, tta="none")
    # The small rotations of "fast" refer to the ear's own frame, which this model does not use.
    turns = cast("Turns", "none" if tta == "fast" else tta)
    return SingleEarAnalyzer(bundle, look, guide, Sweep(tta=turns))


def _precision(config: TrainConfig) -> Precision:
    """That of the model's training; a large network takes about half the time in bf16."""
    return "bf16" if config.precision == "bf16-mixed" else "f32"


def one_ear(predicted: VolumePrediction, scan: Scan, pose: Pose) -> Prediction:
    """Convert a model's prediction for a scan of one ear to a `Prediction`.

    Args:
        predicted: without a segmentation there are no labels, without heatmaps no landmarks.
        scan: scan of one ear.
        pose: pose of this ear, as far as known; its side gives the label.

    Returns:
        One ear on the scan's own grid, without post-processing (S20); none if none was detected.
    """
    labels = LabelMap(np.zeros(scan.grid.shape, dtype=np.uint8), scan.grid)
    uncertainty = np.zeros(scan.grid.shape, dtype=np.float32)
    points, sd_mm = np.full((len(LANDMARK_NAMES), 3), np.nan), np.full(len(LANDMARK_NAMES), np.nan)
    middle, spread, sure = scan.grid.center_mm, np.nan, 0.0
    if predicted.landmarks is not None:
        names = predicted.landmarks.names
        points = predicted.landmarks.only(LANDMARK_NAMES).points_mm
        sd_mm = predicted.landmark_sd_mm[[names.index(name) for name in LANDMARK_NAMES]]
        middle, sure = points.mean(axis=0), float(np.clip(predicted.peaks, 0, 1).mean())
    if predicted.probability is not None and predicted.uncertainty is not None:
        labels = on_grid(predicted, scan.grid, pose.side.label)
        uncertainty = sd_on_grid(predicted, scan.grid)
        inside = labels.values > 0
        if inside.any():
            middle = scan.grid.to_mm(np.argwhere(inside).mean(axis=0))
            spread = float(uncertainty[inside].mean())
            sure = sure or float(predicted.probability[predicted.probability > 0.5].mean())
    uncertainty = stepped(uncertainty)
    volume_mm3 = labels.volume_mm3(pose.side.label)
    if not volume_mm3 and not np.isfinite(points).any():
        return Prediction(scan, (), labels, uncertainty, tuple(scan_warnings(scan, ())))
    ear = EarPrediction(
        side=pose.side,
        pose=pose,
        landmarks=Landmarks(LANDMARK_NAMES, points),
        landmark_sd_mm=sd_mm,
        volume_mm3=volume_mm3,
        center_mm=middle,
        confidence=sure,
        uncertainty=spread,
    )
    ear = replace(ear, warnings=confidence_warning(ear))
    return Prediction(scan, (ear,), labels, uncertainty)


def joined(scan: Scan, parts: list[tuple[Window, Prediction]]) -> Prediction:
    """Combine predictions of parts of a scan.

    Args:
        scan: the whole scan.
        parts: windows of voxels with their predictions.
    """
    labels = np.zeros(scan.grid.shape, dtype=np.uint8)
    uncertainty = np.zeros(scan.grid.shape, dtype=np.float32)
    ears = tuple(ear for _, prediction in parts for ear in prediction.ears)
    for window, prediction in parts:
        np.maximum(labels[window], prediction.labels.values, out=labels[window])
        np.maximum(uncertainty[window], prediction.uncertainty, out=uncertainty[window])
    ears = tuple(sorted(ears, key=lambda ear: ear.side.label))
    whole = LabelMap(labels, scan.grid)
    return Prediction(scan, ears, whole, uncertainty, tuple(scan_warnings(scan, ears)))


def _whole(grid: Grid) -> Window:
    i, j, k = (slice(0, size) for size in grid.shape)
    return i, j, k


def _around(grid: Grid, ear: EarPrediction) -> Window:
    """Voxels within half of `FIELD_MM` of an ear, along the scan's own axes."""
    middle, half = grid.to_ijk(ear.center_mm), FIELD_MM / 2 / grid.spacing_mm
    start = np.clip(np.floor(middle - half), 0, np.asarray(grid.shape) - 1).astype(int)
    stop = np.clip(np.ceil(middle + half) + 1, start + 1, grid.shape).astype(int)
    i, j, k = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    return i, j, k


def _corners(labels: LabelMap, label: int) -> FloatArray | None:
    """(2, 3) LPS: first and last voxel of a label's bounding box; None without such voxels."""
    box = boxes_of(labels.values).get(label)
    if box is None:
        return None
    ends = [[side.start for side in box], [side.stop - 1 for side in box]]
    return labels.grid.to_mm(np.asarray(ends, dtype=float))


def _cropped(scan: Scan, window: Window) -> Scan:
    return replace(scan, values=scan.values[window], grid=window_grid(scan.grid, window))
