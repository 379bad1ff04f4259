"""The layout on disk: `dataset.json`, `cases.csv`, images, labels, landmarks (docs/datasets.md)."""

import csv
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from otovox._version import __version__
from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.case import Case
from otovox.core.landmarks import Landmarks
from otovox.core.volume import LabelMap, Scan
from otovox.errors import ConfigError, InputError, OutputError
from otovox.formats.images import load_label_map, save_label_map, save_volume
from otovox.formats.markups import read_markups, write_markups
from otovox.formats.scans import load_scan
from otovox.formats.writing import make_folder, replacing

SCHEMA_VERSION = "1.0"
INFO, INDEX = "dataset.json", "cases.csv"
SPLITS = ("train", "validation", "test", "")


@dataclass(frozen=True)
class Entry:
    """One row of `cases.csv`: a scan, its patient and its files.

    Attributes:
        case: unique name of the scan.
        patient: the scan's patient; splits never divide a patient.
        side: "right", "left" or "both".
        scanner, diagnosis: if known.
        split: "train", "validation", "test", or empty.
        image, labels, landmarks: paths relative to the data set; empty if missing.
    """

    case: str
    patient: str
    side: str = ""
    scanner: str = ""
    diagnosis: str = ""
    split: str = ""
    image: str = ""
    labels: str = ""
    landmarks: str = ""


COLUMNS = tuple(field.name for field in fields(Entry))


def write_case(case: Case, folder: Path) -> None:
    """Write a single case: `scan.nii.gz`, `labels.nii.gz` and `landmarks.mrk.json`.

    Args:
        case: with its ground truth.
        folder: created if it does not exist.

    Raises:
        OutputError: if it cannot be written.
    """
    make_folder(folder)
    save_volume(case.scan.values, case.scan.grid, folder / "scan.nii.gz")
    save_label_map(case.labels, folder / "labels.nii.gz")
    write_markups(folder / "landmarks.mrk.json", case.landmarks)


def start_dataset(folder: Path, *, name: str, source: str) -> list[Entry]:
    """Create a data set, or open an existing one.

    Args:
        folder: of the data set; created if it does not exist.
        name: of the data set.
        source: where it comes from.

    Returns:
        The existing entries.

    Raises:
        OutputError: if the folder contains other files, or cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     entries = start_dataset(Path(folder), name="clinic", source="own scans")
    ...     entries, read_info(Path(folder))["name"]
    ([], 'clinic')
    """
    if (folder / INFO).is_file():
        return read_index(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise OutputError(f"{folder}: contains files but no {INFO}; choose another --output")
    make_folder(folder)
    facts = {
        "schema_version": SCHEMA_VERSION,
        "name": name,
        "source": source,
        "labels": {"background": 0, **{f"{side}_labyrinth": side.label for side in Side}},
        "coordinate_system": "LPS",
        "unit": "mm",
        "landmarks": list(LANDMARK_NAMES),
        "software": f"otovox {__version__}",
    }
    with replacing(folder / INFO) as beside:
        beside.write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
    write_index(folder, [])
    return []


def add_case(folder: Path, case: Case, entry: Entry) -> Entry:
    """Write a case's files, then its row; a case of the same name is replaced.

    Args:
        folder: of the data set.
        case: scan and ground truth; label values are `Side.label`.
        entry: its row; paths and an empty side are filled in.

    Returns:
        The row as written.

    Raises:
        OutputError: if a file cannot be written; the row is written last.
    """
    name = case.scan.name
    image, labels = f"images/{name}.nii.gz", f"labels/{name}.nii.gz"
    landmarks = f"landmarks/{name}.mrk.json" if case.landmarks else ""
    save_volume(case.scan.values, case.scan.grid, folder / image)
    save_label_map(case.labels, folder / labels)
    if case.landmarks:
        write_markups(folder / landmarks, case.landmarks)
    present = [side for side in Side if (case.labels.values == side.label).any()]
    side = entry.side or ("both" if len(present) == 2 else "".join(present))
    facts = asdict(entry) | {
        "case": name,
        "side": side,
        "image": image,
        "labels": labels,
        "landmarks": landmarks,
    }
    row = Entry(**facts)
    write_index(folder, [old for old in read_index(folder) if old.case != name] + [row])
    return row


def read_info(folder: Path) -> dict[str, Any]:
    """The content of `dataset.json`.

    Raises:
        InputError: if the folder is not a data set.
    """
    try:
        return json.loads((folder / INFO).read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{folder}: is not an otovox data set (it has no {INFO})") from error
    except ValueError as error:
        raise InputError(f"{folder / INFO}: is damaged") from error


def check_names(datasets: Sequence[Path]) -> None:
    """Require different names of data sets, by which results and scores are filed.

    Raises:
        ConfigError: if two folders have the same name.

    >>> check_names([Path("sets/W"), Path("sets/O")])
    """
    by_name: dict[str, Path] = {}
    for folder in datasets:
        name = folder.resolve().name
        if name in by_name:
            raise ConfigError(
                f"{by_name[name]} and {folder}: two data sets with the same folder name; rename "
                "one, since results are filed by this name"
            )
        by_name[name] = folder


def read_index(folder: Path) -> list[Entry]:
    """The rows of `cases.csv`.

    Raises:
        InputError: if the folder is not a data set, or a required column is missing.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = start_dataset(Path(folder), name="clinic", source="own scans")
    ...     write_index(Path(folder), [Entry(case="anna", patient="p1", split="test")])
    ...     [(entry.patient, entry.split) for entry in read_index(Path(folder))]
    [('p1', 'test')]
    """
    read_info(folder)
    try:
        with (folder / INDEX).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{folder / INDEX}: cannot be read") from error
    lacking = {"case", "patient", "image"} - set(rows[0] if rows else COLUMNS)
    if lacking:
        raise InputError(f"{folder / INDEX}: has no column {', '.join(sorted(lacking))}")
    return [Entry(**{name: (row.get(name) or "").strip() for name in COLUMNS}) for row in rows]


def write_index(folder: Path, entries: Iterable[Entry]) -> None:
    """Write `cases.csv`, sorted by case.

    Raises:
        OutputError: if it cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = start_dataset(Path(folder), name="clinic", source="own scans")
    ...     write_index(Path(folder), [Entry(case=name, patient=name) for name in ("bert", "anna")])
    ...     [entry.case for entry in read_index(Path(folder))]
    ['anna', 'bert']
    """
    with (
        replacing(folder / INDEX) as beside,
        beside.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(asdict(entry) for entry in sorted(entries, key=lambda entry: entry.case))


def load_case(folder: Path, entry: Entry) -> Case:
    """Read one case.

    Returns:
        The scan with its ground truth; a missing label map becomes an empty one.

    Raises:
        InputError: if a file is missing or does not match the scan.
    """
    scan = load_scan(folder / entry.image)
    scan = Scan(scan.values, scan.grid, entry.case, scan.source)
    if entry.labels:
        labels = load_label_map(folder / entry.labels)
        if not labels.grid.same_as(scan.grid, tolerance_mm=0.01):
            raise InputError(f"{entry.labels}: is not on the same grid as {entry.image}")
    else:
        labels = LabelMap(np.zeros(scan.grid.shape, np.uint8), scan.grid)
    points = read_markups(folder / entry.landmarks) if entry.landmarks else {}
    facts = {key: getattr(entry, key) for key in ("patient", "scanner", "diagnosis", "split")}
    return Case(scan, labels, points_by_side(points), facts)


def points_by_side(points_mm: dict[str, np.ndarray]) -> dict[Side, Landmarks]:
    """Points labelled `right/helicotrema` and so on, per side; other labels are ignored.

    >>> points = points_by_side({"left/helicotrema": np.ones(3), "incus": np.zeros(3)})
    >>> {side.value: landmarks.names for side, landmarks in points.items()}
    {'left': ('helicotrema',)}
    """
    sides: dict[Side, dict[str, np.ndarray]] = {}
    for label, point in points_mm.items():
        side, slash, name = label.partition("/")
        if slash and side in set(Side):
            sides.setdefault(Side(side), {})[name] = point
    return {
        side: Landmarks(tuple(named), np.stack(list(named.values())))
        for side, named in sides.items()
    }


def split_by_patient(
    entries: Sequence[Entry], *, validation: int, test: int = 0, seed: int = 0
) -> list[Entry]:
    """Draw patients for validation and test; the rest are for training.

    Args:
        entries: all cases.
        validation, test: numbers of patients.
        seed: the same seed draws the same patients.

    Returns:
        The entries with their splits.

    Raises:
        InputError: if there are too few patients.

    >>> ears = [Entry(case=name, patient=name[0]) for name in ("a1", "a2", "b1", "b2", "c1", "c2")]
    >>> drawn = split_by_patient(ears, validation=1, test=1)
    >>> sorted(entry.split for entry in drawn)
    ['test', 'test', 'train', 'train', 'validation', 'validation']
    """
    patients = sorted({entry.patient for entry in entries})
    if validation + test >= len(patients):
        raise InputError(
            f"{len(patients)} patients are too few for {validation} in validation, {test} in test "
            "and at least one in training"
        )
    drawn = np.random.default_rng(seed).permutation(patients)
    split = dict.fromkeys(patients, "train")
    split |= dict.fromkeys(drawn[:validation].tolist(), "validation")
    split |= dict.fromkeys(drawn[validation : validation + test].tolist(), "test")
    return [Entry(**asdict(entry) | {"split": split[entry.patient]}) for entry in entries]
