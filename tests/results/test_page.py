"""The pages: findings first, complete without a network, and drawn by a real browser."""

import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otovox.analysis.cohort_page import write_cohort_page
from otovox.analysis.scan import Job, ScanOutcome
from otovox.core.case import Prediction
from otovox.formats.scans import load_scan
from otovox.measure.measured_scan import measure_scan
from otovox.measure.values import Measurement, Norm
from otovox.results.description import describe
from otovox.results.page import write_page
from otovox.results.tables import long_table
from otovox.workers import Status

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")


@pytest.fixture
def prediction(write_scan: Callable[[Path], Path], predict: Any, tmp_path: Path) -> Prediction:
    made: Prediction = predict(load_scan(write_scan(tmp_path / "<scan> & more.nii.gz")))
    return replace(made, warnings=("voxels of <1 mm> are rough",))


def browsed(page: Path) -> str:
    """The page's elements after a browser has run its scripts, without any network."""
    assert BROWSER is not None
    command = [
        BROWSER, "--headless", "--no-sandbox", "--enable-unsafe-swiftshader", "--no-first-run",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=8000",
        f"--user-data-dir={page.parent / 'browser'}", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def outside(text: str) -> list[str]:
    """Addresses from which a browser would load something: sources, links to styles, imports."""
    body = re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    found = re.findall(r"""(?:src|href)=["']([^"']+)|@import[^;]+|url\(([^)]+)\)""", body)
    addresses = [one or other for one, other in found]
    return [a for a in addresses if a and not a.startswith(("data:", "#"))]


def test_findings_measurements_and_provenance(prediction: Prediction, tmp_path: Path) -> None:
    write_page(measure_scan(prediction), describe(measure_scan(prediction)), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "&lt;scan&gt; &amp; more" in text
    assert "voxels of &lt;1 mm&gt; are rough" in text
    assert "Research use only" in text
    assert "2 of 3 landmarks located (not round window)" in text
    assert text.index('id="findings"') < text.index('id="measurements"')
    assert outside(text) == []


def test_norms_intervals_and_reasons_are_shown(prediction: Prediction, tmp_path: Path) -> None:
    result = describe(measure_scan(prediction))
    norm = Norm(low=140, high=265, source="Somebody 2001")
    high = Measurement(value=312.2, unit="mm3", definition="d", interval=[301, 320], norm=norm)
    cut = Measurement(value=None, unit="mm3", definition="d", withheld="the field cuts the ear")
    ears = [
        ear.model_copy(update={"measurements": {"labyrinth_volume": found}})
        for ear, found in zip(result.ears, (high, cut), strict=True)
    ]
    write_page(
        measure_scan(prediction), result.model_copy(update={"ears": ears}), tmp_path / "page.html"
    )
    text = (tmp_path / "page.html").read_text("utf-8")
    for part in ("312", "301", "320", "140", "265", "Somebody 2001", "the field cuts the ear"):
        assert part in text, part


def test_a_scan_without_an_ear_reports_it(
    predict: Any, write_scan: Callable[[Path], Path], tmp_path: Path
) -> None:
    made = predict(load_scan(write_scan(tmp_path / "air.nii.gz")), ())
    write_page(measure_scan(made), describe(measure_scan(made)), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text("utf-8")
    assert "No inner ear found" in text
    assert len(text) < 50_000


@pytest.mark.slow
@needs_browser
def test_a_browser_draws_the_turning_ears(prediction: Prediction, tmp_path: Path) -> None:
    write_page(measure_scan(prediction), describe(measure_scan(prediction)), tmp_path / "page.html")
    drawn = browsed(tmp_path / "page.html")
    model = drawn.split('id="model"')[1]
    assert "<canvas" in model
    assert "right ear" in model
    assert "left ear" in model


@pytest.fixture
def outcomes(prediction: Prediction, tmp_path: Path) -> Sequence[ScanOutcome]:
    result = describe(measure_scan(prediction))
    jobs = [Job(name, tmp_path / f"{name}.nrrd", tmp_path / name) for name in ("a", "b c", "d")]
    return (
        ScanOutcome(jobs[0], Status.DONE, "", result),
        ScanOutcome(jobs[1], Status.DONE, "the right ear is odd", result),
        ScanOutcome(jobs[2], Status.REFUSED, "d.nrrd: <truncated>"),
    )


def test_a_cohort_reports_failures_and_links_its_scans(
    outcomes: Sequence[ScanOutcome], tmp_path: Path
) -> None:
    table = long_table({o.job.name: o.answer for o in outcomes if o.answer})
    table["norm_low"], table["norm_high"] = 210.0, 220.0
    table.loc[table["quantity"] == "labyrinth_volume", "unusual"] = "low"
    write_cohort_page(outcomes, table, tmp_path / "cohort.html")
    text = (tmp_path / "cohort.html").read_text("utf-8")
    assert "3 scans, 4 ears" in text
    assert "d.nrrd: &lt;truncated&gt;" in text
    assert "low compared with the reference range" in text
    assert set(outside(text)) == {"a/report.html", "b%20c/report.html"}


@pytest.mark.slow
@needs_browser
def test_a_browser_draws_the_distributions(outcomes: Sequence[ScanOutcome], tmp_path: Path) -> None:
    table = long_table({o.job.name: o.answer for o in outcomes if o.answer})
    write_cohort_page(outcomes, table, tmp_path / "cohort.html")
    drawn = browsed(tmp_path / "cohort.html")
    assert "main-svg" in drawn
    assert drawn.count('class="trace boxes"') >= 2


def test_a_cohort_of_failures_has_a_page_too(
    outcomes: Sequence[ScanOutcome], tmp_path: Path
) -> None:
    write_cohort_page(outcomes[2:], long_table({}), tmp_path / "cohort.html")
    assert "1 scan, 0 ears" in (tmp_path / "cohort.html").read_text("utf-8")
