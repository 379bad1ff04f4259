"""Plausibility of an ear, and warnings for the user.

A warning is a sentence of two parts: what was found; check what.
"""

from collections.abc import Sequence

import numpy as np

from otovox.core.anatomy import CANONICAL_MM, LANDMARK_NAMES, VOLUME_RANGE_MM3, Side
from otovox.core.case import EarPrediction
from otovox.core.geometry import FloatArray, Pose, distance_mm
from otovox.core.volume import Grid, Scan
from otovox.measure.norms import windows_problem

#: Residual of a good pose fit, mm: chosen; unseen phantoms fit within about 0.6.
GOOD_FIT_MM = 1.6
#: Landmark peaks are clear above this fraction of a full heatmap, and test-time samples agree above
#: this Dice: chosen.
CLEAR_PEAK, GOOD_AGREEMENT = 0.6, 0.85
#: A candidate with a lower confidence is not an ear: chosen.
LOWEST_CONFIDENCE = 0.35
#: An ear with a lower confidence is reported with a warning: chosen.
REVIEW_CONFIDENCE = 0.6
#: An ear with a lower expected DSC is reported with a warning: chosen, about three SDs below what
#: the model reaches on good scans.
REVIEW_DICE = 0.88
#: Confidence in an ear whose pose and side were assumed: chosen, between the lowest and that of
#: review.
ASSUMED_CONFIDENCE = 0.4
#: Rotation relative to a mean head that is worth a warning, degrees. Source: at most 41 in 72 ears.
USUAL_TILT_DEG = 50.0
#: The side is uncertain if the other one fits with less than this times the residual: chosen.
CLEAR_SIDE = 1.3
#: SD of a landmark over the test-time samples that is worth a warning, mm: chosen.
LANDMARK_SD_MM = 1.0
#: A landmark farther than this from its expected position in the pose is worth a warning, mm:
#: chosen, about four SDs of the landmarks over healthy ears.
STRAY_MM = 5.0
#: Distance between the two ears of a head, mm: usual range, as stated in the warning, and range
#: outside which the warning is given. Chosen.
USUAL_GAP_MM, GAP_RANGE_MM = (55, 95), (40, 110)
#: Warning for a scan whose right ear is to the patient's left of the left ear.
MIRRORED = (
    "anatomy and header disagree: according to the header, the right ear is on the patient's left; "
    "the reported sides follow the anatomy; check whether the scan is mirrored or its orientation "
    "wrong"
)
#: Voxels with a longer edge are too coarse for a canal, mm: chosen.
COARSE_MM = 0.7
#: Walls blurred over more than this are worth a warning, mm: chosen between sharp scans of 0.5 mm
#: (0.73 mm on nine real ears) and the widths at which the DSC of phantoms falls below .9 (1 mm and
#: more, `benchmarks/results/quality.csv`).
SOFT_EDGE_MM = 0.9


def confidence(peaks: FloatArray, residual_mm: float, volume_mm3: float, agreement: float) -> float:
    """Plausibility of an ear, 0 to 1: the product of four factors, each 1 for a good ear.

    Args:
        peaks: (n,) landmark peaks relative to a full heatmap; clear above `CLEAR_PEAK`.
        residual_mm: residual of the pose fit; good below `GOOD_FIT_MM`.
        volume_mm3: the factor decreases outside `VOLUME_RANGE_MM3`.
        agreement: lowest Dice between a test-time sample and their mean; good above
            `GOOD_AGREEMENT`.

    Source: chosen, not measured.

    >>> confidence(np.full(7, 0.9), residual_mm=0.5, volume_mm3=200.0, agreement=0.9)
    1.0
    """
    clear = float(np.clip(np.clip(peaks, 0, 1).mean() / CLEAR_PEAK, 0, 1))
    low, high = VOLUME_RANGE_MM3
    usual = float(np.clip(min(volume_mm3 / low, high / max(volume_mm3, 1.0)), 0, 1))
    agreed = float(np.clip(agreement / GOOD_AGREEMENT, 0, 1))
    return clear * fit_quality(residual_mm) * usual * agreed


def fit_quality(residual_mm: float) -> float:
    """1 up to `GOOD_FIT_MM`, then decreasing.

    >>> fit_quality(1.0), round(fit_quality(2 * GOOD_FIT_MM), 2)
    (1.0, 0.37)
    """
    return float(np.exp(-(max(residual_mm / GOOD_FIT_MM - 1, 0) ** 2)))


def ear_warnings(
    ear: EarPrediction, field: Grid, other: Pose | None, sd_mm: FloatArray
) -> tuple[str, ...]:
    """Warnings for the user about one ear.

    Args:
        ear: the ear, without warnings.
        field: grid of the scan.
        other: best pose of the other side; None if no pose was fitted.
        sd_mm: (n,) spread of the landmarks over the test-time samples.
    """
    side = ear.side
    warnings = []
    if other is None:
        warnings.append(
            "too few landmarks for a normal ear, as in a common cavity: the side "
            f"({side}) is assumed from the orientation stored in the file; check the side"
        )
    cut = _beyond(ear, field)
    if cut:
        warnings.append(
            f"the {side} ear is cut off by the field of view: {', '.join(cut)} outside; check "
            "the side, and repeat with a larger field of view if these parts matter"
        )
    absent = [_title(name) for name in LANDMARK_NAMES if not ear.landmarks.has(name)]
    if missing := [title for title in absent if title not in cut]:
        warnings.append(
            f"not found in the {side} ear: {', '.join(missing)}; check the planes, and mark by "
            "hand what is visible there"
        )
    warnings += confidence_warning(ear)
    if other is not None and other.residual_mm < CLEAR_SIDE * ear.pose.residual_mm:
        warnings.append(
            f"uncertain side ({side}): the anatomy fits the other side almost as well; check "
            "the side"
        )
    if ear.pose.tilt_deg > USUAL_TILT_DEG:
        warnings.append(
            f"the {side} ear is rotated by {ear.pose.tilt_deg:.0f} degrees relative to an average "
            "head; check the orientation stored in the file"
        )
    warnings += _strays(ear)
    if problem := windows_problem(ear.landmarks):
        warnings.append(f"{side} ear: {problem}; check both, and move the wrong one")
    if ear.edge_width_mm > SOFT_EDGE_MM and field.spacing_mm.max() <= COARSE_MM:
        warnings.append(
            f"the wall of the {side} ear is blurred over {ear.edge_width_mm:.1f} mm, as by a soft "
            "kernel; check for a reconstruction with a sharp (bone) kernel"
        )
    if np.nanmax(np.append(sd_mm, 0.0)) > LANDMARK_SD_MM:
        warnings.append(
            f"a landmark of the {side} ear varies by more than {LANDMARK_SD_MM:.0f} mm "
            "between test-time samples; check the landmarks in the planes"
        )
    return tuple(warnings)


def _beyond(ear: EarPrediction, field: Grid) -> list[str]:
    """Landmarks whose expected positions in this pose are outside the field of view."""
    expected = ear.pose.to_lps(np.asarray(list(CANONICAL_MM.values())))
    pairs = zip(CANONICAL_MM, field.contains(expected), strict=True)
    return [_title(name) for name, inside in pairs if not inside]


def _strays(ear: EarPrediction) -> list[str]:
    """Warnings about landmarks far from their expected positions in this pose."""
    strays = []
    for name in LANDMARK_NAMES:
        if not ear.landmarks.has(name):
            continue
        expected_mm = ear.pose.to_lps(np.asarray([CANONICAL_MM[name]]))[0]
        away_mm = distance_mm(ear.landmarks[name], expected_mm)
        if away_mm > STRAY_MM:
            strays.append(
                f"the {_title(name)} of the {ear.side} ear is {away_mm:.1f} mm from its usual "
                "position relative to the other landmarks; check it in the planes"
            )
    return strays


def _title(name: str) -> str:
    return name.replace("_", " ")


def confidence_warning(ear: EarPrediction) -> tuple[str, ...]:
    """A warning if an ear needs review, or if nothing is known about its quality."""
    if ear.quality is not None:
        expected = ear.quality.dice
        if expected.value >= REVIEW_DICE:
            return ()
        return (
            f"the expected DSC of the {ear.side} ear's mask is only {expected.value:.2f} "
            f"({expected.low:.2f} to {expected.high:.2f}); check its outline in the planes",
        )
    if ear.confidence >= REVIEW_CONFIDENCE:
        return (
            f"the quality of the {ear.side} ear's mask is not estimated for this model and "
            "test-time augmentation, and the confidence means only that this is an ear; check its "
            "outline in the planes",
        )
    return (
        f"low confidence ({ear.confidence:.2f}) in the {ear.side} ear; check its outline in the "
        "planes",
    )


def scan_warnings(scan: Scan, ears: Sequence[EarPrediction]) -> list[str]:
    """Warnings about the scan as a whole, those of its reader first."""
    warnings = [*scan.warnings]
    if not ears:
        return [*warnings, "no inner ear found"]
    if len(ears) == 2:
        first, second = ears
        gap_mm = distance_mm(first.center_mm, second.center_mm)
        if first.side is second.side:
            warnings.append(f"two {first.side} ears found; check the side of each")
        elif mirrored(ears):
            warnings.append(MIRRORED)
        if not GAP_RANGE_MM[0] < gap_mm < GAP_RANGE_MM[1]:
            low, high = USUAL_GAP_MM
            warnings.append(
                f"the ears are {gap_mm:.0f} mm apart (usually {low} to {high} mm); check the voxel "
                "size stored in the file"
            )
    coarse = float(scan.grid.spacing_mm.max())
    if coarse > COARSE_MM:
        warnings.append(
            f"voxels of {coarse:.1f} mm are larger than the semicircular canals: all measurements "
            "are approximate; check for a reconstruction with thinner slices"
        )
    return warnings


def mirrored(ears: Sequence[EarPrediction]) -> bool:
    """Whether the right ear lies farther to the left (LPS) than the left ear.

    >>> from types import SimpleNamespace as Ear
    >>> right, left = Ear(side=Side.RIGHT, center_mm=[40]), Ear(side=Side.LEFT, center_mm=[-40])
    >>> mirrored([right, left])
    True
    """
    left_mm = {ear.side: float(ear.center_mm[0]) for ear in ears}
    return len(left_mm) == len(Side) and left_mm[Side.RIGHT] > left_mm[Side.LEFT]
