"""Other systems: what each stage sees, that they learn, that a model is kept, and predicts."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from otovox.config.training import TrainConfig, config_from, load_preset
from otovox.core.volume import Grid, Scan
from otovox.dataset.layout import Entry
from otovox.dataset.prepared import Prepared
from otovox.errors import ConfigError
from otovox.imaging.components import main_piece
from otovox.imaging.intensity import statistics
from otovox.learning.augment import Augmentation, apply
from otovox.learning.bundle import load_bundle
from otovox.learning.training import Hardware
from otovox.systems.autocasnet import training as slice_cascade
from otovox.systems.autocasnet.stacks import (
    canonical_grid,
    grey_statistics,
    stack,
    stacked,
    unstack,
)
from otovox.systems.interface import Course
from otovox.systems.jsdnet.training import displacement_loss, displacements
from otovox.systems.networks import build
from otovox.systems.registry import SYSTEMS, system_of
from otovox.systems.whole_volume import Sweep, VolumePrediction

pytestmark = pytest.mark.filterwarnings("ignore::Warning:lightning", "ignore::UserWarning:torch")

SIDE = 16
#: Axes (superior, left, anterior): neither the order nor the sense of LPS.
TURNED = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
SHAPE = (SIDE, SIDE, SIDE)
GRID = Grid.centred((4, -7, 2), SHAPE, spacing_mm=0.5, directions=TURNED)


def a_case(name: str = "one", seed: int = 0) -> Prepared:
    """A bright ball in noise away from the middle, a point at its middle and two beside it."""
    rng = np.random.default_rng(seed)
    middle = np.array([9.0, 6.0, 8.0]) + rng.integers(-1, 2, 3).astype(float)
    away = np.linalg.norm(np.moveaxis(np.indices(GRID.shape), 0, -1) - middle, axis=-1)
    image = rng.normal(0, 30, GRID.shape) + 1000 * (away < 4)
    points = middle + np.array([[0.0, 0, 0], [4, 0, 0], [0, 0, 4]])
    return Prepared(
        Entry(name, name),
        image.astype(np.float32),
        (away < 4).astype(np.uint8),
        points[None],
        GRID,
    )


def settings(system: dict[str, Any], iterations: int, **optimiser: Any) -> TrainConfig:
    """For the ball: small, and with a rate at which it is learnt in seconds."""
    return config_from(
        {
            "name": "ball",
            "system": system,
            "validate_every": iterations // 2,
            "heatmaps": [{"iteration": 0, "spread_voxels": 2.0, "amplitude": 10.0}],
            "loss": {"segmentation": "bce"},
            "optimiser": {
                "peak_rate": 1e-2,
                "weight_decay": 0.0,
                "warmup_iterations": 0,
                "plateau_iterations": iterations // 2,
                "total_iterations": iterations,
                "accumulation": 1,
                "average_decay": 0.0,
                **optimiser,
            },
            "data": {
                "spacing_mm": 0.5,
                "shape": [SIDE] * 3,
                "batch_size": 8 if system["kind"] == "slice-cascade" else 1,
                "stride_voxels": 8,
                "workers": 0,
            },
        },
        origin="test",
    )


CASCADE = {"kind": "slice-cascade", "order": ["coronal", "axial"], "filters": [4, 8]}
JSDNET = {"kind": "jsdnet", "channels": [4, 8], "displacement_unit_voxels": 8}


def trained(config: TrainConfig, output: Path, cases: list[Prepared], **how: Any):
    given = statistics(case.image for case in cases)
    facts = {"training_data": "a ball"}
    course = Course(cases, [a_case()], given, facts, hardware=Hardware("cpu"), **how)
    return system_of(config).train(config, output, course)


def predicted(bundle: Any, workspace: Path, **how: Any) -> VolumePrediction:
    scan = Scan(a_case().image, GRID)
    system = system_of(bundle.config)
    return system.predict(scan, bundle, workspace, device="torch", **how)


def overlap(found: VolumePrediction) -> float:
    assert found.probability is not None
    mask, truth = found.probability > 0.5, a_case().labels > 0
    return 2 * (mask & truth).sum() / (mask.sum() + truth.sum())


def test_every_system_with_an_entry_has_a_network():
    for kind in SYSTEMS:
        config = settings({"kind": kind}, 2)
        assert build(config).state_dict()
        assert system_of(config) is SYSTEMS[kind]


@pytest.mark.parametrize(
    ("preset", "count"), [("tiny", 1), ("autocasnet-seunet", 3), ("jsdnet", 2), ("mpunet", 1)]
)
def test_every_task_makes_a_batch_that_it_can_learn_from(preset, count):
    config = load_preset(preset)
    tasks = system_of(config).tasks(config)
    assert len(tasks) == count
    for task in tasks:
        size, channels, *sides = task.shape
        assert size == config.data.batch_size
        image = torch.randn(2, channels, *(2 * config.stride for _ in sides))
        loss = task.losses(task.example(image), 0)["loss"]
        loss.backward()
        assert torch.isfinite(loss)


def test_a_system_without_an_entry_is_refused(monkeypatch):
    monkeypatch.delitem(SYSTEMS, "jsdnet")
    with pytest.raises(ConfigError, match="dual-head, slice-cascade"):
        system_of(settings(JSDNET, 2))


def test_canonical_axes_are_those_of_lps_over_the_whole_field():
    field = Grid.centred((4, -7, 2), (10, 20, 40), spacing_mm=0.5, directions=TURNED)
    grid = canonical_grid(field, (16, 24, 8))
    np.testing.assert_allclose(grid.directions, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(grid.center_mm, field.center_mm)
    # The field's axes run along S, L and A.
    np.testing.assert_allclose(grid.extent_mm, (10, 20, 5))


@pytest.mark.parametrize(("view", "axis"), [("sagittal", 0), ("coronal", 1), ("axial", 2)])
def test_slices_are_normal_to_their_views_axis(view, axis):
    image = np.random.default_rng(0).random((4, 5, 6), dtype=np.float32)
    cut = stack(image, [], view)
    assert cut.shape[0] == image.shape[axis]
    np.testing.assert_array_equal(cut[2, 0], image.take(2, axis=axis))
    np.testing.assert_array_equal(unstack(cut[:, 0], view), image)


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
    found = slice_cascade.cascade(stages, image, order)
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

    found = slice_cascade.cascade([stage, stage], both, ("axial", "axial"), largest=largest)
    assert (seen[1][6, 1, 6, 6] == 0) == largest
    assert seen[1][0, 1, 0, 0] == 1
    assert found[6, 6, 6] == pytest.approx(0.0 if largest else 0.8)
    # What is below a half is no part, and stays as it was.
    assert found[5, 0, 0] == pytest.approx(0.3)


def test_the_largest_component_touches_by_corners():
    mask = np.zeros((6, 6, 6), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[4, 4, 4] = True
    assert np.argwhere(main_piece(mask)).tolist() == [[0, 0, 0], [1, 1, 1]]
    assert not main_piece(np.zeros((3, 3, 3), bool)).any()


def test_grey_values_are_normalised_by_the_training_cases_alone(tmp_path):
    cases = [stacked(a_case(f"{n}", n), (16, 16, 16), tmp_path) for n in range(2)]
    both = np.stack([case.image for case in cases])
    given = grey_statistics(cases)
    assert given.mean == pytest.approx(both.mean(), rel=1e-4)
    assert given.sd == pytest.approx(both.std(), rel=1e-4)
    assert (given.low, given.high) == (both.min(), both.max())


def test_a_cascade_learns_a_ball_and_looks_at_a_scan(tmp_path):
    config = settings(CASCADE, 40)
    bundle = trained(config, tmp_path / "run", [a_case("one"), a_case("two", 1)])
    again = load_bundle(tmp_path / "run" / "model")
    assert again.sha256 == bundle.sha256
    assert again.facts["validation"]["dsc"] > 0.9
    assert {"iteration", "validation", "training_data", "intensity"} == set(again.facts)
    found = predicted(again, tmp_path / "work")
    assert found.grid.same_as(GRID)
    assert found.landmarks is None
    assert found.uncertainty is not None
    assert found.uncertainty.shape == GRID.shape
    assert overlap(found) > 0.9
    with pytest.raises(ConfigError, match="no test-time augmentation"):
        predicted(again, tmp_path / "work", sweep=Sweep("paper"))
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert not {"stacks", "slices"} & left
    assert "last.ckpt" in {path.name for path in (tmp_path / "run" / "stage-1").iterdir()}


def test_a_cascade_goes_on_where_it_stopped(tmp_path, monkeypatch):
    config = settings(CASCADE, 4)
    cases = [a_case("one"), a_case("two", 1)]
    whole = trained(config, tmp_path / "whole", cases)
    fits = slice_cascade._fit

    def only_the_first(stage, place, parts, **how):
        if place.name == "broken":
            raise KeyboardInterrupt
        return fits(stage, place, parts, **how)

    monkeypatch.setattr(slice_cascade, "_fit", only_the_first)
    with pytest.raises(KeyboardInterrupt):
        trained(config, tmp_path / "broken", cases)
    monkeypatch.undo()
    before = (tmp_path / "broken" / "stage-1" / "validation.csv").read_text()
    resumed = trained(config, tmp_path / "broken", cases)
    assert (tmp_path / "broken" / "stage-1" / "validation.csv").read_text() == before
    for name, values in whole.weights.items():
        np.testing.assert_allclose(resumed.weights[name], values, rtol=0, atol=2e-3)


def test_masks_out_of_fold_come_from_models_that_did_not_see_the_case(tmp_path, monkeypatch):
    seen: dict[str, list[str]] = {}
    fits = slice_cascade._fit

    def remembered(stage, place, parts, **how):
        seen[place.name] = [case.case for case in parts[0].cases]
        return fits(stage, place, parts, **how)

    monkeypatch.setattr(slice_cascade, "_fit", remembered)
    config = settings(CASCADE | {"masks": "out-of-fold", "mask_folds": 2}, 2)
    names = ["one", "two", "three"]
    trained(config, tmp_path / "run", [a_case(name, n) for n, name in enumerate(names)])
    inner = [set(seen[f"out-of-fold-{fold}"]) for fold in range(2)]
    assert set(seen["stage-1"]) == set(seen["run"]) == set(names)
    assert inner[0] | inner[1] == set(names)
    assert not inner[0] & inner[1]


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


def test_jsdnet_learns_a_ball_and_looks_at_a_scan(tmp_path):
    config = settings(JSDNET, 60)
    bundle = trained(config, tmp_path / "run", [a_case()])
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
    truth = GRID.to_mm(a_case().points_ijk[0])
    gaps = np.linalg.norm(found.landmarks.points_mm - truth, axis=1)
    assert gaps.max() < 2.0


def test_the_joint_network_sees_where_a_displacement_is_zero():
    """A constant added to the maps moves the landmark, and must change the answer."""
    torch.manual_seed(0)
    network: Any = build(settings(JSDNET, 2)).eval()
    image = torch.randn(1, 1, 16, 16, 16)
    maps = displacements(torch.full((1, 3, 3), 5.0), (16, 16, 16), unit_voxels=16.0)
    with torch.inference_mode():
        here, there = (network.joint(image, maps + shift).heatmaps for shift in (0.0, 0.5))
    assert float((here - there).abs().max()) > 0.01


def test_the_dual_head_trains_and_predicts_through_the_same_door(tmp_path):
    config = load_preset("tiny")
    bundle = trained(config, tmp_path / "run", [a_case()])
    found = predicted(bundle, tmp_path / "work", sweep=Sweep(overlap_voxels=2))
    assert found.landmarks is not None
    assert found.probability is not None


@pytest.mark.parametrize(
    ("name", "millions"),
    # The first after the published code; of the others only what a block adds is known.
    [("autocasnet-unet", 1.928), ("autocasnet-resunet", 2.015), ("autocasnet-seunet", 1.956)],
)
def test_networks_have_the_sizes_of_the_published_ones(name, millions):
    network: Any = build(load_preset(name))
    for stage in network.stages:
        size = sum(values.numel() for values in stage.parameters())
        assert size == pytest.approx(millions * 1e6, rel=5e-4)


def test_jsdnet_is_two_networks_of_one_size():
    network: Any = build(load_preset("jsdnet"))
    sizes = [
        sum(values.numel() for values in part.parameters())
        for part in (network.displacement, network.joint)
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)
    answer = network(torch.zeros(1, 1, 16, 16, 16))
    assert answer.segmentation_logits.shape == (1, 1, 16, 16, 16)
    assert answer.heatmaps.shape == (1, 3, 16, 16, 16)
