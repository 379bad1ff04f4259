"""Optional post-processing of a probability map before thresholding, for any system."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters

#: SD of the smoothing and bins of the histogram. Source: Lim et al. 2024, Methods (L8); the SD is
#: interpreted as voxels.
SD_VOXELS, BINS = 2.5, 256


def smooth_otsu(
    probability: NDArray[Any], *, sd_voxels: float = SD_VOXELS, bins: int = BINS
) -> NDArray[np.bool_]:
    """Smooth a probability map and binarise it with Otsu's threshold (L8).

    The threshold separates two classes even in a map without a labyrinth, where it selects the
    brightest noise; use this only for volumes that contain one.

    Args:
        probability: (i, j, k), 0 to 1; or a mask, as in the paper.
        sd_voxels: SD of the Gaussian.
        bins: histogram bins for the threshold.

    Returns:
        (i, j, k) mask; empty if the smoothed map is constant.

    Source: Lim et al. 2024, Methods, after Otsu 1979.

    >>> probability = np.zeros((12, 12, 12))
    >>> probability[4:8, 4:8, 4:8] = 0.9
    >>> probability[0, 0, 0] = 0.9
    >>> mask = smooth_otsu(probability)
    >>> bool(mask[6, 6, 6]), bool(mask[0, 0, 0])
    (True, False)
    """
    smooth = ndimage.gaussian_filter(np.asarray(probability, np.float32), sd_voxels)
    if np.ptp(smooth) < np.finfo(np.float32).eps:
        return np.zeros(smooth.shape, dtype=bool)
    return np.asarray(smooth > filters.threshold_otsu(smooth.ravel(), nbins=bins))
