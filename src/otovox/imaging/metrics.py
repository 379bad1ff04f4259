"""Overlap, distance and landmark metrics, as defined by Stebani et al. 2023 (S20) and the field.

Masks are boolean (i, j, k). Distances are in mm; a spacing of 1 gives them in voxels of the grid,
and `in_voxels` in voxels of the paper. Two empty masks agree: overlap 1, distances 0. If only one
is empty: overlap 0, distances infinite.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from otovox.core.geometry import FloatArray
from otovox.core.landmarks import Landmarks

Mask = NDArray[np.bool_]

#: Voxel size in which the paper reports distances, mm. Source: Stebani et al. 2023, S4.
VOXEL_MM = 0.099


def dice(first: Mask, second: Mask) -> float:
    """Dice coefficient, 2TP / (2TP + FP + FN).

    >>> dice(np.array([True, True, False]), np.array([True, False, False]))
    0.6666666666666666
    """
    both, one, other = _counts(first, second)
    return 2 * both / (one + other) if one + other else 1.0


def iou(first: Mask, second: Mask) -> float:
    """Intersection over union, TP / (TP + FP + FN).

    >>> iou(np.array([True, True, False]), np.array([True, False, False]))
    0.5
    """
    both, one, other = _counts(first, second)
    return both / (one + other - both) if one + other else 1.0


def expected_dice(probability: NDArray[np.floating]) -> float:
    """The Dice coefficient that a probability map predicts for its own mask.

    Args:
        probability: (i, j, k) in 0 to 1; the mask is the region above 0.5.

    >>> expected_dice(np.array([1.0, 0.75, 0.25, 0.0]))
    0.875
    """
    mask = probability > 0.5
    both = float(probability[mask].sum())
    return 2 * both / max(float(probability.sum() + mask.sum()), 1.0)


def volumetric_similarity(first: Mask, second: Mask) -> float:
    """1 - |FN - FP| / (2TP + FP + FN): agreement of the volumes, regardless of position.

    Source: Taha and Hanbury 2015, equation 17.

    >>> volumetric_similarity(np.array([True, True, False]), np.array([False, True, True]))
    1.0
    """
    _, one, other = _counts(first, second)
    return 1.0 - abs(one - other) / (one + other) if one + other else 1.0


@dataclass(frozen=True)
class Rates:
    """Voxel classification rates.

    Attributes:
        precision: TP / (TP + FP).
        recall: TP / (TP + FN).
        specificity: TN / (TN + FP).
        accuracy: (TP + TN) / all. Like specificity it approaches 1 as the field of view grows.
    """

    precision: float
    recall: float
    specificity: float
    accuracy: float

    @property
    def auc(self) -> float:
        """Area under the ROC curve of a mask, which has a single point.

        Source: Taha and Hanbury 2015, equation 23. The figures of Hussain et al. 2021, Table 1, are
        this mean of recall and specificity: .867 and .996 give .931 (H10).

        >>> Rates(accuracy=0.99, precision=0.91, recall=0.867, specificity=0.996).auc
        0.9315
        """
        return (self.recall + self.specificity) / 2


def rates(predicted: Mask, truth: Mask) -> Rates:
    """The four rates of one mask against another, over the whole field of view.

    Args:
        predicted, truth: (i, j, k); unlike the overlaps, the order matters.

    Returns:
        1 if no voxel could be misclassified; precision and recall are 0 if only one mask
        is empty, like the overlaps.

    Source: Taha and Hanbury 2015, equations 10-13.

    >>> predicted, truth = np.array([1, 1, 0, 0], dtype=bool), np.array([1, 0, 0, 0], dtype=bool)
    >>> rates(predicted, truth)
    Rates(precision=0.5, recall=1.0, specificity=0.6666666666666667, accuracy=0.75)
    """
    both, positive, true = _counts(predicted, truth)
    false_positive, missed = positive - both, true - both
    negative = truth.size - true
    one_is_empty = (positive == 0) != (true == 0)
    return Rates(
        precision=both / positive if positive else float(not one_is_empty),
        recall=both / true if true else float(not one_is_empty),
        specificity=1 - false_positive / negative if negative else 1.0,
        accuracy=1 - (false_positive + missed) / truth.size if truth.size else 1.0,
    )


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances between two masks, mm.

    Attributes:
        hausdorff_mm: largest distance of a voxel of one mask from the other mask.
        hausdorff_95_mm: larger of the two directed 95th percentiles over surface voxels.
        average_hausdorff_mm: larger of the two directed means over all foreground voxels, with
            overlap counted as 0 (S20).
        assd_mm: mean over the surface voxels of both masks of their distance from the other's
            surface (Heimann et al. 2009).
        rim_mm: (n,) distance of every surface voxel of both masks from the other's surface.
    """

    hausdorff_mm: float
    hausdorff_95_mm: float
    average_hausdorff_mm: float
    assd_mm: float
    rim_mm: FloatArray

    def surface_dice(self, tolerance_mm: float) -> float:
        """Share of both masks' surface voxels within a tolerance of the other's surface.

        Source: Nikolov et al. 2018, counting surface voxels instead of weighting surface elements.

        >>> rim_mm = np.array([0.0, 0.1, 0.4, 0.1])
        >>> Distances(0.4, 0.4, 0.1, 0.15, rim_mm).surface_dice(0.2)
        0.75
        """
        return float(np.mean(self.rim_mm <= tolerance_mm))


def distances(first: Mask, second: Mask, spacing_mm: ArrayLike = 1.0) -> Distances:
    """All distances between two masks, from two distance transforms.

    Args:
        first, second: (i, j, k).
        spacing_mm: (3,) or one number; 1 for voxel units.

    Returns:
        Infinite if only one mask is empty, 0 if both are.

    >>> first = np.zeros((9, 5, 5), dtype=bool)
    >>> second = first.copy()
    >>> first[2, 2, 2] = second[6, 2, 2] = True
    >>> distances(first, second, spacing_mm=0.5).hausdorff_mm
    2.0
    """
    if not (first.any() and second.any()):
        gap = 0.0 if first.any() == second.any() else np.inf
        return Distances(gap, gap, gap, gap, np.array([gap]))
    first, second = _union_box(first, second)
    to_first, to_second = (_from_surface(mask, spacing_mm) for mask in (first, second))
    # The voxel of a mask nearest to one outside is on its surface, so one transform serves both.
    whole = [to_second[first] * ~second[first], to_first[second] * ~first[second]]
    rims = [to_second[_surface(first)], to_first[_surface(second)]]
    return Distances(
        hausdorff_mm=float(max(gaps.max() for gaps in whole)),
        hausdorff_95_mm=float(max(np.percentile(gaps, 95) for gaps in rims)),
        average_hausdorff_mm=float(max(gaps.mean() for gaps in whole)),
        assd_mm=float(np.concatenate(rims).mean()),
        rim_mm=np.concatenate(rims),
    )


def in_voxels(distance_mm: ArrayLike) -> FloatArray:
    """Distances in the paper's voxel units of `VOXEL_MM`, regardless of the grid.

    >>> float(in_voxels(0.198))
    2.0
    """
    return np.asarray(distance_mm, dtype=float) / VOXEL_MM


def components(mask: Mask) -> int:
    """Number of connected parts; voxels that share a corner are connected (26 neighbours).

    >>> components(np.eye(3, dtype=bool)[None])
    1
    """
    if not mask.any():
        return 0
    cropped, _ = _union_box(mask, mask)
    return int(ndimage.label(cropped, np.ones((3, 3, 3)))[1])  # pyright: ignore[reportIndexIssue]


def landmark_errors_mm(predicted: Landmarks, truth: Landmarks) -> dict[str, float]:
    """Euclidean distance of each landmark from the true one.

    Args:
        predicted: LPS mm; an absent one has an infinite error.
        truth: LPS mm; absent ones (nan) are skipped.

    Returns:
        Name to mm, in the truth's order.

    >>> truth = Landmarks(("helicotrema", "oval_window"), [[0, 0, 0], [1, 1, 1]])
    >>> predicted = Landmarks(("helicotrema",), [[0, 3, 4]])
    >>> landmark_errors_mm(predicted, truth)
    {'helicotrema': 5.0, 'oval_window': inf}
    """
    errors = {}
    for name in truth.names:
        if not truth.has(name):
            continue
        present = predicted.has(name)
        errors[name] = float(np.linalg.norm(predicted[name] - truth[name])) if present else np.inf
    return errors


def _counts(first: Mask, second: Mask) -> tuple[int, int, int]:
    """Numbers of voxels in the overlap, the first and the second mask."""
    if first.shape != second.shape:
        raise ValueError(f"masks of shapes {first.shape} and {second.shape} cannot be compared")
    both = np.count_nonzero(first & second)
    return int(both), int(np.count_nonzero(first)), int(np.count_nonzero(second))


def _union_box(first: Mask, second: Mask) -> tuple[Mask, Mask]:
    """Both masks cropped to their common bounding box, with a margin of one empty voxel."""
    if first.shape != second.shape:
        raise ValueError(f"masks of shapes {first.shape} and {second.shape} cannot be compared")
    window = ndimage.find_objects((first | second).astype(np.uint8))[0]
    return np.pad(first[window], 1), np.pad(second[window], 1)


def _surface(mask: Mask) -> Mask:
    """Voxels of a mask with a face neighbour outside it."""
    return mask & np.logical_not(ndimage.binary_erosion(mask))


def _from_surface(mask: Mask, spacing_mm: ArrayLike) -> FloatArray:
    """Distance of every voxel from the mask's nearest surface voxel.

    Source: Maurer et al. 2003, as in ITK: single precision, a third of SciPy's time.
    """
    image = sitk.GetImageFromArray(_surface(mask).T.astype(np.uint8))
    image.SetSpacing(np.broadcast_to(np.asarray(spacing_mm, dtype=float), 3).tolist())
    signed = sitk.SignedMaurerDistanceMap(image, squaredDistance=False, useImageSpacing=True)
    return np.abs(sitk.GetArrayFromImage(signed)).T.astype(float)
