"""Results corrected manually in 3D Slicer: read back, checked, and converted to training cases.

A results folder contains the labyrinths twice, as `segmentation.nii.gz` and
`segmentation.seg.nrrd`; either may have been corrected. Changes are determined by comparison with
`result.json`, which is never edited.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from otovox.core.anatomy import LANDMARK_NAMES, VOLUME_RANGE_MM3, Side
from otovox.core.case import Case
from otovox.core.landmarks import Landmarks
from otovox.core.volume import LabelMap, Scan
from otovox.dataset.checks import side_offset_mm
from otovox.dataset.layout import Entry, add_case, read_index, start_dataset
from otovox.errors import InputError
from otovox.formats.images import load_label_map
from otovox.formats.markups import read_landmarks
from otovox.formats.scans import find_scans, load_scan
from otovox.formats.segments import read_segments
from otovox.imaging.resample import resample
from otovox.results.schema import FILES, RESULT, EarResult, ResultFile, read_result

#: Landmarks farther than this from the labyrinth of their side are misplaced, mm: chosen, twice the
#: difference between published label conventions, and no more than the width of a vestibule.
FAR_MM = 3.0
#: Below this offset the landmarks' plane does not determine a side, mm: chosen.
#: Measured on 101 phantoms, healthy and diseased: 1.3 to 2.6 mm.
_UNDECIDED_MM = 0.5
#: Points farther than this from their position in `result.json` count as moved, mm: ten times the
#: last digit stored.
_MOVED_MM = 0.001


@dataclass(frozen=True, eq=False)
class Correction:
    """A manually corrected result.

    Attributes:
        case: the scan with the corrected ground truth.
        changes: differences from the result, one sentence each.
        warnings: findings to review, one sentence each.
    """

    case: Case
    changes: tuple[str, ...]
    warnings: tuple[str, ...]


def read_correction(folder: Path, *, scans: Path) -> Correction:
    """Read a corrected results folder and check it against its scan.

    Args:
        folder: results folder with `result.json`, a segmentation, and optionally landmarks.
        scans: a folder that contains the scan, or the scan itself.

    Raises:
        InputError: if something is missing, does not match the scan, or is anatomically
            implausible.
    """
    result = read_result(folder / RESULT)
    scan = _scan_of(result, folder, scans)
    labels = _labels(folder, result, scan)
    masks = {side: labels.values == side.label for side in Side}
    masks = {side: mask for side, mask in masks.items() if mask.any()}
    if not masks:
        raise InputError(f"{folder}: its segmentation is empty, so it cannot be a training case")
    path = folder / FILES["landmarks"]
    landmarks = landmarks_given(path) if path.exists() else {}
    places = {side: labels.grid.to_mm(np.argwhere(mask)) for side, mask in masks.items()}
    _check_sides(folder, places)
    for side, points in landmarks.items():
        check_landmarks(path, side, points, places.get(side))
    warnings = [] if landmarks else [f"{path.name} is missing: no landmarks are added"]
    for side, mask in masks.items():
        warnings += _volume_warnings(side, float(mask.sum()) * labels.grid.voxel_mm3)
        if side in landmarks:
            warnings += _check_handedness(folder, side, landmarks[side], places[side])
    facts = {"corrected": folder.name}
    return Correction(
        Case(scan, labels, landmarks, facts),
        tuple(_changes(result, labels, landmarks)),
        tuple(warnings),
    )


def add_correction(dataset: Path, correction: Correction, *, replaced: bool = False) -> Entry:
    """Add a corrected case to a data set, for training; the data set is created if necessary.

    Args:
        dataset: folder of the data set.
        correction: see `read_correction`.
        replaced: whether a case of the same name may be replaced; its patient, scanner and
            diagnosis stay.

    Returns:
        The row as written; a new case uses its name as patient.

    Raises:
        InputError: if the case exists, or the one to be replaced is not a training case.
        OutputError: if it cannot be written; a partially written case is removed.

    >>> from tempfile import TemporaryDirectory
    >>> from otovox.core.volume import Grid
    >>> grid, ear = Grid((4, 4, 4), np.eye(4)), np.full((4, 4, 4), Side.LEFT.label, np.uint8)
    >>> case = Case(Scan(ear.astype(np.float32), grid, "anna"), LabelMap(ear, grid), {})
    >>> with TemporaryDirectory() as folder:
    ...     row = add_correction(Path(folder, "data"), Correction(case, (), ()))
    >>> row.case, row.side, row.split
    ('anna', 'left', 'train')
    """
    case = correction.case
    name = case.scan.name
    rows = start_dataset(dataset, name=dataset.resolve().name, source="corrected by hand")
    before = next((row for row in rows if row.case == name), None)
    if before is not None and not replaced:
        raise InputError(f"{dataset}: already contains a case {name}; use --replace to replace it")
    if before is not None and before.split in ("validation", "test"):
        raise InputError(
            f"{dataset}: its case {name} belongs to the {before.split} split; corrections become "
            "training cases and cannot replace it"
        )
    entry = (
        Entry(name, name, split="train")
        if before is None
        else replace(before, side="", split="train")
    )
    try:
        return add_case(dataset, case, entry)
    except BaseException:
        if before is None and not any(row.case == name for row in read_index(dataset)):
            for kind, ending in (
                ("images", ".nii.gz"),
                ("labels", ".nii.gz"),
                ("landmarks", ".mrk.json"),
            ):
                (dataset / kind / f"{name}{ending}").unlink(missing_ok=True)
        raise


def _scan_of(result: ResultFile, folder: Path, scans: Path) -> Scan:
    """The scan of a result, found by its name."""
    if not scans.exists():
        raise InputError(f"{scans}: no such file or folder")
    stated = result.input
    sources = [
        source
        for source in find_scans([scans])
        if source.name == stated.name or source.path.name == stated.file
    ]
    if len(sources) != 1:
        count = "no scan" if not sources else f"{len(sources)} scans"
        raise InputError(
            f"{scans}: contains {count} named {stated.file or stated.name}, the scan of {folder}"
        )
    scan = load_scan(sources[0])
    same = scan.grid.shape == tuple(stated.shape)
    if not same or np.abs(scan.grid.spacing_mm - stated.spacing_mm).max() > 1e-3:
        raise InputError(f"{sources[0].path}: is not the scan of {folder} (different voxel grid)")
    return replace(scan, name=stated.name)


def _labels(folder: Path, result: ResultFile, scan: Scan) -> LabelMap:
    """The corrected labyrinths on the scan's grid."""
    plain, slicer = folder / FILES["segmentation"], folder / FILES["segments"]
    there = [path for path in (plain, slicer) if path.exists()]
    if not there:
        raise InputError(f"{folder}: contains neither {plain.name} nor {slicer.name}")
    read = {plain: load_label_map, slicer: read_segments}
    maps = [on_scan(path, read[path](path), scan) for path in there]
    if len(maps) == 1 or np.array_equal(maps[0].values, maps[1].values):
        return maps[0]
    # Both exist and differ: the one that still matches `result.json` was not corrected.
    corrected = [labels for labels in maps if not _unchanged(labels, result)]
    if len(corrected) != 1:
        raise InputError(
            f"{folder}: {plain.name} and {slicer.name} differ, and it is unclear which of them "
            "was corrected; delete the other one"
        )
    return corrected[0]


def on_scan(path: Path, labels: LabelMap, scan: Scan) -> LabelMap:
    """Labels on the scan's grid: 3D Slicer saves them cropped.

    Raises:
        InputError: if there are other labels than of the sides, or they lie outside the scan.

    >>> from otovox.core.volume import Grid
    >>> scan = Scan(np.zeros((4, 4, 4)), Grid.centred((0, 0, 0), (4, 4, 4), spacing_mm=2))
    >>> cropped = LabelMap(np.ones((2, 2, 2), np.uint8), scan.grid.crop((1, 1, 1), (2, 2, 2)))
    >>> on_scan(Path("segmentation.seg.nrrd"), cropped, scan).values[1, 1].tolist()
    [0, 1, 1, 0]
    """
    strange = sorted(set(np.unique(labels.values).tolist()) - {0, *(side.label for side in Side)})
    if strange:
        raise InputError(f"{path}: has label values {strange}; 1 is right and 2 is left")
    if labels.grid.same_as(scan.grid, tolerance_mm=0.01):
        return LabelMap(labels.values, scan.grid)
    outside = ~scan.grid.contains(labels.grid.to_mm(np.argwhere(labels.values)))
    if outside.any():
        raise InputError(
            f"{path}: {int(outside.sum())} of its voxels lie outside the scan; "
            "it may belong to a different scan"
        )
    step = np.linalg.inv(scan.grid.affine) @ labels.grid.affine
    if np.abs(step - np.rint(step)).max() < 1e-2 and abs(np.linalg.det(step[:3, :3])) < 1.5:
        # The same voxels, cropped or reoriented: no value is interpolated.
        values = resample(labels.values, labels.grid, scan.grid, order="nearest")
        return LabelMap(np.rint(values).astype(np.uint8), scan.grid)
    values = np.zeros(scan.grid.shape, np.uint8)
    for side in Side:
        share = resample(labels.values == side.label, labels.grid, scan.grid)
        values[share > 0.5] = side.label
    return LabelMap(values, scan.grid)


def _unchanged(labels: LabelMap, result: ResultFile) -> bool:
    """Whether the volumes equal those of the result."""
    volumes = {ear.side: _result_volume(ear) for ear in result.ears}
    return all(
        abs(labels.volume_mm3(side.label) - volumes.get(side, 0.0)) < labels.grid.voxel_mm3 / 2
        for side in Side
    )


def _result_volume(ear: EarResult) -> float:
    volume = ear.measurements.get("labyrinth_volume")
    return volume.value if volume is not None and volume.value is not None else 0.0


def landmarks_given(path: Path) -> dict[Side, Landmarks]:
    """The three reported landmarks of each side of a Markups file that has one of them.

    Raises:
        InputError: as `formats.markups.read_landmarks`.

    >>> from tempfile import TemporaryDirectory
    >>> from otovox.formats.markups import write_markups
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "landmarks.mrk.json")
    ...     write_markups(path, {Side.LEFT: Landmarks(("helicotrema",), np.array([[1, 2, 3]]))})
    ...     landmarks_given(path)[Side.LEFT]["helicotrema"].tolist()
    [1.0, 2.0, 3.0]
    """
    given = {}
    for side, points in read_landmarks(path).items():
        all_of_them = [
            points[name] if name in points.names else np.full(3, np.nan) for name in LANDMARK_NAMES
        ]
        if np.isfinite(all_of_them).any():
            given[side] = Landmarks(LANDMARK_NAMES, np.stack(all_of_them))
    return given


def _check_sides(folder: Path, places_mm: Mapping[Side, NDArray]) -> None:
    """Refuse a right labyrinth that lies to the patient's left of the left one."""
    if len(places_mm) < 2:
        return
    right, left = (places_mm[side].mean(axis=0) for side in (Side.RIGHT, Side.LEFT))
    # x of LPS increases to the patient's left.
    if right[0] >= left[0]:
        raise InputError(
            f"{folder}: its right labyrinth lies to the left of its left one; swap the two labels"
        )


def check_landmarks(path: Path, side: Side, points: Landmarks, places: NDArray | None) -> None:
    """Refuse landmarks that lie far from their labyrinth.

    Args:
        path: their file, for messages.
        side, points: of the ear, LPS mm; at least one is present.
        places: (n, 3) LPS mm of the labyrinth's voxels; None if there is none.

    Raises:
        InputError: if one is farther than `FAR_MM`.

    >>> point = Landmarks(("helicotrema",), np.array([[0, 0, 5]]))
    >>> try:
    ...     check_landmarks(Path("anna.json"), Side.LEFT, point, np.zeros((1, 3)))
    ... except InputError as error:
    ...     print(str(error).partition(";")[0])
    anna.json: the left helicotrema lies 5.0 mm from the left labyrinth
    """
    if places is None:
        raise InputError(f"{path}: has {side} landmarks, but there is no {side} labyrinth")
    names = [name for name in points.names if points.has(name)]
    gaps, _ = KDTree(places).query(np.stack([points[name] for name in names]))
    for name, gap in zip(names, np.atleast_1d(gaps), strict=True):
        if gap > FAR_MM:
            raise InputError(
                f"{path}: the {side} {name.replace('_', ' ')} lies {gap:.1f} mm from the {side} "
                f"labyrinth; at most {FAR_MM:g} mm are plausible"
            )


def _check_handedness(
    folder: Path, side: Side, points: Landmarks, places_mm: NDArray
) -> tuple[str, ...]:
    """Refuse an ear whose anatomy is that of the other side."""
    if not np.isfinite(points.points_mm).all():
        return (f"the {side} ear lacks landmarks, so its side could not be checked",)
    offset_mm = side_offset_mm(points, places_mm)
    if not abs(offset_mm) > _UNDECIDED_MM:
        return (f"the anatomy of the {side} ear does not determine its side",)
    if (offset_mm > 0) != (side is Side.RIGHT):
        raise InputError(
            f"{folder}: the {side} ear has the anatomy of a {side.other} one; "
            "swap the labels, or correct its landmarks"
        )
    return ()


def _volume_warnings(side: Side, volume_mm3: float) -> tuple[str, ...]:
    low, high = VOLUME_RANGE_MM3
    if low < volume_mm3 < high:
        return ()
    return (f"the {side} labyrinth of {volume_mm3:.0f} mm3 is outside {low:g} to {high:g} mm3",)


def _changes(
    result: ResultFile, labels: LabelMap, landmarks: Mapping[Side, Landmarks]
) -> list[str]:
    """Differences from the result, for each side."""
    ears = {ear.side: ear for ear in result.ears}
    changes: list[str] = []
    for side in Side:
        before = _result_volume(ears[side]) if side in ears else 0.0
        now = labels.volume_mm3(side.label)
        if abs(now - before) > labels.grid.voxel_mm3 / 2:
            change = f"{100 * (now / before - 1):+.1f} %" if before and now else "all of it"
            changes.append(f"{side} labyrinth: {before:.1f} to {now:.1f} mm3 ({change})")
        for name in LANDMARK_NAMES:
            point = ears[side].landmarks.get(name) if side in ears else None
            old = np.asarray(point.mm) if point is not None and point.mm else None
            new = landmarks[side][name] if side in landmarks else np.full(3, np.nan)
            what = f"{side} {name.replace('_', ' ')}"
            if old is None and np.isfinite(new).all():
                changes.append(f"{what}: added")
            elif old is not None and not np.isfinite(new).all():
                changes.append(f"{what}: removed")
            elif old is not None and np.linalg.norm(new - old) > _MOVED_MM:
                changes.append(f"{what}: moved by {np.linalg.norm(new - old):.2f} mm")
    return changes
