"""Cases on disk: one folder each, with the scan, its label map and its landmarks."""

from pathlib import Path

from otovox.case import Case
from otovox.formats import save_label_map, save_volume, write_markups
from otovox.formats.writing import make_folder


def write_case(case: Case, folder: Path) -> None:
    """Write `scan.nii.gz`, `labels.nii.gz` and `landmarks.mrk.json`.

    Args:
        case: with its truth.
        folder: made if absent.

    Raises:
        OutputError: if it cannot be written.
    """
    make_folder(folder)
    save_volume(case.scan.values, case.scan.grid, folder / "scan.nii.gz")
    save_label_map(case.labels, folder / "labels.nii.gz")
    write_markups(folder / "landmarks.mrk.json", case.landmarks)
