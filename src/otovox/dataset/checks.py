"""Checks a data set and reports each problem in one sentence."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otovox.core.anatomy import LANDMARK_NAMES, VOLUME_RANGE_MM3, Side
from otovox.core.case import Case
from otovox.core.geometry import fit_pose
from otovox.core.landmarks import Landmarks
from otovox.core.volume import LabelMap
from otovox.dataset.layout import SPLITS, Entry, load_case, read_index
from otovox.errors import OtovoxError
from otovox.imaging.metrics import components

#: Landmarks lie on or in the labyrinth; beyond this distance from its mask they are misplaced, mm.
#: Chosen: label conventions differ by about 0.5 mm between published sets, plus voxel size.
NEAR_MM = 1.5
#: Coarsest voxel edge that resolves a canal, mm: chosen.
COARSE_MM = 0.7
#: Plausible distance between a head's two labyrinths, mm: chosen; 55 to 95 is usual.
APART_MM = (30.0, 130.0)
#: Largest plausible volume ratio of a head's two labyrinths: chosen, above healthy pairs.
UNLIKE = 1.5
#: Smallest distance of an ear from the midline for its position to suggest a side, mm: chosen.
ASIDE_MM = 15.0
#: Smallest distance of a labyrinth from its landmarks' plane to suggest a side, mm: chosen.
OFF_PLANE_MM = 0.5


@dataclass(frozen=True)
class Finding:
    """A problem with a data set.

    Attributes:
        case: the affected case; empty for the whole data set.
        text: description of the problem.
        serious: whether it invalidates training or evaluation; otherwise it is a note.
    """

    case: str
    text: str
    serious: bool = True


def check_dataset(folder: Path) -> Iterator[Finding]:
    """Check a data set case by case.

    Args:
        folder: of the data set.

    Yields:
        Findings, one at a time.

    Raises:
        InputError: if the folder is not a data set.
    """
    entries = read_index(folder)
    if not entries:
        yield Finding("", "contains no cases")
    yield from _index(entries)
    seen: dict[str, str] = {}
    for entry in entries:
        try:
            case = load_case(folder, entry)
        except OtovoxError as error:
            yield Finding(entry.case, str(error))
            continue
        digest = hashlib.sha256(np.ascontiguousarray(case.scan.values).tobytes()).hexdigest()
        if digest in seen:
            yield Finding(entry.case, f"has the same voxels as {seen[digest]}")
        seen.setdefault(digest, entry.case)
        yield from _geometry(entry, case)
        yield from _truth(entry, case)


def _index(entries: list[Entry]) -> Iterator[Finding]:
    """Findings from the table alone: duplicates, unknown splits, patients in two splits."""
    names = [entry.case for entry in entries]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Finding(name, "is listed more than once")
    splits = defaultdict(set)
    for entry in entries:
        if entry.split not in SPLITS:
            yield Finding(entry.case, f"has the unknown split {entry.split!r}")
        if not entry.patient:
            yield Finding(entry.case, "has no patient, so splits by patient cannot be checked")
        elif entry.split:
            splits[entry.patient].add(entry.split)
        if not entry.labels:
            yield Finding(entry.case, "has no label map", serious=False)
        if not entry.landmarks:
            yield Finding(entry.case, "has no landmarks", serious=False)
    for patient, names in sorted(splits.items()):
        if len(names) > 1:
            yield Finding("", f"patient {patient} is in {' and '.join(sorted(names))}: data leak")


def _geometry(entry: Entry, case: Case) -> Iterator[Finding]:
    grid = case.scan.grid
    if grid.spacing_mm.max() > COARSE_MM:
        text = f"has voxels of {grid.spacing_mm.max():.2f} mm, coarser than the canals"
        yield Finding(entry.case, text, serious=False)
    square = grid.directions.T @ grid.directions
    if np.abs(square - np.eye(3)).max() > 1e-3:
        yield Finding(entry.case, "has axes that are not perpendicular")
    if not np.isfinite(case.scan.values).all():
        yield Finding(entry.case, "has voxels that are NaN or infinite")


def _truth(entry: Entry, case: Case) -> Iterator[Finding]:
    allowed = {0, *(side.label for side in Side)}
    unexpected = sorted(set(np.unique(case.labels.values).tolist()) - allowed)
    if unexpected:
        yield Finding(
            entry.case, f"has label values {unexpected}; only 0, 1 (right) and 2 (left) are allowed"
        )
    masks = {side: case.labels.values == side.label for side in Side}
    masks = {side: mask for side, mask in masks.items() if mask.any()}
    if entry.labels and not masks:
        yield Finding(entry.case, "has an empty label map")
    labelled_side = "both" if len(masks) == 2 else "".join(masks)
    if masks and entry.side and entry.side != labelled_side:
        yield Finding(entry.case, f"is listed as {entry.side}, but its labels are {labelled_side}")
    yield from _positions(entry, case.labels, masks)
    for side, mask in masks.items():
        volume = float(np.count_nonzero(mask)) * case.labels.grid.voxel_mm3
        low, high = VOLUME_RANGE_MM3
        if not low < volume < high:
            yield Finding(entry.case, f"has a {side} labyrinth of {volume:.0f} mm3", serious=False)
        if components(mask) > 1:
            text = f"has a {side} labyrinth in {components(mask)} pieces"
            yield Finding(entry.case, text, serious=False)
    for side in case.landmarks:
        yield from _landmarks(entry, case, side, masks.get(side))


def misplaced(labels: LabelMap) -> str:
    """Why the positions of two labyrinths contradict their sides; empty if they do not.

    Args:
        labels: label values are `Side.label`; x increases to the patient's left.
    """
    centres = {}
    for side in Side:
        voxels = np.argwhere(labels.values == side.label)
        if len(voxels):
            centres[side] = labels.grid.to_mm(voxels.mean(axis=0))
    if len(centres) < 2:
        return ""
    gap = centres[Side.LEFT] - centres[Side.RIGHT]
    apart = float(np.linalg.norm(gap))
    if not APART_MM[0] < apart < APART_MM[1]:
        return (
            f"its right and left labyrinths are {apart:.0f} mm apart, implausible for a head: are "
            "they parts of one ear?"
        )
    if gap[0] < 0:
        return "its right labyrinth lies to the left of the left one: are the labels swapped?"
    return ""


def side_offset_mm(landmarks: Landmarks, places_mm: NDArray) -> float:
    """Signed distance of a labyrinth's centre from its landmarks' plane, positive in right ears.

    The canals are on one side of the plane through helicotrema, oval and round window, and on the
    other side in a mirror image.

    Args:
        landmarks: LPS mm, all three.
        places_mm: (n, 3) voxels of the labyrinth.

    Returns:
        mm; positive in right ears, negative in left ones.
    """
    helicotrema, oval, round_ = (landmarks[name] for name in LANDMARK_NAMES)
    normal = np.cross(oval - helicotrema, round_ - helicotrema)
    return float(-(places_mm.mean(axis=0) - oval) @ normal / np.linalg.norm(normal))


def _positions(entry: Entry, labels: LabelMap, masks: Mapping[Side, NDArray]) -> Iterator[Finding]:
    """Findings from the labyrinths' positions and relative sizes."""
    contradiction = misplaced(labels)
    if contradiction:
        yield Finding(entry.case, contradiction)
    if len(masks) == 2:
        sizes = sorted(int(np.count_nonzero(mask)) for mask in masks.values())
        if sizes[1] > UNLIKE * sizes[0]:
            text = f"has a labyrinth {sizes[1] / sizes[0]:.1f} times as large as the other"
            yield Finding(entry.case, text, serious=False)
        return
    for side, mask in masks.items():
        x = float(labels.grid.to_mm(np.argwhere(mask).mean(axis=0))[0])
        if abs(x) > ASIDE_MM and (x > 0) != (side is Side.LEFT):
            location = "left" if x > 0 else "right"
            text = (
                f"has its {side} labyrinth at x = {x:.0f} mm, {location} of the scanner's isocentre"
            )
            yield Finding(entry.case, text, serious=False)


def _landmarks(entry: Entry, case: Case, side: Side, mask: np.ndarray | None) -> Iterator[Finding]:
    points = case.landmarks[side]
    grid = case.scan.grid
    absent = [name for name in LANDMARK_NAMES if not points.has(name)]
    if absent:
        yield Finding(entry.case, f"{side} ear: has no {', '.join(absent)}", serious=False)
    if mask is None:
        yield Finding(entry.case, f"has {side} landmarks, but no {side} labyrinth")
    surface = None if mask is None else grid.to_mm(np.argwhere(mask))
    for name in (n for n in LANDMARK_NAMES if points.has(n)):
        if not grid.contains(points[name]):
            yield Finding(entry.case, f"{side} {name} is outside the scan: wrong frame or unit?")
        elif surface is not None:
            gap = float(np.linalg.norm(surface - points[name], axis=1).min())
            if gap > NEAR_MM:
                yield Finding(entry.case, f"{side} {name} is {gap:.1f} mm away from the labyrinth")
    if surface is not None and not absent:
        off = side_offset_mm(points, surface) * (1 if side is Side.RIGHT else -1)
        if off < -OFF_PLANE_MM:
            yield Finding(
                entry.case,
                f"the {side} ear has the anatomy of a {side.other} one: its canals are on the "
                "wrong side of its landmarks",
            )
    # Three points have no handedness; more points determine the side.
    if np.isfinite(points.points_mm[:, 0]).sum() >= 5:
        fits = {s: fit_pose(points.names, points.points_mm, s).residual_mm for s in Side}
        if fits[side] > fits[side.other] + 0.3:
            yield Finding(entry.case, f"the {side} ear has the anatomy of a {side.other} one")
