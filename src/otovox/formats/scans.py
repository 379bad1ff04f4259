"""Scans of any format: found below files and folders, named, and read.

What a user gives stands for one scan or many. A DICOM series is one scan, wherever its files lie;
nothing that might be a scan is left out without a word (logged as a warning).
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

#: What only a folder of results holds (`results.schema`).
_RESULT = "result.json"
#: Names of folders and files that name no patient: those that PACS and CDs give. Chosen.
_GENERIC = re.compile(r"(dicom|dcm|dicomdir|images?|(st|se|pa|im|s|a|z)[-_]?\d+)", re.IGNORECASE)
#: How names of macOS's notes about other files (AppleDouble) begin.
_APPLE = "._"
#: Names that are told of what was left out, then a count follows: chosen.
_TOLD = 3
#: Folders above each other that names are told apart by: chosen.
_DEEPEST = 32


@dataclass(frozen=True)
class Source:
    """Where a scan lies.

    Attributes:
        path: image file; or of a DICOM series the folder or zip file that it lies in.
        name: what the scan is called, after what the user gave.
        series: UID of a DICOM series.
        files: of that series; within a zip file relative to it.
        inside: the image file within a zip file, relative to it.
        problem: why it cannot be a scan; empty if it may be one.
    """

    path: Path
    name: str
    series: str = ""
    files: tuple[Path, ...] = ()
    inside: Path | None = None
    problem: str = ""

    @property
    def identity(self) -> tuple[str, ...]:
        """The same for one scan that is found twice; links are scans of their own."""
        folder, name = os.path.split(os.path.abspath(self.path))
        return os.path.realpath(folder), name, self.series, str(self.inside or "")

    @property
    def location(self) -> str:
        """Checksum of the identity: what tells scans of one name from each other, run by run."""
        return hashlib.sha256(printable("\n".join(self.identity)).encode()).hexdigest()[:16]


def load_scan(
    path: str | Path | Source, *, series: str | None = None, stated: Stated | None = None
) -> Scan:
    """Read a CT: NIfTI, NRRD, MetaImage, Analyze, a DICOM series, or a zip file with one of them.

    Args:
        path: file or folder; a DICOM file stands for its own series.
        series: which DICOM series of a folder: UID, number or description.
        stated: what the user says of headers that are silent about sides or voxel size.

    Raises:
        InputError: saying in one sentence why it cannot be used.
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
            raise InputError(f"{path}: holds {len(sources)} scans ({names}); give one of them")
        scan = load_scan(sources[0], series=series, stated=stated)
        return replace(scan, name=scan_name(path) if os.path.isdir(path) else scan.name)
    return load_image(path, stated)


@contextmanager
def opened_source(source: Source) -> Iterator[Source]:
    """The source with files that can be read: of a zip file they are there only meanwhile.

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
    """Read the scan of an opened source; it is called by the source's name.

    Raises:
        InputError: saying in one sentence why it cannot be used.
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
    """What paths stand for: images and DICOM series in folders of any depth, zip files, DICOMDIR.

    Args:
        paths: files and folders; the DICOM files among them are put together by series.
        series: UID, number or description of the DICOM series to take; all others are left out.
        passing_over: folders that are not searched.
        strict: whether a path that holds no scan is an error, or a source with its `problem`.

    Returns:
        Each scan once, with a name of its own.

    Raises:
        InputError: if a path does not exist or holds no scan.
    """
    found: list[Source] = []
    slices: dict[Path, set[str]] = {}
    hidden = {os.path.realpath(folder) for folder in passing_over}
    for path in paths:
        try:
            _check_argument(path)
            if os.path.isdir(path):
                found += _in_folder(path, series, hidden)
            elif is_archive(path):
                found += _in_archive(path, series)
            elif path.name.upper() == "DICOMDIR" and os.path.isfile(path):
                _remark_on_missing(path)
                found += _in_folder(path.parent, series, hidden)
            elif is_image_file(_header_of(path)) or (header := read_header(path)) is None:
                found.append(Source(_header_of(path), scan_name(_header_of(path))))
            else:
                slices.setdefault(path.parent, set()).add(header.series)
        except InputError as error:
            if strict:
                raise
            found.append(Source(path, scan_name(path), problem=str(error)))
    # A DICOM file stands for its series: the rest of it lies beside it.
    for folder, uids in slices.items():
        headers = [header for path in _files(folder) if (header := read_header(path)) is not None]
        those = [one for one in all_series(headers) if one.uid in uids]
        base = _name_below(folder, folder)
        problem = f"{folder}: no series that was asked for is a CT volume: {_listed(those)}"
        found += _named_series(folder, those, base, series, only=len(those) == 1) or [
            Source(folder, base, problem=problem)
        ]
    once = list({source.identity: source for source in found[::-1]}.values())[::-1]
    return told_apart([replace(source, name=printable(source.name)) for source in once])


def _check_argument(path: Path) -> None:
    """Refuse what cannot even be looked at; what is not there is refused by its reader."""
    if path.name.startswith(_APPLE):
        raise InputError(f"{path}: is a note of macOS about another file, no scan")
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
    """Of a pair of header and voxels the header."""
    if path.suffix.lower() != ".img":
        return path
    return next((p for p in (path.with_suffix(e) for e in (".hdr", ".HDR")) if p.exists()), path)


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if os.path.isfile(path))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror or error})") from error


def _direct(folder: Path) -> list[Path]:
    """Files of a folder itself that are no image files, if one of them is a DICOM image."""
    others = [path for path in _files(folder) if not is_image_file(path)]
    return others if any(read_header(path) for path in others) else []


def _in_archive(path: Path, series: str | None) -> list[Source]:
    """The scans within a zip file, called after it."""

    def called(place: Path) -> str:
        return "_".join([path.stem, *_between(folder, place), scan_name(place)])

    with unpacked(path) as folder:
        found = _in_folder(folder, series, set(), spoken_of=path, called=called)
        sources = []
        for source in found:
            files = tuple(file.relative_to(folder) for file in source.files)
            inside = None if files else source.path.relative_to(folder)
            name = path.stem if len(found) == 1 else source.name
            sources.append(replace(source, path=path, name=name, files=files, inside=inside))
    return sources


def _in_folder(
    folder: Path,
    series: str | None,
    hidden: set[str],
    *,
    spoken_of: Path | None = None,
    called: Callable[[Path], str] | None = None,
) -> list[Source]:
    """The scans below a folder, at any depth.

    Args:
        folder: where to search.
        series: which DICOM series to take.
        hidden: real paths of folders that are not searched.
        spoken_of: what messages call the folder.
        called: the name of a scan by its path; `_name_below` if not given.
    """
    place = spoken_of or folder
    called = called or partial(_name_below, folder)
    sources, headers, strange = [], [], []
    for path in _walked(folder, place, hidden):
        if is_image_file(path):
            sources.append(Source(path, called(path)))
        elif (header := read_header(path)) is not None:
            headers.append(header)
        elif _header_of(path) == path and path.name.upper() != "DICOMDIR":
            strange.append(path)
    series_by_place = _by_place(headers)
    only = not sources and sum(len(those) for _, those in series_by_place) == 1
    for own, those in series_by_place:
        sources += _named_series(own, those, called(own), series, only=only, spoken_of=spoken_of)
    if not sources:
        if headers:
            what = f"called {series!r}" if series else "that is a volume"
            listed = _listed(all_series(headers))
            raise InputError(f"{place}: holds no CT series {what}; there are: {listed}")
        raise InputError(f"{place}: holds no scan (NIfTI, NRRD, MetaImage or DICOM)")
    if strange:
        names = ", ".join(str(path.relative_to(folder)) for path in strange[:_TOLD])
        more = f" and {len(strange) - _TOLD} more" if len(strange) > _TOLD else ""
        log.warning("%s: left out what is no scan: %s%s", place, names, more)
    return sources


def _walked(folder: Path, called: Path, hidden: set[str]) -> Iterator[Path]:
    """Files below a folder, sorted; not those of results and in hidden folders."""

    def complain(error: OSError) -> None:
        if error.filename == str(folder):
            raise InputError(f"{called}: cannot be read ({error.strerror or error})") from error
        log.warning("%s: left out, cannot be read (%s)", error.filename, error.strerror or error)

    seen: set[str] = set()
    for place, folders, files in os.walk(folder, onerror=complain, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        if place != str(folder) and _RESULT in files:
            folders.clear()
            log.info("%s: left out, it holds results", place)
            continue
        for name in sorted(folders):
            whole = os.path.join(place, name)
            if name[:1] == "." or name == "__MACOSX" or os.path.realpath(whole) in hidden:
                folders.remove(name)
                log.info("%s: left out, it is hidden or holds results", whole)
        folders.sort()
        for name in sorted(files):
            path = Path(place, name)
            if name.startswith(_APPLE) or name in (".DS_Store", "Thumbs.db"):
                log.info("%s: left out, a note of the operating system", path)
            elif os.path.isfile(path) or (os.path.islink(path) and is_image_file(path)):
                yield path
            else:
                log.warning("%s: left out, is no file or a link to a file that is not there", path)


def _remark_on_missing(path: Path) -> None:
    """Say how many of the files that a DICOMDIR lists are not there."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            records = pydicom.dcmread(path).get("DirectoryRecordSequence") or []
            named = [
                np.atleast_1d(r.ReferencedFileID) for r in records if r.get("ReferencedFileID")
            ]
        missing = [parts for parts in named if not path.parent.joinpath(*map(str, parts)).is_file()]
    except Exception as error:  # pydicom raises whatever damaged bytes lead to
        raise InputError(f"{path}: cannot be read as a DICOMDIR; give its folder") from error
    if missing:
        first = "/".join(map(str, missing[0]))
        log.warning("%s: lists %d files that are not there, such as %s", path, len(missing), first)


def _listed(found: list[Series]) -> str:
    return "; ".join(one.label for one in found)


def _by_place(headers: list[Header]) -> list[tuple[Path, list[Series]]]:
    """Series by the folder that they lie in; one in several folders lies in their common one.

    The same UID in two folders is one series only if its images are others and lie elsewhere:
    copies, and careless anonymisation, give the UIDs of one patient to several folders.
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
    """Whether groups of headers are parts of one series, no copies of each other."""
    headers = [header for group in groups for header in group]
    images = {header.text("SOPInstanceUID") for header in headers}
    if len(images) < len(headers) or len({header.text("PatientID") for header in headers}) > 1:
        return False
    try:
        places = {tuple(np.round(np.array(h.data.ImagePositionPatient, float), 2)) for h in headers}
    except Exception:  # whatever a damaged value leads to; the reader will say it
        return False
    return len(places) == len(headers)


def _named_series(
    place: Path,
    found: list[Series],
    base: str,
    wanted: str | None,
    *,
    only: bool,
    spoken_of: Path | None = None,
) -> list[Source]:
    """The series of one place that can be scans, named; what is left out is told.

    Args:
        place: where their files lie.
        found: the series.
        base: what a single one is called.
        wanted: UID, number or description of the one to take.
        only: whether there is nothing else, so that it is refused with its reason, not left out.
        spoken_of: what messages call the place.
    """
    fitting = [one for one in found if wanted is None or one.answers_to(wanted)]
    stacks = [one for one in fitting if one.is_stack] or (fitting if only else [])
    for one in found:
        if one not in stacks:
            why = "it is no CT volume" if one in fitting else "another was asked for"
            log.warning("%s: left out series %s: %s", spoken_of or place, one.label, why)
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
    """What a scan is called that was found in a folder, or is it.

    The folders on the way to it are in its name, unless it repeats them; if all of these are names
    that a PACS or a CD gives, so are those above, up to one that may name a patient.
    """
    own = scan_name(path)
    parts = [*_between(folder, path), own]
    above = list(Path(os.path.abspath(folder)).parts[1:])
    above = above[:-1] if path == folder else above
    while _GENERIC.fullmatch(parts[0]) and above:
        parts.insert(0, above.pop())
    return "_".join(parts)


def _between(folder: Path, path: Path) -> list[str]:
    """Names of the folders between a folder and a path below it that its own name does not hold."""
    if path == folder:
        return []
    return [part for part in path.relative_to(folder).parts[:-1] if part not in path.name]


def told_apart(sources: Sequence[Source]) -> list[Source]:
    """The sources with names of their own: equal ones get the folder in which they differ."""
    told = list(sources)
    for _ in range(_DEEPEST):
        groups: dict[str, list[int]] = {}
        for number, source in enumerate(told):
            # Casefolded, because some file systems do not tell "Scan" from "scan".
            groups.setdefault(source.name.casefold(), []).append(number)
        groups = {name: numbers for name, numbers in groups.items() if len(numbers) > 1}
        for numbers in groups.values():
            paths = {n: Path(os.path.abspath(told[n].path)) for n in numbers}
            common = len(Path(os.path.commonpath([str(path) for path in paths.values()])).parts)
            for number, path in paths.items():
                if len(path.parts) > common + 1:
                    name = f"{path.parts[common]}_{told[number].name}"
                    told[number] = replace(told[number], name=name)
        if not groups:
            break
    return told
