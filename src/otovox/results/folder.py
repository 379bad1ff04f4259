"""The results folder of a scan: masks, landmarks, surfaces, figures, report and `result.json`."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

from otovox.core.anatomy import Side
from otovox.core.case import Prediction
from otovox.core.landmarks import Landmarks
from otovox.core.volume import LabelMap
from otovox.errors import OutputError
from otovox.formats.images import save_label_map, save_volume
from otovox.formats.itksnap import write_itksnap_labels
from otovox.formats.markups import write_curves, write_markups, write_planes
from otovox.formats.meshes import write_glb, write_ply, write_stl
from otovox.formats.segments import write_segments
from otovox.formats.writing import replacing_folder
from otovox.measure.measured_scan import MeasuredScan
from otovox.results.description import describe
from otovox.results.dicom import with_dicom
from otovox.results.schema import FILES, RESULT, ResultFile, check_same_scan
from otovox.results.shapes import lines, part_surfaces, parts_map, planes
from otovox.results.tables import write_long_table


def write_results(
    measured: MeasuredScan, folder: Path, *, described: ResultFile | None = None
) -> ResultFile:
    """Write all results of one scan into a folder, completely or not at all.

    An earlier results folder is replaced when the new one is complete.

    Args:
        measured: the scan's prediction and measurements.
        folder: results folder.
        described: contents of `result.json`; computed if None.

    Returns:
        The contents of `result.json`.

    Raises:
        OutputError: if it cannot be written, or contains files that otovox did not write or the
            results of another scan.
    """
    described = described or describe(measured)

    def check() -> None:
        _refuse_foreign(folder)
        check_same_scan(folder, described.provenance.location)

    check()
    with replacing_folder(folder, check) as beside:
        try:
            return _write(measured, described, beside)
        except OutputError as error:
            # The user never sees the temporary folder.
            raise OutputError(str(error).replace(str(beside), str(folder))) from error


def _write(measured: MeasuredScan, described: ResultFile, folder: Path) -> ResultFile:
    parts = parts_map(measured.prediction.labels, measured.ears)
    with ThreadPoolExecutor(2) as pool:
        # Compression leaves Python to the rest; the context says whether libraries are silenced.
        spread = pool.submit(copy_context().run, _write_uncertainty, measured.prediction, folder)
        maps = pool.submit(copy_context().run, _write_maps, measured.prediction, parts, folder)
        result = _write_shapes_and_tables(measured, parts, described, folder)
        _draw(measured, result, folder)
        spread.result()
        maps.result()
    (folder / RESULT).write_text(result.model_dump_json(indent=2) + "\n", "utf-8")
    return result


def _write_uncertainty(prediction: Prediction, folder: Path) -> None:
    """The standard deviation between test-time samples, on the scan's grid."""
    if prediction.by_model:
        path = folder / FILES["uncertainty"]
        save_volume(prediction.uncertainty, prediction.labels.grid, path)


def _write_maps(prediction: Prediction, parts: LabelMap | None, folder: Path) -> None:
    """Label maps, on the scan's grid."""
    save_label_map(prediction.labels, folder / FILES["segmentation"])
    if parts is not None:
        save_label_map(parts, folder / FILES["parts"])
    write_segments(folder / FILES["segments"], prediction.labels, parts)
    write_itksnap_labels(folder / FILES["labels"])


def _write_shapes_and_tables(
    measured: MeasuredScan, parts: LabelMap | None, described: ResultFile, folder: Path
) -> ResultFile:
    """Landmarks, surfaces, lines, DICOM and the table; the content of `result.json`."""
    prediction, landmarks = measured.prediction, landmarks_by_side(measured.prediction)
    write_markups(folder / FILES["landmarks"], landmarks)
    _write_surfaces(measured, landmarks, folder)
    _write_shapes(measured, folder)
    result = with_dicom(prediction, described, landmarks, folder, parts=parts)
    write_long_table({result.input.name: result}, folder / FILES["measurements"])
    return result


def _draw(measured: MeasuredScan, result: ResultFile, folder: Path) -> None:
    """Pictures and the page."""
    # Drawing takes long to import, and commands that write no results need none of it.
    from otovox.results.overview import draw_pictures
    from otovox.results.page import write_page

    pictures = draw_pictures(measured.prediction)
    (folder / FILES["overview"]).write_bytes(pictures.overview)
    write_page(measured, result, folder / FILES["report"], pictures)


def _write_surfaces(
    measured: MeasuredScan, landmarks: Mapping[Side, Landmarks], folder: Path
) -> None:
    """A surface per side, and a scene with all surfaces and landmarks."""
    ears = zip(measured.prediction.ears, measured.surfaces, strict=True)
    surfaces = {ear.side: surface for ear, surface in ears if ear.side in measured.sides}
    for side, surface in surfaces.items():
        write_stl(folder / FILES[f"labyrinth_{side}"], *surface)
        write_ply(folder / FILES[f"ply_{side}"], *surface, side)
    if surfaces:
        parts = part_surfaces(surfaces, measured.ears)
        write_glb(folder / FILES["scene"], surfaces, dict(landmarks), parts)


def _write_shapes(measured: MeasuredScan, folder: Path) -> None:
    """Centrelines and planes, if the shape of an ear was measured."""
    if not any(ear.canals for ear in measured.ears):
        return
    write_curves(folder / FILES["lines"], lines(measured.ears))
    write_planes(folder / FILES["planes"], planes(measured.ears))


def landmarks_by_side(prediction: Prediction) -> dict[Side, Landmarks]:
    """Landmarks per side; of two ears of the same side, those of the more confident one.

    >>> from types import SimpleNamespace as Some
    >>> sure = Some(side=Side.LEFT, confidence=0.9, landmarks="of the sure one")
    >>> doubtful = Some(side=Side.LEFT, confidence=0.4, landmarks="of the doubtful one")
    >>> landmarks_by_side(Some(ears=[sure, doubtful]))[Side.LEFT]
    'of the sure one'
    """
    by_confidence = sorted(prediction.ears, key=lambda ear: ear.confidence)
    return {ear.side: ear.landmarks for ear in by_confidence}


def _refuse_foreign(folder: Path) -> None:
    """Refuse to replace a folder that contains other files: it may be the analysed scan."""
    ours = {RESULT, *FILES.values()}
    try:
        names = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise OutputError(f"{folder}: cannot be read ({error.strerror or error})") from error
    foreign = [name for name in names if name not in ours and not name.startswith(".")]
    if foreign:
        raise OutputError(
            f"{folder}: contains {foreign[0]}, which otovox did not write; "
            "move it away or choose another --output"
        )
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file, but results need a folder of this name")
