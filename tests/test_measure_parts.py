"""Parts of drawn labyrinths: every voxel has one, and most have the right one."""

import numpy as np
import pytest

from drawn_ears import ear
from otovox.anatomy import CANALS, PARTS, Part
from otovox.measure.canals import measure_canals
from otovox.phantom.canal_truth import parts_truth

COARSE = (0.25, 0.25, 0.25)


@pytest.mark.parametrize("seed", [1, 2])
def test_parts_are_as_drawn(seed: int) -> None:
    drawn = ear(seed, voxel_mm=COARSE)
    found = measure_canals(drawn.values, drawn.grid, drawn.landmarks, drawn.pose)
    assert np.array_equal(found.parts > 0, drawn.mask)
    truth = parts_truth(drawn.shape, drawn.canvas, drawn.mask)
    assert np.mean(found.parts[drawn.mask] == truth[drawn.mask]) > 0.95
    for part in Part:
        true = np.count_nonzero(truth == part.label) * drawn.grid.voxel_mm3
        assert found.volumes_mm3[part] == pytest.approx(true, rel=0.1)
    total = np.count_nonzero(drawn.mask) * drawn.grid.voxel_mm3
    assert sum(found.volumes_mm3.values()) == pytest.approx(total)


def test_an_absent_canal_has_no_voxels() -> None:
    drawn = ear(3, diagnosis="absent_lateral_canal", voxel_mm=COARSE)
    found = measure_canals(drawn.values, drawn.grid, drawn.landmarks, drawn.pose)
    truth = parts_truth(drawn.shape, drawn.canvas, drawn.mask)
    assert not (truth == Part.LATERAL.label).any()
    assert found.volumes_mm3[Part.LATERAL] == 0
    for part in (Part.ANTERIOR, Part.POSTERIOR, Part.COCHLEA):
        true = np.count_nonzero(truth == part.label) * drawn.grid.voxel_mm3
        assert found.volumes_mm3[part] == pytest.approx(true, rel=0.12)


def test_labels_and_colours_are_each_part_s_own() -> None:
    assert [part.label for part in Part] == [1, 2, 3, 4, 5, 6]
    assert set(PARTS) == set(Part)
    assert len({structure.rgb for structure in PARTS.values()}) == 6
    assert all(PARTS[part].name == part for part in Part)
    assert len(CANALS) == 3
