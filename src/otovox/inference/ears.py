"""Scan -> Prediction: find the ears, analyse each twice, determine its side, label the scan.

The first look at a candidate (a crop run through the fine network) is in the pose of a mean head.
Its landmarks give the ear's orientation and, by their handedness, its side. The second look is in
the ear's own frame, mirrored to a right ear, so that the result does not depend on the orientation
of file or patient.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from otovox.core.anatomy import LANDMARK_NAMES, SAME_EAR_MM, Side
from otovox.core.case import (
    EarPrediction,
    Prediction,
    PredictionSettings,
    Provenance,
    Sample,
)
from otovox.core.geometry import MIDDLE_MM, FloatArray, Pose, distance_mm
from otovox.core.landmarks import Landmarks
from otovox.core.volume import LabelMap, Probability, Scan
from otovox.errors import ConfigError
from otovox.imaging.resample import Resampler
from otovox.inference.confidence import (
    ASSUMED_CONFIDENCE,
    LOWEST_CONFIDENCE,
    REVIEW_CONFIDENCE,
    USUAL_TILT_DEG,
    confidence,
    ear_warnings,
    scan_warnings,
)
from otovox.inference.labelling import Ear, write_ear
from otovox.inference.locator import Candidate, proposed
from otovox.inference.looks import TTA, Look, MeanLook, TtaName, Turn, look_at, mean_look
from otovox.inference.poses import (
    FirstLooks,
    assumed_pose,
    first_looks,
    fit_sides,
    turned_views,
    usual_views,
)
from otovox.inference.quality import Estimator, features, load_estimator
from otovox.inference.unusual import Flag, is_unusual, load_flag, sentence
from otovox.inference.wall import find_wall
from otovox.learning.bundle import Bundle, embedded, load_bundle
from otovox.learning.engine import Engine, open_engine
from otovox.stages import Stage, report
from otovox.systems.registry import trained_network

logger = logging.getLogger(__name__)

#: A scan smaller than this in all directions contains at most one ear, and the centre of its field
#: of view is another candidate, mm: chosen; the ears of a head are about 75 mm apart.
LONE_EAR_FIELD_MM = 60.0
#: Number of pose refinements in the ear's own frame: chosen.
REFINEMENTS = 2
#: Distance of later looks from the first, mm: chosen; the scan is smoothed once up to there.
SLACK_MM = 4.0
#: Maximum number of ears.
MOST_EARS = 2


@dataclass(frozen=True, eq=False)
class Analyzer:
    """Both networks, loaded once.

    Attributes:
        labyrinth, locator: the trained models.
        labyrinth_engine, locator_engine: ready to run.
        tta: name of the test-time samples.
        flag: threshold above which an ear is flagged as unusual; None if there is none for this
            model and these samples.
        estimator: estimator of an ear's quality; likewise.
    """

    labyrinth: Bundle
    locator: Bundle
    labyrinth_engine: Engine
    locator_engine: Engine
    tta: TtaName
    flag: Flag | None = None
    estimator: Estimator | None = None

    def predict(self, scan: Scan) -> Prediction:
        """Analyse one scan.

        Args:
            scan: any field of view, orientation and grey scale.

        Returns:
            None, one or two ears, on the scan's own grid.
        """
        ears = self._ears(scan)
        warnings = scan_warnings(scan, [ear.prediction for ear in ears])
        # In the order of image files, to be written without a reordered copy.
        labels = np.zeros(scan.grid.shape, dtype=np.uint8, order="F")
        uncertainty = np.zeros(scan.grid.shape, dtype=np.float32, order="F")
        written = [write_ear(ear, scan, labels, uncertainty) for ear in ears]
        return Prediction(
            scan=scan,
            ears=tuple(sorted(written, key=lambda ear: ear.side.label)),
            labels=LabelMap(labels, scan.grid),
            uncertainty=uncertainty,
            warnings=tuple(warnings),
            provenance=self._provenance(),
        )

    def _provenance(self) -> Provenance:
        models = {bundle.config.name: bundle.sha256 for bundle in (self.locator, self.labyrinth)}
        return Provenance(models, PredictionSettings(tta=self.tta))

    def _ears(self, scan: Scan) -> list[Ear]:
        """The ears of a scan without duplicates, the most confident first."""
        ears: list[Ear] = []
        unclear: list[Candidate] = []
        report(Stage.LOCATING)
        candidates = self._candidates(scan)
        report(Stage.SEGMENTING)
        for candidate in candidates:
            if _is_near(candidate.center_mm, ears):
                continue
            near = Resampler(scan.values, scan.grid, slack_mm=SLACK_MM)
            first = self._first_looks(near, candidate, usual_views())
            if first.is_good:
                self._add(ears, self._examine(scan, near, candidate, first))
            else:
                unclear.append(candidate)
        # Clear ears in the usual orientation show that the header states it correctly.
        oriented = any(ear.prediction.pose.tilt_deg <= USUAL_TILT_DEG for ear in ears)
        for candidate in unclear:
            if _is_pair(ears) or _is_near(candidate.center_mm, ears):
                continue
            near = Resampler(scan.values, scan.grid, slack_mm=SLACK_MM)
            views = usual_views() if oriented else (*usual_views(), *turned_views())
            first = self._first_looks(near, candidate, views)
            self._add(ears, self._examine(scan, near, candidate, first))
        ears.sort(key=lambda ear: -ear.prediction.confidence)
        return ears[:MOST_EARS]

    def _add(self, ears: list[Ear], ear: Ear | None) -> None:
        """Add an ear, unless it was found already."""
        if ear is not None and not _is_near(ear.prediction.center_mm, ears):
            ears.append(ear)

    def _candidates(self, scan: Scan) -> list[Candidate]:
        candidates = proposed(scan, self.locator, self.locator_engine)
        if float(scan.grid.extent_mm.max()) < LONE_EAR_FIELD_MM:
            candidates.append(Candidate(scan.grid.center_mm, 0.0))
        return candidates

    def _first_looks(
        self, near: Resampler, candidate: Candidate, views: Iterable[FloatArray]
    ) -> FirstLooks:
        looks = (self._look(near, candidate.center_mm, matrix) for matrix in views)
        return first_looks(looks, self.labyrinth.config.network.landmarks)

    def _examine(
        self, scan: Scan, near: Resampler, candidate: Candidate, first: FirstLooks
    ) -> Ear | None:
        """The second look at a candidate; None if it is not an ear."""
        ear = None if first.pose is None else self._look_again(scan, near, first.pose)
        if ear is not None:
            return ear
        unseen = usual_views()[len(first.looks) :]
        looks = (*first.looks, *(self._look(near, candidate.center_mm, view) for view in unseen))
        assumed = assumed_pose(looks)
        return None if assumed is None else self._describe(scan, near, assumed, assumed=True)

    def _look_again(self, scan: Scan, near: Resampler, pose: Pose) -> Ear | None:
        """The ear in its own frame, which is refined iteratively; None if a step fails."""
        for _ in range(REFINEMENTS):
            refined = self._fit(self._look_in_frame(near, pose, Turn()))
            if refined is None:
                return None
            pose = refined
        return self._describe(scan, near, pose)

    def _fit(self, look: Look) -> Pose | None:
        """The pose, with its side, that fits the landmarks best; None with too few landmarks."""
        poses = fit_sides(self.labyrinth.config.network.landmarks, look.points_mm)
        return None if poses is None else poses[0]

    def _look_in_frame(self, near: Resampler, pose: Pose, turn: Turn) -> Look:
        """A rotated look in an ear's own frame."""
        return self._look(near, pose.to_lps(MIDDLE_MM[None])[0], pose.matrix @ turn.matrix)

    def _look(self, near: Resampler, center_mm: FloatArray, directions: FloatArray) -> Look:
        engine, config = self.labyrinth_engine, self.labyrinth.config
        return look_at(near, center_mm, directions, engine=engine, config=config)

    def _describe(
        self, scan: Scan, near: Resampler, pose: Pose, *, assumed: bool = False
    ) -> Ear | None:
        """Average the test-time samples in the ear's own frame; None if it is not an ear.

        An assumed pose is kept: there are too few landmarks to fit one.
        """
        names = self.labyrinth.config.network.landmarks
        looks = [self._look_in_frame(near, pose, turn) for turn in TTA[self.tta]]
        mean = mean_look(looks)
        poses = fit_sides(names, mean.points_mm)
        if (poses is None and not assumed) or not mean.inside.any():
            return None
        fitted, other = (pose, None) if poses is None else poses
        score = ASSUMED_CONFIDENCE
        if poses is not None:
            score = confidence(mean.peaks, fitted.residual_mm, mean.volume_mm3, mean.agreement)
        if score < LOWEST_CONFIDENCE:
            logger.info("candidate at %s rejected: confidence %.2f", mean.center_mm.round(1), score)
            return None
        wall = find_wall(looks[0].values, mean.probability, mean.grid)
        ear = _prediction(scan, mean, looks, names, pose=fitted, score=score)
        ear = replace(ear, edge_width_mm=wall.width_mm)
        sd_mm = mean.sd_mm[[names.index(name) for name in LANDMARK_NAMES]]
        ear = self._judged(ear, scan, other, sd_mm)
        return Ear(ear, mean.probability, mean.spread, wall, mean.grid)

    def _judged(
        self, ear: EarPrediction, scan: Scan, other: Pose | None, sd_mm: FloatArray
    ) -> EarPrediction:
        """The ear with its expected quality, the unusual flag, and its warnings."""
        if self.estimator is not None:
            quality = self.estimator.estimate(features(ear, scan.grid.spacing_mm))
            ear = replace(ear, quality=quality, confidence=quality.dice.value)
        warnings = ear_warnings(ear, scan.grid, other, sd_mm)
        if self.flag is not None:
            unusual = is_unusual(ear, self.flag)
            warnings += (sentence(ear, self.flag),) if unusual else ()
            ear = replace(ear, unusual=unusual)
        return replace(ear, warnings=warnings)


def open_analyzer(
    *,
    device: str = "auto",
    threads: int | None = None,
    tta: str = "fast",
    model: str = "labyrinth",
) -> Analyzer:
    """Load the models and prepare them for analysis.

    Args:
        device: see `engine.open_engine`.
        threads: CPU threads; None for the default of the engine.
        tta: "none"; "fast", with four small rotations; "paper", the 10 of Stebani et al. 2023 (S9);
            or "full", all 24 of a cube.
        model: name of an embedded model, or a bundle's folder.

    Raises:
        ConfigError: if there is no such test-time augmentation or device.
        ModelError: if there is no such model, or it cannot be read.
    """
    if tta not in TTA:
        raise ConfigError(f"there is no test-time augmentation {tta!r}; choose {', '.join(TTA)}")
    labyrinth, locator = load_bundle(model), embedded("locator")
    return Analyzer(
        labyrinth,
        locator,
        open_engine(labyrinth, trained_network, device=device, threads=threads),
        # Its candidates only start a search, so that a lower precision changes no result.
        open_engine(
            locator, trained_network, device=device, threads=threads, many=True, precision="bf16"
        ),
        tta,  # pyright: ignore[reportArgumentType]
        load_flag(model, sha256=labyrinth.sha256, tta=tta),
        load_estimator(model, sha256=labyrinth.sha256, tta=tta),
    )


def _is_pair(ears: Sequence[Ear]) -> bool:
    """Whether a right and a left ear were found of which no other candidate takes the place."""
    sure = [ear.prediction for ear in ears if ear.prediction.confidence >= REVIEW_CONFIDENCE]
    return len({ear.side for ear in sure}) == len(Side)


def _is_near(center_mm: FloatArray, ears: Sequence[Ear]) -> bool:
    """Whether a position belongs to an ear that was already found."""
    return any(distance_mm(center_mm, ear.prediction.center_mm) < SAME_EAR_MM for ear in ears)


def _prediction(
    scan: Scan,
    mean: MeanLook,
    looks: Sequence[Look],
    names: tuple[str, ...],
    *,
    pose: Pose,
    score: float,
) -> EarPrediction:
    """An ear's prediction before quality and warnings are added, limited to the field of view."""
    order = [names.index(name) for name in LANDMARK_NAMES]
    points_mm = mean.points_mm[order]
    outside = ~scan.grid.contains(points_mm)
    field = mean.grid.inside(scan.grid)
    samples = (
        Sample(
            Probability(np.where(field, probability, 0), mean.grid),
            Landmarks(names, look.points_mm).only(LANDMARK_NAMES),
        )
        for probability, look in zip(mean.samples, looks, strict=True)
    )
    return EarPrediction(
        side=pose.side,
        pose=pose,
        landmarks=Landmarks(LANDMARK_NAMES, np.where(outside[:, None], np.nan, points_mm)),
        landmark_sd_mm=np.where(outside, np.nan, mean.sd_mm[order]),
        volume_mm3=mean.volume_mm3,
        center_mm=mean.center_mm,
        confidence=score,
        uncertainty=mean.uncertainty,
        agreement=mean.agreement,
        landmark_peaks=mean.peaks[order],
        probability=Probability(np.where(field, mean.probability, 0), mean.grid),
        samples=tuple(samples),
    )
