"""A mask that was corrected, or made by another program, measured as if otovox had made it.

All results but the network's own: no uncertainty, no confidence, no intervals.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from otovox.analysis.result import Result
from otovox.core.anatomy import LANDMARK_NAMES, VOLUME_RANGE_MM3, Side
from otovox.core.case import EarPrediction, Prediction, PredictionSettings, Provenance
from otovox.core.geometry import Pose
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid, LabelMap, Probability, Scan
from otovox.dataset.checks import misplaced
from otovox.dataset.label_names import Meaning
from otovox.dataset.segmentations import SIDELESS, read_segmentation
from otovox.errors import InputError
from otovox.formats.images import scan_name
from otovox.formats.scans import load_scan
from otovox.imaging.components import box_around, main_piece, pieces
from otovox.measure.measured_scan import measure_scan
from otovox.measure.placing import place_ear
from otovox.results.corrections import check_landmarks, landmarks_given, on_scan

#: Residual of the mean ear's surface beyond which a mask has no ear's shape, mm: chosen; drawn
#: masks with voxels of 0.2 and 0.5 mm reach 0.38, their mirror images begin at 0.64.
STRANGE_MM = 0.55
#: How many times better the other side must fit to contradict a label: chosen, between the ratios
#: of the same masks (at most 0.6) and 1.
OTHER_SIDE = 0.75
#: Voxels around a mask, so that its surface closes: chosen.
MARGIN = 4
#: Share of a mask that may lie apart from its largest piece: chosen.
MOST_APART = 0.02


@dataclass(frozen=True)
class Inputs:
    """What is to be measured.

    Attributes:
        segmentation: see `segmentations.read_segmentation`.
        landmarks: 3D Slicer Markups; None for none.
        scan: the CT; None for none: pictures then show the mask alone, and nothing is in DICOM.
        series: which DICOM series of `scan`.
        labels: what the user states of the segmentation's labels.
    """

    segmentation: Path
    landmarks: Path | None = None
    scan: Path | None = None
    series: str | None = None
    labels: Mapping[str, Meaning] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The scan's name, or else the segmentation's: that of the result folder.

        >>> Inputs(Path("masks", "anna.seg.nrrd")).name
        'anna'
        """
        name = scan_name(self.scan or self.segmentation)
        return name.removesuffix(".dcm").removesuffix(".seg")

    @property
    def paths(self) -> list[Path]:
        """All that is read.

        >>> [path.name for path in Inputs(Path("anna.seg.nrrd"), scan=Path("anna.nii.gz")).paths]
        ['anna.seg.nrrd', 'anna.nii.gz']
        """
        return [path for path in (self.segmentation, self.landmarks, self.scan) if path]


def measure_segmentation(
    segmentation: str | Path,
    *,
    landmarks: str | Path | None = None,
    scan: str | Path | None = None,
    labels: Mapping[str, Meaning] | None = None,
) -> Result:
    """Measure the labyrinths of a mask; nothing is written.

    Args:
        segmentation: image file, DICOM Segmentation, 3D Slicer segmentation, or folder with a mask
            per structure.
        landmarks: 3D Slicer Markups with points such as `right/helicotrema`; what needs those that
            are missing is withheld.
        scan: the CT that belongs to it, a file or a DICOM folder.
        labels: meaning of label names or values: "right", "left", "labyrinth" or "background".

    Raises:
        OtovoxError: if something cannot be used.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = result.save(folder)
    ...     measured = measure_segmentation(Path(folder) / "segmentation.nii.gz")
    >>> measured.ears[0].side.value, measured.ears[0].volume_mm3
    ('left', 8.000000000000002)
    """
    points, image = (None if path is None else Path(path) for path in (landmarks, scan))
    return measure_inputs(Inputs(Path(segmentation), points, image, labels=labels or {}))


def measure_inputs(inputs: Inputs) -> Result:
    """Measure what was given; see `measure_segmentation`."""
    segmentation = read_segmentation(inputs.segmentation, inputs.labels)
    warnings = []
    if segmentation.left_out:
        warnings.append(
            f"labels that are no labyrinths were left out: {', '.join(segmentation.left_out)}; "
            "check that none of them is an inner ear"
        )
    scan, labels = _on_its_scan(inputs, segmentation.labels)
    points = {} if inputs.landmarks is None else landmarks_given(inputs.landmarks)
    if not points:
        warnings.append(
            "no landmarks were given: what needs them is withheld; check whether the measurements "
            "below suffice"
        )
    return measure_labels(
        scan, labels, points, source=inputs.segmentation, file=inputs.landmarks, warnings=warnings
    )


def measure_labels(
    scan: Scan,
    labels: LabelMap,
    landmarks: Mapping[Side, Landmarks],
    *,
    source: Path,
    file: Path | None = None,
    warnings: Sequence[str] = (),
) -> Result:
    """Measure labyrinths on the grid of their scan.

    Args:
        scan: the CT.
        labels: `Side.label`, or `SIDELESS`; a labyrinth without a side gets that of its shape.
        landmarks: per side, LPS mm; nan where absent.
        source, file: the files of labels and landmarks, for messages and provenance.
        warnings: sentences about the scan, besides those of its reader.

    Raises:
        InputError: if a side contradicts the anatomy, or landmarks lie off their labyrinth.
    """
    labels = _with_sides(source, labels)
    if swapped := misplaced(labels):
        raise InputError(f"{source}: {swapped}")
    file = file or source
    nowhere = Landmarks(LANDMARK_NAMES, np.full((len(LANDMARK_NAMES), 3), np.nan))
    ears = []
    for side in Side:
        mask = labels.values == side.label
        points = landmarks.get(side)
        if points is not None:
            places = labels.grid.to_mm(np.argwhere(mask)) if mask.any() else None
            check_landmarks(file, side, points, places)
        if mask.any():
            ears.append(_ear(source, mask, labels.grid, side, points or nowhere))
    settings = PredictionSettings(segmentation=source.name)
    prediction = Prediction(
        scan,
        tuple(ears),
        labels,
        np.zeros(scan.grid.shape, np.float32),
        (*scan.warnings, *warnings),
        Provenance(settings=settings),
    )
    return Result(measure_scan(prediction))


def _on_its_scan(inputs: Inputs, labels: LabelMap) -> tuple[Scan, LabelMap]:
    """The scan, and the labels on its grid; without a scan a black one."""
    if inputs.scan is None:
        black = Scan(np.zeros(labels.grid.shape, np.float32), labels.grid, inputs.name)
        return replace(
            black,
            warnings=("no scan was given: pictures show the mask alone; check it on the scan",),
        ), labels
    scan = replace(load_scan(inputs.scan, series=inputs.series), name=inputs.name)
    if not (labels.values == SIDELESS).any():
        return scan, on_scan(inputs.segmentation, labels, scan)
    return scan, on_scan(inputs.segmentation, _with_sides(inputs.segmentation, labels), scan)


def _with_sides(path: Path, labels: LabelMap) -> LabelMap:
    """Labels in which every labyrinth without a side has that of its shape."""
    unknown = labels.values == SIDELESS
    if not unknown.any():
        return labels
    values = np.where(unknown, 0, labels.values).astype(np.uint8)
    for piece in _labyrinths(unknown, labels.grid):
        cropped, grid = _around(piece, labels.grid)
        fits = [place_ear(cropped, grid, side) for side in Side]
        poses = sorted((pose for pose in fits if pose), key=lambda pose: pose.residual_mm)
        if len(poses) < 2 or poses[0].residual_mm > OTHER_SIDE * poses[1].residual_mm:
            raise InputError(
                f"{path}: the shape of a labyrinth does not show its side; state it by --labels"
            )
        if (values == poses[0].side.label).any():
            raise InputError(
                f"{path}: has two {poses[0].side} labyrinths by their shape; state the sides by "
                "--labels"
            )
        values[piece] = poses[0].side.label
    return LabelMap(values, labels.grid)


def _labyrinths(mask: NDArray[np.bool_], grid: Grid) -> Iterator[NDArray[np.bool_]]:
    """Pieces that are large enough for a labyrinth; crumbs belong to none."""
    numbers, count = pieces(mask)
    sizes = np.bincount(numbers.ravel())[1:] * grid.voxel_mm3
    large = [n for n in range(1, count + 1) if sizes[n - 1] > VOLUME_RANGE_MM3[0] / 2]
    for number in large or [int(np.argmax(sizes)) + 1]:
        yield numbers == number


def _ear(
    path: Path, mask: NDArray[np.bool_], grid: Grid, side: Side, landmarks: Landmarks
) -> EarPrediction:
    """One labyrinth as an ear, with its pose and what is worth a look."""
    cropped, crop = _around(mask, grid)
    main = main_piece(cropped)
    pose, other = (place_ear(main, crop, one) for one in (side, side.other))
    if pose is None or other is None:
        raise InputError(f"{path}: its {side} labyrinth is too small to be measured")
    if other.residual_mm < OTHER_SIDE * pose.residual_mm and other.residual_mm < STRANGE_MM:
        raise InputError(
            f"{path}: what is labelled as the {side} ear has the anatomy of a {side.other} one; "
            f"swap the labels, or state them as in --labels {side.label}={side.other}"
        )
    ijk = np.argwhere(mask)
    border = bool((ijk == 0).any() or (ijk == np.asarray(grid.shape) - 1).any())
    volume_mm3 = len(ijk) * grid.voxel_mm3
    apart = 1 - np.count_nonzero(main) / len(ijk)
    return EarPrediction(
        side=side,
        pose=pose,
        landmarks=landmarks,
        landmark_sd_mm=np.full(len(LANDMARK_NAMES), np.nan),
        volume_mm3=volume_mm3,
        center_mm=grid.to_mm(ijk.mean(axis=0)),
        confidence=float("nan"),
        uncertainty=float("nan"),
        touches_border=border,
        warnings=tuple(_remarks(side, pose, volume_mm3, apart, border, landmarks)),
        probability=Probability(cropped.astype(np.float32), crop),
        landmarks_sought=False,
    )


def _remarks(
    side: Side,
    pose: Pose,
    volume_mm3: float,
    apart: float,
    border: bool,
    landmarks: Landmarks,
) -> Iterator[str]:
    """Sentences for the user about one labyrinth."""
    low, high = VOLUME_RANGE_MM3
    if border:
        yield (
            f"the {side} labyrinth extends beyond the field of view; check whether the missing "
            "part matters"
        )
    if not low < volume_mm3 < high:
        yield (
            f"the {side} labyrinth of {volume_mm3:.0f} mm3 is outside {low:g} to {high:g} mm3; "
            "check the mask, and the voxel size"
        )
    if apart > MOST_APART:
        yield (
            f"{apart:.0%} of the {side} labyrinth lie apart from its largest piece; check the mask "
            "for stray voxels"
        )
    if pose.residual_mm > STRANGE_MM:
        yield (
            f"the surface of the {side} labyrinth lies {pose.residual_mm:.1f} mm from that of an "
            "average ear; check the mask, and the side"
        )
    missing = [name.replace("_", " ") for name in LANDMARK_NAMES if not landmarks.has(name)]
    if 0 < len(missing) < len(LANDMARK_NAMES):
        yield (
            f"not given in the {side} ear: {', '.join(missing)}; check whether measurements "
            "without them suffice"
        )


def _around(mask: NDArray[np.bool_], grid: Grid) -> tuple[NDArray[np.bool_], Grid]:
    """A mask with some room around it, and its grid."""
    box = box_around(np.argwhere(mask), MARGIN)
    cropped = mask[box]
    i, j, k = cropped.shape
    return cropped, grid.crop([side.start for side in box], (i, j, k))
