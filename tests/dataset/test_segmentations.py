"""Segmentations of other programs."""

import json
from pathlib import Path

import numpy as np
import pytest
from nibabel.loadsave import save
from nibabel.nifti1 import Nifti1Extension, Nifti1Image

from otovox.core.volume import Grid, LabelMap
from otovox.dataset.segmentations import SIDELESS, read_segmentation
from otovox.errors import InputError
from otovox.formats.images import save_label_map
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
