"""The numbers of an ear: from a drawn one, with intervals, norms and reasons to withhold."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.case import EarPrediction, Sample
from otovox.core.geometry import mean_pose
from otovox.core.landmarks import Landmarks
from otovox.core.segments import Part
from otovox.core.volume import Grid, LabelMap, Probability
from otovox.imaging.surfaces import mesh
from otovox.measure.measurements import LEAST_SAMPLES, EarMeasurements, measure_ear
from otovox.measure.quantities import DISTANCES, QUANTITIES
from otovox.phantom.canvas import Canvas, occupancy
from otovox.phantom.labyrinth import draw_labyrinth, paint
from otovox.results.shapes import lines, part_surfaces, parts_map, planes


@cache
def ear(side: Side = Side.RIGHT) -> EarPrediction:
    """A drawn ear as if it had been found without error."""
    shape = draw_labyrinth(np.random.default_rng(4), spread=1.0)
    pose = mean_pose(side, (-40.0, 12.0, 30.0))
    middle = pose.to_lps(np.array([0.0, 0.3, 1.0]))
    grid = Grid.centred(middle, (85, 96, 96), spacing_mm=0.2, directions=pose.matrix)
    canvas = Canvas(grid, pose)
    values = occupancy(paint(shape, canvas), canvas.spacing_mm).astype(np.float32)
    points = Landmarks(shape.landmarks.names, pose.to_lps(shape.landmarks.points_mm))
    return EarPrediction(
        side=side,
        pose=pose,
        landmarks=points.only(LANDMARK_NAMES),
        landmark_sd_mm=np.zeros(3),
        volume_mm3=float(np.count_nonzero(values > 0.5)) * grid.voxel_mm3,
        center_mm=middle,
        confidence=1.0,
        uncertainty=0.0,
        probability=Probability(values, grid),
    )


def sampled(found: EarPrediction, shifts_mm: list[float]) -> EarPrediction:
    """The same ear whose samples see the round window shifted along x."""
    assert found.probability is not None
    samples = []
    for shift in shifts_mm:
        points = found.landmarks.points_mm.copy()
        points[LANDMARK_NAMES.index("round_window"), 0] += shift
        samples.append(Sample(found.probability, Landmarks(LANDMARK_NAMES, points)))
    return replace(found, samples=tuple(samples))


def measured(found: EarPrediction) -> EarMeasurements:
    assert found.probability is not None
    return measure_ear(found, found.probability.grid)


def test_a_whole_ear_has_every_number() -> None:
    table = measured(ear()).table
    assert list(table) == [quantity.name for quantity in QUANTITIES]
    missing = {name: m.withheld for name, m in table.items() if m.value is None}
    assert all("array is longer" in why or "map ends" in why for why in missing.values()), missing
    assert table["labyrinth_volume"].value == pytest.approx(ear().volume_mm3, abs=1e-3)
    assert table["completeness_likert"].value == 1
    parts = [f"{n}_volume" for n in ("cochlea", "vestibule", "common_crus")]
    parts += [f"{n}_canal_volume" for n in ("anterior", "posterior", "lateral")]
    assert sum(table[p].value or 0 for p in parts) == pytest.approx(ear().volume_mm3, rel=0.01)
    traced, basal = table["duct_length_lw"].value, table["duct_length_lw_360"].value
    assert traced is not None
    assert basal is not None
    assert 15 < basal < traced < 50


def test_left_and_right_are_mirrored_alike() -> None:
    right, left = (measured(ear(side)).table for side in Side)
    for name, found in right.items():
        assert found.value == pytest.approx(left[name].value, rel=0.02, abs=0.05), name


def test_the_interval_is_students_of_the_samples() -> None:
    found = sampled(ear(), [-0.1, 0.0, 0.1, 0.0])
    table = measured(found).table
    distances = [s.landmarks.distance_mm("oval_window", "round_window") for s in found.samples]
    half = 3.1824 * float(np.std(distances, ddof=1))  # t of 3 degrees of freedom, 97.5 %
    distance = table["oval_to_round_window"]
    assert distance.value is not None
    assert distance.interval == pytest.approx(
        [distance.value - half, distance.value + half], abs=2e-4
    )
    assert table["helicotrema_to_oval_window"].interval == pytest.approx(
        [table["helicotrema_to_oval_window"].value] * 2, abs=1e-3
    )


def test_too_few_samples_have_no_interval() -> None:
    table = measured(sampled(ear(), [0.0] * (LEAST_SAMPLES - 1))).table
    assert all(found.interval is None for found in table.values())


def test_what_varies_too_much_is_withheld() -> None:
    distance = measured(sampled(ear(), [-2.0, 0.0, 2.0])).table["oval_to_round_window"]
    assert distance.value is None
    assert "between test-time samples" in distance.withheld
    assert distance.interval is not None


def test_without_a_round_window_the_cochlea_has_no_zero() -> None:
    points = ear().landmarks.points_mm.copy()
    points[LANDMARK_NAMES.index("round_window")] = np.nan
    table = measured(replace(ear(), landmarks=Landmarks(LANDMARK_NAMES, points))).table
    assert table["cochlea_a"].value is None
    assert "round window" in table["cochlea_a"].withheld
    assert table["oval_to_round_window"].value is None
    assert table["anterior_canal_radius"].value is not None


def test_a_field_that_cuts_the_cochlea_withholds_it() -> None:
    probability = ear().probability
    assert probability is not None
    size = probability.grid.shape
    field = probability.grid.crop((0, 0, 40), (size[0], size[1], size[2] - 40))
    found = measure_ear(ear(), field)
    assert found.table["duct_length_lw"].value is None
    assert "field" in found.table["duct_length_lw"].withheld
    assert found.completeness is not None
    assert found.completeness.likert == 1
    assert found.completeness.cut


def test_a_missing_cochlea_withholds_what_rests_on_it() -> None:
    probability = ear().probability
    assert probability is not None
    whole = measured(ear())
    assert whole.canals is not None
    values = np.where(whole.canals.parts.labels == 1, 0, probability.values)
    found = measured(replace(ear(), probability=Probability(values, probability.grid)))
    assert found.completeness is not None
    assert "cochlea" in found.completeness.missing
    assert found.table["cochlea_a"].value is None
    assert "missing: cochlea" in found.table["cochlea_a"].withheld
    assert found.table["completeness_likert"].unusual == "high"


def test_by_hand_only_volume_and_distances() -> None:
    found = measure_ear(replace(ear(), probability=None), Grid((2, 2, 2), np.eye(4)))
    assert list(found.table) == ["labyrinth_volume", *(name for name, _, _ in DISTANCES)]
    assert found.canals is None


def test_shapes_for_other_tools() -> None:
    both = [measured(ear(side)) for side in Side]
    curves, flat = lines(both), planes(both)
    assert {c.name for c in curves} >= {"right/lateral_wall", "left/lateral_canal"}
    assert len(flat) == 6
    for plane, known in zip(flat[:3], ("anterior", "posterior", "lateral"), strict=True):
        assert plane.name == f"right/{known}_canal"
    probability = ear(Side.LEFT).probability
    assert probability is not None
    mask = (probability.values > 0.5).astype(np.uint8) * Side.LEFT.label
    parts = parts_map(LabelMap(mask, probability.grid), both[1:])
    assert parts is not None
    assert set(np.unique(parts.values)) == {0, *range(201, 207)}
    assert np.array_equal(parts.values > 0, mask > 0)
    surface = mesh(probability.values, probability.grid)
    faces = part_surfaces({Side.LEFT: surface}, both)
    assert list(faces) == [Side.LEFT]
    assert set(faces[Side.LEFT]) == set(Part)
    together = np.concatenate(list(faces[Side.LEFT].values()))
    assert sorted(map(tuple, together)) == sorted(map(tuple, surface[1]))


def test_names_are_unique_and_norms_ordered() -> None:
    names = [quantity.name for quantity in QUANTITIES]
    assert len(set(names)) == len(names)
    for quantity in QUANTITIES:
        assert quantity.definition
        assert quantity.norm is None or quantity.norm.low <= quantity.norm.high
        assert quantity.norm is None or quantity.norm.source
