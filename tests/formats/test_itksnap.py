"""Label descriptions as ITK-SNAP reads them."""

import re
from pathlib import Path

from otovox.core.anatomy import LABYRINTH, Side
from otovox.formats.itksnap import write_itksnap_labels

# A line as ITK-SNAP's own reader takes it apart: six numbers, of which opacity is real, two flags.
LINE = re.compile(r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([\d.]+)\s+([01])\s+([01])\s+"(.*)"')


def test_every_label_has_its_name_and_colour(tmp_path: Path) -> None:
    write_itksnap_labels(tmp_path / "labels.txt")
    lines = (tmp_path / "labels.txt").read_text("utf-8").splitlines()
    rows = [m.groups() for line in lines if not line.startswith("#") and (m := LINE.match(line))]
    assert len(rows) == len(lines) - sum(line.startswith("#") for line in lines)
    assert rows[0] == ("0", "0", "0", "0", "0", "0", "0", "Clear Label")
    by_value = {int(row[0]): row for row in rows}
    assert set(by_value) == {0, 1, 2, *range(101, 107), *range(201, 207)}
    assert by_value[203][7] == "Left anterior canal"
    for side in Side:
        row = by_value[side.label]
        assert tuple(map(int, row[1:4])) == LABYRINTH[side].rgb
        assert row[4:] == ("1", "1", "1", LABYRINTH[side].title)
