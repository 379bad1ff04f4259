"""What is wrong with a data set: one sentence per finding."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.case import Case
from otovox.core.geometry import fit_pose
from otovox.dataset.layout import SPLITS, Entry, load_case, read_index
from otovox.errors import OtovoxError
from otovox.imaging.metrics import components

#: Landmarks lie on or in the labyrinth; farther than this from its mask they are misplaced, mm.
#: Chosen: label conventions differ by about 0.5 mm between published sets, voxels add their own.
NEAR_MM = 1.5
#: Edge of the coarsest voxels that show a canal, mm: chosen.
COARSE_MM = 0.7
#: Volumes of a labyrinth that are worth a word, mm3. Source: 140-265 in 71 ears, widened.
USUAL_MM3 = (95.0, 355.0)


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
    for side, mask in masks.items():
        volume = float(np.count_nonzero(mask)) * case.labels.grid.voxel_mm3
        if not USUAL_MM3[0] < volume < USUAL_MM3[1]:
            yield Finding(entry.case, f"has a {side} labyrinth of {volume:.0f} mm3", serious=False)
        if components(mask) > 1:
            text = f"has a {side} labyrinth in {components(mask)} pieces"
            yield Finding(entry.case, text, serious=False)
    for side in case.landmarks:
        yield from _landmarks(entry, case, side, masks.get(side))


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
    # Three points have no handedness; more of them tell the side.
    if np.isfinite(points.points_mm[:, 0]).sum() >= 5:
        fits = {s: fit_pose(points.names, points.points_mm, s).residual_mm for s in Side}
        if fits[side] > fits[side.other] + 0.3:
            yield Finding(
                entry.case, f"the anatomy of the {side} ear is that of a {side.other} one"
            )
