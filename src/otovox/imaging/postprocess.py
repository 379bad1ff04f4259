"""What may be done to a probability before it is a mask: a step that any system can take."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import filters

#: SD of the smoothing and bins of the histogram. Source: Lim et al. 2024, Methods (L8); that the
#: SD is meant in voxels is our reading.
SD_VOXELS, BINS = 2.5, 256


def smooth_otsu(
    probability: NDArray[Any], *, sd_voxels: float = SD_VOXELS, bins: int = BINS
) -> NDArray[np.bool_]:
    """Smooth a probability and part it by Otsu's threshold (L8).

    The threshold lies between the two heights that are found, whatever they are: a map without a
    labyrinth gives the brightest of its noise, so this is for volumes that hold one.

    Args:
        probability: (i, j, k), 0 to 1; or a mask, which the paper smooths.
        sd_voxels: of the Gaussian.
        bins: of the histogram that the threshold is sought in.

    Returns:
        (i, j, k) mask; empty where the smoothed map is flat.

    Source: Lim et al. 2024, Methods, after Otsu 1979.
    """
    smooth = ndimage.gaussian_filter(np.asarray(probability, np.float32), sd_voxels)
    if np.ptp(smooth) < np.finfo(np.float32).eps:
        return np.zeros(smooth.shape, dtype=bool)
    return np.asarray(smooth > filters.threshold_otsu(smooth.ravel(), nbins=bins))
