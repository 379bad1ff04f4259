"""Finds, names and reads scans of any format in files and folders.

A path from the user may contain one scan or many. A DICOM series is one scan, wherever its files
are. Anything skipped that might be a scan is logged as a warning.
"""

import hashlib
import logging
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pydicom

from otovox.core.volume import Scan
from otovox.errors import InputError
from otovox.formats.archives import is_archive, unpacked
from otovox.formats.arguments import printable
from otovox.formats.dicom import load_dicom
from otovox.formats.dicom_headers import Header, Series, all_series, read_header
from otovox.formats.images import is_image_file, load_image, scan_name
from otovox.formats.placement import Stated

log = logging.getLogger(__name__)

#: A file that only a results folder contains (`results.schema`).
_RESULT = "result.json"
#: Generic names of folders and files, as PACS and CDs give them. Chosen.
_GENERIC = re.compile(r"(dicom|dcm|dicomdir|images?|(st|se|pa|im|s|a|z)[-_]?\d+)", re.IGNORECASE)
#: Prefix of AppleDouble files, in which macOS stores metadata of other files.
_APPLE = "._"
#: Number of skipped files that a warning names before it gives a count: chosen.
_MOST_NAMED = 3
#: Largest number of parent folders used to make names unique: chosen.
_DEEPEST = 32


@dataclass(frozen=True)
class Source:
    """The location of a scan.

    Attributes:
        path: image file, or the folder or zip file that contains a DICOM series.
        name: of the scan, derived from the path that the user gave.
        series: UID of the DICOM series.
        files: of that series; relative paths within a zip file.
        inside: the image file within a zip file, relative to it.
        problem: why it cannot be a scan; empty if it can.
    """

    path: Path
    name: str
    series: str = ""
    files: tuple[Path, ...] = ()
    inside: Path | None = None
    problem: str = ""

    @property
    def identity(self) -> tuple[str, ...]:
        """Equal if the same scan is found twice; links count as separate scans."""
        folder, name = os.path.split(os.path.abspath(self.path))
        return os.path.realpath(folder), name, self.series, str(self.inside or "")

    @property
    def location(self) -> str:
        """Checksum of the identity; distinguishes scans with the same name across runs."""
        return hashlib.sha256(printable("\n".join(self.identity)).encode()).hexdigest()[:16]


def load_scan(
    path: str | Path | Source, *, series: str | None = None, stated: Stated | None = None
) -> Scan:
    """Read a CT: NIfTI, NRRD, MetaImage, Analyze, a DICOM series, or a zip file with one of them.

    Args:
        path: file or folder; a DICOM file selects its own series.
        series: which DICOM series of a folder: UID, number or description.
        stated: orientation and voxel size from the user, for headers that lack them.

    Raises:
        InputError: stating in one sentence why it cannot be used.

    >>> import SimpleITK as sitk
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     sitk.WriteImage(sitk.GaussianSource(sitk.sitkInt16, [32, 32, 24]), f"{folder}/ear.nrrd")
    ...     scan = load_scan(f"{folder}/ear.nrrd")
    >>> scan
    <Scan 'ear': 32 x 32 x 24 voxels of 1 x 1 x 1 mm>
    """
    if isinstance(path, Source):
        with opened_source(path) as source:
            scan = _load(source, series, stated)
        return replace(scan, name=path.name)
    path = Path(path)
    if os.path.isdir(path) or is_archive(path) or not is_image_file(path):
        if os.path.isdir(path) and (files := _direct(path)):
            return load_dicom(path, files, series)
        sources = find_scans([path], series=series)
        if len(sources) > 1:
            names = ", ".join(source.name for source in sources)
            raise InputError(f"{path}: contains {len(sources)} scans ({names}); pass one of them")
        scan = load_scan(sources[0], series=series, stated=stated)
        return replace(scan, name=scan_name(path) if os.path.isdir(path) else scan.name)
    return load_image(path, stated)


@contextmanager
def opened_source(source: Source) -> Iterator[Source]:
    """The source with readable files; those of a zip file exist only within the context.

    Raises:
        InputError: if a zip file cannot be unpacked.
    """
    if not is_archive(source.path):
        yield source
        return
    with unpacked(source.path) as folder:
        files = tuple(folder / file for file in source.files)
        yield replace(source, files=files, inside=source.inside and folder / source.inside)


def read_source(source: Source, *, series: str | None = None, stated: Stated | None = None) -> Scan:
    """Read the scan of an opened source, named after the source.

    Raises:
        InputError: stating in one sentence why it cannot be used.
    """
    return replace(_load(source, series, stated), name=source.name)


def _load(source: Source, series: str | None, stated: Stated | None) -> Scan:
    if source.files:
        return load_dicom(source.path, source.files, source.series or series)
    scan = load_image(source.inside or source.path, stated)
    return replace(scan, source=str(source.path))


def find_scans(
    paths: Sequence[Path],
    *,
    series: str | None = None,
    passing_over: Iterable[Path] = (),
    strict: bool = True,
) -> list[Source]:
    """Find images and DICOM series in files, folders at any depth, zip files and DICOMDIR.

    Args:
        paths: files and folders; DICOM files are grouped by series.
        series: UID, number or description of the DICOM series to take; others are skipped.
        passing_over: folders that are not searched.
        strict: whether a path without a scan is an error; if not, a source with a `problem`.

    Returns:
        Each scan once, with a unique name.

    Raises:
        InputError: if a path does not exist or contains no scan.
    """
    sources: list[Source] = []
    uids_by_folder: dict[Path, set[str]] = {}
    hidden = {os.path.realpath(folder) for folder in passing_over}
    for path in paths:
        try:
            _check_argument(path)
            if os.path.isdir(path):
                sources += _in_folder(path, series, hidden)
            elif is_archive(path):
                sources += _in_archive(path, series)
            elif path.name.upper() == "DICOMDIR" and os.path.isfile(path):
                _remark_on_missing(path)
                sources += _in_folder(path.parent, series, hidden)
            elif is_image_file(_header_of(path)) or (header := read_header(path)) is None:
                sources.append(Source(_header_of(path), scan_name(_header_of(path))))
            else:
                uids_by_folder.setdefault(path.parent, set()).add(header.series)
        except InputError as error:
            if strict:
                raise
            sources.append(Source(path, scan_name(path), problem=str(error)))
    # A DICOM file selects its series: the other files are in the same folder.
    for folder, uids in uids_by_folder.items():
        headers = [header for path in _files(folder) if (header := read_header(path)) is not None]
        requested = [one for one in all_series(headers) if one.uid in uids]
        base = _name_below(folder, folder)
        problem = f"{folder}: no requested series is a CT volume: {_listed(requested)}"
        sources += _named_series(folder, requested, base, series, only=len(requested) == 1) or [
            Source(folder, base, problem=problem)
        ]
    once = list({source.identity: source for source in sources[::-1]}.values())[::-1]
    return told_apart([replace(source, name=printable(source.name)) for source in once])


def _check_argument(path: Path) -> None:
    """Refuse a path that cannot be accessed; missing files are left to the reader."""
    if path.name.startswith(_APPLE):
        raise InputError(f"{path}: is an AppleDouble file of macOS, not a scan")
    try:
        if os.path.isdir(path):
            os.listdir(path)
        else:
            os.stat(path)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: cannot be read ({reason})") from error


def _header_of(path: Path) -> Path:
    """The header of a header and voxel pair."""
    if path.suffix.lower() != ".img":
        return path
    return next((p for p in (path.with_suffix(e) for e in (".hdr", ".HDR")) if p.exists()), path)


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if os.path.isfile(path))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error})") from error


def _direct(folder: Path) -> list[Path]:
    """The files directly in a folder other than image files, if one is a DICOM image."""
    others = [path for path in _files(folder) if not is_image_file(path)]
    return others if any(read_header(path) for path in others) else []


def _in_archive(path: Path, series: str | None) -> list[Source]:
    """The scans within a zip file, named after it."""

    def name_of(place: Path) -> str:
        return "_".join([path.stem, *_between(folder, place), scan_name(place)])

    with unpacked(path) as folder:
        sources_in_folder = _in_folder(folder, series, set(), shown_as=path, name_of=name_of)
        sources = []
        for source in sources_in_folder:
            files = tuple(file.relative_to(folder) for file in source.files)
            inside = None if files else source.path.relative_to(folder)
            name = path.stem if len(sources_in_folder) == 1 else source.name
            sources.append(replace(source, path=path, name=name, files=files, inside=inside))
    return sources


def _in_folder(
    folder: Path,
    series: str | None,
    hidden: set[str],
    *,
    shown_as: Path | None = None,
    name_of: Callable[[Path], str] | None = None,
) -> list[Source]:
    """The scans in a folder, at any depth.

    Args:
        folder: where to search.
        series: which DICOM series to take.
        hidden: real paths of folders that are not searched.
        shown_as: the path shown in messages.
        name_of: the name of a scan from its path; `_name_below` if not given.
    """
    place = shown_as or folder
    name_of = name_of or partial(_name_below, folder)
    sources, headers, others = [], [], []
    for path in _walked(folder, place, hidden):
        if is_image_file(path):
            sources.append(Source(path, name_of(path)))
        elif (header := read_header(path)) is not None:
            headers.append(header)
        elif _header_of(path) == path and path.name.upper() != "DICOMDIR":
            others.append(path)
    series_by_place = _by_place(headers)
    only = not sources and sum(len(group) for _, group in series_by_place) == 1
    for own, group in series_by_place:
        sources += _named_series(own, group, name_of(own), series, only=only, shown_as=shown_as)
    if not sources:
        if headers:
            what = f"called {series!r}" if series else "that is a volume"
            listed = _listed(all_series(headers))
            raise InputError(f"{place}: contains no CT series {what}; available: {listed}")
        raise InputError(f"{place}: contains no scan (NIfTI, NRRD, MetaImage or DICOM)")
    if others:
        names = ", ".join(str(path.relative_to(folder)) for path in others[:_MOST_NAMED])
        more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
        log.warning("%s: skipped files that are not scans: %s%s", place, names, more)
    return sources


def _walked(folder: Path, called: Path, hidden: set[str]) -> Iterator[Path]:
    """Files in a folder tree, sorted; results folders and hidden folders are skipped."""

    def complain(error: OSError) -> None:
        if error.filename == str(folder):
            raise InputError(f"{called}: cannot be read ({error.strerror or error})") from error
        log.warning("%s: skipped, cannot be read (%s)", error.filename, error.strerror or error)

    seen: set[str] = set()
    for place, folders, files in os.walk(folder, onerror=complain, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        if place != str(folder) and _RESULT in files:
            folders.clear()
            log.info("%s: skipped, it contains results", place)
            continue
        for name in sorted(folders):
            whole = os.path.join(place, name)
            if name[:1] == "." or name == "__MACOSX" or os.path.realpath(whole) in hidden:
                folders.remove(name)
                log.info("%s: skipped, it is hidden or contains results", whole)
        folders.sort()
        for name in sorted(files):
            path = Path(place, name)
            if name.startswith(_APPLE) or name in (".DS_Store", "Thumbs.db"):
                log.info("%s: skipped, a file of the operating system", path)
            elif os.path.isfile(path) or (os.path.islink(path) and is_image_file(path)):
                yield path
            else:
                log.warning("%s: skipped, not a file or a link to a missing file", path)


def _remark_on_missing(path: Path) -> None:
    """Warn about files that a DICOMDIR lists but that do not exist."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            records = pydicom.dcmread(path).get("DirectoryRecordSequence") or []
            named = [
                np.atleast_1d(r.ReferencedFileID) for r in records if r.get("ReferencedFileID")
            ]
        missing = [parts for parts in named if not path.parent.joinpath(*map(str, parts)).is_file()]
    except Exception as error:  # pydicom raises various errors on damaged bytes
        raise InputError(f"{path}: cannot be read as a DICOMDIR; pass its folder") from error
    if missing:
        first = "/".join(map(str, missing[0]))
        log.warning("%s: lists %d files that do not exist, such as %s", path, len(missing), first)


def _listed(series: list[Series]) -> str:
    return "; ".join(one.label for one in series)


def _by_place(headers: list[Header]) -> list[tuple[Path, list[Series]]]:
    """Series by folder; a series spread over several folders belongs to their common parent.

    The same UID in two folders is one series only if the images and their positions differ:
    copies and careless anonymisation put the UIDs of one patient into several folders.
    """
    places: dict[Path, list[Series]] = {}
    for one in all_series(headers):
        by_folder: dict[Path, list[Header]] = {}
        for header in one.headers:
            by_folder.setdefault(header.path.parent, []).append(header)
        if len(by_folder) > 1 and _is_spread(list(by_folder.values())):
            common = Path(os.path.commonpath([str(place) for place in by_folder]))
            places.setdefault(common, []).append(one)
            continue
        for place, those in by_folder.items():
            places.setdefault(place, []).append(Series(one.uid, tuple(those)))
    return sorted(places.items(), key=lambda item: item[0])


def _is_spread(groups: list[list[Header]]) -> bool:
    """Whether groups of headers are parts of one series rather than copies of each other."""
    headers = [header for group in groups for header in group]
    images = {header.text("SOPInstanceUID") for header in headers}
    if len(images) < len(headers) or len({header.text("PatientID") for header in headers}) > 1:
        return False
    try:
        places = {tuple(np.round(np.array(h.data.ImagePositionPatient, float), 2)) for h in headers}
    except Exception:  # pydicom raises various errors on damaged values; the reader reports them
        return False
    return len(places) == len(headers)


def _named_series(
    place: Path,
    candidates: list[Series],
    base: str,
    wanted: str | None,
    *,
    only: bool,
    shown_as: Path | None = None,
) -> list[Source]:
    """The series in one place that can be scans, named; skipped series are logged.

    Args:
        place: where their files are.
        candidates: the series.
        base: name of a single series.
        wanted: UID, number or description of the series to take.
        only: whether there is nothing else; the reader then refuses it with its reason.
        shown_as: the path shown in messages.
    """
    matching = [one for one in candidates if wanted is None or one.answers_to(wanted)]
    stacks = [one for one in matching if one.is_stack] or (matching if only else [])
    for one in candidates:
        if one not in stacks:
            reason = "it is not a CT volume" if one in matching else "another series was requested"
            log.warning("%s: skipped series %s: %s", shown_as or place, one.label, reason)
    numbers = Counter(one.first.text("SeriesNumber") for one in stacks)
    sources = []
    for count, one in enumerate(stacks, start=1):
        number = one.first.text("SeriesNumber") or "0"
        own = f"series-{number}" if numbers[number] == 1 else f"series-{number}-{count}"
        name = base if len(stacks) == 1 else f"{base}_{own}"
        files = tuple(path.absolute() for path in one.files)
        sources.append(Source(place, name, one.uid, files))
    return sources


def _name_below(folder: Path, path: Path) -> str:
    """The name of a scan found in a folder, or of the folder itself.

    The name includes the folders on its path, unless it repeats them. If these are all generic
    names from a PACS or CD, it also includes parent folders, up to one that may name a patient.
    """
    name = scan_name(path)
    parts = [*_between(folder, path), name]
    above = list(Path(os.path.abspath(folder)).parts[1:])
    above = above[:-1] if path == folder else above
    while _GENERIC.fullmatch(parts[0]) and above:
        parts.insert(0, above.pop())
    return "_".join(parts)


def _between(folder: Path, path: Path) -> list[str]:
    """Names of the folders between a folder and a path in it, except those in the path's name."""
    if path == folder:
        return []
    return [name for name in path.relative_to(folder).parts[:-1] if name not in path.name]


def told_apart(sources: Sequence[Source]) -> list[Source]:
    """The sources with unique names: equal ones are prefixed by the folder in which they differ."""
    renamed = list(sources)
    for _ in range(_DEEPEST):
        groups: dict[str, list[int]] = {}
        for number, source in enumerate(renamed):
            # Casefolded, because some file systems treat "Scan" and "scan" as equal.
            groups.setdefault(source.name.casefold(), []).append(number)
        groups = {name: numbers for name, numbers in groups.items() if len(numbers) > 1}
        for numbers in groups.values():
            paths = {n: Path(os.path.abspath(renamed[n].path)) for n in numbers}
            common = len(Path(os.path.commonpath([str(path) for path in paths.values()])).parts)
            for number, path in paths.items():
                if len(path.parts) > common + 1:
                    name = f"{path.parts[common]}_{renamed[number].name}"
                    renamed[number] = replace(renamed[number], name=name)
        if not groups:
            break
    return renamed
