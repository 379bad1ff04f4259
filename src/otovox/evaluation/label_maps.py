"""Bare label maps of any program as predictions, so that they are scored like otovox's results."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.case import Case, EarPrediction, Prediction, PredictionSettings, Provenance
from otovox.core.geometry import mean_pose
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid, LabelMap
from otovox.dataset.label_names import Meaning
from otovox.dataset.layout import Entry
from otovox.dataset.segmentations import SIDELESS, read_segmentation
from otovox.errors import InputError
from otovox.formats.images import is_image_file, scan_name

#: Number of the channel, which nnU-Net appends to the name of an image.
_CHANNEL = re.compile(r"_0000$")
#: Subfolder with the masks of a case, in some versions of TotalSegmentator.
_MASKS = "segmentations"


@dataclass(frozen=True)
class LabelMaps:
    """How the label maps of a folder are read.

    Attributes:
        stated: meanings that the user gives for names or values of labels, lowercase; otherwise the
            names in `dataset.json`, in the file's header or of the masks are used.
    """

    stated: dict[str, Meaning] = field(default_factory=dict)

    def names(self, folder: Path) -> list[str]:
        """Names of the cases in a folder: of its image files, and of its folders with masks.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for name in ("bela.nrrd", "anna_0000.nii.gz", "dataset.json"):
        ...         _ = Path(folder, name).write_bytes(b"")
        ...     LabelMaps().names(Path(folder))
        ['anna_0000', 'bela']
        """
        return sorted(name for _, name in _candidates(folder))

    def find(self, folder: Path, case: str) -> Path | None:
        """The label map of a case; nnU-Net's `_0000` may be missing in either name.

        Raises:
            InputError: if there are several.

        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     Path(folder, "anna.nii.gz").touch()
        ...     LabelMaps().find(Path(folder), "anna_0000").name
        'anna.nii.gz'
        """
        candidates = _candidates(folder)
        for wanted, names in (
            (case, [name for _, name in candidates]),
            (_CHANNEL.sub("", case), [_CHANNEL.sub("", name) for _, name in candidates]),
        ):
            paths = [path for (path, _), name in zip(candidates, names, strict=True)
                     if name == wanted]  # fmt: skip
            if len(paths) > 1:
                raise InputError(f"{paths[0]} and {paths[1]}: are both for the case {case}")
            if paths:
                return paths[0]
        return None

    def load(self, path: Path, case: Case, entry: Entry) -> Prediction:
        """Read the label map of a case.

        A labyrinth without a side gets that of the data set; in a scan with two labelled ears, each
        voxel that of the nearer one.

        Args:
            path: the label map, or a folder with one mask per structure.
            case: the scan with its ground truth.
            entry: its row in the data set.

        Returns:
            A prediction without landmarks, uncertainties and confidences. No ears if it is empty.

        Raises:
            InputError: if it cannot be read, lies on another grid, or a label's meaning is unknown.
        """
        segmentation = read_segmentation(path, self.stated, empty=True)
        if unknown := [name for name in segmentation.left_out if name.isdecimal()]:
            raise InputError(
                f"{path}: its label {unknown[0]} has no known meaning; state it with "
                f"--labels {unknown[0]}=right (or left, labyrinth, background)"
            )
        labels = segmentation.labels
        if not labels.grid.same_as(case.scan.grid, tolerance_mm=0.01):
            raise InputError(f"{path}: its grid differs from that of the scan {entry.case}")
        if segmentation.assumed:
            _check_sides(path, labels.values, case)
        values = _with_sides(labels.values, case, entry)
        present = [side for side in Side if (values == side.label).any()]
        settings = PredictionSettings(
            single_ear=entry.side in set(Side), heads="segmentation", segmentation=path.name
        )
        return Prediction(
            scan=case.scan,
            ears=tuple(_ear(side, values == side.label, case.scan.grid) for side in present),
            labels=LabelMap(values, case.scan.grid),
            uncertainty=np.full(values.shape, np.nan, np.float32),
            provenance=Provenance(settings=settings),
        )


def _candidates(folder: Path) -> list[tuple[Path, str]]:
    """Image files and folders with masks, with the names of their cases."""
    candidates: list[tuple[Path, str]] = []
    for path in sorted(folder.iterdir()):
        masks = path / _MASKS if (path / _MASKS).is_dir() else path
        if masks.is_dir() and any(map(is_image_file, masks.iterdir())):
            candidates.append((masks, path.name))
        elif path.is_file() and is_image_file(path):
            candidates.append((path, scan_name(path).removesuffix(".seg")))
    return candidates


def _check_sides(path: Path, values: NDArray[np.uint8], case: Case) -> None:
    """Refuse values without any explanation if they do not fit as otovox's own."""
    present = set(np.unique(values)) - {0}
    if present and present != set(np.unique(case.labels.values)) - {0}:
        raise InputError(
            f"{path}: the meaning of its labels is not stated, and as right 1 and left 2 they do "
            f"not fit the ears of {case.scan.name}; state it with --labels right=1,left=2 or "
            "--labels labyrinth=1"
        )


def _with_sides(values: NDArray[np.uint8], case: Case, entry: Entry) -> NDArray[np.uint8]:
    """Values in which every labyrinth without a side has one."""
    unknown = values == SIDELESS
    if not unknown.any():
        return values
    if entry.side in set(Side):
        return np.where(unknown, Side(entry.side).label, values).astype(np.uint8)
    grid, places = case.scan.grid, np.argwhere(unknown)
    gaps = {}
    for label in (side.label for side in Side):
        ear = np.argwhere(case.labels.values == label)
        if len(ear):
            center_mm = grid.to_mm(ear.mean(axis=0))
            gaps[label] = np.linalg.norm(grid.to_mm(places) - center_mm, axis=1)
    values = np.where(unknown, 0, values).astype(np.uint8)
    if gaps:
        nearest = np.argmin(list(gaps.values()), axis=0)
        values[tuple(places.T)] = np.array(list(gaps), np.uint8)[nearest]
    return values


def _ear(side: Side, mask: NDArray[np.bool_], grid: Grid) -> EarPrediction:
    """One labyrinth as an ear."""
    center_mm = grid.to_mm(np.argwhere(mask).mean(axis=0))
    nowhere = np.full((len(LANDMARK_NAMES), 3), np.nan)
    return EarPrediction(
        side=side,
        pose=mean_pose(side, center_mm),
        landmarks=Landmarks(LANDMARK_NAMES, nowhere),
        landmark_sd_mm=nowhere[:, 0],
        volume_mm3=float(np.count_nonzero(mask)) * grid.voxel_mm3,
        center_mm=center_mm,
        confidence=float("nan"),
        uncertainty=float("nan"),
        landmarks_sought=False,
    )
