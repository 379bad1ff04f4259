"""Canals of drawn ears, whose centrelines are known; the same at any angle, side and voxel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drawn_ears import Ear, ear
from otovox.anatomy import CANALS, Part, Side
from otovox.geometry import Pose, rotation_from_vector
from otovox.measure.canals import Canals, angles_between, measure_canals
from otovox.measure.circle import fit_circle
from otovox.measure.template import along, resampled
from otovox.phantom.canal_truth import canal_truth
from otovox.volume import Grid

COARSE = (0.25, 0.25, 0.25)


def measured(drawn: Ear) -> Canals:
    return measure_canals(drawn.values, drawn.grid, drawn.landmarks, drawn.pose)


def off_deg(found: Canals, drawn: Ear) -> list[float]:
    """How far each canal's normal is from that of its drawn centreline."""
    errors = []
    for part, truth in canal_truth(drawn.shape).items():
        line = drawn.pose.to_lps(truth.points_mm)
        circle = fit_circle(resampled(line, count=60))
        cosine = abs(found.canals[part].normal @ circle.normal)
        errors.append(float(np.degrees(np.arccos(min(cosine, 1.0)))))
    return errors


@pytest.mark.parametrize(
    ("voxel_mm", "most_deg", "most_mm"),
    [((0.2, 0.2, 0.2), 1.5, 0.06), ((0.3, 0.3, 0.3), 2.0, 0.08), ((0.25, 0.25, 0.5), 2.5, 0.1)],
)
def test_canals_are_as_drawn(
    voxel_mm: tuple[float, float, float], most_deg: float, most_mm: float
) -> None:
    drawn = ear(1, voxel_mm=voxel_mm)
    found = measured(drawn)
    assert not found.problems
    assert max(off_deg(found, drawn)) < most_deg
    for part, truth in canal_truth(drawn.shape).items():
        canal = found.canals[part]
        line = resampled(truth.points_mm, count=60)
        circle = fit_circle(line)
        assert canal.radius_mm == pytest.approx(circle.radius_mm, abs=most_mm)
        assert canal.centre_mm == pytest.approx(
            drawn.pose.to_lps(circle.centre_mm[None])[0], abs=1.5 * most_mm
        )
        assert canal.length_mm == pytest.approx(along(line)[-1], abs=0.8)
        assert canal.mean_lumen_radius_mm == pytest.approx(truth.radii_mm.mean(), abs=0.05)
        assert canal.coverage == 1.0
        assert 200 < canal.arc_deg < 300


@settings(max_examples=3, deadline=None)
@given(
    st.tuples(*[st.floats(-50, 50)] * 3), st.sampled_from(list(Side)), st.sampled_from([0.25, 0.3])
)
def test_turns_mirrors_and_voxels_change_nothing(
    turn_deg: tuple[float, float, float], side: Side, voxel: float
) -> None:
    usual = measured(ear(2, voxel_mm=COARSE))
    other = measured(ear(2, side=side, turn_deg=turn_deg, voxel_mm=(voxel,) * 3))
    for part in CANALS:
        assert other.canals[part].radius_mm == pytest.approx(usual.canals[part].radius_mm, abs=0.05)
        assert other.volumes_mm3[part] == pytest.approx(usual.volumes_mm3[part], rel=0.12)
    for pair, angle in usual.angles_deg.items():
        assert other.angles_deg[pair] == pytest.approx(angle, abs=2.0)


def test_a_pose_that_is_off_changes_little() -> None:
    drawn = ear(2, voxel_mm=COARSE)
    nudge = rotation_from_vector(np.radians([6.0, -5.0, 4.0]))
    pose = Pose(
        drawn.pose.side,
        nudge @ drawn.pose.matrix,
        drawn.pose.origin_mm + np.array([0.6, -0.5, 0.4]),
    )
    found = measure_canals(drawn.values, drawn.grid, drawn.landmarks, pose)
    assert max(off_deg(found, drawn)) < 2.0
    usual = measured(drawn)
    for part in (Part.COCHLEA, Part.VESTIBULE, *CANALS):
        assert found.volumes_mm3[part] == pytest.approx(usual.volumes_mm3[part], rel=0.08)


def test_normals_point_where_turns_excite() -> None:
    """Signs of Della Santina 2005, table 1A: left ones as printed, right ones turned about."""
    # Printed in Reid's frame, x forward and y left; in LPS x is left and y back.
    left = {
        Part.ANTERIOR: (-0.590, 0.788, -0.180),
        Part.POSTERIOR: (-0.696, -0.668, -0.263),
        Part.LATERAL: (-0.316, -0.041, 0.948),
    }
    right = {
        Part.ANTERIOR: (0.589, 0.789, 0.173),
        Part.POSTERIOR: (0.692, -0.666, 0.278),
        Part.LATERAL: (0.329, -0.036, -0.944),
    }
    for side, table in ((Side.LEFT, left), (Side.RIGHT, right)):
        found = measured(ear(2, side=side, voxel_mm=(0.3, 0.3, 0.3)))
        for part, (x, y, z) in table.items():
            # Reid's frame is pitched by some 20 degrees against a head's usual place.
            assert found.canals[part].normal @ np.array([y, -x, z]) > 0.85


def test_angles_of_the_published_normals() -> None:
    """The means of table 1A of Della Santina 2005, left, by hand: 93.9, 90.9 and 90.1 degrees."""
    normals = {
        Part.ANTERIOR: np.array([-0.58954, 0.78750, -0.17971]),
        Part.POSTERIOR: np.array([-0.69611, -0.66820, -0.26257]),
        Part.LATERAL: np.array([-0.31645, -0.04108, 0.94772]),
    }
    angles = angles_between(normals)
    assert angles[Part.ANTERIOR, Part.POSTERIOR] == pytest.approx(93.9, abs=0.2)
    assert angles[Part.ANTERIOR, Part.LATERAL] == pytest.approx(90.9, abs=0.2)
    assert angles[Part.POSTERIOR, Part.LATERAL] == pytest.approx(90.1, abs=0.2)


def test_nothing_gives_nothing() -> None:
    drawn = ear(2, voxel_mm=COARSE)
    empty = np.zeros(drawn.grid.shape, np.float32)
    found = measure_canals(empty, drawn.grid, drawn.landmarks, drawn.pose)
    assert not found.canals
    assert found.problems == ("there is no labyrinth to measure",)


def test_a_cochlea_alone_has_no_canals() -> None:
    drawn = ear(2, voxel_mm=COARSE)
    parts = measured(drawn).parts
    alone = (parts == Part.COCHLEA.label).astype(np.float32)
    found = measure_canals(alone, drawn.grid, drawn.landmarks, drawn.pose)
    assert not found.canals
    assert len(found.problems) == 3
    assert found.volumes_mm3[Part.COCHLEA] > 0.9 * np.count_nonzero(alone) * drawn.grid.voxel_mm3
    assert found.volumes_mm3[Part.ANTERIOR] == 0


def test_a_canal_cut_by_the_field_is_told() -> None:
    drawn = ear(2, voxel_mm=COARSE)
    top = drawn.pose.to_lps(drawn.shape.landmarks["anterior_arc"][None])[0, 2] - 2.2
    count = int((top - drawn.grid.affine[2, 3]) / COARSE[2])
    seen = drawn.values.copy()
    seen[:, :, count:] = 0
    i, j, _ = drawn.grid.shape
    field = Grid((i, j, count), drawn.grid.affine)
    found = measure_canals(seen, drawn.grid, drawn.landmarks, drawn.pose, field=field)
    assert {Part.POSTERIOR, Part.LATERAL} <= set(found.canals)
    assert any("anterior" in p and "outside the field" in p for p in found.problems)
    if Part.ANTERIOR in found.canals:
        assert np.isnan(found.canals[Part.ANTERIOR].length_mm)


def test_an_absent_canal_is_not_invented() -> None:
    drawn = ear(3, diagnosis="absent_lateral_canal", voxel_mm=COARSE)
    found = measured(drawn)
    assert set(found.canals) == {Part.ANTERIOR, Part.POSTERIOR}
    assert set(found.angles_deg) == {(Part.ANTERIOR, Part.POSTERIOR)}
    assert max(off_deg(found, drawn)) < 2.0
