"""Segmentations of other programs."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from nibabel.loadsave import save
from nibabel.nifti1 import Nifti1Extension, Nifti1Image

from otovox.core.volume import Grid, LabelMap
from otovox.dataset.segmentations import SIDELESS, read_segmentation
from otovox.errors import InputError
from otovox.formats.dicom_seg import write_dicom_seg
from otovox.formats.images import save_label_map
from otovox.formats.scans import load_scan
from otovox.formats.segments import write_segments

GRID = Grid((6, 5, 4), np.diag([0.5, 0.5, 0.5, 1.0]))


def mask(**values: int) -> LabelMap:
    """Voxels (0, 0, 0), (1, 0, 0) ... with these values."""
    array = np.zeros(GRID.shape, np.uint8)
    array[: len(values), 0, 0] = list(values.values())
    return LabelMap(array, GRID)


def first(path: Path, count: int, **stated) -> list[int]:
    found = read_segmentation(path, stated).labels
    assert found.grid.same_as(GRID)
    return found.values[:count, 0, 0].tolist()


def test_our_own_values_and_segments(tmp_path: Path) -> None:
    save_label_map(mask(a=1, b=2), tmp_path / "a.nii.gz")
    write_segments(tmp_path / "a.seg.nrrd", mask(a=2, b=1))
    assert first(tmp_path / "a.nii.gz", 3) == [1, 2, 0]
    assert first(tmp_path / "a.seg.nrrd", 3) == [2, 1, 0]


def test_names_of_nnunet_and_what_is_stated(tmp_path: Path) -> None:
    path = tmp_path / "case.nii.gz"
    save_label_map(mask(a=1, b=2, c=3), path)
    with pytest.raises(InputError, match=r"none of its labels .1, 2, 3. is known"):
        read_segmentation(path, {})
    names = {"background": 0, "facial nerve": 1, "inner_ear_left": 2, "inner ear right": 3}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": names}))
    assert first(path, 3) == [0, 2, 1]
    assert read_segmentation(path, {}).left_out == ("facial nerve",)
    assert first(path, 3, **{"1": "labyrinth"}) == [SIDELESS, 2, 1]


def test_names_in_the_header_as_totalsegmentator_writes_them(tmp_path: Path) -> None:
    values = np.zeros(GRID.shape, np.uint8)
    values[0, 0, 0], values[1, 0, 0] = 7, 9
    image = Nifti1Image(values, np.diag([-0.5, -0.5, 0.5, 1.0]))
    text = (
        '<?xml version="1.0" encoding="UTF-8"?><CaretExtension><VolumeInformation Index="0">'
        '<LabelTable><Label Key="7" Red="1" Green="0" Blue="0" Alpha="1">'
        '<![CDATA[inner_ear_right]]></Label><Label Key="9" Red="1" Green="0" Blue="0" Alpha="1">'
        "<![CDATA[skull]]></Label></LabelTable></VolumeInformation></CaretExtension>"
    )
    image.header.extensions.append(Nifti1Extension(0, text.encode()))
    save(image, tmp_path / "total.nii.gz")
    assert first(tmp_path / "total.nii.gz", 3) == [1, 0, 0]


def test_a_folder_with_a_mask_per_structure(tmp_path: Path) -> None:
    folder = tmp_path / "masks"
    folder.mkdir()
    save_label_map(mask(a=0, b=1), folder / "inner_ear_left.nii.gz")
    save_label_map(mask(a=1), folder / "brain.nii.gz")
    with pytest.raises(InputError, match="holds no masks"):
        read_segmentation(tmp_path, {})
    assert first(folder, 3) == [0, 2, 0]
    assert first(folder, 3, brain="right") == [1, 2, 0]
    save_label_map(mask(a=0, b=1), folder / "inner_ear_right.nii.gz")
    with pytest.raises(InputError, match="overlaps"):
        read_segmentation(folder, {})


@pytest.mark.parametrize("stated", [{}, {"1": "background"}])
def test_an_empty_mask_is_refused(tmp_path: Path, stated) -> None:
    save_label_map(mask(**({"a": 1} if stated else {})), tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="is empty"):
        read_segmentation(tmp_path / "a.nii.gz", stated)


@pytest.fixture
def seg(tmp_path: Path, write_series) -> Callable[..., Path]:
    """Writes a DICOM Segmentation with a right and a left ear, and changes its segments."""
    scan = load_scan(write_series(tmp_path / "ct", SliceThickness=0.5))
    values, parts = np.zeros((2, *scan.grid.shape), np.uint8)
    # Beside each other along every axis and with empty planes between them.
    values[2:5, 3:9, 4:6], values[12:17, 3:9, 10:15] = 1, 2
    parts[2:4, 3:9, 4:6] = 101

    def write(name: str = "mask.dcm", **changes: dict[str, str]) -> Path:
        path = tmp_path / name
        labels = LabelMap(values, scan.grid)
        write_dicom_seg(path, labels, scan, parts=LabelMap(parts, scan.grid))
        document = pydicom.dcmread(path)
        for segment, change in zip(document.SegmentSequence, changes.values(), strict=False):
            kind = segment.SegmentedPropertyTypeCodeSequence[0]
            segment.SegmentLabel = change.get("label", segment.SegmentLabel)
            kind.CodeMeaning = change.get("code", kind.CodeMeaning)
            if "side" in change:
                modifier = kind.SegmentedPropertyTypeModifierCodeSequence[0]
                modifier.CodeMeaning = change["side"]
        document.save_as(path)
        return path

    write.expected = LabelMap(values, scan.grid)  # pyright: ignore[reportFunctionMemberAccess]
    return write


def same_places(found: LabelMap, expected: LabelMap) -> bool:
    """Whether two label maps have the same values at the same places."""
    ijk = np.argwhere(found.values)
    back = np.rint(expected.grid.to_ijk(found.grid.to_mm(ijk))).astype(int)
    assert np.abs(expected.grid.to_mm(back) - found.grid.to_mm(ijk)).max() < 1e-3
    same = expected.values[tuple(back.T)] == found.values[tuple(ijk.T)]
    return bool(same.all()) and len(ijk) == np.count_nonzero(expected.values)


def test_a_dicom_segmentation_lies_where_it_did(seg) -> None:
    found = read_segmentation(seg(), {})
    assert found.left_out == ()
    assert same_places(found.labels, seg.expected)


def test_segments_are_known_by_label_code_or_statement(seg) -> None:
    coded = seg(a={"label": "Segment 1", "code": "Inner ear"}, b={"label": "L inner ear"})
    assert same_places(read_segmentation(coded, {}).labels, seg.expected)
    unclear = {"label": "Segment", "code": "Bone"}
    path = seg(a=unclear | {"label": "One"}, b=unclear | {"label": "Two"}, c={"label": "Nerve"})
    with pytest.raises(InputError, match=r"One, Two, Nerve.*--labels One=right"):
        read_segmentation(path, {})
    stated = read_segmentation(path, {"one": "right", "2": "left"})
    assert same_places(stated.labels, seg.expected)
    assert stated.left_out == ("Nerve",)
    sideless = seg(a={"label": "Labyrinth", "side": "", "code": "Bone"}, b=unclear)
    assert set(np.unique(read_segmentation(sideless, {}).labels.values)) == {0, SIDELESS}


def test_a_label_that_contradicts_its_code_is_refused(seg) -> None:
    path = seg(a={"label": "Left inner ear", "code": "Inner ear"})
    with pytest.raises(InputError, match=r"named left but coded right.*--labels 1=left"):
        read_segmentation(path, {})
    found = read_segmentation(path, {"1": "right"})
    assert same_places(found.labels, seg.expected)


def test_other_and_damaged_dicom_files_are_refused(seg, tmp_path: Path) -> None:
    image = next((tmp_path / "ct").iterdir())
    with pytest.raises(InputError, match="not a DICOM Segmentation but of type CT Image"):
        read_segmentation(image, {})
    content = seg().read_bytes()
    for cut in (140, 400, len(content) // 2, len(content) - 50):
        path = tmp_path / "cut.dcm"
        path.write_bytes(content[:cut])
        with pytest.raises(InputError, match=r"cut\.dcm"):
            read_segmentation(path, {})
    both = seg(a={"label": "Right inner ear"}, c={})
    document = pydicom.dcmread(both)
    document.SegmentSequence[2].SegmentLabel = "Left ear"
    document.save_as(both)
    with pytest.raises(InputError, match="overlap"):
        read_segmentation(both, {"left ear": "left"})
