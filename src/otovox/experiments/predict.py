"""Prediction of a data set's cases with one model, in results folders for `otovox evaluate`."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.case import Heads, Prediction, PredictionSettings, Provenance
from otovox.core.geometry import mean_pose
from otovox.core.landmarks import Landmarks
from otovox.dataset.contrast_matching import bring_into_range, own_scaling
from otovox.dataset.layout import Entry, check_names, read_index
from otovox.errors import ConfigError
from otovox.evaluation.figures import contrast_matching
from otovox.evaluation.runs import HIGHEST
from otovox.formats.images import save_label_map, save_volume
from otovox.formats.markups import write_markups
from otovox.formats.scans import load_scan
from otovox.formats.writing import make_folder, replacing_folder
from otovox.imaging.intensity import Histogram, Scaling, Statistics
from otovox.inference.single_ear import one_ear
from otovox.learning.bundle import Bundle, load_bundle
from otovox.measure.measured_scan import measure_scan
from otovox.results.description import describe
from otovox.results.folder import landmarks_by_side
from otovox.results.schema import FILES, RESULT
from otovox.systems.registry import system_of
from otovox.systems.whole_volume import Sweep, Turns, VolumePrediction, postprocessed

logger = logging.getLogger(__name__)

#: Files of a result that an evaluation reads.
KEPT = ("segmentation", "uncertainty", "landmarks")


@dataclass(frozen=True, kw_only=True)
class PredictionPlan:
    """Settings for predicting test sets.

    Attributes:
        tests: folders of data sets of other scanners, such as W, O and G of Stebani et al. 2023.
        plain: folders of data sets of the training set's scanner, such as their B: the contrast is
            not matched, and test-time augmentation gives the uncertainty only (S6, S9).
        tta: test-time augmentation of both (S9), for systems that support it; not applied to
            validation cases.
        match: clusters of `tests` together that are matched to the training set (S6): a number, a
            column, or empty.
        smooth, subvoxel: see `whole_volume.Sweep`; also for validation cases.
        device: see `engine.open_engine`.

    Raises:
        ConfigError: if two data sets have the same name.
    """

    tests: tuple[Path, ...] = ()
    plain: tuple[Path, ...] = ()
    tta: Turns = "paper"
    match: str = ""
    smooth: bool = False
    subvoxel: bool = True
    device: str = "auto"

    def __post_init__(self) -> None:
        check_names([*self.tests, *self.plain])


def predict_cases(
    bundle: Bundle,
    dataset: Path,
    scalings: Mapping[Entry, Scaling | None],
    output: Path,
    *,
    sweep: Sweep | None = None,
    device: str = "auto",
) -> None:
    """Predict cases of a data set with one model, one folder each; existing ones are kept.

    The side is taken from the data set, because the paper's networks do not predict it. Cases with
    both ears are skipped, with a warning in the log.

    Args:
        bundle: the model.
        dataset: folder of the data set.
        scalings: scaling of grey values for each case; None to treat each scan as a data set of its
            own.
        output: `output`/CASE receives `result.json`, label map, uncertainty and landmarks.
        sweep: settings of the sliding window; the scaling is that of each case.
        device: see `engine.open_engine`.
    """
    sweep, look = sweep or Sweep(), None
    for entry, scaling in scalings.items():
        if (output / entry.case / RESULT).is_file():
            continue
        if entry.side not in set(Side):
            logger.warning("%s: skipped, its side is %r", entry.case, entry.side or "unknown")
            continue
        look = look or system_of(bundle.config).open_model(bundle, device=device)
        scan = replace(load_scan(dataset / entry.image), name=entry.case)
        pose = mean_pose(Side(entry.side), scan.grid.center_mm)
        make_folder(output)
        with tempfile.TemporaryDirectory(prefix=".case-", dir=output) as folder:
            settings = replace(sweep, scaling=scaling)
            volume = postprocessed(look(scan, Path(folder), sweep=settings), settings)
            prediction = replace(
                one_ear(volume, scan, pose),
                provenance=Provenance(
                    {bundle.config.name: bundle.sha256},
                    PredictionSettings(
                        single_ear=True,
                        heads=_heads(volume),
                        tta=sweep.tta,
                        smooth=sweep.smooth,
                        # S24: over the whole volume; an ear's uncertainty refers to its labyrinth.
                        volume_mean_sd=volume.mean_uncertainty,
                    ),
                ),
            )
            write_case_results(prediction, output / entry.case, highest=_highest(volume, pose.side))
        logger.info("%s: predicted", entry.case)


def predict_fold(dataset: Path, output: Path, number: int, *, plan: PredictionPlan) -> None:
    """Predict the held-out cases of one fold's model: validation cases and test sets.

    Args:
        dataset: folder of the data set.
        output: folder of the cross-validation; validation cases go to `fold-N/results`, those of a
            test set to `tests/NAME/fold-N/results`.
        number: number of the fold.
        plan: test sets and settings of their prediction.
    """
    bundle = load_bundle(output / f"fold-{number}" / "model")
    held_out = set(bundle.facts["fold"]["validation"])
    entries = [entry for entry in read_index(dataset) if entry.case in held_out]
    given = dict.fromkeys(entries, training_scaling(bundle))
    own, sweep = (
        output / f"fold-{number}" / "results",
        Sweep(smooth=plan.smooth, subvoxel=plan.subvoxel),
    )
    predict_cases(bundle, dataset, given, own, sweep=sweep, device=plan.device)
    turns = plan.tta if system_of(bundle.config).turns else "none"
    sweep = replace(sweep, tta=turns)
    for test in plan.plain:
        scalings = scalings_of(bundle, [test])[test]
        place = _place(output, test, number)
        predict_cases(
            bundle, test, scalings, place, sweep=replace(sweep, plain=True), device=plan.device
        )
    if all(_is_predicted(test, _place(output, test, number)) for test in plan.tests):
        return
    picture = output / "tests" / f"contrast-fold-{number}.png"
    matched = scalings_of(bundle, plan.tests, by=plan.match, picture=picture)
    for test, scalings in matched.items():
        place = _place(output, test, number)
        predict_cases(bundle, test, scalings, place, sweep=sweep, device=plan.device)


def _place(output: Path, test: Path, number: int) -> Path:
    return output / "tests" / test.resolve().name / f"fold-{number}" / "results"


def _is_predicted(test: Path, results: Path) -> bool:
    cases = [entry.case for entry in read_index(test) if entry.side in set(Side)]
    return all((results / case / RESULT).is_file() for case in cases)


def scalings_of(
    bundle: Bundle, datasets: Sequence[Path], *, by: str = "", picture: Path | None = None
) -> dict[Path, dict[Entry, Scaling | None]]:
    """Scaling of grey values for each case of each test set (S5, S6).

    Args:
        bundle: the model; its card contains the contrast of its training set.
        datasets: folders of the test sets.
        by: clusters of all sets together that are matched to the training set, see
            `contrast_matching.bring_into_range`; empty to standardise each set as a whole without
            matching. A model that scales every volume individually has no range to match.
        picture: file for a figure of the contrast before and after matching.

    Raises:
        ConfigError: if the model card lacks the contrast of the training set.
    """
    sets = {path: [entry for entry in read_index(path) if entry.image] for path in datasets}
    if bundle.config.data.normalisation == "chunk":
        if by:
            logger.info(
                "%s scales every volume individually: contrast is not matched", bundle.config.name
            )
        return {path: dict.fromkeys(entries) for path, entries in sets.items()}
    if not by:
        return {
            path: dict.fromkeys(entries, own_scaling(path, entries))
            for path, entries in sets.items()
        }
    contrast = bundle.facts.get("contrast")
    if contrast is None:
        raise ConfigError(
            "the model card lacks the training set's contrast, which --match requires"
        )
    wanted = Histogram(np.array(contrast["quantiles"]), tuple(contrast["modes"]))
    scans = {path / entry.image: entry for path, entries in sets.items() for entry in entries}
    brought = bring_into_range(scans, wanted, by=by)
    if picture is not None:
        make_folder(picture.parent)
        mean, sd = contrast["labyrinth"]
        contrast_matching(brought.before, brought.after, picture, inside=(mean, sd))
    return {
        path: {entry: brought.scalings[path / entry.image] for entry in entries}
        for path, entries in sets.items()
    }


def _heads(prediction: VolumePrediction) -> Heads:
    """The outputs of a model."""
    if prediction.probability is None:
        return "landmarks"
    return "segmentation" if prediction.landmarks is None else "both"


def _highest(prediction: VolumePrediction, side: Side) -> dict[Side, Landmarks] | None:
    return None if prediction.highest is None else {side: prediction.highest.only(LANDMARK_NAMES)}


def training_scaling(bundle: Bundle) -> Scaling | None:
    """Scaling of the model's own data set; None if chunks are scaled individually."""
    intensity = bundle.facts.get("intensity")
    return None if intensity is None else Scaling(Statistics(**intensity))


def write_case_results(
    prediction: Prediction, folder: Path, *, highest: Mapping[Side, Landmarks] | None = None
) -> None:
    """Write the files of one case that an evaluation needs, without surfaces, figures and report.

    Args:
        prediction: prediction for one case.
        folder: output folder, which is replaced.
        highest: highest voxels of the heatmaps, if the model has any (S20).
    """
    result = describe(measure_scan(prediction))
    result = result.model_copy(update={"files": {name: FILES[name] for name in KEPT}})
    with replacing_folder(folder) as beside:
        save_label_map(prediction.labels, beside / FILES["segmentation"])
        grid = prediction.labels.grid
        save_volume(prediction.uncertainty, grid, beside / FILES["uncertainty"])
        write_markups(beside / FILES["landmarks"], landmarks_by_side(prediction))
        if highest is not None:
            write_markups(beside / HIGHEST, highest)
        (beside / RESULT).write_text(result.model_dump_json(indent=2) + "\n", "utf-8")
