"""The fingerprint covers what is read, and nothing else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from otovox.errors import InputError
from otovox.formats.detached import image_files
from otovox.formats.fingerprint import fingerprint
from otovox.formats.scans import find_scans, load_scan


def detached(folder: Path, header: str, voxels: str) -> tuple[Path, Path]:
    """A header that names the file of its voxels."""
    values = np.random.default_rng(0).normal(0, 99, (20, 22, 24)).astype("<i2")
    path = folder / header
    folder.mkdir(exist_ok=True)
    (folder / voxels).write_bytes(values.tobytes())
    if path.suffix == ".mhd":
        lines = ["NDims = 3", "TransformMatrix = 1 0 0 0 1 0 0 0 1", "Offset = 0 0 0"]
        lines += ["ElementSpacing = 0.5 0.5 0.5", "DimSize = 24 22 20", "ElementType = MET_SHORT"]
        path.write_text("\n".join([*lines, f"ElementDataFile = {voxels}", ""]))
    else:
        lines = ["NRRD0004", "type: short", "dimension: 3", "sizes: 24 22 20", "endian: little"]
        lines += ["encoding: raw", "space: LPS", "space directions: (.5,0,0) (0,.5,0) (0,0,.5)"]
        path.write_text("\n".join([*lines, "space origin: (0,0,0)", f"data file: {voxels}", ""]))
    return path, folder / voxels


@pytest.mark.parametrize(
    ("header", "voxels"),
    [
        ("a.mhd", "b.raw"),
        ("scan[1].mhd", "scan[1].raw"),
        ("a.nhdr", "other.raw"),
        ("*.nhdr", "?.r"),
    ],
)
def test_voxels_in_a_file_of_any_name_count(tmp_path: Path, header: str, voxels: str) -> None:
    path, data = detached(tmp_path / "s", header, voxels)
    assert load_scan(path).grid.shape == (24, 22, 20)
    first = fingerprint(path)
    (tmp_path / "s" / "a.txt").write_text("a note")
    (tmp_path / "s" / "scan1.raw").write_text("another file")
    assert fingerprint(path) == first
    data.write_bytes(data.read_bytes()[::-1])
    assert fingerprint(path) != first
    data.unlink()
    with pytest.raises(InputError, match=r"voxel data file .* does not exist"):
        load_scan(path)
    with pytest.raises(InputError, match="cannot be read"):
        fingerprint(path)


def test_lists_and_numbers_of_voxel_files_are_understood(tmp_path: Path) -> None:
    (tmp_path / "a.mhd").write_text("NDims = 3\nElementDataFile = LIST\nx.raw\ny.raw\n")
    assert [p.name for p in image_files(tmp_path / "a.mhd")] == ["a.mhd", "x.raw", "y.raw"]
    (tmp_path / "b.mhd").write_text("ElementDataFile = s%02d.raw 1 5 2\n")
    assert [p.name for p in image_files(tmp_path / "b.mhd")[1:]] == [
        "s01.raw",
        "s03.raw",
        "s05.raw",
    ]
    (tmp_path / "c.nhdr").write_text("NRRD0004\ndata file: s%d.raw 3 1 -1 2\n\n")
    assert [p.name for p in image_files(tmp_path / "c.nhdr")[1:]] == ["s3.raw", "s2.raw", "s1.raw"]
    (tmp_path / "d.nhdr").write_text("NRRD0004\ndata file: LIST\np.raw\nq.raw\n")
    assert [p.name for p in image_files(tmp_path / "d.nhdr")[1:]] == ["p.raw", "q.raw"]
    (tmp_path / "e.mhd").write_text("ElementDataFile = s%d.raw 1 999999999 1\n")
    with pytest.raises(InputError, match="not plausible"):
        image_files(tmp_path / "e.mhd")


def test_a_pair_has_two_files(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.Image(20, 20, 20, sitk.sitkInt16), str(tmp_path / "a.hdr"))
    first = fingerprint(tmp_path / "a.hdr")
    (tmp_path / "a.img").write_bytes(b"1" + (tmp_path / "a.img").read_bytes()[1:])
    assert fingerprint(tmp_path / "a.hdr") != first


def test_only_the_series_counts(tmp_path: Path, write_series: Callable[..., Path]) -> None:
    folder = write_series(tmp_path / "ct")
    (one,) = find_scans([folder])
    first = fingerprint(one.path, one.files)
    (folder / "summary.csv").write_text("ours")
    write_series(folder, count=2, SeriesDescription="scout")
    (again,) = find_scans([folder])
    assert fingerprint(again.path, again.files) == first
    one.files[3].write_bytes(one.files[3].read_bytes() + b"00")
    assert fingerprint(again.path, again.files) != first
