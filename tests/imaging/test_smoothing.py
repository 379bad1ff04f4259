"""The threaded Gaussian filter gives scipy's values."""

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from otovox.imaging.smoothing import gaussian


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("mode", ["reflect", "nearest", "constant"])
def test_the_values_and_the_layout_are_those_of_scipy(order: Any, mode: Any) -> None:
    noise = np.random.default_rng(0).normal(size=(70, 61, 53)).astype(np.float32)
    values = np.asarray(noise, order=order)
    before, sd = values.copy(), (1.3, 0.0, 2.1)
    smooth = gaussian(values, sd, mode=mode, truncate=3)
    assert (smooth == ndimage.gaussian_filter(values, sd, mode=mode, truncate=3)).all()
    assert (smooth.dtype, smooth.strides) == (values.dtype, values.strides)
    assert (values == before).all()


def test_small_arrays_too() -> None:
    values = np.random.default_rng(0).normal(size=(5, 6, 7))
    assert (gaussian(values, 1.0) == ndimage.gaussian_filter(values, 1.0)).all()
