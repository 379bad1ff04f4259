"""Intensities before the network: relative, never absolute Hounsfield units."""

import numpy as np
from numpy.typing import NDArray

#: Fractions at which a crop is clipped. After Stebani et al. 2023, S5, read as fractions.
LOW, HIGH = 0.01, 0.99


def normalise(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Clip at the 1st and 99th percentile, then subtract the mean and divide by the SD.

    Args:
        values: (i, j, k) of any scale; a crop, not a whole head.

    Returns:
        float32 of the same shape, mean 0 and SD 1 (all 0 where the crop is flat).
    """
    sample = values[::2, ::2, ::2] if min(values.shape) > 32 else values
    low, high = np.quantile(sample, (LOW, HIGH))
    clipped = np.clip(values, low, high).astype(np.float32)
    centred = clipped - np.float32(clipped.mean())
    return centred / np.float32(max(float(centred.std()), 1e-6))
