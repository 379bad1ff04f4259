"""Segmentations of 3D Slicer: written with its metadata, read back as Slicer saves them."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from otovox.core.anatomy import Side
from otovox.core.geometry import affine_from, rotation_from_vector
from otovox.core.volume import Grid, LabelMap
from otovox.errors import InputError
from otovox.formats.segments import read_segments, side_of_segment, write_segments

OBLIQUE = rotation_from_vector((0.3, -0.2, 0.5)) @ np.diag([0.5, 0.6, -0.7])
GRID = Grid((12, 14, 16), affine_from(OBLIQUE, (10, -20, 30)))


def two_boxes() -> LabelMap:
    values = np.zeros(GRID.shape, np.uint8)
    values[2:5, 3:7, 4:9] = Side.RIGHT.label
    values[7:10, 8:9, 1:3] = Side.LEFT.label
    return LabelMap(values, GRID)


def header(path: Path) -> list[str]:
    return path.read_bytes().split(b"\n\n")[0].decode().splitlines()


def slicer_file(path: Path, segments: list[tuple[str, int, int]], layers: np.ndarray) -> Path:
    """A file byte by byte as 3D Slicer lays it out; `layers` are (layer, i, j, k)."""
    several = len(layers) > 1
    lines = ["NRRD0004", "type: unsigned char", f"dimension: {4 if several else 3}"]
    lines += ["space: left-posterior-superior", "encoding: gzip"]
    sizes = layers.shape if several else layers.shape[1:]
    vectors = "(0.5,0,0) (0,0.5,0) (0,0,0.5)"
    lines += [f"sizes: {' '.join(map(str, sizes))}"]
    lines += [f"space directions: {'none ' if several else ''}{vectors}"]
    lines += [f"kinds: {'list ' if several else ''}domain domain domain"]
    lines += ["space origin: (1,2,3)"]
    for number, (name, value, layer) in enumerate(segments):
        lines += [f"Segment{number}_ID:=Segment_{number + 1}", f"Segment{number}_Name:={name}"]
        lines += [f"Segment{number}_LabelValue:={value}", f"Segment{number}_Layer:={layer}"]
    voxels = (layers if several else layers[0]).astype("u1").ravel(order="F").tobytes()
    path.write_bytes("\n".join(lines).encode() + b"\n\n" + gzip.compress(voxels))
    return path


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "segmentation.seg.nrrd"
    write_segments(path, two_boxes())
    again = read_segments(path)
    np.testing.assert_array_equal(again.values, two_boxes().values)
    assert again.grid.same_as(GRID)


def test_the_header_is_as_slicer_wants_it(tmp_path: Path) -> None:
    path = tmp_path / "segmentation.seg.nrrd"
    write_segments(path, two_boxes())
    lines = header(path)
    assert "space: left-posterior-superior" in lines
    assert "Segmentation_ContainedRepresentationNames:=Binary labelmap|" in lines
    assert "Segment0_Name:=Right bony labyrinth" in lines
    assert "Segment0_LabelValue:=1" in lines
    assert "Segment0_Extent:=2 4 3 6 4 8" in lines
    assert "Segment1_Extent:=7 9 8 8 1 2" in lines
    assert "Segment1_Color:=0.337255 0.705882 0.913725" in lines
    entry = (
        "TerminologyEntry:Segmentation category and type - DICOM master list~"
        "SCT^91723000^Anatomical Structure~SCT^279727008^Bony labyrinth~SCT^7771000^Left~"
        "Anatomic codes - DICOM master list~^^~^^|"
    )
    assert f"Segment1_Tags:=Segmentation.Status:inprogress|{entry}" in lines


def test_parts_are_named_segments_and_no_labyrinths(tmp_path: Path) -> None:
    path = tmp_path / "segmentation.seg.nrrd"
    labels = two_boxes()
    parts = np.where(labels.values == Side.RIGHT.label, 101, 0).astype(np.uint8)
    parts[2, 3, 4] = 106
    write_segments(path, labels, LabelMap(parts, GRID))
    lines = header(path)
    assert "kinds: list domain domain domain" in lines
    assert "Segment2_Name:=Right cochlea" in lines
    assert "Segment2_LabelValue:=101" in lines
    assert "Segment2_Layer:=1" in lines
    assert "Segment3_Extent:=2 2 3 3 4 4" in lines
    (tags,) = [line for line in lines if line.startswith("Segment3_Tags")]
    assert "~SCT^91723000^Anatomical Structure~99OTOVOX^common_crus^Common crus~" in tags
    (tags,) = [line for line in lines if line.startswith("Segment2_Tags")]
    assert "~SCT^91723000^Anatomical Structure~SCT^181187008^Cochlea~SCT^24028007^Right~" in tags
    again = read_segments(path)
    np.testing.assert_array_equal(again.values, labels.values)
    assert again.grid.same_as(GRID)
    layers = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    np.testing.assert_array_equal(layers[..., 1].T, parts)


def test_a_side_that_was_not_found_is_an_empty_segment(tmp_path: Path) -> None:
    path = tmp_path / "a.seg.nrrd"
    write_segments(path, LabelMap(np.zeros(GRID.shape, np.uint8), GRID))
    assert "Segment1_Extent:=0 -1 0 -1 0 -1" in header(path)
    assert not read_segments(path).values.any()


def test_other_values_and_a_cropped_extent_are_understood(tmp_path: Path) -> None:
    layer = np.zeros((1, 5, 6, 7))
    layer[0, 1, 2, 3], layer[0, 2, 2, 3] = 7, 4
    named = [("left labyrinth", 7, 0), ("Right inner ear", 4, 0), ("Segment_3", 9, 0)]
    labels = read_segments(slicer_file(tmp_path / "a.seg.nrrd", named, layer))
    assert labels.values[1, 2, 3] == Side.LEFT.label
    assert labels.values[2, 2, 3] == Side.RIGHT.label
    assert np.count_nonzero(labels.values) == 2
    np.testing.assert_allclose(labels.grid.to_mm((1, 2, 3)), (1.5, 3, 4.5))


def test_layers_are_put_together(tmp_path: Path) -> None:
    layers = np.zeros((2, 5, 6, 7))
    layers[0, 1, 2, 3], layers[1, 4, 5, 6] = 1, 1
    named = [("right_labyrinth", 1, 0), ("left_labyrinth", 1, 1)]
    labels = read_segments(slicer_file(tmp_path / "a.seg.nrrd", named, layers))
    assert labels.values.shape == (5, 6, 7)
    assert labels.values[1, 2, 3] == 1
    assert labels.values[4, 5, 6] == 2
    np.testing.assert_allclose(labels.grid.affine[:3, 3], (1, 2, 3))


ONE, TWO = np.zeros((1, 5, 6, 7)), np.zeros((2, 5, 6, 7))
ONE[0, 1, 2, 3], TWO[:, 1, 2, 3] = 1, 1
BAD = {
    "'Tumour' is not a labyrinth": ([("Tumour", 1, 0)], ONE),
    "both right": ([("right labyrinth", 1, 0), ("R labyrinth", 1, 1)], TWO),
    "overlap": ([("right labyrinth", 1, 0), ("left labyrinth", 1, 1)], TWO),
    "has no valid voxels": ([("right labyrinth", 1, 3)], ONE),
    "has no named segments": ([], ONE),
}


@pytest.mark.parametrize("sentence", BAD)
def test_what_cannot_be_determined_is_refused(tmp_path: Path, sentence: str) -> None:
    path = slicer_file(tmp_path / "a.seg.nrrd", *BAD[sentence])
    with pytest.raises(InputError, match=sentence) as caught:
        read_segments(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("Right bony labyrinth", Side.RIGHT),
        ("left_labyrinth", Side.LEFT),
        ("Labyrinth (L)", Side.LEFT),
        ("RIGHT INNER EAR", Side.RIGHT),
        ("labyrinth", None),
        ("right left labyrinth", None),
        ("right cochlea", None),
        ("right", None),
        ("", None),
    ],
)
def test_sides_are_told_by_name(name: str, side: Side | None) -> None:
    assert side_of_segment(name) == side
