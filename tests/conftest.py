"""What several test files share: tiny scans on disk, and predictions made by hand."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from examples import ear_of
from otovox.core.anatomy import CANONICAL_MM, LANDMARK_NAMES, Side
from otovox.core.case import Case, Prediction
from otovox.core.geometry import affine_from, mean_pose
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid, LabelMap, Scan
from otovox.dataset.layout import Entry, add_case, start_dataset
from otovox.measure.measured_scan import measure_scan
from otovox.results.folder import write_results

#: Of the scans that `write_scan` makes.
SHAPE = (24, 22, 20)
#: Of the data set that `tiny_dataset` makes.
TINY = Grid(SHAPE, affine_from(np.eye(3) * 0.5, np.zeros(3)))


@pytest.fixture
def write_scan() -> Callable[[Path], Path]:
    """Writes a small CT-like image of noise and returns its path."""

    def write(path: Path) -> Path:
        values = np.random.default_rng(0).normal(0, 100, SHAPE).astype(np.int16)
        image = sitk.GetImageFromArray(values.transpose())
        image.SetSpacing((0.5, 0.5, 0.5))
        path.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(image, str(path))
        return path

    return write


def dicom_slice(number: int, series: str, **tags: Any) -> Dataset:
    """An axial CT image of noise, 0.5 mm above its predecessor."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = f"{series[:60]}.1", series
    data.FrameOfReferenceUID, data.PositionReferenceIndicator = f"{series[:60]}.2", ""
    data.PatientName, data.PatientID, data.PatientSex, data.PatientBirthDate = "Doe", "1", "", ""
    data.StudyDate = data.StudyTime = data.StudyID = data.AccessionNumber = ""
    data.ReferringPhysicianName, data.InstanceNumber = "", number + 1
    data.Modality, data.SeriesNumber, data.SeriesDescription = "CT", 3, "bone"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.ImagePositionPatient = [0, 0, number / 2]
    data.ImageOrientationPatient, data.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.5, 0.5]
    data.Rows, data.Columns = SHAPE[1], SHAPE[0]
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation, data.SamplesPerPixel = 0, 1
    data.PhotometricInterpretation = "MONOCHROME2"
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    values = np.random.default_rng(number).integers(0, 3000, (data.Rows, data.Columns))
    data.PixelData = values.astype("<u2").tobytes()
    for tag, value in tags.items():
        setattr(data, tag, value)
    return data


@pytest.fixture
def write_series() -> Callable[..., Path]:
    """Writes a small DICOM series into a folder, one file per slice, and returns the folder."""

    def write(folder: Path, count: int = SHAPE[2], ending: str = ".dcm", **tags: Any) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        series = tags.pop("SeriesInstanceUID", generate_uid())
        first = len(list(folder.iterdir()))
        for number in tags.pop("numbers", range(count)):
            path = folder / f"IM{first + number:04d}{ending}"
            dicom_slice(number, series, **tags).save_as(path, enforce_file_format=True)
        return folder

    return write


@pytest.fixture(scope="session")
def predict() -> Callable[..., Prediction]:
    """Makes a prediction with the given sides, right and left by default."""

    def make(scan: Scan, sides: tuple[Side, ...] = (Side.RIGHT, Side.LEFT)) -> Prediction:
        labels = np.zeros(scan.grid.shape, np.uint8)
        for side in sides:
            labels[10:14, 8:12, 6:10] = side.label
        return Prediction(
            scan=scan,
            ears=tuple(ear_of(scan, side) for side in sides),
            labels=LabelMap(labels, scan.grid),
            uncertainty=np.zeros(scan.grid.shape, np.float32),
            warnings=() if sides else ("no inner ear found",),
        )

    return make


@pytest.fixture(scope="session")
def tiny_scan() -> Scan:
    values = np.random.default_rng(0).normal(0, 100, TINY.shape).astype(np.float32)
    return Scan(values, TINY, "one")


@pytest.fixture
def tiny_dataset(tmp_path: Path, tiny_scan: Scan) -> Path:
    """Two cases of one patient, the second otosclerotic, and a third without results."""
    folder = tmp_path / "data"
    start_dataset(folder, name="tiny", source="made")
    pose = mean_pose(Side.RIGHT, TINY.center_mm)
    points = pose.to_lps([CANONICAL_MM[name] for name in LANDMARK_NAMES])
    landmarks = {Side.RIGHT: Landmarks(LANDMARK_NAMES, points + np.array([0.0, 0.99, 0.0]))}
    labels = np.zeros(TINY.shape, np.uint8)
    labels[10:14, 8:12, 6:12] = Side.RIGHT.label
    for name, diagnosis in (("one", "healthy"), ("two", "otosclerosis"), ("three", "healthy")):
        case = Case(replace(tiny_scan, name=name), LabelMap(labels, TINY), landmarks)
        patient = "a" if name != "three" else "b"
        add_case(folder, case, Entry(name, patient, scanner="fpvct-clinical", diagnosis=diagnosis))
    return folder


@pytest.fixture(scope="session")
def tiny_run(
    tmp_path_factory: pytest.TempPathFactory, tiny_scan: Scan, predict: Any
) -> tuple[Path, Prediction]:
    """Results of two folds, `fold-0` of two cases and `fold-1` of one, and what they tell."""
    folder = tmp_path_factory.mktemp("tiny") / "run"
    made: Prediction = predict(tiny_scan, (Side.RIGHT,))
    uncertainty = np.zeros(TINY.shape, np.float32)
    uncertainty[3, 4, 5] = 51 / 255
    made = replace(made, uncertainty=uncertainty)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("otovox.results.overview.overview", lambda _, to: to.write_bytes(b"png"))
        for fold, names in (("fold-0", ("one", "two")), ("fold-1", ("one",))):
            for name in names:
                named = replace(made, scan=replace(tiny_scan, name=name))
                write_results(measure_scan(named), folder / fold / name)
    return folder, made


@pytest.fixture
def tiny_results(tmp_path: Path, tiny_run: tuple[Path, Prediction]) -> tuple[Path, Prediction]:
    """A copy of `tiny_run` that a test may change."""
    folder, made = tiny_run
    return Path(shutil.copytree(folder, tmp_path / "run")), made
