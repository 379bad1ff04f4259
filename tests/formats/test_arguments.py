"""What users name: one argument that cannot be used ends no other."""

import os
from pathlib import Path

import pytest

from otovox.errors import InputError
from otovox.formats.arguments import check_name, expanded
from otovox.formats.scans import find_scans

LATIN = os.fsdecode("sch\xf6n.nii".encode("latin-1"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lists_of_windows_are_read(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "list.txt").write_bytes("# schön\r\na.nii\r\n\r\nsub/ö.nii\r\n".encode(encoding))
    paths, refused = expanded([tmp_path / "list.txt"])
    assert paths == [tmp_path / "a.nii", tmp_path / "sub" / "ö.nii"]
    assert refused == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("a.nii\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ("schön.nii\n".encode("latin-1"), "save it as UTF-8"),
        (b"list.txt\n", "contains itself"),
        (b"other.txt\n", "contains itself"),
    ],
)
def test_lists_that_cannot_be_read_end_no_other(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "list.txt").write_bytes(content)
    (tmp_path / "other.txt").write_text("list.txt\nb.nii\n")
    (tmp_path / "c.nii").touch()
    paths, refused = expanded([tmp_path / "list.txt", tmp_path / "c.nii"])
    assert paths[-1] == tmp_path / "c.nii"
    ((_, sentence),) = refused
    assert why in sentence


def test_a_list_may_be_named_twice_and_keeps_its_good_lines(tmp_path: Path) -> None:
    (tmp_path / "inner.txt").write_text("a.nii\n")
    (tmp_path / "outer.txt").write_text("inner.txt\nno-*.nii\ninner.txt\n")
    paths, refused = expanded([tmp_path / "outer.txt"])
    assert paths == [tmp_path / "a.nii"] * 2
    assert [sentence.endswith("no-*.nii: matches no file") for _, sentence in refused] == [True]


def test_names_in_other_encodings_are_refused_readably(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"sch\\udcf6n\.nii: the name is not UTF-8"):
        check_name(tmp_path / LATIN)
    check_name(tmp_path / "schön.nii")
    (tmp_path / LATIN).touch()
    (one,) = find_scans([tmp_path])
    assert one.name == "sch\\udcf6n"


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(40, "a loop")])
def test_what_is_closed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    closed, open_one = tmp_path / "closed", tmp_path / "open.nii"
    closed.mkdir()
    open_one.touch()
    real = os.listdir

    def listdir(path: Path) -> list[str]:
        if path == closed:
            raise error
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    bad, good = find_scans([closed, open_one], strict=False)
    assert bad.problem.endswith(f"closed: cannot be read ({error.strerror})")
    assert good.path == open_one
    assert not good.problem


def test_odd_paths_are_refused_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "._a.nii").touch()
    odd = [tmp_path / "._a.nii", tmp_path / ("n" * 300), tmp_path / "a\0b.nii"]
    problems = [source.problem for source in find_scans(odd, strict=False)]
    assert [bool(problem) for problem in problems] == [True] * 3
    assert "AppleDouble" in problems[0]
