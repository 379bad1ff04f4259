"""Metrics against numbers computed by hand, and against MONAI and scipy."""

import importlib
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otovox.core.landmarks import Landmarks
from otovox.imaging.metrics import (
    VOXEL_MM,
    Mask,
    components,
    dice,
    distances,
    in_voxels,
    iou,
    landmark_errors_mm,
    rates,
    volumetric_similarity,
)

SHAPE = (9, 8, 7)
NAMES = ("hausdorff_mm", "hausdorff_95_mm", "average_hausdorff_mm", "assd_mm")


def box(*ranges: tuple[int, int]) -> Mask:
    """A mask that is true in a box of voxels."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[tuple(slice(*r) for r in ranges)] = True
    return mask


EMPTY = np.zeros(SHAPE, dtype=bool)


def test_overlap_by_hand() -> None:
    """8 voxels and 12 voxels, 4 of them common."""
    first, second = box((0, 2), (0, 2), (0, 2)), box((1, 4), (0, 2), (0, 2))
    assert dice(first, second) == pytest.approx(8 / 20)
    assert iou(first, second) == pytest.approx(4 / 16)
    # TP 4, FN 8, FP 4
    assert volumetric_similarity(first, second) == pytest.approx(1 - 4 / 20)


def test_rates_by_hand() -> None:
    """Of 504 voxels 8 found and 12 true, 4 of them common."""
    found = rates(box((0, 2), (0, 2), (0, 2)), box((1, 4), (0, 2), (0, 2)))
    assert found.precision == pytest.approx(4 / 8)
    assert found.recall == pytest.approx(4 / 12)
    assert found.specificity == pytest.approx(488 / 492)
    assert found.accuracy == pytest.approx(492 / 504)


def test_rates_of_empty_and_full_masks() -> None:
    full = box((0, 2), (0, 2), (0, 2))
    nothing = rates(EMPTY, EMPTY)
    assert (nothing.precision, nothing.recall, nothing.specificity, nothing.accuracy) == (1,) * 4
    missed, invented = rates(EMPTY, full), rates(full, EMPTY)
    assert (missed.precision, missed.recall, missed.specificity) == (0, 0, 1)
    assert (invented.precision, invented.recall) == (0, 0)
    assert invented.specificity == pytest.approx(496 / 504)
    assert rates(~EMPTY, ~EMPTY).specificity == 1


def test_voxel_units_are_the_papers() -> None:
    assert VOXEL_MM == 0.099
    assert in_voxels(0.99) == pytest.approx(10)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_monai_and_scipy_find_the_same(seed: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        monai: Any = importlib.import_module("monai.metrics")
        import torch
    from scipy.spatial.distance import directed_hausdorff

    rng = np.random.default_rng(seed)
    # Blobs off the border: MONAI erodes there as if the mask went on beyond it.
    seeds = [np.pad(rng.random((5, 4, 3)) < 0.4, 2) for _ in range(2)]
    first, second = (mask if mask.any() else box((2, 3), (2, 3), (2, 3)) for mask in seeds)
    spacing = rng.uniform(0.1, 1.0, 3)
    one, other = (torch.from_numpy(mask)[None, None].float() for mask in (first, second))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        step = {"include_background": True, "spacing": list(spacing)}
        library = {
            "dice": monai.DiceHelper(include_background=True)(one, other)[0],
            "iou": monai.compute_iou(one, other),
            "hd": monai.compute_hausdorff_distance(one, other, **step),
            "hd95": monai.compute_hausdorff_distance(one, other, percentile=95, **step),
            "assd": monai.compute_average_surface_distance(one, other, symmetric=True, **step),
            "surface_dice": monai.compute_surface_dice(one, other, [0.4], **step),
            "confusion": monai.get_confusion_matrix(one, other)[0, 0],
        }
    ours = distances(first, second, spacing)
    tp, fp, tn, fn = (float(count) for count in library["confusion"])
    found = rates(first, second)
    assert dice(first, second) == pytest.approx(float(library["dice"]), rel=1e-5)
    assert iou(first, second) == pytest.approx(float(library["iou"]), rel=1e-5)
    assert found.precision == pytest.approx(tp / (tp + fp))
    assert found.recall == pytest.approx(tp / (tp + fn))
    assert found.specificity == pytest.approx(tn / (tn + fp))
    assert found.accuracy == pytest.approx((tp + tn) / first.size)
    assert ours.hausdorff_95_mm == pytest.approx(float(library["hd95"]), rel=1e-5)
    assert ours.assd_mm == pytest.approx(float(library["assd"]), rel=1e-5)
    assert ours.surface_dice(0.4) == pytest.approx(float(library["surface_dice"]), rel=1e-5)
    points = [np.argwhere(mask) * spacing for mask in (first, second)]
    one_way, back = (
        directed_hausdorff(points[0], points[1]),
        directed_hausdorff(points[1], points[0]),
    )
    whole = max(one_way[0], back[0])
    assert ours.hausdorff_mm == pytest.approx(whole)
    # MONAI measures from rim to rim: what lies inside the other mask is not 0 away for it.
    assert float(library["hd"]) >= whole - 1e-6


def test_distances_by_hand() -> None:
    """A rod of 4 voxels against its first 2: the rest lies 1 and 2 steps away."""
    long, short = box((0, 4), (3, 4), (3, 4)), box((0, 2), (3, 4), (3, 4))
    found = distances(short, long)
    assert found.hausdorff_mm == 2
    # from long to short: 0, 0, 1, 2; from short to long: 0, 0
    assert found.average_hausdorff_mm == pytest.approx(3 / 4)
    assert found.assd_mm == pytest.approx(3 / 6)
    assert found.hausdorff_95_mm == pytest.approx(np.percentile([0, 0, 1, 2], 95))
    assert found.surface_dice(1.0) == pytest.approx(5 / 6)


def test_inside_a_mask_counts_as_overlap_but_not_as_surface() -> None:
    """One voxel in the middle of a 3x3x3 cube: the cube's rim is 1, sqrt2 or sqrt3 away."""
    cube, core = box((2, 5), (2, 5), (2, 5)), box((3, 4), (3, 4), (3, 4))
    found = distances(core, cube)
    away = 6 * 1 + 12 * np.sqrt(2) + 8 * np.sqrt(3)
    assert found.hausdorff_mm == pytest.approx(np.sqrt(3))
    assert found.average_hausdorff_mm == pytest.approx(away / 27)
    # The core's one surface voxel is 1 from the cube's surface.
    assert found.assd_mm == pytest.approx((away + 1) / 27)


def test_distances_know_the_spacing() -> None:
    first, second = box((0, 1), (0, 1), (0, 1)), box((1, 2), (2, 3), (3, 4))
    gap = np.sqrt(0.2**2 + 0.6**2 + 1.5**2)
    found = distances(first, second, (0.2, 0.3, 0.5))
    assert found.hausdorff_mm == pytest.approx(gap)
    assert found.assd_mm == pytest.approx(gap)


@pytest.mark.parametrize("metric", [dice, iou, volumetric_similarity])
def test_empty_masks(metric) -> None:
    full = box((0, 2), (0, 2), (0, 2))
    assert metric(EMPTY, EMPTY) == 1
    assert metric(EMPTY, full) == 0
    assert metric(full, EMPTY) == 0


def test_distances_of_empty_masks() -> None:
    full = box((0, 2), (0, 2), (0, 2))
    nothing = distances(EMPTY, EMPTY)
    assert (nothing.hausdorff_mm, nothing.assd_mm) == (0, 0)
    for pair in ((EMPTY, full), (full, EMPTY)):
        lost = distances(*pair)
        gaps = (lost.hausdorff_mm, lost.hausdorff_95_mm, lost.average_hausdorff_mm, lost.assd_mm)
        assert gaps == (np.inf,) * 4
        assert lost.surface_dice(1.0) == 0
    assert nothing.surface_dice(1.0) == 1


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), factor=st.sampled_from([0.5, 2.0, 3.0]))
def test_doubling_the_spacing_doubles_distances_and_order_does_not_matter(
    seed: int, factor: float
) -> None:
    rng = np.random.default_rng(seed)
    first, second = (rng.random(SHAPE) < 0.15 for _ in range(2))
    spacing = rng.uniform(0.1, 1.0, 3)
    one, other = distances(first, second, spacing), distances(second, first, factor * spacing)
    for name in NAMES:
        assert getattr(other, name) == pytest.approx(factor * getattr(one, name))
    points = [np.argwhere(mask) * spacing for mask in (first, second)]
    gaps = np.linalg.norm(points[0][:, None] - points[1][None], axis=-1)
    assert one.hausdorff_mm == pytest.approx(max(gaps.min(axis=0).max(), gaps.min(axis=1).max()))


def test_masks_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        dice(EMPTY, EMPTY[1:])
    with pytest.raises(ValueError, match="cannot be compared"):
        distances(~EMPTY, ~EMPTY[1:])


def test_components_touch_by_corners() -> None:
    mask = box((0, 2), (0, 2), (0, 2)) | box((2, 4), (2, 4), (2, 4))
    assert components(mask) == 1
    assert components(mask | box((6, 7), (0, 1), (0, 1))) == 2
    assert components(EMPTY) == 0


def test_landmark_errors() -> None:
    nan = [np.nan] * 3
    truth = Landmarks(("a", "b", "c"), np.array([[0, 0, 0], [1, 1, 1], nan]))
    found = Landmarks(("c", "b", "a"), np.array([[9, 9, 9], nan, [3, 4, 0]]))
    assert landmark_errors_mm(found, truth) == {"a": 5.0, "b": np.inf}
    assert landmark_errors_mm(Landmarks((), np.empty((0, 3))), truth)["a"] == np.inf


def test_the_area_under_the_curve_of_a_mask_is_that_of_its_one_point():
    truth = np.zeros((4, 4, 4), bool)
    truth[:2] = True
    found = np.zeros_like(truth)
    found[1:3] = True
    both = rates(found, truth)
    # Corners (0, 0), (1 - specificity, recall), (1, 1), by the trapezium rule.
    area = np.trapezoid([0, both.recall, 1], [0, 1 - both.specificity, 1])
    assert both.auc == pytest.approx(area) == 0.5
    assert rates(truth, truth).auc == 1.0
