"""Headers of text, and the files beside them in which the voxels lie."""

import re
from pathlib import Path

from otovox.errors import InputError

METAIMAGE, NRRD, PAIR = (".mha", ".mhd"), (".nrrd", ".nhdr"), (".hdr",)
#: Longest header that is looked at, lines and bytes of a line: chosen, far above real ones.
_LINES, _LINE = 10_000, 100_000
#: Most files that a numbered series of voxel files may have: chosen.
_MOST_FILES = 100_000


def text_header(path: Path) -> dict[str, str]:
    """Keys, in small letters, and values of an NRRD or MetaImage header.

    A list of files that ends the header stands under the key "" as one name per line.

    Raises:
        InputError: if it cannot be read.
    """
    metaimage = path.name.lower().endswith(METAIMAGE)
    told: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            for _ in range(_LINES):
                raw = file.readline(_LINE)
                line = raw.decode("utf-8", "surrogateescape").strip()
                if not raw or (not line and not metaimage):
                    break
                key, mark, value = line.partition("=" if metaimage else ":")
                key, value = key.strip().lower(), value.strip()
                if not mark or value.startswith("="):  # NRRD's key:=value pairs
                    continue
                told.setdefault(key, value)
                if key in ("elementdatafile", "data file", "datafile"):
                    if value.split(" ")[0] == "LIST":
                        rest = file.read(_LINES * 100).decode("utf-8", "surrogateescape")
                        told[""] = "\n".join(name.strip() for name in rest.splitlines())
                        break
                    if metaimage:
                        break
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return told


def image_files(path: Path) -> list[Path]:
    """The files that an image is read from, its header first; they need not be there.

    Raises:
        InputError: if the header cannot be read, or names too many files.
    """
    name = path.name.lower()
    if name.endswith(PAIR):
        return [
            path,
            path.with_name(path.name[:-4] + (".IMG" if path.name.endswith(".HDR") else ".img")),
        ]
    if not name.endswith((*METAIMAGE, *NRRD)):
        return [path]
    told = text_header(path)
    named = next(
        (told[key] for key in ("elementdatafile", "data file", "datafile") if key in told), ""
    )
    if not named or named.upper() == "LOCAL":
        return [path]
    if named.split(" ")[0] == "LIST":
        names = [line for line in told.get("", "").split("\n") if line]
    else:
        names = _numbered(path, named) or [named]
    if any("\0" in name for name in names):
        raise InputError(f"{path}: the name of its file of voxels is damaged")
    return [path, *(path.parent / name for name in names)]


def _numbered(path: Path, named: str) -> list[str]:
    """Names of "slice%03d.raw 1 20 1": first, last and step; none if it is no such pattern."""
    match = re.fullmatch(r"(\S*%\d*d\S*) (-?\d+) (-?\d+)(?: (-?\d+))?(?: \d+)?", named)
    if not match:
        return []
    first, last, step = int(match[2]), int(match[3]), int(match[4] or 1) or 1
    numbers = range(first, last + (1 if step > 0 else -1), step)
    if len(numbers) > _MOST_FILES:
        raise InputError(f"{path}: names {len(numbers)} files of voxels, which makes no sense")
    return [match[1] % number for number in numbers]
