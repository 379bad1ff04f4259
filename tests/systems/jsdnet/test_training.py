"""Displacements, and JSDNet learns and looks at a scan."""

import numpy as np
import pytest
import torch

from otovox.learning.augment import Augmentation, apply
from otovox.learning.bundle import load_bundle
from otovox.systems.jsdnet.training import displacement_loss, displacements
from otovox.systems.whole_volume import Sweep
from systems.ball import GRID, JSDNET, a_ball, overlap, predicted, settings, trained

pytestmark = pytest.mark.filterwarnings("ignore::Warning:lightning", "ignore::UserWarning:torch")


def test_displacements_lead_from_every_voxel_to_the_landmark():
    points = torch.tensor([[[3.0, 4.0, 5.0], [torch.nan] * 3]])
    maps = displacements(points, (8, 9, 10), unit_voxels=2.0)
    assert maps.shape == (1, 6, 8, 9, 10)
    assert maps[0, :3, 3, 4, 5].tolist() == [0, 0, 0]
    assert maps[0, :3, 1, 4, 9].tolist() == [1.0, 0.0, -2.0]
    assert maps[0, 3:].isnan().all()


def test_absent_landmarks_cost_nothing():
    points = torch.tensor([[[3.0, 4.0, 5.0], [torch.nan] * 3]])
    truth = displacements(points, (8, 8, 8), unit_voxels=2.0)
    loss = displacement_loss(truth.nan_to_num(7.0) + 1.0, points, unit_voxels=2.0)
    assert float(loss) == pytest.approx(1.0)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_displacements_turn_with_their_chunk(turns):
    """At a voxel's new place stands its old vector, turned."""
    shape = (9, 9, 9)
    points = np.array([[2.0, 7.0, 3.0]])
    blank = np.zeros(shape, np.float32)
    warp = Augmentation(quarter_turns=turns, quarter_axis=1)
    moved = apply(warp, blank, blank, points)[2]
    before, after = (
        displacements(torch.from_numpy(part[None]), shape, unit_voxels=1.0)[0].numpy()
        for part in (points, moved)
    )
    middle = np.array([4, 4, 4])
    for voxel in ([1, 2, 3], [8, 0, 5]):
        new = np.rint(warp.rotation @ (np.array(voxel) - middle) + middle).astype(int)
        np.testing.assert_allclose(after[:, *new], warp.rotation @ before[:, *voxel], atol=1e-5)


@pytest.mark.slow
def test_jsdnet_learns_a_ball_and_predicts_a_scan(tmp_path):
    config = settings(JSDNET, 60)
    bundle = trained(config, tmp_path / "run", [a_ball()])
    again = load_bundle(tmp_path / "run" / "model")
    assert again.sha256 == bundle.sha256
    first = torch.load(tmp_path / "run" / "displacement" / "best.ckpt", weights_only=True)
    for name, values in first["state_dict"].items():
        kept = again.weights[name.replace("network.", "displacement.", 1)]
        np.testing.assert_allclose(kept, values.numpy(), rtol=1e-3, atol=1e-3)
    found = predicted(again, tmp_path / "work", sweep=Sweep(overlap_voxels=4))
    assert found.grid.same_as(GRID)
    assert overlap(found) > 0.9
    assert found.landmarks is not None
    truth = GRID.to_mm(a_ball().points_ijk[0])
    gaps = np.linalg.norm(found.landmarks.points_mm - truth, axis=1)
    assert gaps.max() < 2.0
