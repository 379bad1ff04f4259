"""Damaged files of every format are read, or refused in one sentence.

`benchmarks/robust_input.py` does the same with many more.
"""

import logging
from contextlib import suppress
from pathlib import Path

import pytest

from fuzzing import damaged, read_all, write_sources
from otovox.errors import InputError
from otovox.formats.native import silenced_libraries
from otovox.formats.scans import load_scan


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_sources(tmp_path_factory.mktemp("fuzzing") / "sources")


@pytest.mark.filterwarnings("ignore")
def test_the_sources_are_good(sources: list[Path]) -> None:
    for source in sources:
        heads = [path for path in source.iterdir() if path.suffix not in (".raw", ".zraw", ".img")]
        count, refused = read_all(source if source.name.startswith("dicom") else min(heads))
        assert count >= 1, (source, refused)


@pytest.mark.parametrize("count", ["99999999999", "11", "0", "-3", "", "nan"])
def test_impossible_numbers_of_dimensions_do_not_crash(
    sources: list[Path], tmp_path: Path, count: str
) -> None:
    (source,) = [source for source in sources if source.name == "a-mhd"]
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(
            path.read_bytes().replace(b"= 3\n", f"= {count}\n".encode())
        )
    with pytest.raises(InputError, match="number of dimensions"):
        load_scan(tmp_path / "a.mhd")


@pytest.mark.filterwarnings("ignore")
def test_sequences_that_end_early_are_refused(sources: list[Path], tmp_path: Path) -> None:
    (source,) = [source for source in sources if source.name == "enhanced"]
    content = (source / "a.dcm").read_bytes()
    start = content.index(b"\x00\x52\x30\x92")  # the per-frame functional groups
    for cut in range(start + 8, start + 400, 3):
        (tmp_path / "a.dcm").write_bytes(content[:cut] + content[cut + 7 :])
        with suppress(InputError):
            load_scan(tmp_path / "a.dcm")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("first", range(0, 300, 60))
def test_damaged_files_are_read_or_refused(sources: list[Path], tmp_path: Path, first: int) -> None:
    logging.disable(logging.CRITICAL)
    try:
        with silenced_libraries():
            for number in range(first, first + 60):
                read_all(damaged(sources[number % len(sources)], number, tmp_path / str(number)))
    finally:
        logging.disable(logging.NOTSET)


def test_control_characters_of_a_header_do_not_reach_the_terminal() -> None:
    assert str(InputError("a.nii: its space 'x\n\x1b[31m' is odd")) == (
        r"a.nii: its space 'x\n\x1b[31m' is odd"
    )
