"""What cannot become results is refused before the work; nothing is left half-written."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from otovox.errors import OutputError
from otovox.formats.leftovers import remove_leftovers, scratch_folder
from otovox.formats.writing import check_output, locked, replacing_folder


def test_results_do_not_replace_scans(tmp_path: Path) -> None:
    scan = tmp_path / "a" / "scan" / "x.nii"
    scan.parent.mkdir(parents=True)
    scan.touch()
    check_output(tmp_path / "out", names=["x"], inputs=[scan])
    check_output(tmp_path / "a", names=["x"], inputs=[scan])
    check_output(tmp_path / "a" / "scan" / "out", names=["x"], inputs=[scan.parent])
    with pytest.raises(OutputError, match=r"scan: results would replace .* x\.nii"):
        check_output(tmp_path / "a", names=["scan"], inputs=[scan])
    with pytest.raises(OutputError, match="is the input itself"):
        check_output(tmp_path / "a" / "scan", names=["y"], inputs=[scan.parent])
    (tmp_path / "link").symlink_to(scan.parent)
    with pytest.raises(OutputError, match="is the input itself"):
        check_output(tmp_path / "link", names=["y"], inputs=[scan.parent])


def test_names_that_are_too_long_are_refused(tmp_path: Path) -> None:
    check_output(tmp_path / "new", names=["n" * 250], inputs=[])
    for name in ("n" * 256, "ö" * 128):
        with pytest.raises(OutputError, match="too long"):
            check_output(tmp_path / "new", names=[name], inputs=[])


def test_what_dead_processes_left_is_removed(tmp_path: Path) -> None:
    with scratch_folder(tmp_path, "scan") as alive:
        (alive / "half").touch()
        computer = alive.name.split("-")[-3]
        dead = subprocess.Popen([sys.executable, "-c", ""])
        dead.wait()
        names = {
            "dead": f".scan-otovox-{computer}-{dead.pid}-abcd1234",
            # The number was given to a later process.
            "given": f".scan-otovox-{computer}-{os.getpid()}-abcd1234",
            "elsewhere": ".scan-otovox-000000-1-abcd1234",
            "elsewhere, old": ".scan-otovox-000000-2-abcd1234",
            "foreign": ".scan-816",
        }
        for name in names.values():
            (tmp_path / name).mkdir()
            (tmp_path / name / "half").touch()
        for name in ("given", "elsewhere, old"):
            os.utime(tmp_path / names[name], (0, 0))
        remove_leftovers(tmp_path)
        kept = {alive.name, names["elsewhere"], names["foreign"]}
        assert {path.name for path in tmp_path.iterdir()} == kept
    assert not alive.exists()
    remove_leftovers(tmp_path / "not there")


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "scan"

    def refuse() -> None:
        raise OutputError("another's")

    for text in ("old", "new"):
        with replacing_folder(folder) as beside:
            (beside / "file").write_text(text)
    assert (folder / "file").read_text() == "new"
    with pytest.raises(OutputError, match="another's"), replacing_folder(folder, refuse) as beside:
        beside.joinpath("file").write_text("newer")
    with pytest.raises(ZeroDivisionError), replacing_folder(folder):
        _ = 1 / 0
    assert (folder / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["scan"]


def test_a_lock_is_held_by_one_alone(tmp_path: Path) -> None:
    inside: list[int] = []

    def count(_: int) -> int:
        with locked(tmp_path):
            inside.append(1)
            time.sleep(0.002)
            together = len(inside)
            inside.pop()
        return together

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(count, range(60))) == {1}
    assert list(tmp_path.iterdir()) == []
