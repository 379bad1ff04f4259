"""Both ears in one head: mirrored ears agree, turned ones differ by the turn."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otovox.anatomy import CANALS, Part, Side
from otovox.geometry import Pose, mean_pose, random_rotation, rotation_from_vector, unit
from otovox.measure.canals import EXCITING, Canal, Canals
from otovox.measure.head_planes import HeadPlanes, head_planes

LINE = np.zeros((2, 3))
TILT = {Part.ANTERIOR: (0.1, 0, 0.05), Part.POSTERIOR: (0, -0.12, 0.02), Part.LATERAL: (0, 0, 0)}


def canals(pose: Pose, *, radius_mm: float = 3.0, turn: np.ndarray | None = None) -> Canals:
    """An ear whose canals are as the canonical ones, turned in its own frame."""
    handed = np.sign(np.linalg.det(pose.matrix))
    turn = np.eye(3) if turn is None else turn
    found = {}
    for part in CANALS:
        normal = handed * pose.matrix @ turn @ unit(EXCITING[part] + np.array(TILT[part]))
        found[part] = Canal(
            part, LINE, np.ones(2), LINE[0], normal, radius_mm, 0.5, 0.4, 13, 240, 1, 0.2, 0.1
        )
    return Canals(pose.side, found)


def poses(turn: np.ndarray) -> tuple[Pose, Pose]:
    """A symmetric head's ears, turned as a whole."""
    right, left = (
        mean_pose(side, (x, 0.0, 0.0)) for side, x in ((Side.RIGHT, -38.0), (Side.LEFT, 38.0))
    )
    return tuple(Pose(p.side, turn @ p.matrix, turn @ p.origin_mm) for p in (right, left))  # type: ignore[return-value]


def upright_head() -> HeadPlanes:
    right, left = poses(np.eye(3))
    return head_planes(canals(right), canals(left), right, left)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_a_symmetric_head_is_symmetric_however_turned(seed: int) -> None:
    right, left = poses(random_rotation(np.random.default_rng(seed)))
    found = head_planes(canals(right), canals(left), right, left)
    assert found.axes is not None
    assert max(found.symmetry_deg.values()) == pytest.approx(0, abs=1e-5)
    assert found.between_vestibules_mm == pytest.approx(76.0)
    assert set(found.radius_difference_mm.values()) == {0.0}
    upright = upright_head()
    assert found.pair_deg == pytest.approx(upright.pair_deg, abs=1e-6)
    assert found.normals[Side.LEFT][Part.LATERAL] == pytest.approx(
        upright.normals[Side.LEFT][Part.LATERAL], abs=1e-9
    )
    assert not found.problems


def test_axes_of_an_upright_head() -> None:
    found = upright_head()
    assert found.axes is not None
    assert found.axes[1] == pytest.approx([1, 0, 0])  # left, in LPS
    assert found.axes[0] @ [0, -1, 0] > 0.9  # forward
    assert found.axes[2] @ [0, 0, 1] > 0.9  # up
    assert np.linalg.det(found.axes) == pytest.approx(1)
    # A left turn excites the left lateral canal, a right one the right.
    assert found.normals[Side.LEFT][Part.LATERAL][2] > 0.95
    assert found.normals[Side.RIGHT][Part.LATERAL][2] < -0.95
    assert set(found.pair_deg) == {"LARP", "RALP", "horizontal"}
    assert max(found.pair_deg.values()) < 40


def test_one_canal_turned_shows_as_asymmetry() -> None:
    right, left = poses(np.eye(3))
    ear = canals(left)
    turned = dict(ear.canals)
    canal = turned[Part.ANTERIOR]
    across = unit(np.cross(canal.normal, [0.3, 0.4, 0.5]))
    by = rotation_from_vector(np.radians(8.0) * across)
    turned[Part.ANTERIOR] = replace(canal, normal=by @ canal.normal, radius_mm=2.8)
    found = head_planes(canals(right), replace(ear, canals=turned), right, left)
    assert found.symmetry_deg[Part.ANTERIOR] == pytest.approx(8.0, abs=1e-6)
    assert found.symmetry_deg[Part.POSTERIOR] == pytest.approx(0.0, abs=1e-5)
    assert found.radius_difference_mm[Part.ANTERIOR] == pytest.approx(0.2)


def test_without_a_lateral_canal_there_is_no_frame() -> None:
    right, left = poses(np.eye(3))
    ear = canals(left)
    kept = {part: canal for part, canal in ear.canals.items() if part is not Part.LATERAL}
    found = head_planes(canals(right), replace(ear, canals=kept), right, left)
    assert found.axes is None
    assert set(found.pair_deg) == {"LARP", "RALP"}
    assert any("left: the lateral canal" in problem for problem in found.problems)


def test_sides_must_fit() -> None:
    right, left = poses(np.eye(3))
    with pytest.raises(ValueError, match="right and a left"):
        head_planes(canals(left), canals(right), left, right)
