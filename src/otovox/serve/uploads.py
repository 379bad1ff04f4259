"""Uploaded files: limited, and stored under generated names; senders' names are never paths."""

import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath

from otovox.errors import InputError
from otovox.formats.images import ENDINGS
from otovox.serve.settings import Limits

#: Extensions that are kept, because readers depend on them.
_KEPT = (*ENDINGS, ".zip", ".img", ".raw", ".zraw", ".raw.gz", ".dcm")
#: Formats whose header names the file of its voxels: of these, simple names are kept.
_DETACHED = (".nhdr", ".mhd", ".hdr", ".img", ".raw", ".zraw", ".raw.gz")
_SIMPLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,80}(\.[A-Za-z0-9]{1,5}){1,2}")
#: Bytes copied at a time.
_BLOCK = 2**20
#: Longest displayed name, characters: chosen.
_SHOWN = 120


class Refused(InputError):
    """An upload or request that is not accepted."""


def stored_name(number: int, name: str) -> str:
    """The name under which a file is stored in the folder of its upload.

    Args:
        number: of the file in its upload.
        name: from the sender, not trusted.

    >>> stored_name(7, "../../etc/passwd"), stored_name(1, "a/b/Scan of Anna.NII.GZ")
    ('f000007', 'f000001.nii.gz')
    """
    ending = next((e for e in sorted(_KEPT, key=len)[::-1] if name.lower().endswith(e)), "")
    own = PurePosixPath(name.replace("\\", "/")).name
    if ending in _DETACHED and _SIMPLE.fullmatch(own):
        return own
    return f"f{number:06d}{ending}"


def shown_name(name: str) -> str:
    """A sender's name as it is displayed: printable, limited in length.

    >>> shown_name("a" + chr(0) + "b")
    'ab'
    """
    return "".join(c for c in name if c.isprintable())[:_SHOWN].strip()


def place_for(folder: Path, number: int, name: str) -> Path:
    """Path at which a file of an upload is stored: files from one directory stay together.

    Args:
        folder: of the upload.
        number: of the file in its upload.
        name: the sender's path.

    >>> place_for(Path("upload"), 7, "../../etc/passwd").as_posix()
    'upload/d13c1bb1e/f000007'
    """
    directory = str(PurePosixPath(name.replace("\\", "/")).parent)
    # The directory's name only distinguishes directories.
    code = f"d{zlib.crc32(directory.encode('utf-8', 'surrogateescape')):08x}"
    place = folder / code / stored_name(number, name)
    if place.exists():
        place = folder / f"{code}-{number}" / place.name
    return place


async def receive(
    blocks: AsyncIterator[bytes], place: Path, *, file_bytes: int, left_bytes: int
) -> int:
    """Store an incoming file.

    Args:
        blocks: the file's content.
        place: path to write; its folder is created.
        file_bytes, left_bytes: largest size of the file, and remaining size of the upload.

    Returns:
        Its size, bytes.

    Raises:
        Refused: if it is too large; nothing is kept.

    >>> import asyncio
    >>> from tempfile import TemporaryDirectory
    >>> async def blocks(): yield b"voxels"
    >>> with TemporaryDirectory() as folder:
    ...     place = Path(folder, "f000001.nii")
    ...     asyncio.run(receive(blocks(), place, file_bytes=10, left_bytes=10)), place.read_text()
    (6, 'voxels')
    """
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = place.with_name(place.name + ".part")
    size = 0
    try:
        with partial.open("wb") as file:
            async for block in blocks:
                size += len(block)
                if size > file_bytes:
                    raise Refused(f"the file is larger than {_gib(file_bytes)}")
                if size > left_bytes:
                    raise Refused("the upload is larger than allowed")
                file.write(block)
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)
    return size


def unpack(archive: Path, folder: Path, limits: Limits, *, first: int) -> dict[str, str]:
    """Unpack a zip file, each member under a generated name, and delete the zip file.

    Args:
        archive: the zip file.
        folder: destination.
        limits: of the upload.
        first: number of its first file.

    Returns:
        The members' names by the paths of their files, relative to `folder`.

    Raises:
        Refused: if it is damaged, encrypted, or unpacks to more than is allowed.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with zipfile.ZipFile(Path(folder, "a.zip"), "w") as archive:
    ...         archive.writestr("Anna.nii", "voxels")
    ...     names = unpack(Path(folder, "a.zip"), Path(folder), Limits(), first=1)
    >>> [(Path(path).name, name) for path, name in names.items()]
    [('f000001.nii', 'Anna.nii')]
    """
    names: dict[str, str] = {}
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [one for one in opened.infolist() if not one.is_dir()]
            _check(archive, members, limits)
            for number, member in enumerate(members, start=first):
                if stat.S_ISLNK(member.external_attr >> 16):
                    continue
                place = place_for(folder, number, member.filename)
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _extract(opened, member, place)
                names[str(place.relative_to(folder))] = shown_name(member.filename)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise Refused("is a damaged or unsupported zip file") from error
    except (OSError, RuntimeError) as error:
        raise Refused("cannot be unpacked") from error
    archive.unlink()
    return names


def _check(archive: Path, members: list[zipfile.ZipInfo], limits: Limits) -> None:
    size, packed = sum(one.file_size for one in members), max(1, archive.stat().st_size)
    free = shutil.disk_usage(archive.parent).free
    if (
        size > min(limits.upload_bytes, 0.9 * free)
        or size > limits.unpacked_ratio * packed + 2**20
        or len(members) > limits.files
        or any(one.file_size > limits.file_bytes for one in members)
    ):
        raise Refused(
            f"unpacks to {_gib(size)} in {len(members)} files, which is more than allowed"
        )
    if any(one.flag_bits & 1 for one in members):
        raise Refused("is encrypted")


def _extract(opened: zipfile.ZipFile, member: zipfile.ZipInfo, place: Path) -> None:
    """Extract one member, up to the size in its header."""
    left = member.file_size
    with opened.open(member) as source, place.open("xb") as target:
        while block := source.read(_BLOCK):
            left -= len(block)
            if left < 0:
                raise Refused("contains a file that is longer than its header states")
            target.write(block)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**29 else f"{size / 2**20:.0f} MiB"
