"""What is wrong with a data set: one sentence per finding."""

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

#: Landmarks lie on or in the labyrinth; farther than this from its mask they are misplaced, mm.
#: Chosen: label conventions differ by about 0.5 mm between published sets, voxels add their own.
NEAR_MM = 1.5
#: Edge of the coarsest voxels that show a canal, mm: chosen.
COARSE_MM = 0.7
#: Middles of a head's two labyrinths, mm apart: chosen; usual is 55 to 95.
APART_MM = (30.0, 130.0)
#: How much larger one ear's labyrinth may be than the other's: chosen, above healthy pairs.
UNLIKE = 1.5
#: How far from a head's middle an ear must lie for its position to say anything, mm: chosen.
ASIDE_MM = 15.0
#: How far a labyrinth's middle lies off its landmarks' plane, mm, before it speaks: chosen.
OFF_PLANE_MM = 0.5


@dataclass(frozen=True)
class Finding:
    """Something wrong.

    Attributes:
        case: where; empty for the data set as a whole.
        text: what.
        serious: whether it spoils training or evaluation; otherwise it is worth a look.
    """

    case: str
    text: str
    serious: bool = True


def check_dataset(folder: Path) -> Iterator[Finding]:
    """Look for what is wrong, case by case.

    Args:
        folder: of the data set.

    Yields:
        Findings, as they are found.

    Raises:
        InputError: if the folder is no data set.
    """
    entries = read_index(folder)
    if not entries:
        yield Finding("", "holds no case")
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
    """What the table alone tells: doubles, unknown splits, patients in two splits."""
    names = [entry.case for entry in entries]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Finding(name, "is listed more than once")
    splits = defaultdict(set)
    for entry in entries:
        if entry.split not in SPLITS:
            yield Finding(entry.case, f"has the unknown split {entry.split!r}")
        if not entry.patient:
            yield Finding(entry.case, "has no patient, so that splits cannot be kept apart")
        elif entry.split:
            splits[entry.patient].add(entry.split)
        if not entry.labels:
            yield Finding(entry.case, "has no label map", serious=False)
        if not entry.landmarks:
            yield Finding(entry.case, "has no landmarks", serious=False)
    for patient, found in sorted(splits.items()):
        if len(found) > 1:
            yield Finding("", f"patient {patient} is in {' and '.join(sorted(found))}: a leak")


def _geometry(entry: Entry, case: Case) -> Iterator[Finding]:
    grid = case.scan.grid
    if grid.spacing_mm.max() > COARSE_MM:
        text = f"has voxels of {grid.spacing_mm.max():.2f} mm, coarser than the canals"
        yield Finding(entry.case, text, serious=False)
    square = grid.directions.T @ grid.directions
    if np.abs(square - np.eye(3)).max() > 1e-3:
        yield Finding(entry.case, "has axes that are not at right angles")
    if not np.isfinite(case.scan.values).all():
        yield Finding(entry.case, "has voxels that are not a number or infinite")


def _truth(entry: Entry, case: Case) -> Iterator[Finding]:
    known = {0, *(side.label for side in Side)}
    strange = sorted(set(np.unique(case.labels.values).tolist()) - known)
    if strange:
        yield Finding(
            entry.case, f"has label values {strange}; 0, 1 (right) and 2 (left) are known"
        )
    masks = {side: case.labels.values == side.label for side in Side}
    masks = {side: mask for side, mask in masks.items() if mask.any()}
    if entry.labels and not masks:
        yield Finding(entry.case, "has an empty label map")
    told = "both" if len(masks) == 2 else "".join(masks)
    if masks and entry.side and entry.side != told:
        yield Finding(entry.case, f"is listed as {entry.side}, but its labels say {told}")
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
    """What two labyrinths' places say against their sides; empty if nothing does.

    Args:
        labels: label values are `Side.label`; x grows to the patient's left.
    """
    middles = {}
    for side in Side:
        voxels = np.argwhere(labels.values == side.label)
        if len(voxels):
            middles[side] = labels.grid.to_mm(voxels.mean(axis=0))
    if len(middles) < 2:
        return ""
    gap = middles[Side.LEFT] - middles[Side.RIGHT]
    apart = float(np.linalg.norm(gap))
    if not APART_MM[0] < apart < APART_MM[1]:
        return (
            f"its right and left labyrinths are {apart:.0f} mm apart, which is no head: are they "
            "parts of one ear?"
        )
    if gap[0] < 0:
        return "its right labyrinth lies to the left of the left one: are the labels swapped?"
    return ""


def side_told_mm(landmarks: Landmarks, places_mm: NDArray) -> float:
    """How far a labyrinth's middle lies off the plane of its landmarks, on a right ear's side.

    The canals rise on one side of the plane through helicotrema, oval and round window: a mirror
    image has them on the other.

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
    """What the labyrinths' places, and the two beside each other, say of their sides."""
    wrong = misplaced(labels)
    if wrong:
        yield Finding(entry.case, wrong)
    if len(masks) == 2:
        sizes = sorted(int(np.count_nonzero(mask)) for mask in masks.values())
        if sizes[1] > UNLIKE * sizes[0]:
            text = f"has a labyrinth {sizes[1] / sizes[0]:.1f} times as large as the other"
            yield Finding(entry.case, text, serious=False)
        return
    for side, mask in masks.items():
        x = float(labels.grid.to_mm(np.argwhere(mask).mean(axis=0))[0])
        if abs(x) > ASIDE_MM and (x > 0) != (side is Side.LEFT):
            where = "left" if x > 0 else "right"
            text = f"has its {side} labyrinth at x = {x:.0f} mm, {where} of the scanner's middle"
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
            yield Finding(entry.case, f"{side} {name} lies outside the scan: wrong frame or unit?")
        elif surface is not None:
            gap = float(np.linalg.norm(surface - points[name], axis=1).min())
            if gap > NEAR_MM:
                yield Finding(entry.case, f"{side} {name} lies {gap:.1f} mm off the labyrinth")
    if surface is not None and not absent:
        off = side_told_mm(points, surface) * (1 if side is Side.RIGHT else -1)
        if off < -OFF_PLANE_MM:
            yield Finding(
                entry.case,
                f"the anatomy of the {side} ear is that of a {side.other} one: its canals rise on "
                "the wrong side of its landmarks",
            )
    # Three points have no handedness; more of them tell the side.
    if np.isfinite(points.points_mm[:, 0]).sum() >= 5:
        fits = {s: fit_pose(points.names, points.points_mm, s).residual_mm for s in Side}
        if fits[side] > fits[side.other] + 0.3:
            yield Finding(
                entry.case, f"the anatomy of the {side} ear is that of a {side.other} one"
            )
