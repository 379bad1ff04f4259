"""DICOM results: read back by highdicom and pydicom, in place, coded, referring to their source."""

from collections.abc import Callable, Iterator
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    CTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)
from skimage.draw import polygon2mask

from otovox.core.anatomy import Side
from otovox.core.case import Prediction
from otovox.core.geometry import rotation_from_vector
from otovox.core.landmarks import Landmarks
from otovox.core.segments import PRIVATE_SCHEME
from otovox.core.volume import Grid, LabelMap, Scan
from otovox.errors import InputError, OutputError
from otovox.formats.caveats import Caveats
from otovox.formats.dicom_rtstruct import write_rtstruct
from otovox.formats.dicom_seg import write_dicom_seg
from otovox.formats.dicom_source import source_headers
from otovox.formats.dicom_sr import CodedQuantity, private_code, write_dicom_sr
from otovox.formats.scans import load_scan
from otovox.measure.measured_scan import measure_scan
from otovox.results.folder import write_results
from otovox.results.schema import DICOM, FILES, read_result

AXES = rotation_from_vector((0.3, -0.2, 0.5))
COUNT, ROWS, COLUMNS = 12, 30, 28
POINTS = Landmarks(
    ("helicotrema", "oval_window", "round_window", "common_crus"),
    np.array([[1.25, 2.5, 3.5], [4.0, 5.0, -6.5], [np.nan] * 3, [0.0, 0, 0]]),
)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    """An oblique CT series with all that DICOM demands of one, its files in no order."""
    folder = tmp_path / "series"
    folder.mkdir()
    study, uid, frame = generate_uid(), generate_uid(), generate_uid()
    rng = np.random.default_rng(1)
    for number in rng.permutation(COUNT):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        data = pydicom.Dataset()
        data.file_meta = meta
        data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        data.PatientID, data.PatientName, data.PatientBirthDate = "p1", "Doe^Jane", ""
        data.PatientSex, data.AccessionNumber, data.StudyID = "", "", ""
        data.StudyDate, data.StudyTime, data.ReferringPhysicianName = "", "", ""
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, uid, frame
        data.PositionReferenceIndicator = ""
        data.Modality, data.SeriesNumber, data.InstanceNumber = "CT", 3, int(number) + 1
        data.ImagePositionPatient = [round(float(v), 6) for v in AXES[:, 2] * number * 0.8]
        data.ImageOrientationPatient = [round(float(v), 6) for v in [*AXES[:, 0], *AXES[:, 1]]]
        data.PixelSpacing, data.SliceThickness = [0.5, 0.4], 0.8
        data.Rows, data.Columns = ROWS, COLUMNS
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
        data.PixelRepresentation, data.SamplesPerPixel = 0, 1
        data.PhotometricInterpretation = "MONOCHROME2"
        data.RescaleSlope, data.RescaleIntercept = 1, -1024
        data.PixelData = rng.integers(0, 4000, (ROWS, COLUMNS)).astype("<u2").tobytes()
        data.save_as(folder / f"{generate_uid()}.dcm", enforce_file_format=True)
    return folder


def labels_on(grid: Grid, *sides: Side) -> LabelMap:
    values = np.zeros(grid.shape, np.uint8)
    for side in sides:
        first = 3 * side.label
        values[first : first + 2, 5:9, first : first + 3] = side.label
    return LabelMap(values, grid)


def test_headers_are_found_again_in_order(series: Path) -> None:
    scan = load_scan(series)
    headers = source_headers(scan)
    for number, header in enumerate(headers):
        np.testing.assert_allclose(
            header.ImagePositionPatient, scan.grid.to_mm((0, 0, number)), atol=1e-4
        )
    assert headers[0].PatientID == "p1"
    next(series.iterdir()).unlink()
    with pytest.raises(InputError, match="no longer contains"):
        source_headers(scan)


def test_segments_lie_where_the_labels_do(series: Path, tmp_path: Path) -> None:
    scan = load_scan(series)
    labels = labels_on(scan.grid, *Side)
    write_dicom_seg(tmp_path / "segmentation.dcm", labels, scan)
    found = hd.seg.segread(tmp_path / "segmentation.dcm")
    assert found.StudyInstanceUID == source_headers(scan)[0].StudyInstanceUID
    assert {uid for _, _, uid in found.get_source_image_uids()} <= {
        header.SOPInstanceUID for header in source_headers(scan)
    }
    volume = found.get_volume(combine_segments=True)
    for side in Side:
        # Through the files' own geometry, whatever their order of axes.
        here = np.argwhere(volume.array == side.label)
        there = np.argwhere(labels.values == side.label)
        placed = volume.map_indices_to_reference(here)
        wanted = scan.grid.to_mm(there)
        order, other = np.lexsort(placed.round(3).T), np.lexsort(wanted.round(3).T)
        np.testing.assert_allclose(placed[order], wanted[other], atol=1e-3)


def test_segments_are_named_and_coded(series: Path, tmp_path: Path) -> None:
    scan = load_scan(series)
    write_dicom_seg(tmp_path / "a.dcm", labels_on(scan.grid, Side.LEFT), scan)
    segment = pydicom.dcmread(tmp_path / "a.dcm").SegmentSequence[0]
    assert segment.SegmentLabel == "Left bony labyrinth"
    assert segment.SegmentAlgorithmType == "AUTOMATIC"
    kind = segment.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("279727008", "SCT")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeValue == "7771000"


def test_parts_are_segments_that_overlap_the_labyrinth(series: Path, tmp_path: Path) -> None:
    scan = load_scan(series)
    labels = labels_on(scan.grid, Side.LEFT)
    parts = np.where(labels.values > 0, 201, 0).astype(np.uint8)
    crus = tuple(np.argwhere(parts)[0])
    parts[crus] = 206
    write_dicom_seg(tmp_path / "a.dcm", labels, scan, parts=LabelMap(parts, scan.grid))
    found = hd.seg.segread(tmp_path / "a.dcm")
    names = [segment.SegmentLabel for segment in found.SegmentSequence]
    assert names == ["Left bony labyrinth", "Left cochlea", "Left common crus"]
    for number, mask in enumerate([labels.values > 0, parts == 201, parts == 206], start=1):
        volume = found.get_volume(segment_numbers=[number], combine_segments=True)
        placed = volume.map_indices_to_reference(np.argwhere(volume.array))
        wanted = scan.grid.to_mm(np.argwhere(mask))
        assert len(placed) == len(wanted)
        np.testing.assert_allclose(placed.mean(axis=0), wanted.mean(axis=0), atol=1e-3)
    data = pydicom.dcmread(tmp_path / "a.dcm")
    category = {s.SegmentedPropertyCategoryCodeSequence[0].CodeValue for s in data.SegmentSequence}
    assert category == {"91723000"}
    kind = data.SegmentSequence[2].SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodingSchemeDesignator, kind.CodeValue) == (PRIVATE_SCHEME, "common_crus")
    (scheme,) = data.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == PRIVATE_SCHEME


def filled(structures: pydicom.Dataset, number: int, grid: Grid) -> np.ndarray:
    """A structure's contours on a grid, a contour within another one as a hole."""
    mask = np.zeros(grid.shape, bool)
    (roi,) = [c for c in structures.ROIContourSequence if c.ReferencedROINumber == number]
    for contour in roi.ContourSequence:
        ijk = grid.to_ijk(np.reshape(contour.ContourData, (-1, 3)).astype(float))
        assert np.ptp(ijk[:, 2]) < 0.01
        mask[:, :, round(ijk[0, 2])] ^= polygon2mask(grid.shape[:2], ijk[:, :2])
    return mask


def test_structures_for_planning_hold_the_same_voxels(series: Path, tmp_path: Path) -> None:
    scan = load_scan(series)
    values = np.zeros(scan.grid.shape, np.uint8)
    values[5:15, 6:18, 3:6] = Side.RIGHT.label
    values[8:11, 9:12, 3:6] = 0  # a hole
    values[20, 20, 7] = Side.LEFT.label
    labels = LabelMap(values, scan.grid)
    parts = LabelMap(np.where(values == Side.RIGHT.label, 106, 0).astype(np.uint8), scan.grid)
    write_rtstruct(tmp_path / "structures.dcm", labels, scan, parts=parts, caveats=CAVEATS)
    structures = pydicom.dcmread(tmp_path / "structures.dcm")
    names = [roi.ROIName for roi in structures.StructureSetROISequence]
    assert names == ["Right bony labyrinth", "Left bony labyrinth", "Right common crus"]
    for number, mask in enumerate([values == 1, values == 2, values == 1], start=1):
        again = filled(structures, number, scan.grid)
        dice = 2 * np.count_nonzero(again & mask) / (again.sum() + mask.sum())
        assert dice > 0.99
    source = source_headers(scan)
    assert structures.PatientID == "p1"
    assert structures.StudyInstanceUID == source[0].StudyInstanceUID
    assert structures.ApprovalStatus == "UNAPPROVED"
    assert structures.SpecificCharacterSet == "ISO_IR 192"
    assert "Research use only" in structures.StructureSetROISequence[0].ROIDescription
    referred = {
        contour.ContourImageSequence[0].ReferencedSOPInstanceUID
        for roi in structures.ROIContourSequence
        for contour in roi.ContourSequence
    }
    assert referred == {source[k].SOPInstanceUID for k in (3, 4, 5, 7)}
    code = structures.RTROIObservationsSequence[2].RTROIIdentificationCodeSequence[0]
    assert (code.CodingSchemeDesignator, code.CodeValue) == (PRIVATE_SCHEME, "common_crus")
    empty = LabelMap(np.zeros(scan.grid.shape, np.uint8), scan.grid)
    with pytest.raises(OutputError, match="no labyrinth"):
        write_rtstruct(tmp_path / "none.dcm", empty, scan)


def items(node: pydicom.Dataset) -> Iterator[pydicom.Dataset]:
    """All content items below a node."""
    for item in node.get("ContentSequence", ()):
        yield item
        yield from items(item)


def test_points_and_measurements_come_back(series: Path, tmp_path: Path) -> None:
    scan = load_scan(series)
    quantities = [
        CodedQuantity("labyrinth_volume", 241.5, "mm3", (140.0, 265.0, "71 ears")),
        CodedQuantity("helicotrema_to_oval_window", 7.125, "mm"),
        CodedQuantity("turns", 2.6, ""),
    ]
    path = tmp_path / "measurements.dcm"
    write_dicom_sr(path, scan, landmarks={Side.RIGHT: POINTS}, quantities={Side.RIGHT: quantities})
    report = hd.sr.srread(path)
    assert report.SOPClassUID == Comprehensive3DSRStorage
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    content = report.content
    assert isinstance(content, hd.sr.MeasurementReport)
    points = content.get_planar_roi_measurement_groups()
    placed = {
        group.tracking_identifier: group.roi.value[0].tolist() for group in points if group.roi
    }
    assert placed == {"right/helicotrema": [1.25, 2.5, 3.5], "right/oval_window": [4, 5, -6.5]}
    frames = {group.roi.frame_of_reference_uid for group in points if group.roi}
    assert frames == {source_headers(scan)[0].FrameOfReferenceUID}
    (group,) = content.get_image_measurement_groups()
    values = {m.name.meaning: (m.value, m.unit.value) for m in group.get_measurements()}
    assert values == {
        "Volume": (241.5, "mm3"),
        "helicotrema to oval window": (7.125, "mm"),
        "turns": (2.6, "1"),
    }
    codes = [item.ConceptNameCodeSequence[0] for item in items(pydicom.dcmread(path))]
    private = [code for code in codes if code.CodingSchemeDesignator == PRIVATE_SCHEME]
    assert {code.CodeValue for code in private} == {"turns", "helicotre-85128c"}
    assert "71 ears" in str(pydicom.dcmread(path))
    (site,) = group.finding_sites
    (modifier,) = site.ContentSequence
    assert modifier.ConceptCodeSequence[0].CodeValue == "24028007"


def test_nothing_to_tell_and_other_scans_are_refused(series: Path, tmp_path: Path) -> None:
    scan = load_scan(series)
    with pytest.raises(OutputError, match="no labyrinth"):
        write_dicom_seg(tmp_path / "a.dcm", labels_on(scan.grid), scan)
    with pytest.raises(OutputError, match="nothing to report"):
        write_dicom_sr(tmp_path / "a.dcm", scan, landmarks={}, quantities={})
    plain = Scan(scan.values, scan.grid, "plain", "plain.nii.gz")
    with pytest.raises(InputError, match="not read from a DICOM series"):
        write_dicom_seg(tmp_path / "a.dcm", labels_on(scan.grid, Side.LEFT), plain)


def test_results_of_a_dicom_scan_hold_dicom(
    series: Path, tmp_path: Path, predict: Callable[..., Prediction], monkeypatch
) -> None:
    """With headers that lack something, everything else is written, with a warning about it."""
    monkeypatch.setattr("otovox.results.overview.overview", lambda _, to: to.write_bytes(b"png"))
    scan = load_scan(series)
    for folder, whole in ((tmp_path / "a", True), (tmp_path / "b", False)):
        if not whole:
            for path in series.iterdir():
                data = pydicom.dcmread(path)
                del data.FrameOfReferenceUID
                data.save_as(path)
        write_results(measure_scan(predict(scan, (Side.LEFT,))), folder)
        result = read_result(folder / "result.json")
        held = {path.name for path in folder.glob("*.dcm")}
        assert held == ({FILES[name] for name in DICOM} if whole else set())
        assert (set(DICOM) <= set(result.files)) == whole
        assert any("no DICOM results" in text for text in result.warnings) != whole
    report = hd.sr.srread(tmp_path / "a" / FILES["dicom_report"])
    content = report.content
    assert isinstance(content, hd.sr.MeasurementReport)
    (group,) = content.get_volumetric_roi_measurement_groups()
    assert group.get_measurements()[0].value == 200


def test_headers_that_lack_something_are_reported(series: Path, tmp_path: Path) -> None:
    for path in series.iterdir():
        data = pydicom.dcmread(path)
        del data.FrameOfReferenceUID
        data.save_as(path)
    scan = load_scan(series)
    with pytest.raises(InputError, match="lack FrameOfReferenceUID"):
        write_dicom_seg(tmp_path / "a.dcm", labels_on(scan.grid, Side.LEFT), scan)
    with pytest.raises(InputError, match="lack FrameOfReferenceUID"):
        write_dicom_sr(tmp_path / "a.dcm", scan, landmarks={}, quantities={})
    assert not list(tmp_path.glob("*.dcm"))


def test_the_report_points_to_the_segment_of_its_ear(series: Path, tmp_path: Path) -> None:
    scan = load_scan(series)
    written = write_dicom_seg(tmp_path / "s.dcm", labels_on(scan.grid, *Side), scan)
    quantities = [CodedQuantity("helicotrema_to_oval_window", 7.125, "mm")]
    path = tmp_path / "r.dcm"
    quantities = {Side.LEFT: quantities}
    write_dicom_sr(path, scan, landmarks={}, quantities=quantities, segmentation=written)
    content = hd.sr.srread(path).content
    assert isinstance(content, hd.sr.MeasurementReport)
    (group,) = content.get_volumetric_roi_measurement_groups()
    segment = group.referenced_segment
    assert segment is not None
    assert segment.referenced_segment_numbers == [2]
    file = pydicom.dcmread(tmp_path / "s.dcm")
    assert segment.referenced_sop_instance_uid == file.SOPInstanceUID
    assert group.get_measurements()[0].value == 7.125


def test_a_changed_series_is_not_referred_to(series: Path, tmp_path: Path) -> None:
    scan = load_scan(series)
    for path in series.iterdir():
        data = pydicom.dcmread(path)
        data.ImagePositionPatient = [v + 1 for v in data.ImagePositionPatient]
        data.save_as(path)
    with pytest.raises(InputError, match="no longer contains"):
        write_dicom_seg(tmp_path / "a.dcm", labels_on(scan.grid, Side.LEFT), scan)


def test_private_codes_are_short_and_apart() -> None:
    names = ("turns", "helicotrema_to_oval_window", "helicotrema_to_round_window")
    values = [private_code(name)[0] for name in names]
    assert values[0] == "turns"
    assert len(set(values)) == len(names)
    assert all(len(value) <= 16 for value in values)


CAVEATS = Caveats(
    warnings=("qform and sform differ",),
    confidence={Side.LEFT: 0.75},
    ear_warnings={Side.LEFT: ("the field of view cuts the left ear",)},
    models={"labyrinth": "ab" * 32},
)


def test_a_segment_states_the_caveats(series: Path, tmp_path: Path) -> None:
    scan = load_scan(series)
    labels = labels_on(scan.grid, Side.LEFT)
    write_dicom_seg(tmp_path / "a.dcm", labels, scan, caveats=CAVEATS)
    file = pydicom.dcmread(tmp_path / "a.dcm")
    (segment,) = file.SegmentSequence
    for text in ("Research use only", "Confidence 0.75", "qform and sform", "the field of view"):
        assert text in segment.SegmentDescription
    assert "ab" * 32 in segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
    assert "Research use only" in file.SeriesDescription
    category = segment.SegmentedPropertyCategoryCodeSequence[0]
    assert (category.CodeValue, category.CodingSchemeDesignator) == ("91723000", "SCT")  # CID 7150


def test_a_report_states_the_caveats(series: Path, tmp_path: Path) -> None:
    scan = load_scan(series)
    quantities = [CodedQuantity("turns", 2.6, "")]
    path = tmp_path / "r.dcm"
    quantities = {Side.LEFT: quantities}
    write_dicom_sr(path, scan, landmarks={}, quantities=quantities, caveats=CAVEATS)
    content = hd.sr.srread(path).content
    assert isinstance(content, hd.sr.MeasurementReport)
    (group,) = content.get_image_measurement_groups()
    values = {m.name.meaning: m.value for m in group.get_measurements()}
    assert values == {"turns": 2.6, "confidence": 0.75}
    file = pydicom.dcmread(path)
    texts = [item.TextValue for item in items(file) if "TextValue" in item]
    for text in ("Research use only", "qform and sform differ", "the field of view", "ab" * 32):
        assert any(text in said for said in texts)
    assert "Research use only" in file.SeriesDescription
    (scheme,) = file.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == PRIVATE_SCHEME
    assert scheme.CodingSchemeResponsibleOrganization == "otovox"


@pytest.mark.parametrize(
    ("sets", "name"),
    [
        (["", "ISO 2022 IR 87"], "Mihon^Ichiro=見本^一郎=みほん^いちろう"),
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 192", "Михайлов^Пётр"),
    ],
)
def test_names_in_any_character_set_are_kept(
    series: Path, tmp_path: Path, sets: str | list[str], name: str
) -> None:
    for path in series.iterdir():
        data = pydicom.dcmread(path)
        data.SpecificCharacterSet, data.PatientName = sets, name
        data.save_as(path)
    scan = load_scan(series)
    written = write_dicom_seg(tmp_path / "s.dcm", labels_on(scan.grid, Side.LEFT), scan)
    quantities = {Side.LEFT: [CodedQuantity("turns", 2.6, "")]}
    path = tmp_path / "r.dcm"
    write_dicom_sr(path, scan, landmarks={}, quantities=quantities, segmentation=written)
    for file in ("s.dcm", "r.dcm"):
        assert str(pydicom.dcmread(tmp_path / file).PatientName) == name


def test_cosines_that_jump_do_not_forbid_results(series: Path, tmp_path: Path) -> None:
    for path in series.iterdir():
        data = pydicom.dcmread(path)
        jump = 1e-6 * (data.InstanceNumber % 2)
        data.ImageOrientationPatient = [round(v + jump, 6) for v in data.ImageOrientationPatient]
        data.save_as(path)
    scan = load_scan(series)
    write_dicom_seg(tmp_path / "s.dcm", labels_on(scan.grid, Side.LEFT), scan)
    assert hd.seg.segread(tmp_path / "s.dcm").get_volume().array.any()


@pytest.mark.parametrize("turned", [False, True])
def test_an_enhanced_ct_gets_results_in_place(series: Path, tmp_path: Path, turned: bool) -> None:
    images = [pydicom.dcmread(path) for path in series.iterdir()]
    images.sort(key=lambda image: image.InstanceNumber, reverse=turned)
    for number, image in enumerate(images):
        image.InstanceNumber = number + 1
    enhanced = hd.legacy.LegacyConvertedEnhancedCTImage(
        images, generate_uid(), 5, generate_uid(), 1
    )
    (tmp_path / "enhanced").mkdir()
    enhanced.save_as(tmp_path / "enhanced" / "one.dcm")
    scan = load_scan(tmp_path / "enhanced")
    labels = labels_on(scan.grid, *Side)
    written = write_dicom_seg(tmp_path / "s.dcm", labels, scan)
    volume = hd.seg.segread(tmp_path / "s.dcm").get_volume(combine_segments=True)
    for side in Side:
        placed = volume.map_indices_to_reference(np.argwhere(volume.array == side.label))
        wanted = scan.grid.to_mm(np.argwhere(labels.values == side.label))
        np.testing.assert_allclose(placed.mean(axis=0), wanted.mean(axis=0), atol=1e-3)
        assert len(placed) == len(wanted)
    quantities = {Side.LEFT: [CodedQuantity("turns", 2.6, "")]}
    path = tmp_path / "r.dcm"
    write_dicom_sr(path, scan, landmarks={}, quantities=quantities, segmentation=written)
    assert hd.sr.srread(path).content
