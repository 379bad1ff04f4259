"""Results corrected by hand in 3D Slicer, read back, checked, and added to a data set."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from otovox.anatomy import CANONICAL_MM, Side
from otovox.case import Case
from otovox.dataset import Entry, add_case, read_index
from otovox.errors import InputError
from otovox.formats import find_scans, load_label_map, load_scan, read_landmarks, read_segments
from otovox.formats.images import scan_name
from otovox.geometry import fit_pose
from otovox.landmarks import Landmarks
from otovox.report import read_result
from otovox.result import FILES, RESULT, ResultFile
from otovox.volume import Grid, LabelMap, Scan

#: Volumes of labyrinths outside of which a hand's slip is likelier than anatomy, mm3: chosen, wide
#: around what is published for healthy ears.
USUAL_MM3 = (95.0, 355.0)
#: How far a landmark may lie from its labyrinth, mm: chosen; the windows lie on its surface.
FARTHEST_MM = 3.0
#: How far a cropped mask's voxels may lie beside the scan's, voxels: chosen, above rounding.
_OFF_VOXELS = 0.05
#: How far volumes may differ from those in result.json, mm3: its rounding. Chosen.
_TOLD_MM3 = 6e-4
#: Moves and changes below these are rounding of the files, mm and percent: chosen.
_MOVED_MM, _CHANGED_PERCENT = 0.01, 0.1


@dataclass(frozen=True)
class Correction:
    """A corrected result as it will be added: the case, what was changed, what to look at again."""

    case: Case
    changes: tuple[str, ...]
    warnings: tuple[str, ...]


def read_correction(folder: Path, scans: Path | None = None) -> Correction:
    """Read a corrected result folder with its scan, and check it.

    Of `segmentation.nii.gz` and `segmentation.seg.nrrd`, the one whose volumes are no longer those
    of `result.json` is the corrected one.

    Args:
        folder: a result folder of which mask or landmarks were edited.
        scans: file, or folder that is searched, of the scan that was analysed.

    Returns:
        The case under the scan's name.

    Raises:
        InputError: saying in one sentence why it cannot be used.
    """
    result = read_result(folder / RESULT)
    scan = _scan(folder, result, scans)
    labels = _on_grid(_labels(folder, result), scan.grid, folder)
    landmarks = {
        side: points
        for side, points in read_landmarks(folder / FILES["landmarks"]).items()
        if np.isfinite(points.points_mm).all(axis=1).any()
    }
    if not labels.values.any():
        raise InputError(f"{folder}: its segmentation is empty; there is nothing to learn from")
    if set(np.unique(labels.values).tolist()) - {0, *(side.label for side in Side)}:
        raise InputError(f"{folder}: its segmentation holds other labels than 1 right, 2 left")
    for side, points in landmarks.items():
        _check_side(folder, side, points, labels)
    case = Case(scan, labels, landmarks, {"corrected": True})
    return Correction(case, tuple(_changes(result, case)), tuple(_warnings(case)))


def add_corrections(
    dataset: Path, folders: Iterable[Path], *, scans: Path | None = None
) -> list[Correction]:
    """Add corrected results to a data set on disk as training cases: all of them or none.

    A case of the same name is replaced, and keeps its patient and split.

    Args:
        dataset: folder of the data set.
        folders: corrected result folders.
        scans: where the scans are that were analysed.

    Returns:
        What was added.

    Raises:
        InputError: if one cannot be used, two are of one scan, or one belongs to validation or
            test; nothing is added then.
        OutputError: if the data set cannot be written.
    """
    known = {entry.case: entry for entry in read_index(dataset)}
    names: dict[str, Path] = {}
    folders = list(folders)
    # Two passes, for scans are large: all are checked before the first is added.
    for folder in folders:
        name = read_correction(folder, scans).case.scan.name
        if name in names:
            raise InputError(f"{folder}: corrects the same scan {name} as {names[name]}")
        if name in known and known[name].split in ("validation", "test"):
            raise InputError(
                f"{folder}: {name} belongs to {known[name].split} in {dataset}; "
                "corrections become training cases"
            )
        names[name] = folder
    added = []
    for folder in folders:
        correction = read_correction(folder, scans)
        name = correction.case.scan.name
        entry = known.get(name, Entry(name, patient=name))
        fresh = {"split": "train", "side": ""}
        add_case(dataset, correction.case, Entry(**asdict(entry) | fresh))
        added.append(correction)
    return added


def _scan(folder: Path, result: ResultFile, scans: Path | None) -> Scan:
    """The scan that was analysed, by its name or its file's."""
    place = scans or folder.parent
    found = [
        path
        for path in find_scans([place])
        if scan_name(path) == result.input.name or path.name == result.input.file
    ]
    found = [path for path in found if folder.resolve() not in path.resolve().parents]
    if len(found) != 1:
        count = "no scan is" if not found else "several scans are"
        raise InputError(f"{place}: {count} called {result.input.name}; name its folder by --scans")
    scan = load_scan(found[0])
    if scan.grid.shape != tuple(result.input.shape):
        raise InputError(f"{found[0]}: has another size than the scan that {folder} was made of")
    return Scan(scan.values, scan.grid, result.input.name, scan.source)


def _labels(folder: Path, result: ResultFile) -> LabelMap:
    """The edited one of the two segmentations; the other still has the volumes of result.json."""
    paths = (folder / FILES["segmentation"], folder / FILES["segments"])
    read = [
        read_segments(path) if path == paths[1] else load_label_map(path)
        for path in paths
        if path.is_file()
    ]
    if not read:
        raise InputError(f"{folder}: holds neither {paths[0].name} nor {paths[1].name}")
    edited = [labels for labels in read if not _as_told(labels, result)] or read
    if len(edited) == 2:
        same = edited[0].grid.same_as(edited[1].grid, tolerance_mm=0.01)
        if not same or not np.array_equal(edited[0].values, edited[1].values):
            raise InputError(
                f"{folder}: {paths[0].name} and {paths[1].name} differ, and it is not clear which "
                "was corrected; delete the other one"
            )
    return edited[0]


def _as_told(labels: LabelMap, result: ResultFile) -> bool:
    """Whether a segmentation has the volumes that result.json tells."""
    told = {ear.side: ear.measurements["labyrinth_volume"].value or 0.0 for ear in result.ears}
    return all(
        abs(labels.volume_mm3(side.label) - told.get(side, 0.0)) < _TOLD_MM3 for side in Side
    )


def _on_grid(labels: LabelMap, grid: Grid, folder: Path) -> LabelMap:
    """Labels on the scan's grid; 3D Slicer crops its files to what was drawn."""
    if labels.grid.same_as(grid, tolerance_mm=0.01):
        return LabelMap(labels.values, grid)
    hit = np.argwhere(labels.values)
    ijk = grid.to_ijk(labels.grid.to_mm(hit))
    voxels = np.rint(ijk).astype(int)
    same_size = np.isclose(labels.grid.voxel_mm3, grid.voxel_mm3, rtol=1e-3)
    if not same_size or np.abs(ijk - voxels).max(initial=0) > _OFF_VOXELS:
        raise InputError(
            f"{folder}: its segmentation lies on another grid than the scan; "
            "set the scan as the source geometry in 3D Slicer and save it again"
        )
    if ((voxels < 0) | (voxels >= grid.shape)).any():
        raise InputError(f"{folder}: its segmentation reaches beyond the scan")
    values = np.zeros(grid.shape, np.uint8)
    values[tuple(voxels.T)] = labels.values[tuple(hit.T)]
    return LabelMap(values, grid)


def _check_side(folder: Path, side: Side, points: Landmarks, labels: LabelMap) -> None:
    """Landmarks near their own labyrinth, and of their side's handedness where it can be told."""
    mask = np.argwhere(labels.values == side.label)
    if not len(mask):
        raise InputError(f"{folder}: has {side} landmarks, but no {side} labyrinth")
    tree = KDTree(labels.grid.to_mm(mask))
    for name in points.names:
        if not points.has(name):
            continue
        away = float(tree.query(points[name])[0])
        if away > FARTHEST_MM:
            raise InputError(f"{folder}: {side}/{name} lies {away:.1f} mm from its labyrinth")
    told = tuple(name for name in points.names if name in CANONICAL_MM and points.has(name))
    if len(told) >= 4:
        there = points.only(told).points_mm
        own, mirrored = (fit_pose(told, there, s).residual_mm for s in (side, side.other))
        if mirrored < own:
            raise InputError(
                f"{folder}: the landmarks called {side} are those of a {side.other} ear"
            )


def _changes(result: ResultFile, case: Case) -> Iterable[str]:
    """What differs from the result as it was written."""
    ears = {ear.side: ear for ear in result.ears}
    for side in Side:
        volume = case.labels.volume_mm3(side.label)
        before = ears[side].measurements["labyrinth_volume"].value if side in ears else None
        if before and abs(volume / before - 1) * 100 > _CHANGED_PERCENT:
            yield f"{side} labyrinth: volume changed by {(volume / before - 1) * 100:+.1f} %"
        elif volume and not before:
            yield f"{side} labyrinth: new, {volume:.0f} mm3"
        points = case.landmarks.get(side)
        for name, old in ears[side].landmarks.items() if side in ears else ():
            there = points is not None and points.has(name)
            if old.mm is None and there:
                yield f"{side}/{name}: new"
            elif old.mm is not None and not there:
                yield f"{side}/{name}: removed"
            elif old.mm is not None and points is not None:
                moved = float(np.linalg.norm(points[name] - old.mm))
                if moved > _MOVED_MM:
                    yield f"{side}/{name}: moved by {moved:.2f} mm"


def _warnings(case: Case) -> Iterable[str]:
    low, high = USUAL_MM3
    for side in Side:
        volume = case.labels.volume_mm3(side.label)
        if volume and not low <= volume <= high:
            yield f"{side} labyrinth: {volume:.0f} mm3 lies outside {low:.0f} to {high:.0f} mm3"
        if volume and side not in case.landmarks:
            yield f"{side} labyrinth: has no landmarks"
