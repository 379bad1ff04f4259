"""Frequency maps: published values, monotone between them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otovox.measure.frequency import ganglion_hz, ganglion_percent, greenwood_hz, greenwood_share


def test_greenwood_at_both_ends() -> None:
    assert greenwood_hz([0.0, 1.0]) == pytest.approx([19.848, 20677.1], rel=1e-4)
    assert np.isnan(greenwood_hz([-0.01, 1.01])).all()


@given(st.floats(0, 1))
def test_greenwood_and_its_inverse(share: float) -> None:
    assert greenwood_share(greenwood_hz(share)) == pytest.approx(share, abs=1e-9)


def test_ganglion_at_the_published_angles() -> None:
    angles = np.arange(0, 721, 90)
    published = [17225, 6193, 3174, 1539, 785, 550, 366, 215, 58]
    assert ganglion_hz(angles) == pytest.approx(published)
    assert (np.diff(ganglion_hz(np.linspace(0, 720, 500))) < 0).all()
    assert np.isnan(ganglion_hz([-1, 721])).all()


def test_ganglion_percent() -> None:
    # By hand at 50 %: -7.125 + 3.5 + 71.5.
    assert ganglion_percent([0, 50, 100]) == pytest.approx([0, 67.875, 100])
