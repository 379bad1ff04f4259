"""The Gaussian filter of scipy for large arrays, in threads."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

#: Fewer voxels are filtered in one thread: chosen, a few milliseconds.
_LEAST_VOXELS = 2**17


def gaussian(
    values: NDArray[Any],
    sd_voxels: ArrayLike,
    *,
    mode: Literal["reflect", "nearest", "constant"] = "reflect",
    truncate: float = 4.0,
) -> NDArray[Any]:
    """The values of `scipy.ndimage.gaussian_filter`, computed in as many threads as ITK uses.

    Args:
        values: (i, j, k).
        sd_voxels: SD, one or one per axis.
        mode: how the array goes on beyond its border.
        truncate: reach of the kernel, SD.

    Returns:
        (i, j, k) of the same type and layout in memory.

    >>> gaussian(np.array([[[0.0, 0.0, 1.0, 0.0, 0.0]]]), (0, 0, 1)).round(2).tolist()
    [[[0.06, 0.24, 0.4, 0.24, 0.06]]]
    """
    sds = np.broadcast_to(np.asarray(sd_voxels, dtype=float), values.ndim)
    threads = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    if threads < 2 or values.size < _LEAST_VOXELS:
        return np.asarray(ndimage.gaussian_filter(values, sds, mode=mode, truncate=truncate))
    smooth = values.copy(order="K")
    with ThreadPoolExecutor(threads) as pool:
        for axis, sd in enumerate(sds):
            if sd <= 0:
                continue
            # Lines along one axis are independent of each other: slabs of the slowest other axis.
            others = [other for other in range(values.ndim) if other != axis]
            across = max(others, key=lambda other: abs(values.strides[other]))
            lines = np.moveaxis(smooth, (across, axis), (0, 1))

            def filter_in_place(slab: NDArray[Any], sd: float = float(sd)) -> None:
                ndimage.gaussian_filter1d(
                    slab, sd, axis=1, output=slab, mode=mode, truncate=truncate
                )

            for _ in pool.map(filter_in_place, np.array_split(lines, threads)):
                pass
    return smooth
