"""Connected pieces of masks."""

import numpy as np

from otovox.imaging.components import largest, main_piece


def test_a_hole_is_filled_and_one_open_through_a_face_is_not():
    mask = np.ones((5, 5, 5), bool)
    mask[2, 2, 2] = mask[0, 4, 4] = False
    assert np.argwhere(~largest(mask)).tolist() == [[0, 4, 4]]
    mask[1, 2, 2] = mask[0, 2, 2] = False
    assert len(np.argwhere(~largest(mask))) == 4
    assert not largest(np.zeros((3, 3, 3), bool)).any()


def test_the_largest_component_touches_by_corners():
    mask = np.zeros((6, 6, 6), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[4, 4, 4] = True
    assert np.argwhere(main_piece(mask)).tolist() == [[0, 0, 0], [1, 1, 1]]
    assert not main_piece(np.zeros((3, 3, 3), bool)).any()
