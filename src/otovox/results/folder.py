"""Prediction -> result folder: masks, landmarks, surfaces, pictures, page and `result.json`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from otovox.core.anatomy import LANDMARKS, Side
from otovox.core.case import Prediction
from otovox.core.landmarks import Landmarks
from otovox.errors import InputError, OutputError
from otovox.formats.caveats import Caveats
from otovox.formats.dicom_seg import write_dicom_seg
from otovox.formats.dicom_sr import CodedQuantity, write_dicom_sr
from otovox.formats.images import save_label_map, save_volume
from otovox.formats.itksnap import write_itksnap_labels
from otovox.formats.markups import write_curves, write_markups, write_planes
from otovox.formats.meshes import write_glb, write_ply, write_stl
from otovox.formats.segments import write_segments
from otovox.formats.writing import replacing_folder
from otovox.imaging.surfaces import ear_surface
from otovox.measure.measurements import Measurement, measure_ear
from otovox.measure.quantities import DISTANCES
from otovox.results.schema import (
    DICOM,
    FILES,
    RESULT,
    SCHEMA_VERSION,
    ResultFile,
    describe,
    sides_of,
)
from otovox.results.shapes import lines, parts_map, planes
from otovox.results.tables import long_table

#: Steps of the uncertainty as it is written: chosen, far below its own error, to compress well.
_UNCERTAINTY_STEPS = np.float32(255)


def write_results(prediction: Prediction, folder: Path) -> ResultFile:
    """Write everything about one scan into a folder, whole or not at all.

    An earlier result folder is replaced when the new one is complete.

    Args:
        prediction: of one scan.
        folder: where its results go.

    Returns:
        What `result.json` holds.

    Raises:
        OutputError: if it cannot be written, or holds files that are no results of ours.
    """
    _refuse_foreign(folder)
    with replacing_folder(folder) as beside:
        try:
            return _write(prediction, beside)
        except OutputError as error:
            # The user never sees the temporary folder.
            raise OutputError(str(error).replace(str(beside), str(folder))) from error


def read_result(path: Path) -> ResultFile:
    """Read a result.json.

    Raises:
        InputError: if it is missing, damaged or of another schema.
    """
    try:
        return ResultFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "file"
        raise InputError(
            f"{path}: is no result.json of schema {SCHEMA_VERSION} ({place}: {first['msg']})"
        ) from error


def stepped(uncertainty: NDArray[np.float32]) -> NDArray[np.float32]:
    """The uncertainty as it is written, (i, j, k), in steps far below its own error."""
    return np.round(uncertainty * _UNCERTAINTY_STEPS) / _UNCERTAINTY_STEPS


def summary_table(results: Sequence[ResultFile]) -> list[tuple[str, ...]]:
    """The results as lines of text cells for a terminal: a header, then one line per ear.

    Args:
        results: of any number of scans.

    Returns:
        Cells; a scan without an ear has one line with empty cells.
    """
    titles = {structure.name: structure.title for structure in LANDMARKS}
    places = tuple(f"{title}, LPS mm" for title in titles.values())
    gaps = tuple(f"{name.replace('_', ' ')}, mm" for name, _, _ in DISTANCES)
    lines = [("scan", "ear", "volume, mm3", *places, *gaps, "confidence", "warnings")]
    for result in results:
        for ear in result.ears:
            found = (ear.landmarks.get(name) for name in titles)
            points = (" ".join(f"{v:.1f}" for v in p.mm) if p and p.mm else "absent" for p in found)
            measured = [ear.measurements["labyrinth_volume"].value]
            measured += [ear.measurements[name].value for name, _, _ in DISTANCES]
            volume, *apart = ("" if v is None else f"{v:.1f}" for v in measured)
            told = "; ".join([*result.warnings, *ear.warnings])
            name, side = result.input.name, ear.side.value
            lines.append((name, side, volume, *points, *apart, f"{ear.confidence:.2f}", told))
        if not result.ears:
            empty = ("",) * (len(lines[0]) - 3)
            lines.append((result.input.name, "none", *empty, "; ".join(result.warnings)))
    return lines


def _write(prediction: Prediction, folder: Path) -> ResultFile:
    # Drawing takes long to import, and commands that write no results need none of it.
    from otovox.results.overview import overview
    from otovox.results.page import write_page

    labels = prediction.labels
    save_label_map(labels, folder / FILES["segmentation"])
    save_volume(stepped(prediction.uncertainty), labels.grid, folder / FILES["uncertainty"])
    write_segments(folder / FILES["segments"], labels)
    write_itksnap_labels(folder / FILES["labels"])
    write_markups(folder / FILES["landmarks"], _by_side(prediction))
    surfaces = {}
    ears = {ear.side: ear for ear in prediction.ears}
    for side in sides_of(prediction):
        surface = surfaces[side] = ear_surface(ears[side], labels)
        write_stl(folder / FILES[f"labyrinth_{side}"], *surface)
        write_ply(folder / FILES[f"ply_{side}"], *surface, side)
    if surfaces:
        write_glb(folder / FILES["scene"], surfaces, _by_side(prediction))
    overview(prediction, folder / FILES["overview"])
    measured = [measure_ear(ear, labels.grid) for ear in prediction.ears]
    if any(known.canals for known in measured):
        save_label_map(parts_map(labels, measured), folder / FILES["parts"])
        write_curves(folder / FILES["lines"], lines(measured))
        write_planes(folder / FILES["planes"], planes(measured))
    result = _with_dicom(prediction, describe(prediction, measured), folder)
    table = long_table({result.input.name: result})
    table.to_csv(folder / FILES["measurements"], index=False)
    write_page(prediction, result, folder / FILES["report"])
    (folder / RESULT).write_text(result.model_dump_json(indent=2) + "\n", "utf-8")
    return result


def _with_dicom(prediction: Prediction, result: ResultFile, folder: Path) -> ResultFile:
    """Write the DICOM objects that a result promises; where headers forbid them, it says so."""
    if not set(DICOM) <= set(result.files):
        return result
    told = {
        ear.side: [
            CodedQuantity(name, found.value, found.unit, _norm(found))
            for name, found in ear.measurements.items()
            if found.value is not None
        ]
        for ear in result.ears
    }
    scan, points = prediction.scan, _by_side(prediction)
    caveats = _caveats(result)
    try:
        path = folder / FILES["dicom_segmentation"]
        written = write_dicom_seg(path, prediction.labels, scan, caveats=caveats)
        write_dicom_sr(
            folder / FILES["dicom_report"],
            scan,
            landmarks=points,
            quantities=told,
            segmentation=written,
            caveats=caveats,
        )
    except InputError as error:
        for name in DICOM:
            (folder / FILES[name]).unlink(missing_ok=True)
        files = {name: file for name, file in result.files.items() if name not in DICOM}
        warnings = [*result.warnings, f"no DICOM results: {error}"]
        return result.model_copy(update={"files": files, "warnings": warnings})
    return result


def _caveats(result: ResultFile) -> Caveats:
    """What has to be known of a result, for files that go on without `result.json`."""
    models = result.provenance.models
    return Caveats(
        warnings=result.warnings,
        confidence={ear.side: ear.confidence for ear in result.ears},
        ear_warnings={ear.side: ear.warnings for ear in result.ears},
        models={
            name: str(facts["sha256"])
            for name, facts in models.items()
            if isinstance(facts, dict) and "sha256" in facts
        },
    )


def _norm(found: Measurement) -> tuple[float, float, str] | None:
    return None if found.norm is None else (found.norm.low, found.norm.high, found.norm.source)


def _by_side(prediction: Prediction) -> dict[Side, Landmarks]:
    """Landmarks per side; of two ears with the same side, those of the more certain one."""
    by_trust = sorted(prediction.ears, key=lambda ear: ear.confidence)
    return {ear.side: ear.landmarks for ear in by_trust}


def _refuse_foreign(folder: Path) -> None:
    """Refuse to replace a folder of somebody else's: it may be the very scan that was analysed."""
    ours = {RESULT, *FILES.values()}
    try:
        names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise OutputError(f"{folder}: cannot be read ({error.strerror or error})") from error
    foreign = [name for name in names if name not in ours and not name.startswith(".")]
    if foreign:
        raise OutputError(
            f"{folder}: holds {foreign[0]}, which otovox did not write; "
            "move it away or choose another --output"
        )
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file, but results need a folder of this name")
