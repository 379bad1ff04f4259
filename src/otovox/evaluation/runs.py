"""Results on disk against a data set on disk: one table, one row per true ear and fold."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk
from numpy.typing import NDArray

from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.case import Case, EarPrediction, Prediction, PredictionSettings, Provenance
from otovox.core.geometry import Pose
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Scan
from otovox.dataset.layout import Entry, load_case, read_index
from otovox.errors import InputError
from otovox.evaluation.label_maps import LabelMaps
from otovox.evaluation.lost_structures import case_losses
from otovox.evaluation.scores import EarScore, ear_masks, extra_ears, score_case
from otovox.formats.images import load_label_map
from otovox.formats.markups import read_landmarks
from otovox.imaging.metrics import in_voxels, landmark_errors_mm
from otovox.results.schema import FILES, RESULT, EarResult, ResultFile, read_result

#: Columns about the case, before the measures.
FACTS = ("set", "fold", "case", "patient", "side", "scanner", "diagnosis", "split")
#: Distances that are also given in the paper's voxels, with their names there.
IN_VOXELS = {
    "hd_mm": "hd_voxels",
    "hd95_mm": "hd95_voxels",
    "avg_hd_mm": "avg_hd_voxels",
    "assd_mm": "assd_voxels",
    "landmark_mean_mm": "landmark_mean_voxels",
    **{f"{name}_mm": f"{name}_voxels" for name in LANDMARK_NAMES},
}

#: File of a case with the highest voxels of the heatmaps, which are scored beside the landmarks
#: decoded below the voxel. Source: Stebani et al. 2023, Evaluation criteria (S20).
HIGHEST = "landmarks-argmax.mrk.json"
#: Columns of their errors, in the paper's voxels; absent if no model has heatmaps.
ARGMAX_VOXELS = {
    f"{name}_voxels": f"{name}_argmax_voxels" for name in ("landmark_mean", *LANDMARK_NAMES)
}

#: Measures that a single-task model does not predict (S21), by its heads: no score is given.
LACKING = {
    "segmentation": [
        "landmark_mean_mm",
        "landmark_mean_voxels",
        "landmarks_absent",
        *(f"{name}_mm" for name in LANDMARK_NAMES),
        *(f"{name}_voxels" for name in LANDMARK_NAMES),
    ],
    "landmarks": [
        *("dice", "iou", "vs", "precision", "recall", "specificity", "accuracy", "surface_dice"),
        *("hd_mm", "hd95_mm", "avg_hd_mm", "assd_mm", "components", "volume_mm3"),
        *("hd_voxels", "hd95_voxels", "avg_hd_voxels", "assd_voxels"),
        *("uncertainty", "volume_uncertainty"),
    ],
}


def load_prediction(folder: Path, scan: Scan) -> Prediction:
    """Read a prediction from its results folder.

    Args:
        folder: results of one scan, from `otovox analyze`.
        scan: the scan.

    Returns:
        The prediction without probabilities; landmark spread and uncertainty if available.

    Raises:
        InputError: if a file is missing, or the results belong to a different scan.
    """
    result = read_result(folder / RESULT)
    labels = load_label_map(folder / FILES["segmentation"])
    if not labels.grid.same_as(scan.grid, tolerance_mm=0.01):
        raise InputError(
            f"{folder}: the grid of the results differs from that of the scan {scan.name}"
        )
    return Prediction(
        scan=scan,
        ears=tuple(_ear(ear) for ear in result.ears),
        labels=labels,
        uncertainty=_uncertainty(folder / FILES["uncertainty"], scan),
        warnings=tuple(result.warnings),
        provenance=_provenance(result),
    )


def folds_of(results: Sequence[Path], dataset: Path | None = None) -> dict[str, Path]:
    """The folds of results folders, by name.

    A folder that contains `fold-*` folders stands for these, each with its results inside or in its
    subfolder `results`; for a test set of a cross-validation, `tests/NAME` in it is used. nnU-Net's
    `fold_*/validation` is understood likewise. Any other folder is one fold.

    Args:
        results: output folders of `otovox analyze`, of a cross-validation, or with label maps.
        dataset: folder of the data set to evaluate.

    Raises:
        InputError: if a folder is missing, or two folds have the same name.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for number in (0, 1):
    ...         Path(folder, f"fold-{number}", "results").mkdir(parents=True)
    ...     {name: path.name for name, path in folds_of([Path(folder)]).items()}
    {'fold-0': 'results', 'fold-1': 'results'}
    """
    folds: dict[str, Path] = {}
    for folder in results:
        if not folder.is_dir():
            raise InputError(f"{folder}: is not a results folder")
        if dataset is not None and (tests := folder / "tests" / dataset.resolve().name).is_dir():
            folder = tests
        inner = sorted(path for path in folder.glob("fold[-_]*") if path.is_dir())
        for fold in inner or [folder]:
            if fold.name in folds:
                raise InputError(f"{folds[fold.name]} and {fold}: two folds with the same name")
            results_in = fold / ("validation" if fold.name.startswith("fold_") else "results")
            folds[fold.name] = results_in if results_in.is_dir() else fold
    return folds


def find_case(fold: Path, case: str, maps: LabelMaps | None = None) -> Path | None:
    """The prediction for a case: its results folder, or its label map; None if there is none.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     Path(folder, "anna").mkdir()
    ...     _ = Path(folder, "anna", RESULT).write_text("{}")
    ...     [find_case(Path(folder), case) is not None for case in ("anna", "bela")]
    [True, False]
    """
    if maps is not None:
        return maps.find(fold, case)
    return fold / case if (fold / case / RESULT).is_file() else None


def read_case(path: Path, case: Case, entry: Entry, maps: LabelMaps | None = None) -> Prediction:
    """Read the prediction that `find_case` returned.

    Raises:
        InputError: if it cannot be read or does not match the case.
    """
    return load_prediction(path, case.scan) if maps is None else maps.load(path, case, entry)


def score_runs(
    folds: Mapping[str, Path], dataset: Path, *, split: str = "", maps: LabelMaps | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Score every labelled case of a data set in every fold that has results for it.

    Args:
        folds: name to folder, which contains `CASE/result.json`, or label maps.
        dataset: folder of the data set.
        split: only cases of this split; all of them if empty.
        maps: how label maps are read; None for results of otovox.

    Returns:
        The table of `scores_table`, and the names of labelled cases without results.

    Raises:
        InputError: if a file is missing or does not match.
    """
    parts, missing = [], []
    for entry in read_index(dataset):
        there = {name: find_case(path, entry.case, maps) for name, path in folds.items()}
        there = {name: path for name, path in there.items() if path is not None}
        if not entry.labels or split not in ("", entry.split):
            continue
        if not there:
            missing.append(entry.case)
            continue
        case = load_case(dataset, entry)
        for fold, path in there.items():
            rows = score_entry(read_case(path, case, entry, maps), case, entry, fold=fold)
            parts.append(_with_argmax(rows, path / HIGHEST, case))
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    return table.assign(data=dataset.resolve().name), missing


def _with_argmax(rows: pd.DataFrame, path: Path, case: Case) -> pd.DataFrame:
    """Rows of a case with the errors of the highest voxels, if their file exists (S20)."""
    if not path.is_file():
        return rows
    predicted = read_landmarks(path)
    columns: dict[str, list[float]] = {name: [] for name in ARGMAX_VOXELS.values()}
    for side in map(Side, rows["side"]):
        nothing = Landmarks((), np.empty((0, 3)))
        truth = case.landmarks.get(side, nothing)
        truth = truth.only(tuple(name for name in LANDMARK_NAMES if name in truth.names))
        errors = landmark_errors_mm(predicted.get(side, nothing), truth)
        finite = [error for error in errors.values() if np.isfinite(error)]
        errors["landmark_mean"] = float(np.mean(finite)) if finite else np.nan
        for name in ("landmark_mean", *LANDMARK_NAMES):
            column = columns[ARGMAX_VOXELS[f"{name}_voxels"]]
            column.append(float(in_voxels(np.array(errors.get(name, np.nan)))))
    return rows.assign(**columns)


def score_entry(prediction: Prediction, case: Case, entry: Entry, *, fold: str) -> pd.DataFrame:
    """Score one case of a data set.

    Args:
        prediction: prediction for the case's scan.
        case: the case with its ground truth.
        entry: its row in the data set.
        fold: name of the fold that predicted it.
    """
    table = scores_table(score_case(prediction, case))
    lacking = LACKING.get(prediction.provenance.settings.heads or "both", ())
    volume_mean = prediction.provenance.settings.volume_mean_sd
    if volume_mean is not None:
        # As predicted: the uncertainty on disk is rounded, and on the scan's own grid.
        table["volume_uncertainty"] = volume_mean
    table[[name for name in lacking if name in table]] = np.nan
    facts = asdict(entry) | {"set": set_name(entry), "fold": fold}
    for place, name in enumerate(FACTS):
        if name not in ("case", "side"):
            table.insert(place, name, facts[name])
    return table.assign(**_losses(prediction, case), extra_ears=extra_ears(prediction, case))


def _losses(prediction: Prediction, case: Case) -> dict[str, list[float] | list[str]]:
    """Likert score against ground truth, and lost structures, by ear (L9); none without masks."""
    if prediction.provenance.settings.heads == "landmarks":
        ears = len(ear_masks(prediction, case))
        return {"likert": [np.nan] * ears, "lost": [""] * ears}
    losses = [loss for _, loss in case_losses(prediction, case)]
    return {
        "likert": [np.nan if loss is None else float(loss.likert) for loss in losses],
        "lost": ["" if loss is None else loss.names for loss in losses],
    }


def scores_table(scores: Sequence[EarScore]) -> pd.DataFrame:
    """Scores as a table: distances in mm and in the paper's voxels, a column per landmark.

    Args:
        scores: scores of any number of ears.

    >>> values = dict.fromkeys(EarScore.__dataclass_fields__, 0.99) | {"side": Side.LEFT}
    >>> score = EarScore(**values | {"landmark_mm": {"helicotrema": 0.198}})
    >>> (row,) = scores_table([score]).round(2).to_dict("records")
    >>> row["side"], row["hd_voxels"], row["helicotrema_voxels"], row["oval_window_mm"]
    ('left', 10.0, 2.0, nan)
    """
    rows = []
    for score in scores:
        row = asdict(score) | {"side": score.side.value}
        del row["landmark_mm"]
        errors = score.landmark_mm
        rows.append(row | {f"{name}_mm": errors.get(name, np.nan) for name in LANDMARK_NAMES})
    table = pd.DataFrame(rows)
    for old, new in IN_VOXELS.items() if rows else ():
        table[new] = in_voxels(table[old].to_numpy(dtype=float))
    return table


def set_name(entry: Entry) -> str:
    """The set of a case: its scanner; diseased ears form a separate set (S1).

    >>> set_name(Entry(case="anna", patient="p1", scanner="msct"))
    'msct'
    """
    parts = [entry.scanner or "all"]
    if entry.diagnosis not in ("", "healthy"):
        parts.append(entry.diagnosis)
    return ", ".join(parts)


def _provenance(result: ResultFile) -> Provenance:
    models = {
        name: str(facts["sha256"])
        for name, facts in result.provenance.models.items()
        if isinstance(facts, dict) and "sha256" in facts
    }
    return Provenance(models, PredictionSettings.from_json(result.provenance.settings))


def _uncertainty(path: Path, scan: Scan) -> NDArray[np.float32]:
    """The uncertainty, (i, j, k); nan if it was not written."""
    if not path.is_file():
        return np.full(scan.grid.shape, np.nan, dtype=np.float32)
    try:
        values = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T.astype(np.float32)
    except RuntimeError as error:
        raise InputError(f"{path}: cannot be read") from error
    if values.shape != scan.grid.shape:
        raise InputError(f"{path}: its grid differs from that of the scan {scan.name}")
    return values


def _ear(ear: EarResult) -> EarPrediction:
    missing = [np.nan] * 3
    names = tuple(ear.landmarks)
    points = [ear.landmarks[name] for name in names]
    spreads = [np.nan if point.sd_mm is None else point.sd_mm for point in points]
    mean_sd = ear.uncertainty.mean_voxel_sd
    volume = ear.measurements["labyrinth_volume"].value
    pose = ear.pose
    return EarPrediction(
        side=ear.side,
        pose=Pose(ear.side, np.array(pose.matrix), np.array(pose.origin_mm), pose.fit_residual_mm),
        landmarks=Landmarks(
            names, np.array([point.mm or missing for point in points]).reshape(-1, 3)
        ),
        landmark_sd_mm=np.array(spreads),
        volume_mm3=np.nan if volume is None else volume,
        center_mm=np.array(ear.center_mm),
        confidence=np.nan if ear.confidence is None else ear.confidence,
        uncertainty=np.nan if mean_sd is None else mean_sd,
        touches_border=ear.touches_border,
        warnings=tuple(ear.warnings),
    )
