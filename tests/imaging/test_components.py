"""Connected pieces of masks."""

import numpy as np

from otovox.imaging.components import main_piece


def test_the_largest_component_touches_by_corners():
    mask = np.zeros((6, 6, 6), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[4, 4, 4] = True
    assert np.argwhere(main_piece(mask)).tolist() == [[0, 0, 0], [1, 1, 1]]
    assert not main_piece(np.zeros((3, 3, 3), bool)).any()
