"""Damaged scans of every format, by number: the same number always makes the same file."""

import gzip
import random
import re
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.uid import generate_uid

from conftest import dicom_slice
from otovox.errors import OtovoxError
from otovox.formats.arguments import expanded
from otovox.formats.fingerprint import fingerprint
from otovox.formats.scans import find_scans, opened_source, read_source

#: Bytes from the start of a file in which most damage is done: headers of images and of DICOM.
_HEADERS = (400, 1200)
#: What numbers in text headers are replaced with.
_WORDS = (
    "nan",
    "inf",
    "-1",
    "0",
    "1e308",
    "1,5",
    "99999999999",
    "",
    "0x10",
    "-0.0",
    "7",
    "LPS",
    "é",
)
_NUMBERS = (b"\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\xc0\x7f")


def write_sources(folder: Path) -> list[Path]:
    """One valid scan per format below a folder, each in a file or folder of its own."""
    values = np.random.default_rng(0).normal(0, 300, (9, 10, 11)).astype(np.int16)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((1.2, 1.1, 1.0))
    names = ("a.nii", "a.nii.gz", "a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.hdr")
    for name in names:
        place = folder / name.replace(".", "-")
        place.mkdir(parents=True)
        packed = name in ("a.nrrd", "a.mhd")
        sitk.WriteImage(image, str(place / name), useCompression=packed)
    for kind in ("dicom", "dicom-bare"):
        (folder / kind).mkdir()
        for number in range(10):
            data = dicom_slice(number, "1.2.3.4", ImagePositionPatient=[0, 0, float(number)])
            data.save_as(folder / kind / f"{number}.dcm", enforce_file_format=kind == "dicom")
    (folder / "enhanced").mkdir()
    slices = [pydicom.dcmread(path) for path in sorted((folder / "dicom").iterdir())]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        enhanced = hd.legacy.LegacyConvertedEnhancedCTImage(
            slices, generate_uid(), 4, generate_uid(), 1
        )
    enhanced.save_as(folder / "enhanced" / "a.dcm")
    (folder / "zip").mkdir()
    with zipfile.ZipFile(folder / "zip" / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(folder / "a-nii" / "a.nii", "x/a.nii")
        for path in (folder / "dicom").iterdir():
            archive.write(path, f"d/{path.name}")
    (folder / "list").mkdir()
    (folder / "list" / "a.txt").write_text("a.nii\n# none\nb*.nii\n")
    shutil.copy(folder / "a-nii" / "a.nii", folder / "list")
    return sorted(folder.iterdir())


def damaged(source: Path, number: int, to: Path) -> Path:
    """A copy of a scan with one to four kinds of damage; what a user would name of it.

    Args:
        source: from `write_sources`.
        number: decides on the damage.
        to: folder to make.
    """
    chance = random.Random(number)
    shutil.copytree(source, to)
    files = sorted(to.iterdir())
    named = next((f for f in files if f.suffix not in (".dcm", ".raw", ".zraw", ".img")), to)
    if source.name == "list":
        files = [named]
    for file in chance.choices(files, k=1 if named is not to else chance.choice((1, 1, 3, 10))):
        content = file.read_bytes()
        unpack = content[:2] == b"\x1f\x8b" and chance.random() < 0.8
        content = gzip.decompress(content) if unpack else content
        for _ in range(chance.randint(1, 4)):
            content = chance.choice(_DAMAGES)(content, chance)
        file.write_bytes(gzip.compress(content, 1) if unpack else content)
    return named


def read_all(path: Path) -> tuple[int, list[str]]:
    """How many scans could be read of what a user named, and why the others were refused.

    Anything but a refusal in one sentence raises.
    """
    paths, refused = expanded([path])
    sentences, count = [why for _, why in refused], 0
    for source in find_scans(paths, strict=False):
        if source.problem:
            sentences.append(source.problem)
            continue
        try:
            fingerprint(source.path, [] if source.inside else source.files)
            with opened_source(source) as opened:
                scan = read_source(opened)
            assert np.isfinite(scan.values).all()
            count += 1
        except OtovoxError as error:
            sentences.append(str(error))
    assert not any("\n" in sentence for sentence in sentences), sentences
    return count, sentences


def _place(content: bytes, chance: random.Random) -> int:
    end = min(len(content), chance.choice(_HEADERS)) if chance.random() < 0.8 else len(content)
    return chance.randrange(max(end, 1))


def _flip(content: bytes, chance: random.Random) -> bytes:
    at = _place(content, chance)
    return (
        content[:at]
        + bytes([(content[at : at + 1] or b"\0")[0] ^ 1 << chance.randrange(8)])
        + content[at + 1 :]
    )


def _overwrite(content: bytes, chance: random.Random) -> bytes:
    at = _place(content, chance)
    piece = chance.choice((*_NUMBERS, chance.randbytes(chance.choice((1, 2, 8, 40)))))
    return content[:at] + piece + content[at + len(piece) :]


def _insert(content: bytes, chance: random.Random) -> bytes:
    at = _place(content, chance)
    return content[:at] + chance.randbytes(chance.choice((1, 4, 100))) + content[at:]


def _remove(content: bytes, chance: random.Random) -> bytes:
    at = _place(content, chance)
    return content[:at] + content[at + chance.choice((1, 4, 100)) :]


def _repeat(content: bytes, chance: random.Random) -> bytes:
    at = _place(content, chance)
    return content[:at] + content[max(0, at - chance.choice((4, 50, 400))) :]


def _truncate(content: bytes, chance: random.Random) -> bytes:
    return content[: chance.choice((_place(content, chance), chance.randrange(len(content) + 1)))]


def _word(content: bytes, chance: random.Random) -> bytes:
    """Another number in a text header."""
    words = list(re.finditer(rb"[-\d.]+", content[:2000]))
    if not words:
        return content
    word = chance.choice(words)
    return content[: word.start()] + chance.choice(_WORDS).encode() + content[word.end() :]


def _line(content: bytes, chance: random.Random) -> bytes:
    """A line of a text header gone, doubled or moved."""
    lines = content[:2000].split(b"\n")
    line = lines.pop(chance.randrange(len(lines)))
    for _ in range(chance.randrange(3)):
        lines.insert(chance.randrange(len(lines) + 1), line)
    return b"\n".join(lines) + content[2000:]


_DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip, _flip, _overwrite, _insert, _remove, _repeat, _truncate, _word, _word, _line,
)  # fmt: skip
