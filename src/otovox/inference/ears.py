"""Scan -> Prediction: find the ears, look twice, tell the sides, write onto the scan's own grid.

The first look at a candidate is taken in the pose of a mean head. Its landmarks tell how the ear is
turned and, by their handedness, which side it is. The second look is taken in the ear's own frame,
mirrored to a right ear; so any orientation of file or patient gives the same answer.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.case import EarPrediction, Prediction, Sample
from otovox.core.geometry import (
    FloatArray,
    Pose,
    cube_turns,
    fit_pose,
    mean_pose,
    rotation_from_vector,
)
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid, LabelMap, Probability, Scan
from otovox.errors import ConfigError
from otovox.imaging.components import main_piece
from otovox.imaging.intensity import normalise
from otovox.imaging.resample import corners, resample
from otovox.inference.confidence import (
    ASSUMED_CONFIDENCE,
    GOOD_FIT_MM,
    LOWEST_CONFIDENCE,
    VOLUME_RANGE_MM3,
    confidence,
    ear_warnings,
    fit_quality,
    scan_warnings,
)
from otovox.inference.locator import Candidate, find_candidates
from otovox.inference.quality import Estimator, features, load_estimator
from otovox.inference.unusual import Flag, is_unusual, load_flag, sentence
from otovox.learning.bundle import Bundle, embedded, load_bundle
from otovox.learning.engine import Engine, open_engine
from otovox.learning.heatmaps import decode
from otovox.systems.registry import trained_network

logger = logging.getLogger(__name__)

#: Middle of the labyrinth in the canonical frame, where looks are centred. Source: box limits of
#: 72 labyrinths.
MIDDLE_MM = np.array([-0.1, 0.5, 1.1])
#: A landmark whose peak is below this share of a full heatmap counts as absent: chosen.
LOWEST_PEAK = 0.25
#: Landmarks that a pose needs: three lie in a plane, and a plane has no handedness.
POSE_LANDMARKS = 4
TtaName = Literal["none", "fast", "paper", "full"]
Turn = tuple[tuple[float, float, float], bool]


def _cube(name: Literal["none", "paper", "full"]) -> tuple[Turn, ...]:
    vectors = Rotation.from_matrix(np.stack(cube_turns(name))).as_rotvec(degrees=True)
    return tuple(((float(x), float(y), float(z)), False) for x, y, z in vectors)


#: A labyrinth whose pose must be assumed needs two landmarks higher than this, and no more stray
#: voxels than this share: chosen, not measured.
_CLEAR_PEAK, _STRAY = 0.5, 0.05
#: Turns (rotation vector, degrees; mirrored or not) of the test-time samples, in the ear's own
#: frame. "fast": chosen small, since the second look is already in that frame; "paper" and "full":
#: see `geometry.cube_turns`.
TTA: dict[str, tuple[Turn, ...]] = {
    "none": _cube("none"),
    "fast": (
        ((0, 0, 0), False),
        ((8, 0, 0), False),
        ((-4, 7, 0), False),
        ((-4, -7, 0), False),
        ((0, 0, 8), True),
    ),
    "paper": _cube("paper"),
    "full": _cube("full"),
}


@dataclass(frozen=True, eq=False)
class Look:
    """What the fine network says of one crop.

    Attributes:
        probability: (i, j, k) labyrinth.
        grid: of the crop.
        points_mm: (n, 3) landmarks of the network, LPS; nan where absent.
        peaks: (n,) heights over a full heatmap's.
    """

    probability: NDArray[np.float32]
    grid: Grid
    points_mm: FloatArray
    peaks: FloatArray


@dataclass(frozen=True, eq=False)
class Ear:
    """One ear before it is written onto the scan's grid: means over the test-time samples."""

    prediction: EarPrediction
    probability: NDArray[np.float32]
    spread: NDArray[np.float32]
    grid: Grid


@dataclass(frozen=True, eq=False)
class Analyzer:
    """Both networks, loaded once.

    Attributes:
        labyrinth, locator: the trained models.
        labyrinth_engine, locator_engine: ready to run.
        tta: name of the test-time samples.
        flag: threshold beyond which an ear is unlike healthy ones; None where none was found for
            this model and these samples.
        estimator: of an ear's quality; None likewise.
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
            scan: of any field, orientation and grey scale.

        Returns:
            None, one or two ears, on the scan's own grid.
        """
        ears = self._ears(scan)
        warnings = scan_warnings(scan, [ear.prediction for ear in ears])
        labels = np.zeros(scan.grid.shape, dtype=np.uint8)
        uncertainty = np.zeros(scan.grid.shape, dtype=np.float32)
        written = [_write(ear, scan.grid, labels, uncertainty) for ear in ears]
        return Prediction(
            scan=scan,
            ears=tuple(sorted(written, key=lambda ear: ear.side.label)),
            labels=LabelMap(labels, scan.grid),
            uncertainty=uncertainty,
            warnings=tuple(warnings),
            provenance=self._provenance(),
        )

    def _provenance(self) -> dict[str, Any]:
        models = {
            bundle.config.name: {"sha256": bundle.sha256}
            for bundle in (self.locator, self.labyrinth)
        }
        return {"models": models, "settings": {"tta": self.tta}}

    def _ears(self, scan: Scan) -> list[Ear]:
        locator = self.locator.config
        candidates = find_candidates(
            scan,
            self.locator_engine,
            spacing_mm=locator.data.spacing_mm,
            chunk=locator.data.shape,
            amplitude=locator.heatmaps[-1].amplitude,
        )
        if float(scan.grid.extent_mm.max()) < 60:  # one ear at most: its crop's middle is a guess
            candidates.append(Candidate(scan.grid.center_mm, 0.0))
        ears: list[Ear] = []
        for candidate in candidates:
            if any(_distance(candidate.center_mm, ear.prediction.center_mm) < 15 for ear in ears):
                continue
            ear = self._examine(scan, candidate)
            if ear is None or any(
                _distance(ear.prediction.center_mm, other.prediction.center_mm) < 15
                for other in ears
            ):
                continue
            ears.append(ear)
        ears.sort(key=lambda ear: -ear.prediction.confidence)
        return ears[:2]

    def _examine(self, scan: Scan, candidate: Candidate) -> Ear | None:
        """Two looks at a candidate; None if it is no ear."""
        best: tuple[float, Pose] | None = None
        first: list[Look] = []
        for matrix in _first_views():
            look = self._look(scan, Pose(Side.RIGHT, matrix, candidate.center_mm), centred=True)
            first = [*first, look][:2]
            fitted = self._fit(look)
            if fitted is not None:
                worth = fit_quality(fitted.residual_mm) * float(np.clip(look.peaks, 0, 1).mean())
                if best is None or worth > best[0]:
                    best = worth, fitted
                if fitted.residual_mm < GOOD_FIT_MM and worth > 0.45:
                    break
        ear = None if best is None else self._looked_again(scan, best[1])
        if ear is None and (assumed := _assumed_pose(first)) is not None:
            ear = self._settle(scan, assumed, assumed=True)
        return ear

    def _looked_again(self, scan: Scan, pose: Pose) -> Ear | None:
        """The ear in its own frame, found step by step; None if that leads nowhere."""
        for _ in range(2):
            again = self._fit(self._look(scan, pose))
            if again is None:
                return None
            pose = again
        return self._settle(scan, pose)

    def _fit(self, look: Look) -> Pose | None:
        """The pose that the found landmarks tell, and with it the side; None with too few."""
        if np.isfinite(look.points_mm[:, 0]).sum() < POSE_LANDMARKS:
            return None
        names = self.labyrinth.config.network.landmarks
        return min(
            (fit_pose(names, look.points_mm, side) for side in Side),
            key=lambda pose: pose.residual_mm,
        )

    def _look(
        self,
        scan: Scan,
        pose: Pose,
        *,
        turn_deg: tuple[float, float, float] = (0, 0, 0),
        mirrored: bool = False,
        centred: bool = False,
    ) -> Look:
        """Run the fine network on a crop in an ear's frame, turned and mirrored as asked."""
        config = self.labyrinth.config
        turn = rotation_from_vector(np.radians(turn_deg))
        if mirrored:
            turn = turn @ np.diag([-1.0, 1.0, 1.0])
        center = pose.origin_mm if centred else pose.to_lps(MIDDLE_MM[None])[0]
        grid = Grid.centred(
            center,
            config.data.shape,
            spacing_mm=config.data.spacing_mm,
            directions=pose.matrix @ turn,
        )
        values = normalise(resample(scan.values, scan.grid, grid, outside="edge"))
        probability, heatmaps = self.labyrinth_engine.run(values[None, None])
        points_ijk, peaks = decode(heatmaps[0])
        peaks = peaks / config.heatmaps[-1].amplitude
        points = grid.to_mm(points_ijk)
        points[peaks < LOWEST_PEAK] = np.nan
        return Look(probability[0, 0], grid, points, peaks)

    def _settle(self, scan: Scan, pose: Pose, *, assumed: bool = False) -> Ear | None:
        """Means and spreads over the test-time samples, in the ear's own frame.

        An assumed pose stays as it is: too few landmarks are there to fit one.
        """
        names = self.labyrinth.config.network.landmarks
        looks = [self._look(scan, pose, turn_deg=t, mirrored=m) for t, m in TTA[self.tta]]
        grid = looks[0].grid
        probabilities, spread = _together(looks)
        probability = probabilities.mean(axis=0)
        inside = probability > 0.5
        # What is not connected with the labyrinth is not it.
        probability = np.where(inside & ~main_piece(inside), 0.49, probability)
        points = np.stack([look.points_mm for look in looks])
        mean, sd = _mean_points(points)
        peaks = np.stack([look.peaks for look in looks]).mean(axis=0)
        inside = probability > 0.5
        enough = bool(np.isfinite(mean[:, 0]).sum() >= POSE_LANDMARKS)
        if not (enough or assumed) or not inside.any():
            return None
        fitted, other = pose, None
        if enough:
            poses = [fit_pose(names, mean, side) for side in Side]
            fitted, other = sorted(poses, key=lambda pose: pose.residual_mm)
        volume = float(probability[inside].size) * grid.voxel_mm3
        middle = grid.to_mm(np.argwhere(inside).mean(axis=0))
        near = np.asarray(ndimage.binary_dilation(inside, iterations=3), dtype=bool)
        overlap = _agreement(probabilities)
        landmarks = Landmarks(names, mean).only(LANDMARK_NAMES)
        order = [names.index(name) for name in LANDMARK_NAMES]
        outside_field = ~scan.grid.contains(landmarks.points_mm)
        present = np.where(outside_field[:, None], np.nan, landmarks.points_mm)
        field = grid.inside(scan.grid)
        score = ASSUMED_CONFIDENCE
        if enough:
            score = confidence(peaks, fitted.residual_mm, volume, overlap)
        if score < LOWEST_CONFIDENCE:
            logger.info("candidate at %s left out: confidence %.2f", middle.round(1), score)
            return None
        ear = EarPrediction(
            side=fitted.side,
            pose=fitted,
            landmarks=Landmarks(LANDMARK_NAMES, present),
            landmark_sd_mm=np.where(outside_field, np.nan, sd[order]),
            volume_mm3=volume,
            center_mm=middle,
            confidence=score,
            uncertainty=float(spread[near].mean()),
            agreement=overlap,
            landmark_peaks=peaks[order],
            probability=Probability(np.where(field, probability, 0), grid),
            samples=tuple(
                Sample(
                    Probability(np.where(field, p, 0), grid),
                    Landmarks(names, look.points_mm).only(LANDMARK_NAMES),
                )
                for p, look in zip(probabilities, looks, strict=True)
            ),
        )
        if self.estimator is not None:
            quality = self.estimator.estimate(features(ear, scan.grid.spacing_mm))
            ear = replace(ear, quality=quality, confidence=quality.dice.value)
        warnings = ear_warnings(ear, scan.grid, other, sd[order])
        if self.flag is not None:
            unusual = is_unusual(ear, self.flag)
            warnings += (sentence(ear, self.flag),) if unusual else ()
            ear = replace(ear, unusual=unusual)
        ear = replace(ear, warnings=warnings)
        return Ear(ear, probability, spread, grid)


def open_analyzer(
    *,
    device: str = "auto",
    threads: int | None = None,
    tta: str = "fast",
    model: str = "labyrinth",
) -> Analyzer:
    """Load the models and make them ready.

    Args:
        device: see `engine.open_engine`.
        threads: CPU threads, None for the engine's choice.
        tta: "none"; "fast", four small turns more; "paper", the 10 of Stebani et al. 2023 (S9);
            or "full", all 24 of a cube.
        model: name of an embedded model, or a bundle's folder.

    Raises:
        ConfigError, ModelError: if a name or a model does not fit.
    """
    if tta not in TTA:
        raise ConfigError(f"there is no test-time augmentation {tta!r}; choose {', '.join(TTA)}")
    labyrinth, locator = load_bundle(model), embedded("locator")
    return Analyzer(
        labyrinth,
        locator,
        open_engine(trained_network(labyrinth), labyrinth.config, device=device, threads=threads),
        open_engine(trained_network(locator), locator.config, device=device, threads=threads),
        tta,  # pyright: ignore[reportArgumentType]
        load_flag(model, sha256=labyrinth.sha256, tta=tta),
        load_estimator(model, sha256=labyrinth.sha256, tta=tta),
    )


def _together(looks: Sequence[Look]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities (s, i, j, k) on the first look's grid, and their spread.

    Where a turned look does not reach, it takes the mean of those that do.
    """
    grid = looks[0].grid
    others = [
        resample(look.probability, look.grid, grid, outside=np.nan, antialias=False)
        for look in looks[1:]
    ]
    seen = np.stack([looks[0].probability, *others])
    mean = np.nanmean(seen, axis=0)
    return np.where(np.isnan(seen), mean, seen), np.nanstd(seen, axis=0)


def _first_views() -> Iterator[FloatArray]:
    """Frames of the first look: a mean right ear, a mean left ear, then all turns of a cube.

    The later ones are needed only for scans whose header does not tell the patient's directions.
    """
    right, left = (mean_pose(side).matrix for side in (Side.RIGHT, Side.LEFT))
    yield right
    yield left
    for turn in cube_turns("full")[1:]:
        yield right @ turn


def _assumed_pose(looks: Sequence[Look]) -> Pose | None:
    """The pose of a mean ear for a labyrinth without landmarks, such as a common cavity.

    Args:
        looks: in the frames of a mean right and of a mean left ear, so that the side is the one
            that the file's own directions suggest.

    Returns:
        The side whose landmarks stand out more; None where nothing looks like a labyrinth.
    """
    look, side = max(
        zip(looks, Side, strict=True), key=lambda pair: float(np.clip(pair[0].peaks, 0, 1).mean())
    )
    inside = look.probability > 0.5
    whole = main_piece(inside)
    volume = float(np.count_nonzero(whole)) * look.grid.voxel_mm3
    low, high = VOLUME_RANGE_MM3
    stray = np.count_nonzero(inside) - np.count_nonzero(whole)
    if not low <= volume <= high or stray > _STRAY * np.count_nonzero(whole):
        return None
    if np.count_nonzero(look.peaks > _CLEAR_PEAK) < 2:
        return None
    pose = mean_pose(side, look.grid.to_mm(np.argwhere(whole).mean(axis=0)))
    return replace(pose, origin_mm=pose.origin_mm - pose.matrix @ MIDDLE_MM)


def _distance(first: FloatArray, second: FloatArray) -> float:
    return float(np.linalg.norm(first - second))


def _mean_points(points: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(s, n, 3) to means (n, 3) and root mean square spreads (n,); nan where most lack it."""
    known = np.isfinite(points[..., 0])
    count = known.sum(axis=0)
    filled = np.where(known[..., None], points, 0.0)
    mean = filled.sum(axis=0) / np.maximum(count, 1)[:, None]
    away = np.where(known[..., None], points - mean, 0.0)
    sd = np.sqrt((away**2).sum(axis=(0, 2)) / np.maximum(count, 1))
    absent = count * 2 <= len(points)
    mean[absent], sd[absent] = np.nan, np.nan
    return mean, sd


def _agreement(probabilities: NDArray[np.float32]) -> float:
    """Least Dice between one sample and the mean of all."""
    mean = probabilities.mean(axis=0) > 0.5
    scores = [
        2 * np.count_nonzero((p > 0.5) & mean) / max(np.count_nonzero(p > 0.5) + mean.sum(), 1)
        for p in probabilities
    ]
    return float(min(scores))


def _write(
    ear: Ear, grid: Grid, labels: NDArray[np.uint8], uncertainty: NDArray[np.float32]
) -> EarPrediction:
    """Bring one ear onto the scan's grid, in place, and complete its prediction."""
    ijk = grid.to_ijk(corners(ear.grid))
    start = np.clip(np.floor(ijk.min(axis=0)), 0, grid.shape).astype(int)
    stop = np.clip(np.ceil(ijk.max(axis=0)) + 1, 0, grid.shape).astype(int)
    if np.any(start >= stop):
        return ear.prediction
    i, j, k = (int(n) for n in stop - start)
    window = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    part = grid.crop(start, (i, j, k))
    # Logits are closer to linear across a wall than probabilities are.
    p = np.clip(ear.probability, 0.01, 0.99)
    inside = resample(np.log(p / (1 - p)), ear.grid, part, outside=-5.0) > 0
    inside = main_piece(inside)
    labels[window][inside] = ear.prediction.side.label
    spread = resample(ear.spread, ear.grid, part, outside=0.0)
    np.maximum(uncertainty[window], spread, out=uncertainty[window])
    full = np.zeros(3, dtype=bool)
    for axis in range(3):
        full[axis] = bool(
            (start[axis] == 0 and inside.take(0, axis=axis).any())
            or (stop[axis] == grid.shape[axis] and inside.take(-1, axis=axis).any())
        )
    prediction = replace(
        ear.prediction,
        volume_mm3=float(np.count_nonzero(inside)) * grid.voxel_mm3,
        touches_border=bool(full.any()),
    )
    if full.any() and not any("field of view" in text for text in prediction.warnings):
        text = f"the field of view cuts the {prediction.side} labyrinth"
        prediction = replace(prediction, warnings=(text, *prediction.warnings))
    return prediction
