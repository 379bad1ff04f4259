"""What the report tells a reader: what was found, what to check, and the key measurements."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otovox.core.anatomy import Side
from otovox.formats.scans import load_scan
from otovox.measure.measured_scan import measure_scan
from otovox.measure.values import Measurement, Norm
from otovox.results.description import describe
from otovox.results.findings import (
    KEY_QUANTITIES,
    ReportFinding,
    findings,
    key_rows,
    number,
    usual_text,
    verdict,
    with_unit,
)
from otovox.results.schema import ResultFile

LARGE = Measurement(
    value=312.2, unit="mm3", definition="d", norm=Norm(low=140, high=265, source="Somebody 2001")
)
MISSING = Measurement(value=None, unit="mm3", definition="d", withheld="the field cuts the ear")


@pytest.fixture
def result(write_scan: Callable[[Path], Path], predict: Any, tmp_path: Path) -> ResultFile:
    made = predict(load_scan(write_scan(tmp_path / "one.nii.gz")))
    described = describe(measure_scan(replace(made, warnings=("the qform was used",))))
    sentences = (
        ["the right ear is odd; check its outline"],
        ["left ear: the cochlea is small; check whether it is malformed"],
    )
    ears = [
        ear.model_copy(update={"measurements": {"labyrinth_volume": cell}, "warnings": texts})
        for ear, cell, texts in zip(described.ears, (LARGE, MISSING), sentences, strict=True)
    ]
    return described.model_copy(update={"ears": ears})


def test_every_warning_and_every_unusual_value_is_a_finding(result: ResultFile) -> None:
    header, right, outside, left = findings(result)
    assert header == ReportFinding(
        None, "the qform was used", "position, size and side of the ears in the planes"
    )
    assert right == ReportFinding(Side.RIGHT, "the right ear is odd", "its outline")
    assert outside.side is Side.RIGHT
    assert (
        outside.statement == "outside the usual range: labyrinth volume 312 mm³ (usual 140 to 265)"
    )
    assert "the outline there" in outside.check
    # The ear is not named twice.
    assert left == ReportFinding(Side.LEFT, "the cochlea is small", "whether it is malformed")


def test_a_scan_without_an_ear_has_a_finding(result: ResultFile) -> None:
    empty = result.model_copy(update={"ears": [], "warnings": ["no inner ear found"]})
    (only,) = findings(empty)
    assert only.statement == "no inner ear found"
    assert "temporal bone" in only.check


def test_the_verdict_names_what_is_missing(result: ResultFile) -> None:
    assert verdict(result.ears[0]) == (
        "labyrinth outlined; 2 of 3 landmarks located (not round window)"
    )


def test_the_summary_has_a_cell_per_ear(result: ResultFile) -> None:
    volume, confidence = key_rows(result)
    assert volume.title == "labyrinth volume, mm³"
    assert volume.cells == ("312", "withheld")
    assert volume.usual == "140 to 265"
    assert volume.unusual == ("high", "")
    assert confidence.cells == ("0.90", "0.90")


def test_key_quantities_are_measured() -> None:
    from otovox.measure.quantities import QUANTITIES

    assert set(KEY_QUANTITIES) <= {one.name for one in QUANTITIES}


def test_numbers_and_units() -> None:
    assert [number(x) for x in (1234.4, 37.54, 0.0661, -94.02)] == ["1234", "37.5", "0.0661", "-94"]
    angle = Measurement(value=82.7, unit="deg", definition="d")
    assert with_unit(angle) == "82.7°"
    assert (with_unit(MISSING), usual_text(angle)) == ("", "")
