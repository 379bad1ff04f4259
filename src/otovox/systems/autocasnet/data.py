"""Volumes as stacks of slices: canonical axes, one fixed shape (H1), a stage's channels (H3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.utils.data import Dataset

from otovox.core.volume import Grid
from otovox.dataset.prepared import Prepared
from otovox.errors import InputError
from otovox.imaging.intensity import Statistics, standardise
from otovox.imaging.resample import resample
from otovox.systems.autocasnet.settings import View

#: LPS axis to which the slices of a view are normal.
NORMALS: dict[View, int] = {"sagittal": 0, "coronal": 1, "axial": 2}
assert set(NORMALS) == set(get_args(View))

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Stacked:
    """One case on its canonical grid.

    Attributes:
        case: name of the case.
        patient: its patient.
        image: (i, j, k) float32, original grey values.
        labels: (i, j, k) bool.
        masks: (i, j, k) bool of the stages so far, the last one first.
    """

    case: str
    patient: str
    image: Image
    labels: Mask
    masks: tuple[Mask, ...] = ()

    def with_mask(self, mask: Mask) -> "Stacked":
        """The same case after another stage."""
        return replace(self, masks=(mask, *self.masks))


def resized_grid(grid: Grid, shape: tuple[int, int, int]) -> Grid:
    """The whole field of a grid with a given shape, and axes in the order and direction of LPS.

    Args:
        grid: any order and direction of axes.
        shape: voxels from right to left, front to back, foot to head.

    Source: Hussain et al. 2021, a fixed size for any field of view (H1).

    >>> grid = resized_grid(Grid.centred((0, 0, 0), (40, 40, 20), spacing_mm=0.5), (20, 20, 20))
    >>> grid.spacing_mm.tolist()
    [1.0, 1.0, 0.5]
    """
    rows, columns = linear_sum_assignment(-np.abs(grid.directions))
    order = columns[np.argsort(rows)]
    directions = grid.directions[:, order]
    directions = directions * np.sign(np.diag(directions))
    spacing_mm = grid.extent_mm[order] / shape
    return Grid.centred(grid.center_mm, shape, spacing_mm=spacing_mm, directions=directions)


def stacked(case: Prepared, shape: tuple[int, int, int], folder: Path) -> Stacked:
    """Resample a case with a spline (H1), its labels linearly (chosen), and store it on disk.

    Args:
        case: case at the working spacing.
        shape: voxels from right to left, front to back, foot to head.
        folder: folder for the arrays.
    """
    grid = resized_grid(case.grid, shape)
    folder.mkdir(parents=True, exist_ok=True)
    name = case.entry.case
    image = resample(case.image, case.grid, grid, order="cubic", outside="edge")
    np.save(folder / f"{name}-image.npy", image)
    labels = resample(case.labels, case.grid, grid, outside="edge") > 0.5
    return Stacked(
        name,
        case.entry.patient,
        np.load(folder / f"{name}-image.npy", mmap_mode="r"),
        kept(labels, folder / f"{name}-labels.npy"),
    )


def kept(mask: Mask, path: Path) -> Mask:
    """A mask stored on disk, read in parts."""
    np.save(path, mask)
    return np.load(path, mmap_mode="r")


def grey_statistics(cases: Sequence[Stacked]) -> Statistics:
    """Mean and SD over all voxels of the training cases (H2); the limits do not clip any of them.

    Raises:
        InputError: if there are no cases.
    """
    if not cases:
        raise InputError("there are no cases to train on")
    # All volumes have the same size: the mean of their means is the mean over all voxels.
    means = [float(case.image.mean(dtype=float)) for case in cases]
    squares = [float(np.square(case.image, dtype=float).mean()) for case in cases]
    mean = float(np.mean(means))
    return Statistics(
        low=min(float(case.image.min()) for case in cases),
        high=max(float(case.image.max()) for case in cases),
        mean=mean,
        sd=float(np.sqrt(max(np.mean(squares) - mean**2, 0.0))),
    )


def slice_stack(image: Image, masks: Sequence[Mask], view: View) -> Image:
    """All slices of one view with their channels (H3).

    Args:
        image: (i, j, k) normalised, on canonical axes.
        masks: (i, j, k) of the stages so far, the last one first.
        view: direction of the slices.

    Returns:
        (planes, 1 + masks, p, q): grey values, then the masks in their order.

    Source: Hussain et al. 2021, Figure 2: [CT], [CT, mask 1], [CT, mask 2, mask 1].
    """
    channels = [np.moveaxis(channel, NORMALS[view], 0) for channel in (image, *masks)]
    return np.stack(channels, axis=1, dtype=np.float32, casting="unsafe")


def unstack(values: NDArray, view: View) -> NDArray:
    """(planes, p, q) of one view back to (i, j, k)."""
    return np.moveaxis(values, 0, NORMALS[view])


class Stacks(Dataset[dict[str, Tensor]]):
    """Whole cases as stacks of one view, for validation.

    Args:
        cases: cases with the masks of the stages so far.
        view: direction of the slices.
        statistics: statistics for normalising grey values.
    """

    def __init__(self, cases: Sequence[Stacked], view: View, statistics: Statistics) -> None:
        self.cases = tuple(cases)
        self.view: View = view
        self.statistics = statistics

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        case = self.cases[index]
        image = slice_stack(standardise(case.image, self.statistics), case.masks, self.view)
        labels = np.moveaxis(case.labels, NORMALS[self.view], 0)[:, None].astype(np.float32)
        return {"image": torch.from_numpy(image), "labels": torch.from_numpy(labels)}


class Slices(Dataset[dict[str, Tensor]]):
    """Unlimited single slices: all slices of all cases in random order, repeatedly.

    Args:
        stacks: the cases.
        folder: folder in which the stacks are stored slice by slice.
        seed: random seed of the orders.
    """

    def __init__(self, stacks: Stacks, folder: Path, *, seed: int) -> None:
        self.seed = seed
        folder.mkdir(parents=True, exist_ok=True)
        self._stacks: list[tuple[NDArray, NDArray]] = []
        for number, case in enumerate(stacks.cases):
            parts = stacks[number]
            paths = [folder / f"{case.case}-{name}.npy" for name in ("image", "labels")]
            for path, values in zip(paths, parts.values(), strict=True):
                np.save(path, values.numpy())
            image, labels = (np.load(path, mmap_mode="r") for path in paths)
            self._stacks.append((image, labels))
        self._planes = [
            (n, p) for n, (image, _) in enumerate(self._stacks) for p in range(len(image))
        ]
        self._round, self._order = -1, np.zeros(0, dtype=int)

    def __len__(self) -> int:
        return 1 << 40

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        number, place = divmod(index, len(self._planes))
        if number != self._round:
            rng = np.random.default_rng([self.seed, number])
            self._round, self._order = number, rng.permutation(len(self._planes))
        case, plane = self._planes[int(self._order[place])]
        image, labels = self._stacks[case]
        return {
            "image": torch.from_numpy(np.array(image[plane])),
            "labels": torch.from_numpy(np.array(labels[plane])),
        }
