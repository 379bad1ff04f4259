"""Predictions against ground truth: one row per true ear, and their summary."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment

from otovox.core.anatomy import LANDMARK_NAMES, SAME_EAR_MM, Side
from otovox.core.case import Case, EarPrediction, Prediction
from otovox.core.geometry import distance_mm
from otovox.core.landmarks import Landmarks
from otovox.evaluation.statistics import Spread, spread
from otovox.formats.writing import replacing
from otovox.imaging.metrics import (
    Mask,
    components,
    dice,
    distances,
    iou,
    landmark_errors_mm,
    rates,
    volumetric_similarity,
)

#: Tolerance for agreement of surfaces, mm: chosen, two of the paper's voxels.
SURFACE_TOLERANCE_MM = 0.2


@dataclass(frozen=True)
class EarScore:
    """Scores of one true ear.

    Attributes:
        case: name of the scan.
        side: the true side.
        found: whether an ear was detected at its position.
        side_right: whether the detected ear has the true side.
        dice, iou, vs: overlap of the masks, regardless of side; 0 if not detected.
        precision, recall: fractions of the predicted and of the true voxels in the overlap.
        specificity, accuracy: over the scan's whole field of view, on which they depend.
        surface_dice: fraction of the surfaces within `SURFACE_TOLERANCE_MM` of each other.
        hd_mm, hd95_mm, avg_hd_mm, assd_mm: see `metrics.Distances`; infinite if not detected.
        landmark_mm: error of each landmark in the field of view; infinite if not detected.
        landmark_mean_mm: mean of the finite ones; nan if there is none.
        landmarks_absent: number of landmarks that were not detected.
        components: connected components of the predicted labyrinth.
        volume_mm3, true_volume_mm3: volumes of the predicted and the true labyrinth.
        confidence: confidence of the detected ear; nan if not detected.
        uncertainty: mean voxel SD in and near the predicted labyrinth; nan if not detected.
        volume_uncertainty: mean voxel SD over the whole scan, on its own grid (S24).
    """

    case: str
    side: Side
    found: bool
    side_right: bool
    dice: float
    iou: float
    vs: float
    precision: float
    recall: float
    specificity: float
    accuracy: float
    surface_dice: float
    hd_mm: float
    hd95_mm: float
    avg_hd_mm: float
    assd_mm: float
    landmark_mm: dict[str, float]
    landmark_mean_mm: float
    landmarks_absent: int
    components: int
    volume_mm3: float
    true_volume_mm3: float
    confidence: float
    uncertainty: float
    volume_uncertainty: float


#: Numeric measures of a score.
MEASURES = (
    "dice",
    "iou",
    "vs",
    "precision",
    "recall",
    "specificity",
    "accuracy",
    "surface_dice",
    "hd_mm",
    "hd95_mm",
    "avg_hd_mm",
    "assd_mm",
    "landmark_mean_mm",
    "landmarks_absent",
    "components",
    "volume_mm3",
    "true_volume_mm3",
    "confidence",
    "uncertainty",
    "volume_uncertainty",
)


def score_case(prediction: Prediction, case: Case) -> list[EarScore]:
    """Score every true ear of a scan.

    Ears are matched one to one by the nearest centres, so that a wrong side counts as a
    wrong side, not as a missing ear.

    Args:
        prediction: prediction for the case's scan.
        case: the case with labels on the same grid.

    Returns:
        One score per side that has labelled voxels, right first.

    Raises:
        ValueError: if the grids differ.

    >>> from otovox.core.volume import Grid, LabelMap, Scan
    >>> grid, ones = Grid((4, 4, 4), np.eye(4)), np.ones((4, 4, 4), np.uint8)
    >>> case = Case(Scan(ones.astype(np.float32), grid, "anna"), LabelMap(ones, grid), {})
    >>> missed = Prediction(case.scan, (), LabelMap(0 * ones, grid), case.scan.values)
    >>> [(score.side.value, score.found, score.dice) for score in score_case(missed, case)]
    [('right', False, 0.0)]
    """
    if not prediction.labels.grid.same_as(case.labels.grid):
        raise ValueError("prediction and ground truth have different grids")
    matches = _matches(prediction, case)
    return [
        _score(prediction, case, side, matches.get(side), masks)
        for side, masks in ear_masks(prediction, case).items()
    ]


def ear_masks(prediction: Prediction, case: Case) -> dict[Side, tuple[Mask, Mask]]:
    """Predicted and true mask of every true ear, matched as in `score_case`.

    Args:
        prediction: prediction for the case's scan.
        case: the case with labels on the same grid.

    Returns:
        (i, j, k) masks by true side; the predicted one is empty if the ear was not detected.

    >>> from otovox.core.volume import Grid, LabelMap, Scan
    >>> grid, ones = Grid((4, 4, 4), np.eye(4)), np.ones((4, 4, 4), np.uint8)
    >>> case = Case(Scan(ones.astype(np.float32), grid, "anna"), LabelMap(ones, grid), {})
    >>> missed = Prediction(case.scan, (), LabelMap(0 * ones, grid), case.scan.values)
    >>> [[int(mask.sum()) for mask in masks] for masks in ear_masks(missed, case).values()]
    [[0, 64]]
    """
    matches = _matches(prediction, case)
    return {
        side: (_found_mask(prediction, matches.get(side)), true)
        for side, true in _true_masks(case).items()
    }


def extra_ears(prediction: Prediction, case: Case) -> int:
    """Number of predicted ears at positions without an ear.

    >>> from types import SimpleNamespace as Some
    >>> from otovox.core.volume import Grid, LabelMap
    >>> labels = LabelMap(np.ones((4, 4, 4), np.uint8), Grid((4, 4, 4), np.eye(4)))
    >>> ears = Some(center_mm=np.zeros(3)), Some(center_mm=np.full(3, 40.0))
    >>> found = Some(ears=ears, provenance=Some(settings=Some(single_ear=None)))
    >>> extra_ears(found, Some(labels=labels))  # the second one is far from the true ear
    1
    """
    return len(prediction.ears) - len(_matches(prediction, case))


def summarise_scores(scores: Sequence[EarScore]) -> dict[str, Spread]:
    """Spread of each measure, and of each landmark's error, over ears.

    Args:
        scores: of any number of ears; the two ears of a scan are resampled together.

    Returns:
        Spreads by measure, for measures that at least one ear has.

    >>> values = dict.fromkeys(EarScore.__dataclass_fields__, 0.9) | {"side": Side.LEFT}
    >>> score = EarScore(**values | {"case": "anna", "landmark_mm": {"helicotrema": 0.4}})
    >>> summary = summarise_scores([score])
    >>> summary["dice"].mean, summary["helicotrema_mm"].mean
    (0.9, 0.4)
    """
    columns = {name: [float(getattr(score, name)) for score in scores] for name in MEASURES}
    for name in dict.fromkeys(name for score in scores for name in score.landmark_mm):
        columns[f"{name}_mm"] = [score.landmark_mm.get(name, np.nan) for score in scores]
    cases = [score.case for score in scores]
    spreads = {name: spread(values, units=cases) for name, values in columns.items()}
    return {name: row for name, row in spreads.items() if row.n}


def write_scores(scores: Sequence[EarScore], path: Path) -> None:
    """Write one CSV row per ear, with a column per landmark.

    Raises:
        OutputError: if it cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> facts = {"case": "anna", "side": Side.LEFT, "landmark_mm": {}}
    >>> score = EarScore(**dict.fromkeys(EarScore.__dataclass_fields__, 0.9) | facts)
    >>> with TemporaryDirectory() as folder:
    ...     write_scores([score], Path(folder, "ears.csv"))
    ...     print(Path(folder, "ears.csv").read_text().splitlines()[1][:26])
    anna,left,0.9,0.9,0.9,0.9,
    """
    plain = ("case", "side", "found", "side_right", *MEASURES)
    rows = [
        [getattr(score, name) for name in plain]
        + [score.landmark_mm.get(name, "") for name in LANDMARK_NAMES]
        for score in scores
    ]
    _write_csv(path, [*plain, *(f"{name}_mm" for name in LANDMARK_NAMES)], rows)


def write_statistics(rows: Mapping[str, Spread], path: Path) -> None:
    """Write a summary as CSV, one row per measure.

    Raises:
        OutputError: if it cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_statistics({"dice": spread([0.75, 1.0])}, Path(folder, "statistics.csv"))
    ...     print(Path(folder, "statistics.csv").read_text()[:36])
    measure,mean,sd,median,min,max,n,low
    """
    header = ["measure", *(field.name for field in fields(Spread))]
    _write_csv(path, header, [[name, *astuple(row)] for name, row in rows.items()])


def _true_masks(case: Case) -> dict[Side, Mask]:
    masks = {side: case.labels.values == side.label for side in Side}
    return {side: mask for side, mask in masks.items() if mask.any()}


def _matches(prediction: Prediction, case: Case) -> dict[Side, EarPrediction]:
    """True sides and the predicted ears at their positions."""
    masks = _true_masks(case)
    if not masks or not prediction.ears:
        return {}
    # A model that assumes a single ear is scored on it, at any distance (S20).
    if prediction.provenance.settings.single_ear and len(masks) == len(prediction.ears) == 1:
        return dict(zip(masks, prediction.ears, strict=True))
    ears = prediction.ears
    truth = {
        side: case.labels.grid.to_mm(np.argwhere(mask).mean(axis=0)) for side, mask in masks.items()
    }
    gaps = np.array(
        [
            [distance_mm(center, ear.center_mm) for ear in prediction.ears]
            for center in truth.values()
        ]
    )
    sides = list(truth)
    # Pairs that are too far apart have a constant cost, so they do not displace a good one.
    pairs = zip(*linear_sum_assignment(np.minimum(gaps, SAME_EAR_MM)), strict=True)
    return {sides[i]: ears[j] for i, j in pairs if gaps[i, j] < SAME_EAR_MM}


def _score(
    prediction: Prediction,
    case: Case,
    side: Side,
    ear: EarPrediction | None,
    masks: tuple[Mask, Mask],
) -> EarScore:
    grid = case.labels.grid
    mask, true = masks
    nothing = Landmarks((), np.empty((0, 3)))
    truth = case.landmarks.get(side, nothing)
    truth = truth.only(tuple(name for name in LANDMARK_NAMES if name in truth.names))
    errors = landmark_errors_mm(nothing if ear is None else ear.landmarks, truth)
    finite = [error for error in errors.values() if np.isfinite(error)]
    gaps = distances(mask, true, grid.spacing_mm)
    rate = rates(mask, true)
    return EarScore(
        case=case.scan.name,
        side=side,
        found=ear is not None,
        side_right=ear is not None and ear.side is side,
        dice=dice(mask, true),
        iou=iou(mask, true),
        vs=volumetric_similarity(mask, true),
        precision=rate.precision,
        recall=rate.recall,
        specificity=rate.specificity,
        accuracy=rate.accuracy,
        surface_dice=gaps.surface_dice(SURFACE_TOLERANCE_MM),
        hd_mm=gaps.hausdorff_mm,
        hd95_mm=gaps.hausdorff_95_mm,
        avg_hd_mm=gaps.average_hausdorff_mm,
        assd_mm=gaps.assd_mm,
        landmark_mm=errors,
        landmark_mean_mm=float(np.mean(finite)) if finite else np.nan,
        landmarks_absent=len(errors) - len(finite),
        components=components(mask),
        volume_mm3=float(np.count_nonzero(mask)) * grid.voxel_mm3,
        true_volume_mm3=float(np.count_nonzero(true)) * grid.voxel_mm3,
        confidence=np.nan if ear is None else ear.confidence,
        uncertainty=np.nan if ear is None else ear.uncertainty,
        volume_uncertainty=float(prediction.uncertainty.mean()),
    )


def _found_mask(prediction: Prediction, ear: EarPrediction | None) -> Mask:
    """Voxels of one ear; two ears of the same side share a label and are separated by distance."""
    if ear is None:
        return np.zeros(prediction.labels.values.shape, dtype=bool)
    mask = prediction.labels.values == ear.side.label
    others = [other for other in prediction.ears if other.side is ear.side and other is not ear]
    if others:
        ijk = np.argwhere(mask)
        points = prediction.labels.grid.to_mm(ijk)
        own = np.linalg.norm(points - ear.center_mm, axis=1)
        for other in others:
            far = ijk[own > np.linalg.norm(points - other.center_mm, axis=1)]
            mask[tuple(far.T)] = False
    return mask


def _write_csv(path: Path, header: list[str], rows: Sequence[Sequence[object]]) -> None:
    with replacing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
