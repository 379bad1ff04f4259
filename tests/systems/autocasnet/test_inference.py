"""The stages one after the other: what each sees, what is kept of it."""

import numpy as np
import pytest

from otovox.systems.autocasnet.data import unstack
from otovox.systems.autocasnet.inference import cascade, majority


def test_stages_see_the_grey_values_then_the_masks_the_last_one_first():
    """Each stage says a block of its own; the third must find them in the published order."""
    image = np.random.default_rng(0).random((8, 8, 8), dtype=np.float32)
    seen: list[np.ndarray] = []

    def stage(number: int, view):
        def run(images):
            seen.append(np.stack([unstack(images[:, c], view) for c in range(images.shape[1])]))
            found = np.zeros((8, 8, 8), dtype=np.float32)
            found[number] = 1.0
            return np.moveaxis(found, {"coronal": 1, "sagittal": 0, "axial": 2}[view], 0)

        return run

    order = ("coronal", "sagittal", "axial")
    stages = [stage(number, view) for number, view in enumerate(order)]
    found = cascade(stages, image, order)
    assert [len(channels) for channels in seen] == [1, 2, 3]
    for channels in seen:
        np.testing.assert_array_equal(channels[0], image)
    assert [channel[:, 0, 0].argmax() for channel in seen[1][1:]] == [0]
    assert [channel[:, 0, 0].argmax() for channel in seen[2][1:]] == [1, 0]
    assert found[2].min() == 1.0


@pytest.mark.parametrize("largest", [True, False])
def test_the_largest_part_is_kept_after_every_stage(largest):
    both = np.zeros((8, 8, 8), dtype=np.float32)
    both[:3, :3, :3] = 0.9
    both[6, 6, 6] = 0.8
    both[5, 0, 0] = 0.3
    seen: list[np.ndarray] = []

    def stage(images):
        seen.append(images)
        return np.moveaxis(both, 2, 0)

    found = cascade([stage, stage], both, ("axial", "axial"), largest=largest)
    assert (seen[1][6, 1, 6, 6] == 0) == largest
    assert seen[1][0, 1, 0, 0] == 1
    assert found[6, 6, 6] == pytest.approx(0.0 if largest else 0.8)
    # What is below a half is no part, and stays as it was.
    assert found[5, 0, 0] == pytest.approx(0.3)


def test_independent_views_vote_and_see_the_grey_values_only():
    image = np.zeros((4, 4, 4), dtype=np.float32)
    masks = np.zeros((3, 4, 4, 4), dtype=np.float32)
    masks[:, 0], masks[:2, 1], masks[0, 2] = 0.9, 0.6, 1.0
    seen: list[int] = []

    def stage(number, axis):
        def run(images):
            seen.append(images.shape[1])
            return np.moveaxis(masks[number], axis, 0)

        return run

    order = ("coronal", "sagittal", "axial")
    stages = [stage(n, axis) for n, axis in enumerate((1, 0, 2))]
    found = majority(stages, image, order, largest=False)
    assert seen == [1, 1, 1]
    assert found[:, 0, 0] == pytest.approx([1, 2 / 3, 1 / 3, 0])
