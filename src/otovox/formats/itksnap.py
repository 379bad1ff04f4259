"""ITK-SNAP label descriptions: names and colours of all labels, of the labyrinths and their parts.

Source: the header that ITK-SNAP 3 and 4 write, copied below.
"""

from pathlib import Path

from otovox.core.segments import LABYRINTHS, PARTS
from otovox.formats.writing import replacing

_HEADER = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
# Fields:
#    IDX:   Zero-based index
#    -R-:   Red color component (0..255)
#    -G-:   Green color component (0..255)
#    -B-:   Blue color component (0..255)
#    -A-:   Label transparency (0.00 .. 1.00)
#    VIS:   Label visibility (0 or 1)
#    IDX:   Label mesh visibility (0 or 1)
#  LABEL:   Label description
################################################
"""


def write_itksnap_labels(path: Path) -> None:
    """Write the names and colours of the label values, for ITK-SNAP's "Import Label Descriptions".

    Args:
        path: file to write.

    Raises:
        OutputError: if it cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "labels.txt")
    ...     write_itksnap_labels(path)
    ...     path.read_text().splitlines()[-1]
    '  206   213   94    0        1  1  1    "Left common crus"'
    """
    lines = [_line(0, (0, 0, 0), "0  0  0", "Clear Label")]
    lines += [
        _line(segment.value, segment.structure.rgb, "1  1  1", segment.structure.title)
        for segment in (*LABYRINTHS, *PARTS)
    ]
    with replacing(path) as beside:
        beside.write_text(_HEADER + "\n".join(lines) + "\n", "utf-8")


def _line(value: int, rgb: tuple[int, int, int], shown: str, title: str) -> str:
    """One label: value, colour, opacity, visibility in slices and as a surface, name."""
    red, green, blue = rgb
    return f'{value:5d}{red:6d}{green:5d}{blue:5d}        {shown}    "{title}"'
