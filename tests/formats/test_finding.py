"""Scans are found at any depth, one per series, named by what the user gave; nothing is lost."""

import logging
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage, generate_uid

from otovox.errors import InputError
from otovox.formats.scans import Source, find_scans, load_scan

Write = Callable[..., Path]


def names(sources: list[Source]) -> list[str]:
    return [source.name for source in sources]


def test_folders_are_searched(tmp_path: Path, write_scan: Write, write_series: Write) -> None:
    write_series(tmp_path / "patients" / "b")
    write_series(tmp_path / "patients" / "a")
    image = write_scan(tmp_path / "files" / "x.nrrd")
    found = find_scans([tmp_path / "patients", tmp_path / "files", image])
    assert [source.path.name for source in found] == ["a", "b", "x.nrrd"]
    assert names(found) == ["a", "b", "x"]
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="contains no scan"):
        find_scans([tmp_path / "none"])


def test_an_image_does_not_hide_the_series_beside_it(
    tmp_path: Path, write_scan: Write, write_series: Write
) -> None:
    write_scan(tmp_path / "mixed" / "one.nii.gz")
    write_series(tmp_path / "mixed" / "two")
    write_series(tmp_path / "mixed")
    assert set(names(find_scans([tmp_path / "mixed"]))) == {"one", "two", "mixed"}


@pytest.mark.parametrize(
    "place", ["DICOM/ST0/SE0", "DICOM/PA000001/ST000001/SE000001", "a/b/c/d/e"]
)
def test_trees_are_searched_to_any_depth(tmp_path: Path, write_series: Write, place: str) -> None:
    for patient in ("anna", "berta"):
        write_series(tmp_path / "cd" / patient / place, ending="", PatientID=patient)
    found = find_scans([tmp_path / "cd"])
    tail = place.replace("/", "_")
    assert names(found) == [f"anna_{tail}", f"berta_{tail}"]
    assert {len(source.files) for source in found} == {20}
    (one,) = find_scans([tmp_path / "cd" / "anna"])
    assert load_scan(one).grid.shape == (24, 22, 20)


def test_a_tree_names_the_patient_where_its_folders_do_not(
    tmp_path: Path, write_series: Write
) -> None:
    write_series(tmp_path / "anna" / "DICOM" / "ST0" / "SE0")
    for given in ("anna", "anna/DICOM", "anna/DICOM/ST0", "anna/DICOM/ST0/SE0"):
        assert names(find_scans([tmp_path / given])) == ["anna_DICOM_ST0_SE0"]


def test_folders_of_one_name_get_names_of_their_own(tmp_path: Path, write_series: Write) -> None:
    uid = generate_uid()  # careless anonymisation
    given = [write_series(tmp_path / p / "scans" / "ct", SeriesInstanceUID=uid) for p in "ab"]
    assert names(find_scans(given)) == ["a_ct", "b_ct"]
    assert names(find_scans([tmp_path])) == ["a_scans_ct", "b_scans_ct"]


def test_slices_given_one_by_one_are_one_scan(tmp_path: Path, write_series: Write) -> None:
    write_series(tmp_path / "ct")
    write_series(tmp_path / "ct", SeriesNumber=4, SeriesDescription="soft")
    both = find_scans(sorted((tmp_path / "ct").iterdir()))
    assert names(both) == ["ct_series-3", "ct_series-4"] or names(both) == [
        "ct_series-4",
        "ct_series-3",
    ]
    assert [len(source.files) for source in both] == [20, 20]
    assert names(find_scans([tmp_path / "ct"])) == names(both)
    (one,) = find_scans([tmp_path / "ct"], series="soft")
    assert one.name == "ct"


def test_a_series_in_several_folders_is_one_scan(tmp_path: Path, write_series: Write) -> None:
    uid = generate_uid()
    write_series(tmp_path / "cd" / "part1", numbers=range(10), SeriesInstanceUID=uid)
    write_series(tmp_path / "cd" / "part2", numbers=range(10, 20), SeriesInstanceUID=uid)
    (one,) = find_scans([tmp_path / "cd"])
    assert one.name == "cd"
    assert load_scan(one).grid.shape[2] == 20


def test_what_is_left_out_is_reported(
    tmp_path: Path, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    write_series(tmp_path / "cd" / "a")
    write_series(tmp_path / "cd" / "b", count=2, SeriesDescription="scout")
    write_series(tmp_path / "cd" / "c", Modality="MR", SeriesDescription="brain")
    (tmp_path / "cd" / "readme.txt").write_text("hello")
    (tmp_path / "cd" / "gone.nii.gz").symlink_to(tmp_path / "nowhere")
    with caplog.at_level(logging.WARNING):
        found = find_scans([tmp_path / "cd"])
    assert "scout" in caplog.text
    assert "brain" in caplog.text
    assert "readme.txt" in caplog.text
    assert set(names(found)) == {"a", "gone"}
    (gone,) = [source for source in found if source.name == "gone"]
    with pytest.raises(InputError, match="a link to a file that does not exist"):
        load_scan(gone)


def test_an_only_series_is_refused_with_its_reason(tmp_path: Path, write_series: Write) -> None:
    write_series(tmp_path / "cd" / "a", Modality="MR")
    (one,) = find_scans([tmp_path / "cd"])
    with pytest.raises(InputError, match="the modality is MR"):
        load_scan(one)


def test_a_folder_without_a_volume_lists_what_it_holds(tmp_path: Path, write_series: Write) -> None:
    write_series(tmp_path / "cd" / "a", count=2, SeriesDescription="scout")
    write_series(tmp_path / "cd" / "b", count=2, SeriesDescription="dose")
    with pytest.raises(InputError, match=r"no CT series that is a volume.*scout.*dose|dose.*scout"):
        load_scan(tmp_path / "cd")


def test_links_keep_their_names(tmp_path: Path, write_scan: Write) -> None:
    key = write_scan(tmp_path / ".git" / "annex" / "MD5E-s1--0.nii.gz")
    for subject in ("sub-01", "sub-02"):
        (tmp_path / subject).mkdir()
        (tmp_path / subject / f"{subject}_ct.nii.gz").symlink_to(key)
    assert names(find_scans([tmp_path])) == ["sub-01_ct", "sub-02_ct"]
    (one,) = find_scans([tmp_path / "sub-01" / "sub-01_ct.nii.gz"])
    assert (one.name, load_scan(one).name) == ("sub-01_ct", "sub-01_ct")


def test_the_same_path_twice_is_one_scan(
    tmp_path: Path, write_scan: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = write_scan(tmp_path / "x.nii")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").symlink_to(tmp_path)
    given = [image, Path("x.nii"), Path("there") / "x.nii", tmp_path]
    assert len(find_scans(given)) == 1


def test_results_are_no_scans(tmp_path: Path, write_series: Write, write_scan: Write) -> None:
    write_series(tmp_path / "ct")
    write_scan(tmp_path / "ct" / "out" / "ct" / "uncertainty.nii.gz")
    (tmp_path / "ct" / "out" / "ct" / "result.json").write_text("{}")
    assert names(find_scans([tmp_path / "ct"])) == ["ct"]


def test_a_dicomdir_stands_for_its_folder(
    tmp_path: Path, write_series: Write, caplog: pytest.LogCaptureFixture
) -> None:
    place = write_series(tmp_path / "anna" / "IMAGES" / "PA0", ending="")
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    directory.DirectoryRecordSequence = [Dataset() for _ in range(20)]
    for number, record in enumerate(directory.DirectoryRecordSequence):
        record.ReferencedFileID = ["IMAGES", "PA0", f"IM{number:04d}"]
    directory.save_as(tmp_path / "anna" / "DICOMDIR", enforce_file_format=True)
    (one,) = find_scans([tmp_path / "anna" / "DICOMDIR"])
    assert (one.path, one.name) == (place, "anna_IMAGES_PA0")
    assert load_scan(tmp_path / "anna" / "DICOMDIR").grid.shape[2] == 20
    one.files[0].unlink()
    with caplog.at_level(logging.WARNING):
        find_scans([tmp_path / "anna" / "DICOMDIR"])
    assert "lists 1 files that do not exist" in caplog.text


def packed(path: Path, folder: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def test_zip_files_hold_scans(tmp_path: Path, write_series: Write, write_scan: Write) -> None:
    write_series(tmp_path / "cd" / "DICOM" / "ST0" / "SE0")
    whole = packed(tmp_path / "anna.zip", tmp_path / "cd")
    (one,) = find_scans([whole])
    assert (one.name, one.path) == ("anna", whole)
    plain = load_scan(tmp_path / "cd")
    np.testing.assert_array_equal(load_scan(one).values, plain.values)
    np.testing.assert_array_equal(load_scan(whole).values, plain.values)
    write_scan(tmp_path / "cd" / "x.nii.gz")
    both = find_scans([packed(tmp_path / "both.zip", tmp_path / "cd")])
    assert sorted(names(both)) == ["both_DICOM_ST0_SE0", "both_x"]
    assert {load_scan(source).name for source in both} == set(names(both))


def test_zip_files_that_mean_harm_are_refused(tmp_path: Path) -> None:
    def written(name: str, member: str, content: Any) -> Path:
        with zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, content)
        return tmp_path / name

    for member in ("../evil.nii", "/evil.nii", "a/../../evil.nii", "..\\evil.nii"):
        with pytest.raises(InputError, match="written outside"):
            find_scans([written("a.zip", member, b"1")])
    with pytest.raises(InputError, match="exceeds the limit"):
        find_scans([written("bomb.zip", "a.nii", bytes(50_000_000))])
    (tmp_path / "bad.zip").write_bytes(b"PK no zip")
    with pytest.raises(InputError, match="damaged"):
        find_scans([tmp_path / "bad.zip"])
    assert not list(tmp_path.parent.glob("evil*"))


def test_a_problem_costs_only_its_own_path(tmp_path: Path, write_scan: Write) -> None:
    (tmp_path / "empty").mkdir()
    image = write_scan(tmp_path / "x.nii")
    bad, good = find_scans([tmp_path / "empty", image], strict=False)
    assert "contains no scan" in bad.problem
    assert (good.name, good.problem) == ("x", "")
