"""DICOM answers: a Segmentation and a TID 1500 report, read back by highdicom and pydicom."""

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from otovox.anatomy import LANDMARK_NAMES, Side
from otovox.errors import InputError, OutputError
from otovox.formats import load_scan
from otovox.formats.dicom_codes import quantity_code
from otovox.formats.dicom_seg import write_dicom_seg
from otovox.formats.dicom_source import source_headers
from otovox.formats.dicom_sr import EarFindings, Quantity, write_dicom_sr
from otovox.geometry import rotation_from_vector
from otovox.landmarks import Landmarks
from otovox.volume import LabelMap, Scan

AXES = rotation_from_vector((0.2, -0.1, 0.3))
SHAPE = (28, 24, 16)  # i, j, k
STUDY, SERIES, FRAME = generate_uid(), generate_uid(), generate_uid()


def write_series(folder: Path, **changes: object) -> Path:
    """An oblique CT series of noise, its files in no order; `changes` spoil every header."""
    folder.mkdir()
    rng = np.random.default_rng(5)
    for number in rng.permutation(SHAPE[2]):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        data = pydicom.Dataset()
        data.file_meta = meta
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        data.StudyInstanceUID, data.SeriesInstanceUID = STUDY, SERIES
        data.FrameOfReferenceUID, data.PositionReferenceIndicator = FRAME, ""
        data.PatientID, data.PatientName, data.PatientSex = "phantom", "Phantom^One", "O"
        data.PatientBirthDate, data.AccessionNumber, data.StudyID = "", "", "1"
        data.StudyDate, data.StudyTime, data.ReferringPhysicianName = "20200101", "120000", ""
        data.Modality, data.SeriesNumber, data.InstanceNumber = "CT", 3, int(number) + 1
        data.ImagePositionPatient = [float(v) for v in AXES @ (0, 0, 0.6 * number) + (5, 6, 7)]
        data.ImageOrientationPatient = [float(v) for v in (*AXES[:, 0], *AXES[:, 1])]
        data.PixelSpacing, data.SliceThickness = [0.5, 0.4], 0.6
        data.Columns, data.Rows = SHAPE[:2]
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation, data.SamplesPerPixel = 0, 1
        data.PhotometricInterpretation = "MONOCHROME2"
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        data.PixelData = rng.integers(0, 4000, SHAPE[1::-1]).astype("<u2").tobytes()
        for tag, value in changes.items():
            setattr(data, tag, value)
        data.save_as(folder / f"{rng.integers(10**9)}.dcm", enforce_file_format=True)
    return folder


@pytest.fixture
def scan(tmp_path: Path) -> Scan:
    return load_scan(write_series(tmp_path / "series"))


def two_boxes(scan: Scan) -> LabelMap:
    values = np.zeros(scan.grid.shape, np.uint8)
    values[2:5, 3:7, 4:9] = Side.RIGHT.label
    values[9:13, 8:9, 1:3] = Side.LEFT.label
    return LabelMap(values, scan.grid)


def test_the_headers_are_those_of_the_slices_in_order(scan: Scan) -> None:
    headers = source_headers(scan)
    assert scan.series == SERIES
    assert [header.InstanceNumber for header in headers] == list(range(1, SHAPE[2] + 1))
    for k, header in enumerate(headers):
        np.testing.assert_allclose(header.ImagePositionPatient, scan.grid.to_mm((0, 0, k)))
    with pytest.raises(InputError, match="no DICOM series"):
        source_headers(replace(scan, series=""))
    next(Path(scan.source).iterdir()).unlink()
    with pytest.raises(InputError, match="has changed"):
        source_headers(scan)


def test_headers_that_nothing_can_refer_to_are_refused(tmp_path: Path) -> None:
    scan = load_scan(write_series(tmp_path / "anonymous", FrameOfReferenceUID=""))
    with pytest.raises(InputError, match="lack FrameOfReferenceUID"):
        source_headers(scan)


def test_the_segmentation_lies_on_its_series(tmp_path: Path, scan: Scan) -> None:
    labels = two_boxes(scan)
    written = write_dicom_seg(tmp_path / "s.dcm", labels, source_headers(scan))
    assert written.numbers == {Side.RIGHT: 1, Side.LEFT: 2}
    seg = hd.seg.segread(tmp_path / "s.dcm")
    assert seg.StudyInstanceUID == STUDY
    assert seg.FrameOfReferenceUID == FRAME
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == SERIES
    assert seg.PatientID == "phantom"
    # Voxel by voxel in the world: LPS mm of every labelled voxel of the file are ours.
    volume = seg.get_volume(combine_segments=True)
    places = volume.map_indices_to_reference(np.argwhere(volume.array > 0))
    ijk = np.rint(labels.grid.to_ijk(places)).astype(int)
    np.testing.assert_allclose(labels.grid.to_ijk(places), ijk, atol=1e-3)
    again = np.zeros_like(labels.values)
    again[tuple(ijk.T)] = volume.array[volume.array > 0]
    np.testing.assert_array_equal(again, labels.values)


def test_segments_have_their_names_codes_and_sides(tmp_path: Path, scan: Scan) -> None:
    write_dicom_seg(tmp_path / "s.dcm", two_boxes(scan), source_headers(scan))
    right, left = pydicom.dcmread(tmp_path / "s.dcm").SegmentSequence
    assert [right.SegmentLabel, left.SegmentLabel] == [
        "Right bony labyrinth",
        "Left bony labyrinth",
    ]
    kind = left.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("279727008", "SCT")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"
    assert left.SegmentAlgorithmType == "AUTOMATIC"


def test_a_left_ear_alone_is_the_first_segment(tmp_path: Path, scan: Scan) -> None:
    labels = two_boxes(scan)
    only = LabelMap(np.where(labels.values == 2, labels.values, 0).astype(np.uint8), scan.grid)
    written = write_dicom_seg(tmp_path / "s.dcm", only, source_headers(scan))
    assert written.numbers == {Side.LEFT: 1}
    seg = hd.seg.segread(tmp_path / "s.dcm")
    assert [seg.get_segment_description(n).segment_label for n in seg.segment_numbers] == [
        "Left bony labyrinth"
    ]
    empty = LabelMap(np.zeros(scan.grid.shape, np.uint8), scan.grid)
    with pytest.raises(OutputError, match="no voxel"):
        write_dicom_seg(tmp_path / "none.dcm", empty, source_headers(scan))
    assert not (tmp_path / "none.dcm").exists()


POINTS = np.array([[5.5, 6.25, 7.75], [-1.5, 2.0, 30.125], [np.nan] * 3])
EAR = EarFindings(
    Side.LEFT,
    Landmarks(LANDMARK_NAMES, POINTS),
    (
        Quantity("labyrinth_volume", 212.5, "mm3", (140.0, 265.0, "71 ears")),
        Quantity("helicotrema_to_oval_window", 4.5, "mm"),
        Quantity("cochlear_turns", 2.6, ""),
    ),
)


@pytest.mark.parametrize("with_segments", [True, False])
def test_the_report_holds_points_and_measurements(
    tmp_path: Path, scan: Scan, with_segments: bool
) -> None:
    headers = source_headers(scan)
    segments = None
    if with_segments:
        segments = write_dicom_seg(tmp_path / "s.dcm", two_boxes(scan), headers)
    write_dicom_sr(tmp_path / "r.dcm", [EAR], headers, segments=segments)
    report = hd.sr.srread(tmp_path / "r.dcm")
    assert isinstance(report, hd.sr.Comprehensive3DSR)
    assert report.StudyInstanceUID == STUDY
    content = report.content
    assert isinstance(content, hd.sr.MeasurementReport)
    points = content.get_planar_roi_measurement_groups()
    assert [group.tracking_identifier for group in points] == [
        "left/helicotrema",
        "left/oval_window",
    ]
    for group, place in zip(points, POINTS, strict=False):
        region = group.roi
        assert isinstance(region, hd.sr.ImageRegion3D)
        assert region.graphic_type == hd.sr.GraphicTypeValues3D.POINT
        assert region.frame_of_reference_uid == FRAME
        np.testing.assert_allclose(region.value[0], place)
    kind, (site,) = points[1].finding_type, points[0].finding_sites
    assert kind is not None
    assert (kind.value, kind.scheme_designator) == ("56913", "FMA")
    assert site.laterality is not None
    assert site.laterality.meaning == "Left"
    if segments is not None:
        (whole,) = content.get_volumetric_roi_measurement_groups()
        assert whole.referenced_segment is not None
        assert whole.referenced_segment.referenced_segment_numbers == [2]
        assert (
            whole.referenced_segment.referenced_sop_instance_uid == segments.dataset.SOPInstanceUID
        )
    else:
        (whole,) = content.get_image_measurement_groups()
    told = {m.name.meaning: (m.value, m.unit.value) for m in whole.get_measurements()}
    assert told == {
        "Volume": (212.5, "mm3"),
        "Helicotrema to oval window": (4.5, "mm"),
        "Cochlear turns": (2.6, "1"),
    }
    text = str(pydicom.dcmread(tmp_path / "r.dcm"))
    assert "71 ears" in text
    assert "99OTOVOX" in text


def test_private_codes_are_short_and_apart() -> None:
    keys = ("cochlear_turns", "helicotrema_to_oval_window", "helicotrema_to_round_window")
    codes = [quantity_code(key).value for key in keys]
    assert codes[0] == "cochlear_turns"
    assert len(set(codes)) == len(keys)
    assert all(len(code) <= 16 for code in codes)


def test_a_report_without_an_ear_is_refused(tmp_path: Path, scan: Scan) -> None:
    with pytest.raises(OutputError, match="no ear"):
        write_dicom_sr(tmp_path / "r.dcm", [], source_headers(scan))
