"""The report in Chromium: one printed page, a phone's width, dark colours, and its size."""

import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright", reason="Playwright is not installed")

from playwright.sync_api import sync_playwright

import serving
from masks import drawn_ear
from otovox.analysis.segmentation import measure_labels
from otovox.core.anatomy import Side
from otovox.core.volume import LabelMap
from otovox.results.description import describe
from otovox.results.page import write_page
from serving import CHROMIUM, FLAGS

#: Where pictures of the pages go, if somebody wants to look at them.
PICTURES = os.environ.get("OTOVOX_PICTURES", "")
#: A sheet of A4, points.
A4 = (595, 842)
WARNINGS = (
    "the {} ear is cut off by the field of view: helicotrema outside; check the side, and repeat "
    "with a larger field of view if these parts matter",
    "not found in the {} ear: oval window; check the planes, and mark by hand what is visible "
    "there",
    "{} ear: no lumen was found where the lateral canal should run; check whether it is absent, "
    "obliterated, or only missed by the outline",
    "a landmark of the {} ear varies by more than 1 mm between test-time samples; check the "
    "landmarks in the planes",
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed"),
]


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pages of one ear, of two, and of two with many warnings."""
    folder = tmp_path_factory.mktemp("pages")
    scan, points = serving.drawn_scan(), {Side.LEFT: drawn_ear(Side.LEFT)[1]}
    mask = (scan.values < serving.BETWEEN).astype("uint8") * Side.LEFT.label
    one = measure_labels(scan, LabelMap(mask, scan.grid), points, source=Path("drawn")).measured
    write_page(one, describe(one), folder / "one.html")
    two = replace(
        one, prediction=replace(one.prediction, ears=one.prediction.ears * 2), ears=one.ears * 2
    )
    write_page(two, describe(two), folder / "two.html")
    described = describe(two)
    warned = [
        one.model_copy(update={"warnings": [text.format(one.side) for text in WARNINGS]})
        for one in described.ears
    ]
    write_page(two, described.model_copy(update={"ears": warned}), folder / "many.html")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_playwright() as library:
        opened = library.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def opened(pages: Path, browser: Any) -> Iterator[Any]:
    """Opens a page of the folder, offline; errors of its scripts fail the test."""
    contexts = []

    def open_page(name: str, width: int = 1280, scheme: str = "light") -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": 844}, color_scheme=scheme, offline=True
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: pytest.fail(f"script error: {error}"))
        page.goto((pages / f"{name}.html").as_uri())
        page.wait_for_selector("#model canvas", timeout=60_000)
        if PICTURES:
            page.screenshot(
                path=Path(PICTURES) / f"report-{name}-{scheme}-{width}.png", full_page=True
            )
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", ["one", "two", "many"])
def test_the_answer_is_one_printed_page(opened: Any, name: str) -> None:
    page = opened(name)
    printed = page.pdf(prefer_css_page_size=True)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1
    box = re.search(rb"/MediaBox\s*\[\s*0 0 ([\d.]+) ([\d.]+)", printed)
    assert box is not None
    assert [float(side) for side in box.groups()] == pytest.approx(A4, abs=1)
    # On paper: findings, measurements and legible planes, down to the foot of the page.
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 710, "height": 1040})
    seen = page.evaluate(
        """() => {
            const box = (one) => one.getBoundingClientRect();
            const answer = box(document.getElementById("answer"));
            const foot = box(document.querySelector(".paper"));
            return {
                planes: [...document.querySelectorAll(".planes img")].map((one) => box(one))
                    .filter((one) => one.height > 0).map((one) => one.height),
                left: answer.bottom - foot.bottom,
                findings: box(document.getElementById("findings")).height,
                measurements: document.getElementById("measurements").offsetHeight,
            };
        }"""
    )
    assert len(seen["planes"]) == (4 if name == "one" else 8)
    # 15 mm at the 96 pixels per inch of CSS.
    assert min(seen["planes"]) > 15 / 25.4 * 96
    assert -1 <= seen["left"] < 5
    assert seen["findings"] > 0
    assert seen["measurements"] == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_serious_and_nothing_is_wider_than_the_window(
    opened: Any, scheme: str, width: int
) -> None:
    page = opened("many", width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
    assert not serving.axe_findings(page)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", ground))) < 200) == (scheme == "dark")


def test_every_finding_states_what_to_check(opened: Any) -> None:
    page = opened("many")
    texts = page.locator("#findings li").all_inner_texts()
    assert len(texts) >= 2 * len(WARNINGS)
    assert all("Check: " in text for text in texts)


def test_the_report_is_small(pages: Path) -> None:
    """A page of an ear at 0.2 mm; most of it is plotly.js."""
    assert (pages / "one.html").stat().st_size < 1.6e6
