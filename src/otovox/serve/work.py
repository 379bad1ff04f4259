"""Tasks of the worker processes: sort uploads into scans, analyse scans, measure corrections."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from otovox.core.volume import Grid, Scan
from otovox.errors import InputError
from otovox.formats.detached import image_files
from otovox.formats.images import scan_name
from otovox.formats.scans import Source, find_scans, load_scan
from otovox.serve.settings import Analysis, Limits
from otovox.serve.uploads import Refused, shown_name, unpack
from otovox.stages import Stage, reported_to

#: Reports the stage that a task has reached.
ReportStage = Callable[[str], None]
#: Attributes of a DICOM header by which studies are searched.
_FACTS = {
    "patient": "PatientName",
    "patient_id": "PatientID",
    "study_date": "StudyDate",
    "description": "SeriesDescription",
}


@dataclass(frozen=True)
class SortTask:
    """An upload to sort.

    Attributes:
        folder: with its files.
        names: names from the sender, by path relative to `folder`.
        limits: for unpacked zip files.
    """

    folder: Path
    names: dict[str, str]
    limits: Limits


@dataclass(frozen=True)
class AnalyseTask:
    """A scan to analyse.

    Attributes:
        input: folder with its files.
        results: its result folder.
        view: folder for the viewer's data.
        name: of the scan.
        analysis: model and device.
    """

    input: Path
    results: Path
    view: Path
    name: str
    analysis: Analysis


@dataclass(frozen=True)
class MeasureTask:
    """A correction to measure: a folder as `results.corrections` reads it, and its scan."""

    input: Path
    correction: Path
    results: Path


def sort_upload(task: SortTask, report_stage: ReportStage) -> dict[str, Any]:
    """The scans of an upload.

    Returns:
        `scans`: per scan its name, attributes, files relative to the folder, and the problem if it
        cannot be analysed.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "f000001.nii").write_bytes(b"")
    ...     task = SortTask(Path(folder), {"f000001.nii": "Anna.nii"}, Limits())
    ...     [scan["name"] for scan in sort_upload(task, str)["scans"]]
    ['Anna']
    """
    report_stage("unpacking")
    names, problems = dict(task.names), []
    for archive in sorted(task.folder.rglob("*.zip")):
        inside = archive.with_name(f"unpacked-{archive.stem}")
        # Remains of an interrupted run.
        shutil.rmtree(inside, ignore_errors=True)
        own = names.get(str(archive.relative_to(task.folder)), "upload.zip")
        try:
            members = unpack(archive, inside, task.limits, first=1)
        except Refused as error:
            archive.unlink()
            problems.append({"name": own, "files": [], "problem": f"{own}: {error}"})
            continue
        base = inside.relative_to(task.folder)
        names |= {str(base / path): f"{scan_name(Path(own))}/{n}" for path, n in members.items()}
    report_stage("searching for scans")
    if not any(path.is_file() for path in task.folder.rglob("*")):
        return {"scans": problems}
    sources = find_scans([task.folder], strict=False)
    return {"scans": [*problems, *(_scan(task.folder, names, source) for source in sources)]}


def analyse(task: AnalyseTask, report_stage: ReportStage) -> dict[str, Any]:
    """Analyse a scan and write its result folder; existing results are kept."""
    from otovox.analysis.model import load_model
    from otovox.results.schema import RESULT, read_result

    if (task.results / RESULT).exists():
        return summary(read_result(task.results / RESULT))
    report_stage(Stage.READING)
    scan = replace(load_scan(task.input), name=task.name)
    write_view(scan, task.view)
    analysis = task.analysis
    with reported_to(report_stage):
        model = load_model(
            analysis.model, device=analysis.device, threads=analysis.threads, tta=analysis.tta
        )
        return summary(model.analyze_scan(scan).save(task.results))


def measure(task: MeasureTask, report_stage: ReportStage) -> dict[str, Any]:
    """Measure a correction and write its result folder."""
    from otovox.analysis.segmentation import measure_labels
    from otovox.results.corrections import read_correction
    from otovox.results.schema import FILES, RESULT, read_result

    if (task.results / RESULT).exists():
        return summary(read_result(task.results / RESULT))
    report_stage("checking the correction")
    correction = read_correction(task.correction, scans=task.input)
    report_stage(Stage.MEASURING)
    case = correction.case
    result = measure_labels(
        case.scan,
        case.labels,
        case.landmarks,
        source=Path(FILES["segmentation"]),
        warnings=correction.warnings,
    )
    report_stage(Stage.WRITING)
    return summary(result.save(task.results)) | {"changes": list(correction.changes)}


def summary(result: Any) -> dict[str, Any]:
    """Summary of a `ResultFile` for the list of studies.

    >>> from types import SimpleNamespace as Some
    >>> values, unknown = {"labyrinth_volume": Some(value=78.2)}, Some(expected_dsc=None)
    >>> left = {"side": Some(value="left"), "measurements": values, "uncertainty": unknown}
    >>> summary(Some(ears=[Some(**left, warnings=[])], warnings=[]))["ears"]
    {'left': {'volume_mm3': 78.2, 'expected_dsc': None, 'warnings': 0}}
    """
    ears = {}
    for ear in result.ears:
        expected = ear.uncertainty.expected_dsc
        ears[ear.side.value] = {
            "volume_mm3": ear.measurements["labyrinth_volume"].value,
            "expected_dsc": None if expected is None else expected.value,
            "warnings": len(ear.warnings),
        }
    return {"ears": ears, "warnings": list(result.warnings)}


def write_view(scan: Scan, folder: Path) -> None:
    """Store a scan's voxels so that parts of them can be read quickly.

    >>> from tempfile import TemporaryDirectory
    >>> scan = Scan(np.full((2, 2, 2), 7.0), Grid.centred((0, 0, 0), (2, 2, 2), spacing_mm=2))
    >>> with TemporaryDirectory() as folder:
    ...     write_view(scan, Path(folder))
    ...     np.load(Path(folder, "scan.npy"))[0].tolist()
    [[7, 7], [7, 7]]
    """
    values = scan.values
    whole = np.rint(values)
    low, high = float(values.min()), float(values.max())
    if low >= -32768 and high <= 32767 and np.array_equal(whole, values):
        values = whole.astype(np.int16)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    np.save(folder / "scan.npy", values)
    (folder / "grid.json").write_text(json.dumps(scan.grid.affine.tolist()))


def read_view(folder: Path) -> tuple[np.ndarray, Grid]:
    """The voxels, (i, j, k), memory-mapped, and their grid.

    Raises:
        InputError: if they have not been stored.

    >>> from tempfile import TemporaryDirectory
    >>> scan = Scan(np.full((2, 2, 2), 7.0), Grid.centred((0, 0, 0), (2, 2, 2), spacing_mm=2))
    >>> with TemporaryDirectory() as folder:
    ...     write_view(scan, Path(folder))
    ...     values, grid = read_view(Path(folder))
    >>> values[0].tolist(), grid.spacing_mm.tolist()
    ([[7, 7], [7, 7]], [2.0, 2.0, 2.0])
    """
    try:
        values = np.load(folder / "scan.npy", mmap_mode="r", allow_pickle=False)
        affine = np.asarray(json.loads((folder / "grid.json").read_text()))
    except (OSError, ValueError) as error:
        raise InputError("the scan cannot be displayed yet") from error
    i, j, k = values.shape
    return values, Grid((i, j, k), affine)


def _scan(folder: Path, names: dict[str, str], source: Source) -> dict[str, Any]:
    """Description of one scan of an upload, with the sender's names."""
    files = source.files or (() if source.problem else tuple(image_files(source.path)))
    stored = [str(path.relative_to(folder)) for path in files if path.is_file()]
    facts = _facts(source.files[0]) if source.files else {}
    shown = names.get(stored[0], "") if stored else ""
    name = _name(shown, facts) if source.files else scan_name(Path(shown or source.path.name))
    problem = source.problem.replace(str(folder), "the upload").replace("the upload/", "")
    return {"name": name or "scan", "files": stored, "problem": problem} | facts


def _name(shown: str, facts: dict[str, str]) -> str:
    """Name of a DICOM series: the sender's folder or the patient, and the series description."""
    directory = Path(shown).parent.name or facts.get("patient") or "DICOM"
    described = facts.get("description", "")
    return shown_name(f"{directory} {described}" if described else directory)


def _facts(path: Path) -> dict[str, str]:
    import pydicom
    from pydicom.errors import InvalidDicomError

    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        return {
            name: shown_name(str(header.get(tag, "")).replace("^", " "))
            for name, tag in _FACTS.items()
        }
    except (OSError, ValueError, InvalidDicomError):
        return {}
