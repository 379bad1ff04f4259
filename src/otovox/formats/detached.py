"""Text headers, and the separate files that hold their voxels."""

import re
from pathlib import Path

from otovox.errors import InputError

METAIMAGE, NRRD, PAIR = (".mha", ".mhd"), (".nrrd", ".nhdr"), (".hdr",)
#: Longest header that is parsed, in lines and in bytes per line: chosen, far above real ones.
_LINES, _LINE = 10_000, 100_000
#: Largest number of files in a numbered series of voxel files: chosen.
_MOST_FILES = 100_000


def text_header(path: Path) -> dict[str, str]:
    """The keys (lowercase) and values of an NRRD or MetaImage header.

    A list of files at the end of the header is stored under the key "", one name per line.

    Raises:
        InputError: if it cannot be read.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "scan.mhd")
    ...     _ = path.write_text("NDims = 3\\nDimSize = 2 2 2\\nElementDataFile = scan.raw\\n")
    ...     text_header(path)["elementdatafile"]
    'scan.raw'
    """
    metaimage = path.name.lower().endswith(METAIMAGE)
    fields: dict[str, str] = {}
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
                fields.setdefault(key, value)
                if key in ("elementdatafile", "data file", "datafile"):
                    if value.split(" ")[0] == "LIST":
                        rest = file.read(_LINES * 100).decode("utf-8", "surrogateescape")
                        fields[""] = "\n".join(name.strip() for name in rest.splitlines())
                        break
                    if metaimage:
                        break
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    return fields


def check_counts(path: Path) -> None:
    """Refuse a MetaImage header whose number of dimensions would crash its reader.

    Raises:
        InputError: if it cannot be read, or states an impossible number.
    """
    if not path.name.lower().endswith(METAIMAGE):
        return
    try:
        with path.open("rb") as file:
            start = file.read(_LINE)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error
    for count in re.findall(rb"^\s*NDims\s*[=:](.*)$", start, re.MULTILINE | re.IGNORECASE):
        if not re.fullmatch(rb"\s*[1-9]\s*", count):
            raise InputError(
                f"{path}: its number of dimensions (NDims) is not plausible; 3 are needed"
            )


def image_files(path: Path) -> list[Path]:
    """The files of an image, its header first; they need not exist.

    Raises:
        InputError: if the header cannot be read, or names too many files.

    >>> [path.name for path in image_files(Path("scan.nii.gz"))]
    ['scan.nii.gz']
    """
    name = path.name.lower()
    if name.endswith(PAIR):
        return [
            path,
            path.with_name(path.name[:-4] + (".IMG" if path.name.endswith(".HDR") else ".img")),
        ]
    if not name.endswith((*METAIMAGE, *NRRD)):
        return [path]
    fields = text_header(path)
    data_file = next(
        (fields[key] for key in ("elementdatafile", "data file", "datafile") if key in fields), ""
    )
    if not data_file or data_file.upper() == "LOCAL":
        return [path]
    if data_file.split(" ")[0] == "LIST":
        names = [line for line in fields.get("", "").split("\n") if line]
    else:
        names = _numbered(path, data_file) or [data_file]
    if any("\0" in name for name in names):
        raise InputError(f"{path}: the name of its voxel data file is damaged")
    return [path, *(path.parent / name for name in names)]


def _numbered(path: Path, pattern: str) -> list[str]:
    """File names of a pattern such as "slice%03d.raw 1 20 1" (first, last, step), or no names."""
    match = re.fullmatch(r"(\S*%\d*d\S*) (-?\d+) (-?\d+)(?: (-?\d+))?(?: \d+)?", pattern)
    if not match:
        return []
    first, last, step = int(match[2]), int(match[3]), int(match[4] or 1) or 1
    numbers = range(first, last + (1 if step > 0 else -1), step)
    if len(numbers) > _MOST_FILES:
        raise InputError(f"{path}: lists {len(numbers)} voxel data files, which is not plausible")
    return [match[1] % number for number in numbers]
