"""What cannot become results is refused before the work."""

from pathlib import Path

import pytest

from otovox.errors import OutputError
from otovox.formats.writing import check_output


def test_results_do_not_replace_scans(tmp_path: Path) -> None:
    scan = tmp_path / "a" / "scan" / "x.nii"
    scan.parent.mkdir(parents=True)
    scan.touch()
    check_output(tmp_path / "out", names=["x"], inputs=[scan])
    check_output(tmp_path / "a", names=["x"], inputs=[scan])
    check_output(tmp_path / "a" / "scan" / "out", names=["x"], inputs=[scan.parent])
    with pytest.raises(OutputError, match=r"scan: would take the results, but x\.nii"):
        check_output(tmp_path / "a", names=["scan"], inputs=[scan])
    with pytest.raises(OutputError, match="is what is to be analysed"):
        check_output(tmp_path / "a" / "scan", names=["y"], inputs=[scan.parent])
    (tmp_path / "link").symlink_to(scan.parent)
    with pytest.raises(OutputError, match="is what is to be analysed"):
        check_output(tmp_path / "link", names=["y"], inputs=[scan.parent])


def test_names_that_are_too_long_are_refused(tmp_path: Path) -> None:
    check_output(tmp_path / "new", names=["n" * 250], inputs=[])
    for name in ("n" * 256, "ö" * 128):
        with pytest.raises(OutputError, match="too long"):
            check_output(tmp_path / "new", names=[name], inputs=[])
