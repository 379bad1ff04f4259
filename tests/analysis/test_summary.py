"""The table of a folder into which several processes write, and scans of one name."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from otovox.analysis.summary import read_summary, update_summary
from otovox.formats.writing import locked


def add_rows(folder: Path, first: int) -> None:
    for number in range(first, first + 10):
        row = {"scan": f"s{number}", "path": "p", "status": "done", "reason": ""}
        with locked(folder):
            update_summary(folder / "summary.csv", row["scan"], [row | {"side": "left"}] * 2)


def test_processes_lose_no_row_of_each_other(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, mp_context=get_context("fork")) as pool:
        list(pool.map(add_rows, [tmp_path] * 3, [0, 10, 5]))
    names = sorted(row["scan"] for row in read_summary(tmp_path / "summary.csv"))
    assert names == sorted([f"s{number}" for number in range(20)] * 2)
