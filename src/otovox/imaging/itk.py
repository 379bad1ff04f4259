"""Voxels of SimpleITK images as arrays, without a copy."""

from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray


def array_of(image: sitk.Image) -> NDArray[Any]:
    """The voxels of an image, in its memory; the image itself must not be used afterwards.

    Args:
        image: of any number of dimensions.

    Returns:
        (z, y, x), components last. `sitk.GetArrayFromImage` returns a copy of the same.

    >>> array_of(sitk.Image(4, 3, 2, sitk.sitkInt16)).shape
    (2, 3, 4)
    """
    return np.asarray(_Voxels(image))


class _Voxels:
    """Keeps an image while an array uses its memory; SimpleITK's own view does not."""

    def __init__(self, image: sitk.Image) -> None:
        self._image = image
        place = sitk.GetArrayViewFromImage(image).__array_interface__
        address, _ = place["data"]
        self.__array_interface__ = place | {"data": (address, False)}
