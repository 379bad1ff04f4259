"""DICOM series: geometry decides, odd headers are read or refused with the reason."""

import zlib
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from conftest import dicom_slice
from otovox.core.geometry import cube_turns, rotation_from_vector, unit
from otovox.errors import InputError
from otovox.formats.scans import load_scan

CUBE_TURNS = cube_turns("full")
OBLIQUE = rotation_from_vector((0.3, -0.2, 0.5))


class Stack:
    """A DICOM series whose headers a test may spoil."""

    def __init__(
        self,
        folder: Path,
        count: int = 12,
        spoil: Callable[[int, Dataset], None] = lambda number, data: None,
        **changes: Any,
    ) -> None:
        self.folder, self.spoil = folder, spoil
        self.study, self.frame = generate_uid(), generate_uid()
        folder.mkdir(parents=True, exist_ok=True)
        self.values = np.random.default_rng(1).integers(0, 4000, (count, 30, 28))
        self.orientation = [*OBLIQUE[:, 0], *OBLIQUE[:, 1]]
        self.normal = np.cross(OBLIQUE[:, 0], OBLIQUE[:, 1])
        uid = generate_uid()
        for number in np.random.default_rng(2).permutation(count):
            self.write(int(number), uid, changes)

    def write(self, number: int, uid: str, changes: dict) -> None:
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        data = pydicom.Dataset()
        data.file_meta = meta
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        data.Modality, data.SeriesInstanceUID = "CT", uid
        data.SeriesNumber, data.SeriesDescription = 3, "bone"
        data.StudyInstanceUID, data.FrameOfReferenceUID = self.study, self.frame
        data.PatientName, data.PatientID, data.PatientSex = "Doe^Jane", "p1", "O"
        data.PatientBirthDate = data.StudyDate = data.StudyTime = data.AccessionNumber = ""
        data.StudyID = data.ReferringPhysicianName = data.PositionReferenceIndicator = ""
        data.InstanceNumber, data.ImageType = number + 1, ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.ImagePositionPatient = [float(v) for v in self.normal * number * 0.8 + (5, 6, 7)]
        data.ImageOrientationPatient = [float(v) for v in self.orientation]
        data.PixelSpacing = [0.5, 0.4]
        data.Rows, data.Columns = self.values.shape[1:]
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation, data.SamplesPerPixel = 0, 1
        data.PhotometricInterpretation = "MONOCHROME2"
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        for tag, value in changes.items():
            setattr(data, tag, value(number) if callable(value) else value)
        data.PixelData = self.values[number].astype("<u2").tobytes()
        self.spoil(number, data)
        name = f"{zlib.crc32(f'{uid}{number}'.encode()):08x}.dcm"
        data.save_as(self.folder / name, enforce_file_format=True)


def test_a_dicom_folder_is_sorted_rescaled_and_placed(tmp_path) -> None:
    stack = Stack(tmp_path / "series")
    scan = load_scan(stack.folder)
    np.testing.assert_array_equal(scan.values, stack.values.transpose(2, 1, 0) - 1024)
    np.testing.assert_allclose(scan.grid.spacing_mm, (0.4, 0.5, 0.8))
    np.testing.assert_allclose(scan.grid.directions[:, 2], stack.normal, atol=1e-6)
    np.testing.assert_allclose(scan.grid.to_mm((0, 0, 0)), (5, 6, 7), atol=1e-5)
    assert scan.name == "series"
    one = next(stack.folder.iterdir())
    np.testing.assert_array_equal(load_scan(one).values, scan.values)


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_every_orientation_is_the_same_volume(tmp_path: Path, order: tuple[int, ...]) -> None:
    """With the eight flips of each order all 48 ways to store a volume, sides and all."""
    values = np.random.default_rng(3).integers(0, 4000, (10, 12, 9))
    places = np.moveaxis(np.indices(values.shape), 0, -1) * (1.0, 0.9, 1.1) + (5, 6, 7)
    for signs in product((1, -1), repeat=3):
        flips = tuple(slice(None, None, sign) for sign in signs)
        stored = values.transpose(order)[flips]
        placed = places.transpose(*order, 3)[flips]
        # Axes of `stored` are slice, row and column.
        across, down = placed[0, 0, 1] - placed[0, 0, 0], placed[0, 1, 0] - placed[0, 0, 0]
        folder = tmp_path / "".join("+-"[sign < 0] for sign in signs)
        folder.mkdir()
        for number, image in enumerate(stored):
            data = dicom_slice(number, "1.2.3")
            data.Rows, data.Columns = image.shape
            data.ImagePositionPatient = [float(x) for x in placed[number, 0, 0]]
            data.ImageOrientationPatient = [*unit(across), *unit(down)]
            data.PixelSpacing = [np.linalg.norm(down), np.linalg.norm(across)]
            data.PixelData = image.astype("<u2").tobytes()
            data.save_as(folder / f"{number}.dcm", enforce_file_format=True)
        scan = load_scan(folder)
        ijk = np.rint(scan.grid.to_ijk(places)).astype(int)
        np.testing.assert_allclose(scan.grid.to_mm(ijk), places, atol=1e-6)
        np.testing.assert_array_equal(scan.values[tuple(np.moveaxis(ijk, -1, 0))], values - 1024)
        assert np.linalg.det(scan.grid.directions) > 0


def lifted(number: int) -> list[float]:
    return [float(number) * 0.1, 0.0, float(number)]


BAD_DICOM = {
    "the modality is MR": {"Modality": "MR"},
    "sheared by": {
        "ImagePositionPatient": lifted,
        "ImageOrientationPatient": [1.0, 0, 0, 0, 1.0, 0],
    },
    "lacks PixelSpacing": {"PixelSpacing": None},
    "at the same position": {"ImagePositionPatient": lambda n: [0.0, 0.0, float(n // 2)]},
    "lacks ImageOrientationPatient": {"ImageOrientationPatient": [1.0, 0.0, 0.0]},
    "slices of 5 mm are too thick": {"SliceThickness": 5.0},
    "different pixel sizes": {"PixelSpacing": lambda n: [0.5, 0.5 if n < 3 else 0.6]},
}


@pytest.mark.parametrize("sentence", BAD_DICOM)
def test_spoiled_series_are_refused_by_name(tmp_path, sentence) -> None:
    stack = Stack(tmp_path / "s", **BAD_DICOM[sentence])
    with pytest.raises(InputError, match=sentence):
        load_scan(stack.folder)


def test_rounded_positions_do_not_add_up(tmp_path) -> None:
    def rounded(number: int) -> list[float]:
        return [0.0, 0.0, round(number / 3, 2)]

    flat = [1.0, 0, 0, 0, 1.0, 0]
    stack = Stack(
        tmp_path / "s", count=31, ImagePositionPatient=rounded, ImageOrientationPatient=flat
    )
    last = load_scan(stack.folder).grid.to_mm((0, 0, 30))
    np.testing.assert_allclose(last, (0, 0, 10), atol=1e-3)


def test_compressed_slices_are_decoded(tmp_path) -> None:
    stack = Stack(tmp_path / "s")
    plain = load_scan(stack.folder).values
    for path in stack.folder.iterdir():
        # JPEG 2000 is one of the syntaxes for which pydicom alone has no decoder.
        slice_ = pydicom.dcmread(path)
        writer = sitk.ImageFileWriter()
        writer.SetFileName(str(tmp_path / "packed.dcm"))
        writer.UseCompressionOn()
        writer.SetCompressor("JPEG2000")
        writer.Execute(sitk.GetImageFromArray(slice_.pixel_array))
        packed = pydicom.dcmread(tmp_path / "packed.dcm")
        assert packed.file_meta.TransferSyntaxUID.is_compressed
        slice_.file_meta.TransferSyntaxUID = packed.file_meta.TransferSyntaxUID
        slice_["PixelData"] = packed["PixelData"]
        slice_.save_as(path)
    np.testing.assert_array_equal(load_scan(stack.folder).values, plain)


def test_a_file_stands_for_its_own_series(tmp_path) -> None:
    first = next(Stack(tmp_path / "s").folder.iterdir())
    Stack(tmp_path / "s", count=14, SeriesDescription="soft", SeriesNumber=4)
    bare = first.rename(first.with_suffix(""))
    assert load_scan(bare).grid.shape[2] == 12


def test_missing_slices_are_counted(tmp_path) -> None:
    stack = Stack(tmp_path / "s")
    ordered = sorted(
        stack.folder.iterdir(),
        key=lambda p: float(np.dot(pydicom.dcmread(p).ImagePositionPatient, stack.normal)),
    )
    ordered[4].unlink()
    ordered[5].unlink()
    with pytest.raises(InputError, match="2 slices are missing"):
        load_scan(stack.folder)


def test_several_series_need_a_name(tmp_path) -> None:
    Stack(tmp_path / "s")
    Stack(tmp_path / "s", count=14, SeriesDescription="soft", SeriesNumber=4)
    with pytest.raises(InputError, match=r"--series.*bone.*12 images") as caught:
        load_scan(tmp_path / "s")
    assert "soft" in str(caught.value)
    assert load_scan(tmp_path / "s", series="soft").grid.shape[2] == 14
    assert load_scan(tmp_path / "s", series="3").grid.shape[2] == 12
    with pytest.raises(InputError, match="no series is called 'x'"):
        load_scan(tmp_path / "s", series="x")


def test_a_scout_beside_the_series_is_left_out(tmp_path) -> None:
    Stack(tmp_path / "s")
    Stack(tmp_path / "s", count=1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert load_scan(tmp_path / "s").grid.shape[2] == 12


def test_a_folder_without_dicom_is_refused(tmp_path) -> None:
    (tmp_path / "readme.txt").write_text("nothing here")
    with pytest.raises(InputError, match="contains no scan"):
        load_scan(tmp_path)


def comma(keyword: str, text: str) -> Callable[[int, Dataset], None]:
    """Writes a number with decimal commas, as programs in a German or French locale do."""

    def spoil(_: int, data: Dataset) -> None:
        raw = text.encode() + b" " * (len(text) % 2)
        tag = Tag(tag_for_keyword(keyword) or 0)
        data[tag] = RawDataElement(tag, "DS", len(raw), raw, 0, False, True)

    return spoil


def test_decimal_commas_that_count_are_read_and_reported(tmp_path) -> None:
    scan = load_scan(Stack(tmp_path / "s", spoil=comma("PixelSpacing", "0,5\\0,4")).folder)
    np.testing.assert_allclose(scan.grid.spacing_mm, (0.4, 0.5, 0.8))
    (warning,) = scan.warnings
    assert "PixelSpacing" in warning
    assert "decimal commas" in warning


@pytest.mark.parametrize("keyword", ["SliceThickness", "KVP", "GantryDetectorTilt"])
@pytest.mark.parametrize("text", ["0,4", "thin", "1,2,3"])
def test_odd_numbers_that_do_not_count_are_ignored(tmp_path, keyword, text) -> None:
    scan = load_scan(Stack(tmp_path / "s", spoil=comma(keyword, text)).folder)
    np.testing.assert_allclose(scan.grid.spacing_mm, (0.4, 0.5, 0.8))
    assert scan.warnings == ()


@pytest.mark.parametrize("keyword", ["PixelSpacing", "ImagePositionPatient", "RescaleSlope"])
def test_numbers_that_count_are_named_where_they_make_no_sense(tmp_path, keyword) -> None:
    with pytest.raises(InputError, match=keyword):
        load_scan(Stack(tmp_path / "s", spoil=comma(keyword, "a,b")).folder)


def test_cosines_that_jump_are_averaged(tmp_path) -> None:
    def jumping(number: int) -> list[str]:
        cosine = ("0.999950", "0.999949")[number % 2]
        return [cosine, "0.010000", "0", "-0.010000", cosine, "0"]

    stack = Stack(
        tmp_path / "s",
        ImageOrientationPatient=jumping,
        ImagePositionPatient=lambda n: [1.0, 2.0, 0.8 * n],
    )
    grid = load_scan(stack.folder).grid
    np.testing.assert_allclose(grid.directions.T @ grid.directions, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(grid.directions[:, 0], (0.99995, 0.01, 0), atol=1e-5)


def test_slices_of_two_orientations_are_refused(tmp_path) -> None:
    turned = {3: [0.999, 0.0447, 0.0, -0.0447, 0.999, 0.0]}
    stack = Stack(
        tmp_path / "s",
        ImageOrientationPatient=lambda n: turned.get(n, [1.0, 0, 0, 0, 1.0, 0]),
        ImagePositionPatient=lambda n: [1.0, 2.0, 0.8 * n],
    )
    with pytest.raises(InputError, match="different orientations"):
        load_scan(stack.folder)


@pytest.mark.parametrize("step", [0.1, 0.2, 0.33])
def test_rounded_positions_of_oblique_slices_are_neither_tilted_nor_uneven(tmp_path, step) -> None:
    normal = np.cross(OBLIQUE[:, 0], OBLIQUE[:, 1])
    stack = Stack(
        tmp_path / "s",
        count=90,
        ImagePositionPatient=lambda n: [f"{v:.2f}" for v in normal * n * step + (5, 6, 7)],
    )
    grid = load_scan(stack.folder).grid
    np.testing.assert_allclose(grid.to_mm((0, 0, 0)), (5, 6, 7), atol=0.01)
    np.testing.assert_allclose(grid.to_mm((0, 0, 89)), normal * 89 * step + (5, 6, 7), atol=0.01)


def test_a_tilt_that_the_slices_do_not_have_is_remarked_on(tmp_path) -> None:
    scan = load_scan(Stack(tmp_path / "s", GantryDetectorTilt=12.0).folder)
    np.testing.assert_allclose(scan.grid.spacing_mm, (0.4, 0.5, 0.8))
    assert "GantryDetectorTilt is 12" in scan.warnings[0]


@pytest.mark.parametrize("turn", range(24))
@pytest.mark.parametrize("backwards", [False, True])
def test_every_orientation_is_placed(tmp_path, turn, backwards) -> None:
    axes = CUBE_TURNS[turn]
    count = 12

    def place(number: int) -> list[float]:
        step = count - 1 - number if backwards else number
        return [float(v) for v in axes[:, 2] * step * 0.8 + (5, 6, 7)]

    stack = Stack(
        tmp_path / "s",
        ImageOrientationPatient=[float(v) for v in [*axes[:, 0], *axes[:, 1]]],
        ImagePositionPatient=place,
    )
    scan = load_scan(stack.folder)
    np.testing.assert_allclose(scan.grid.directions, axes, atol=1e-12)
    np.testing.assert_allclose(scan.grid.to_mm((0, 0, 0)), (5, 6, 7), atol=1e-9)
    values = stack.values[::-1] if backwards else stack.values
    np.testing.assert_array_equal(scan.values, values.transpose(2, 1, 0) - 1024)


def test_one_frame_is_a_slice(tmp_path) -> None:
    stack = Stack(tmp_path / "s", NumberOfFrames=1)
    np.testing.assert_array_equal(
        load_scan(stack.folder).values, stack.values.transpose(2, 1, 0) - 1024
    )


@pytest.mark.parametrize("implicit", [True, False])
def test_files_without_preamble_are_read(tmp_path, implicit) -> None:
    stack = Stack(tmp_path / "s")
    plain = load_scan(stack.folder)
    for path in stack.folder.iterdir():
        data = pydicom.dcmread(path)
        del data.file_meta
        data.save_as(path.with_suffix(""), implicit_vr=implicit, little_endian=True)
        path.unlink()
    bare = load_scan(stack.folder)
    np.testing.assert_array_equal(bare.values, plain.values)
    assert bare.grid.same_as(plain.grid, 1e-9)


def test_an_enhanced_ct_is_its_classic_series(tmp_path) -> None:
    stack = Stack(tmp_path / "classic")
    classic = load_scan(stack.folder)
    (tmp_path / "enhanced").mkdir()
    images = [pydicom.dcmread(path) for path in sorted(stack.folder.iterdir())]
    enhanced = hd.legacy.LegacyConvertedEnhancedCTImage(
        images, generate_uid(), 5, generate_uid(), 1
    )
    enhanced.save_as(tmp_path / "enhanced" / "one.dcm")
    for given in (tmp_path / "enhanced", tmp_path / "enhanced" / "one.dcm"):
        scan = load_scan(given)
        np.testing.assert_array_equal(scan.values, classic.values)
        assert scan.grid.same_as(classic.grid, 1e-4)


def test_frames_without_a_place_are_refused(tmp_path) -> None:
    def several(_: int, data: Dataset) -> None:
        data.NumberOfFrames = 2
        data.PixelData = data.PixelData * 2

    with pytest.raises(InputError, match="no position for each"):
        load_scan(Stack(tmp_path / "s", spoil=several).folder)
