"""How far a found ear is to be trusted, and what its user must be told."""

from collections.abc import Sequence

import numpy as np

from otovox.core.anatomy import CANONICAL_MM, LANDMARK_NAMES
from otovox.core.case import EarPrediction
from otovox.core.geometry import FloatArray, Pose
from otovox.core.volume import Grid, Scan
from otovox.measure.norms import windows_problem

#: Residual of a good pose fit, mm: chosen; unseen phantoms fit within about 0.6.
GOOD_FIT_MM = 1.6
#: Below this confidence a candidate is no ear: chosen.
LOWEST_CONFIDENCE = 0.35
#: Below this confidence the ear is reported with a warning: chosen.
REVIEW_CONFIDENCE = 0.6
#: Below this expected DSC the ear is reported with a warning: chosen, about three SDs below what
#: the model reaches on good scans.
REVIEW_DICE = 0.88
#: Confidence in an ear whose pose and side were assumed: chosen, between the two above.
ASSUMED_CONFIDENCE = 0.4
#: Volume of a human labyrinth, mm3. Source: 140-265 in 71 ears, widened by a third.
VOLUME_RANGE_MM3 = (95.0, 355.0)
#: Tilt against a mean head that is worth a word, degrees. Source: at most 41 in 72 ears.
USUAL_TILT_DEG = 50.0


def confidence(peaks: FloatArray, residual_mm: float, volume_mm3: float, agreement: float) -> float:
    """How much an ear is to be trusted, 0 to 1: the product of four parts, each 1 when all is well.

    Args:
        peaks: (n,) landmark peaks over a full heatmap's; clear above 0.6.
        residual_mm: of the pose fit; good below `GOOD_FIT_MM`.
        volume_mm3: within `VOLUME_RANGE_MM3`, or falling outside it.
        agreement: least Dice between a test-time sample and their mean; good above 0.85.

    Source: chosen, not measured.
    """
    clear = float(np.clip(np.clip(peaks, 0, 1).mean() / 0.6, 0, 1))
    low, high = VOLUME_RANGE_MM3
    usual = float(np.clip(min(volume_mm3 / low, high / max(volume_mm3, 1.0)), 0, 1))
    agreed = float(np.clip(agreement / 0.85, 0, 1))
    return clear * fit_quality(residual_mm) * usual * agreed


def fit_quality(residual_mm: float) -> float:
    """1 up to `GOOD_FIT_MM`, then falling; 0.37 at twice that."""
    return float(np.exp(-(max(residual_mm / GOOD_FIT_MM - 1, 0) ** 2)))


def ear_warnings(
    ear: EarPrediction, field: Grid, other: Pose | None, sd_mm: FloatArray
) -> tuple[str, ...]:
    """Sentences about one ear; `other` is the other side's best pose, None if none was fitted."""
    warnings = []
    if other is None:
        warnings.append(
            f"too few landmarks for a usual ear, as in a common cavity: that it is the {ear.side} "
            "one is only what the directions stored in the file suggest"
        )
    expected = ear.pose.to_lps(np.asarray(list(CANONICAL_MM.values())))
    cut = [
        name.replace("_", " ")
        for name, inside in zip(CANONICAL_MM, field.contains(expected), strict=True)
        if not inside
    ]
    if cut:
        warnings.append(f"the field of view cuts the {ear.side} ear: {', '.join(cut)} lie outside")
    missing = [
        name.replace("_", " ")
        for name in LANDMARK_NAMES
        if not ear.landmarks.has(name) and name.replace("_", " ") not in cut
    ]
    if missing:
        warnings.append(f"not found in the {ear.side} ear: {', '.join(missing)}")
    warnings += low_confidence(ear)
    if other is not None and other.residual_mm < 1.3 * ear.pose.residual_mm:
        warnings.append(
            f"the side ({ear.side}) is not certain: the anatomy fits the other nearly as well"
        )
    if ear.pose.tilt_deg > USUAL_TILT_DEG:
        warnings.append(
            f"the {ear.side} ear is turned by {ear.pose.tilt_deg:.0f} degrees against a usual "
            "head: check the orientation stored in the file"
        )
    if problem := windows_problem(ear.landmarks):
        warnings.append(f"{ear.side} ear: {problem}")
    if np.nanmax(np.append(sd_mm, 0.0)) > 1.0:
        warnings.append(
            f"a landmark of the {ear.side} ear varies by more than 1 mm between samples"
        )
    return tuple(warnings)


def low_confidence(ear: EarPrediction) -> tuple[str, ...]:
    """A sentence if an ear needs a second look."""
    if ear.quality is not None:
        expected = ear.quality.dice
        if expected.value >= REVIEW_DICE:
            return ()
        return (
            f"the {ear.side} ear's mask is expected to reach a DSC of only {expected.value:.2f} "
            f"({expected.low:.2f} to {expected.high:.2f}): please review",
        )
    if ear.confidence >= REVIEW_CONFIDENCE:
        return ()
    return (f"low confidence ({ear.confidence:.2f}) in the {ear.side} ear: please review",)


def scan_warnings(scan: Scan, ears: Sequence[EarPrediction]) -> list[str]:
    """Sentences about the scan as a whole, those of its reader first."""
    warnings = [*scan.warnings]
    if not ears:
        return [*warnings, "no inner ear found"]
    if len(ears) == 2:
        first, second = ears
        gap = first.center_mm - second.center_mm
        if first.side is second.side:
            warnings.append(f"two {first.side} ears found: please review")
        elif not 40 < float(np.linalg.norm(gap)) < 110:
            warnings.append(
                f"the two ears are {np.linalg.norm(gap):.0f} mm apart, usual is 55 to 95"
            )
    coarse = float(scan.grid.spacing_mm.max())
    if coarse > 0.7:
        warnings.append(
            f"voxels of {coarse:.1f} mm are coarser than the canals: all figures are rough"
        )
    return warnings
