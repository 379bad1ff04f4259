"""Prediction -> result folder: masks, landmarks, surfaces, pictures, page and `result.json`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from otovox.anatomy import LANDMARKS, Side
from otovox.case import Prediction
from otovox.errors import InputError, OutputError
from otovox.formats import save_label_map, save_volume, write_markups, write_stl
from otovox.formats.writing import replacing_folder
from otovox.landmarks import Landmarks
from otovox.quantities import DISTANCES
from otovox.result import FILES, RESULT, SCHEMA_VERSION, ResultFile, describe, sides_of
from otovox.surfaces import mesh, smooth_mesh
from otovox.tables import long_table

#: Steps of the uncertainty as it is written: chosen, far below its own error, to compress well.
_UNCERTAINTY_STEPS = 255


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
    from otovox.page import write_page
    from otovox.pictures import overview

    labels = prediction.labels
    steps = np.float32(_UNCERTAINTY_STEPS)
    uncertainty = np.round(prediction.uncertainty * steps) / steps
    save_label_map(labels, folder / FILES["segmentation"])
    save_volume(uncertainty, labels.grid, folder / FILES["uncertainty"])
    write_markups(folder / FILES["landmarks"], _by_side(prediction))
    fine = {ear.side: ear.probability for ear in prediction.ears}
    for side in sides_of(prediction):
        probability = fine[side]
        if probability is None:
            surface = smooth_mesh(labels.values == side.label, labels.grid)
        else:
            surface = mesh(probability.values, probability.grid)
        write_stl(folder / FILES[f"labyrinth_{side}"], *surface)
    overview(prediction, folder / FILES["overview"])
    result = describe(prediction)
    table = long_table({result.input.name: result})
    table.to_csv(folder / FILES["measurements"], index=False)
    write_page(prediction, result, folder / FILES["report"])
    (folder / RESULT).write_text(result.model_dump_json(indent=2) + "\n", "utf-8")
    return result


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
