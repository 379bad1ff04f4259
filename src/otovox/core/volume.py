"""Grids and the volumes on them. Arrays are indexed (i, j, k); world points are LPS mm."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from otovox.core.geometry import FloatArray, affine_from, apply_affine


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular voxel grid in the world.

    Attributes:
        shape: voxels along i, j, k.
        affine: (4, 4) from (i, j, k) of a voxel's centre to LPS mm.
    """

    shape: tuple[int, int, int]
    affine: FloatArray

    def __post_init__(self) -> None:
        affine = np.array(self.affine, dtype=float)
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"a grid needs three positive sizes, not {self.shape}")
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise ValueError("a grid needs a finite 4x4 affine")
        if abs(np.linalg.det(affine[:3, :3])) < 1e-12:
            raise ValueError("a grid's affine must be invertible")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "affine", affine)

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.shape))
        edges = " x ".join(f"{edge:.3g}" for edge in self.spacing_mm)
        return f"{shape} voxels of {edges} mm"

    @classmethod
    def centred(
        cls,
        center_mm: ArrayLike,
        shape: tuple[int, int, int],
        *,
        spacing_mm: ArrayLike,
        directions: ArrayLike | None = None,
    ) -> "Grid":
        """A grid centred at `center_mm`; columns of `directions` are the axes (LPS).

        >>> grid = Grid.centred((10.0, 0.0, 0.0), (4, 4, 2), spacing_mm=(0.2, 0.2, 0.4))
        >>> grid.center_mm.tolist(), grid.extent_mm.round(6).tolist()
        ([10.0, 0.0, 0.0], [0.8, 0.8, 0.8])
        """
        axes = np.eye(3) if directions is None else np.asarray(directions, dtype=float)
        linear = axes * np.broadcast_to(np.asarray(spacing_mm, dtype=float), 3)
        middle = (np.asarray(shape) - 1) / 2.0
        return cls(shape, affine_from(linear, np.asarray(center_mm) - linear @ middle))

    @cached_property
    def spacing_mm(self) -> FloatArray:
        """(3,) distance between neighbouring voxel centres along i, j, k.

        >>> Grid.centred((0, 0, 0), (4, 4, 2), spacing_mm=(0.2, 0.2, 0.4)).spacing_mm.tolist()
        [0.2, 0.2, 0.4]
        """
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @cached_property
    def directions(self) -> FloatArray:
        """(3, 3) whose columns are the unit axes in LPS.

        >>> Grid((4, 4, 2), np.diag([-0.5, -0.5, 1.0, 1.0])).directions.tolist()
        [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]]
        """
        return self.affine[:3, :3] / self.spacing_mm

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel.

        >>> round(Grid.centred((0, 0, 0), (4, 4, 2), spacing_mm=0.5).voxel_mm3, 6)
        0.125
        """
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def extent_mm(self) -> FloatArray:
        """(3,) size of the field of view along i, j, k, including voxel borders.

        >>> Grid.centred((0, 0, 0), (4, 4, 2), spacing_mm=0.5).extent_mm.tolist()
        [2.0, 2.0, 1.0]
        """
        return self.spacing_mm * self.shape

    @property
    def center_mm(self) -> FloatArray:
        """(3,) LPS centre of the field of view.

        >>> Grid((3, 3, 3), np.eye(4)).center_mm.tolist()
        [1.0, 1.0, 1.0]
        """
        return self.to_mm((np.asarray(self.shape) - 1) / 2.0)

    def to_mm(self, ijk: ArrayLike) -> FloatArray:
        """Voxel coordinates (..., 3) to LPS mm.

        >>> Grid((3, 3, 3), np.diag([0.5, 0.5, 1.0, 1.0])).to_mm([2, 2, 2]).tolist()
        [1.0, 1.0, 2.0]
        """
        return apply_affine(self.affine, ijk)

    def to_ijk(self, points_mm: ArrayLike) -> FloatArray:
        """LPS mm (..., 3) to continuous voxel coordinates.

        >>> Grid((3, 3, 3), np.diag([0.5, 0.5, 1.0, 1.0])).to_ijk([1.0, 0.25, 2.0]).tolist()
        [2.0, 0.5, 2.0]
        """
        return apply_affine(np.linalg.inv(self.affine), points_mm)

    def contains(self, points_mm: ArrayLike) -> NDArray[np.bool_]:
        """Which points (n, 3) are in the field of view, including voxel borders; nan is outside.

        >>> Grid((3, 3, 3), np.eye(4)).contains([[2.4, 0.0, 0.0], [2.6, 0.0, 0.0]]).tolist()
        [True, False]
        """
        ijk = self.to_ijk(points_mm)
        return np.all((ijk >= -0.5) & (ijk <= np.asarray(self.shape) - 0.5), axis=-1)

    def inside(self, field: "Grid") -> NDArray[np.bool_]:
        """Which voxels, (i, j, k), have their centre inside another grid's field.

        >>> Grid((3, 1, 1), np.eye(4)).inside(Grid((2, 1, 1), np.eye(4))).ravel().tolist()
        [True, True, False]
        """
        places = np.ogrid[tuple(slice(n) for n in self.shape)]
        within = np.ones(self.shape, dtype=bool)
        for (*steps, start), size in zip(
            (np.linalg.inv(field.affine) @ self.affine)[:3], field.shape, strict=True
        ):
            ijk = start + sum(step * place for step, place in zip(steps, places, strict=True))
            within &= (ijk >= -0.5) & (ijk <= size - 0.5)
        return within

    def crop(self, start: ArrayLike, shape: tuple[int, int, int]) -> "Grid":
        """The sub-grid (or extension) that begins at voxel `start`.

        >>> grid = Grid((9, 9, 9), np.diag([0.5, 0.5, 0.5, 1.0]))
        >>> grid.crop((2, 0, 0), (3, 3, 3)).to_mm([0, 0, 0]).tolist()
        [1.0, 0.0, 0.0]
        """
        return Grid(shape, affine_from(self.affine[:3, :3], self.to_mm(start)))

    def same_as(self, other: "Grid", tolerance_mm: float = 1e-3) -> bool:
        """Whether both grids have the same voxels, corners compared in mm.

        >>> grid = Grid((9, 9, 9), np.eye(4))
        >>> [grid.same_as(grid.crop((start, 0, 0), (9, 9, 9))) for start in (0, 1)]
        [True, False]
        """
        if self.shape != other.shape:
            return False
        corners = np.array([[0, 0, 0], *np.diag(np.asarray(self.shape) - 1)])
        gap = np.abs(self.to_mm(corners) - other.to_mm(corners)).max()
        return bool(gap <= tolerance_mm)


@dataclass(frozen=True, eq=False)
class Scan:
    """A CT volume.

    Attributes:
        values: (i, j, k) float32; Hounsfield units if the scanner provides them.
        grid: position of the voxels.
        name: short name for files and tables.
        source: path of the file, empty if created in memory.
        series: UID of its DICOM series, or empty.
        patient_id: patient ID of that series; empty if it was none.
        study: its study UID; likewise.
        files: paths of that series' files.
        warnings: sentences for the user about the interpretation of the file.
    """

    values: NDArray[np.float32]
    grid: Grid
    name: str = "scan"
    source: str = ""
    series: str = ""
    patient_id: str = ""
    study: str = ""
    files: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.values.shape != self.grid.shape:
            raise ValueError(f"values {self.values.shape} do not match the grid {self.grid.shape}")

    def __repr__(self) -> str:
        return f"<Scan {self.name!r}: {self.grid}>"

    def anonymous(self) -> "Scan":
        """The scan without the identity of a DICOM patient and series, and thus no DICOM results.

        Its name and source, which come from the user, are kept.

        >>> grid = Grid((2, 2, 2), np.eye(4))
        >>> scan = Scan(np.zeros((2, 2, 2), np.float32), grid, series="1.2.3", patient_id="P7")
        >>> scan.anonymous().patient_id
        ''
        """
        if not self.series:
            return self
        remark = "no DICOM results: they would identify the patient (anonymous)"
        warnings = (*self.warnings, remark)
        return replace(self, series="", patient_id="", study="", files=(), warnings=warnings)


@dataclass(frozen=True, eq=False)
class Probability:
    """Probability that each voxel belongs to a labyrinth.

    Attributes:
        values: (i, j, k) float32, 0 to 1.
        grid: position of the voxels.
    """

    values: NDArray[np.float32]
    grid: Grid

    def __post_init__(self) -> None:
        if self.values.shape != self.grid.shape:
            raise ValueError(f"values {self.values.shape} do not match the grid {self.grid.shape}")

    @property
    def is_mask(self) -> bool:
        """Whether no value lies between 0 and 1.

        >>> grid = Grid((1, 1, 1), np.eye(4))
        >>> [Probability(np.full((1, 1, 1), p, np.float32), grid).is_mask for p in (1.0, 0.4)]
        [True, False]
        """
        return not ((self.values > 0) & (self.values < 1)).any()

    def __repr__(self) -> str:
        return f"<Probability: {self.grid}>"


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label volume: 0 background, `Side.label` for the labyrinth of each side.

    Attributes:
        values: (i, j, k) uint8.
        grid: position of the voxels.
    """

    values: NDArray[np.uint8]
    grid: Grid

    def __post_init__(self) -> None:
        if self.values.shape != self.grid.shape:
            raise ValueError(f"values {self.values.shape} do not match the grid {self.grid.shape}")

    def __repr__(self) -> str:
        return f"<LabelMap: {self.grid}>"

    def volume_mm3(self, label: int) -> float:
        """Volume of one label.

        >>> grid = Grid((2, 2, 1), np.diag([0.5, 0.5, 0.5, 1.0]))
        >>> labels = LabelMap(np.array([[[1], [1]], [[0], [2]]], np.uint8), grid)
        >>> labels.volume_mm3(1)  # right
        0.25000000000000006
        """
        return float(np.count_nonzero(self.values == label)) * self.grid.voxel_mm3
