"""The whole journey in Chromium: upload, look, correct, measure again, download, delete."""

import colorsys
import io
import json
import os
import re
import socket
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the server is not installed")
pytest.importorskip("playwright", reason="Playwright is not installed")

import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

import serving
from orthanc import DICOMWEB, needs_dicomweb, orthanc
from otovox.formats.images import load_label_map, save_volume
from otovox.serve.app import make_app
from otovox.serve.desk import Desk
from otovox.serve.settings import Archive, ServerSettings
from serving import CHROMIUM, FLAGS, axe_findings

#: Where pictures of the pages go, if somebody wants to look at them.
PICTURES = os.environ.get("OTOVOX_PICTURES", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@contextmanager
def serving_at(data: Path, analyse: Any, **settings: Any) -> Iterator[str]:
    """Address of a server."""
    import uvicorn

    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        place.listen()
        desk = Desk(ServerSettings(data, **settings), serving.tasks(analyse))
        running = uvicorn.Server(uvicorn.Config(make_app(desk), log_level="error"))
        thread = threading.Thread(target=running.run, kwargs={"sockets": [place]})
        thread.start()
        yield f"http://127.0.0.1:{place.getsockname()[1]}"
        running.should_exit = True
        thread.join(timeout=20)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """A server whose analysis is a threshold, and a scan to drop."""
    folder = tmp_path_factory.mktemp("site")
    scan = serving.drawn_scan()
    save_volume(scan.values, scan.grid, folder / "Anna.nii.gz")
    with serving_at(folder / "data", serving.by_threshold) as address:
        yield address, folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_playwright() as library:
        opened = library.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def study(site, browser) -> str:
    """The path of a study that was uploaded on the page and analysed."""
    address, folder = site
    page = opened(browser, address)
    page.set_input_files("#files", folder / "Anna.nii.gz")
    page.wait_for_selector("tr[data-state=done]", timeout=90_000)
    path = page.get_attribute("tr[data-state=done] a", "href")
    picture(page, "studies")
    page.context.close()
    return path


def opened(browser: Any, address: str, **options: Any) -> Any:
    """A page in a context of its own; errors of its scripts fail the test."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, **options)
    page = context.new_page()
    page.on("pageerror", lambda error: pytest.fail(f"script error: {error}"))
    page.on("dialog", lambda dialog: dialog.accept())
    page.goto(address)
    return page


def viewed(browser: Any, address: str, **options: Any) -> Any:
    page = opened(browser, address, **options)
    page.wait_for_selector("body[data-shown]", timeout=120_000)
    return page


def picture(page: Any, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)


def too_wide(page: Any) -> int:
    """Pixels that the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - window.innerWidth")


def test_a_correction_is_measured_again_and_both_versions_are_kept(site, browser, study) -> None:
    address, folder = site
    page = viewed(browser, address + study)
    picture(page, "study")
    assert page.is_disabled("#save-button")
    before = page.inner_text("#figures")
    # A landmark, moved by the keyboard.
    mark = page.locator("g.mark:not(.far)[data-name=oval_window]").first
    mark.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    assert page.inner_text("#unsaved") == "Changes are not saved"
    # A stroke of the pen, beside the landmark.
    box = mark.locator("circle").first.bounding_box()
    page.locator("label.choice", has_text="Paint").click()
    x, y = box["x"] + 20, box["y"] + 30
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 40, y + 4, steps=6)
    page.mouse.up()
    picture(page, "painted")
    page.fill("#author", "Dr. Reader")
    page.fill("#note", "apex")
    page.click("#save-button")
    page.wait_for_selector("#version option[value='2']", state="attached", timeout=90_000)
    page.wait_for_selector("body[data-shown^='2/']", timeout=90_000)
    changes = page.inner_text("#changes")
    assert "Corrected by Dr. Reader" in changes
    assert "(apex)" in changes
    assert "left oval window: moved by 0.50 mm" in changes
    assert "left labyrinth:" in changes
    assert page.inner_text("#figures") != before
    picture(page, "corrected")
    with page.expect_download() as downloading:
        page.click("#all")
    with zipfile.ZipFile(downloading.value.path()) as archive:
        names = archive.namelist()
        who = json.loads(archive.read("Anna/version.json"))
        (folder / "new.nii.gz").write_bytes(archive.read("Anna/segmentation.nii.gz"))
    assert (who["author"], who["number"], who["note"]) == ("Dr. Reader", 2, "apex")
    assert "Anna/report.html" in names
    first = next((folder / "data" / "studies").iterdir()) / "versions" / "1"
    old = load_label_map(first / "segmentation.nii.gz").values
    new = load_label_map(folder / "new.nii.gz").values
    # The pen adds, in one plane, where the mouse went, and takes nothing away.
    added = (new > 0) & (old == 0)
    assert added.sum() > 20
    assert not ((new == 0) & (old > 0)).any()
    page.select_option("#version", "1")
    page.wait_for_selector("body[data-shown^='1/']", timeout=90_000)
    assert page.inner_text("#figures") == before
    page.context.close()


def test_a_landmark_is_dragged_where_the_mouse_goes(site, browser, study) -> None:
    page = viewed(browser, site[0] + study)
    mark = page.locator("g.mark:not(.far)[data-name=oval_window]").first
    start = mark.locator("circle").first.bounding_box()
    x, y = start["x"] + start["width"] / 2, start["y"] + start["height"] / 2
    seen = "document.querySelector('.place').textContent"
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y, steps=4)
    page.mouse.up()
    assert page.inner_text("#unsaved") == "Changes are not saved"
    end = page.locator("g.mark:not(.far)[data-name=oval_window]").first.locator("circle").first
    moved = end.bounding_box()
    assert moved["x"] - start["x"] == pytest.approx(30, abs=3)
    assert page.evaluate(seen).startswith("LPS")
    page.context.close()


def test_windows_overlays_and_keys(site, browser, study) -> None:
    page = viewed(browser, site[0] + study)
    page.keyboard.press("3")
    assert page.input_value("#window") == "Soft tissue"
    page.keyboard.press("e")
    assert page.is_checked("input[value=erase]")
    page.keyboard.press("v")
    page.check("#lines")
    assert page.locator(".view svg path").count() > 0
    before = page.inner_text(".place")
    page.locator(".view canvas").focus()
    page.keyboard.press("PageUp")
    assert page.inner_text(".place") != before
    page.keyboard.press("w")
    page.wait_for_selector("body[data-shown$='/whole']", timeout=90_000)
    page.context.close()


def test_parts_are_shown_in_the_colours_of_their_legend(site, browser, study) -> None:
    page = viewed(browser, site[0] + study)
    assert not page.is_visible("#legend")
    plain = colours_in(page)
    page.keyboard.press("a")
    page.wait_for_function("document.querySelector('#legend').offsetHeight > 0")
    names = page.locator("#legend li").all_inner_texts()
    assert [name.strip() for name in names] == [
        "Cochlea", "Vestibule", "Anterior canal", "Posterior canal", "Lateral canal", "Common crus",
    ]  # fmt: skip
    assert page.input_value("#opacity") == "0"
    page.wait_for_timeout(500)
    picture(page, "parts")
    shown = colours_in(page)
    # The views through the ear's centre cut several parts, whose hues the mask does not have.
    hues = hues_of_legend(page)
    new = [hue for hue in hues if shown[hue] > plain[hue] + 200]
    assert len(new) >= 3, (hues, plain, shown)
    page.select_option("#window", index=1)
    page.keyboard.press("a")
    assert not page.is_visible("#legend")
    assert page.input_value("#opacity") == "0.35"
    page.wait_for_timeout(300)
    assert all(colours_in(page)[hue] < shown[hue] for hue in new)
    page.context.close()


def hues_of_legend(page: Any) -> list[int]:
    """Hues of the legend's swatches, in steps of 15 degrees."""
    found = page.eval_on_selector_all("#legend .swatch", "all => all.map(o => o.style.background)")
    colours = [[int(n) / 255 for n in re.findall(r"\d+", text)] for text in found]
    return [round(24 * colorsys.rgb_to_hsv(*rgb)[0]) % 24 for rgb in colours]


def colours_in(page: Any) -> list[int]:
    """Saturated pixels of the viewer by hue, in 24 steps of 15 degrees."""
    image = Image.open(io.BytesIO(page.locator(".view").first.screenshot())).convert("HSV")
    hue, saturation, value = np.moveaxis(np.asarray(image, dtype=float), -1, 0)
    strong = (saturation > 60) & (value > 60)
    steps = np.round(hue[strong] / 255 * 24).astype(int) % 24
    return np.bincount(steps, minlength=24).tolist()


@needs_dicomweb
def test_a_series_is_searched_and_fetched_from_an_archive(tmp_path, browser, write_series) -> None:
    import httpx2 as httpx

    folder = write_series(tmp_path / "ct", PatientID="4711", PatientName="Doe^Jane")
    with orthanc(tmp_path / "orthanc", Plugins=[str(DICOMWEB)]) as base:
        for path in folder.iterdir():
            httpx.post(f"{base}/instances", content=path.read_bytes()).raise_for_status()
        archive = Archive(f"{base}/dicom-web")
        with serving_at(tmp_path / "data", serving.nothing, archive=archive) as address:
            page = opened(browser, address)
            page.click("#archive summary")
            page.fill("#archive input[name=PatientID]", "4712")
            page.keyboard.press("Enter")
            page.wait_for_selector("#archive-empty:not([hidden])")
            page.fill("#archive input[name=PatientID]", "4711")
            page.keyboard.press("Enter")
            page.wait_for_selector("#archive-series tbody tr")
            assert "Doe Jane" in page.inner_text("#archive-series tbody")
            assert not axe_findings(page)
            picture(page, "archive")
            page.locator("#archive-series button").click()
            page.wait_for_selector("tr[data-state='no ear']", timeout=60_000)
            page.set_viewport_size({"width": 375, "height": 740})
            assert too_wide(page) <= 0
            picture(page, "archive-phone")
            page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_a_phone_needs_no_sideways_scrolling(
    site, browser, study, scheme
) -> None:
    for path, name in (("/", "studies"), (study, "study")):
        page = opened(browser, site[0] + path, color_scheme=scheme)
        page.wait_for_selector("body[data-shown]" if name == "study" else "tr[data-id]")
        assert not axe_findings(page)
        picture(page, f"{name}-{scheme}")
        page.set_viewport_size({"width": 375, "height": 740})
        page.wait_for_timeout(500)
        assert too_wide(page) <= 0
        assert not axe_findings(page)
        picture(page, f"{name}-{scheme}-phone")
        page.context.close()


def test_a_file_dropped_on_the_page_that_is_no_scan_is_told(site, browser) -> None:
    page = opened(browser, site[0])
    page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File(["hello"], "<b>notes</b>.txt"));
            document.getElementById("drop").dispatchEvent(
                new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true}));
        }"""
    )
    page.wait_for_selector("tr[data-state=failed]", timeout=60_000)
    assert "contains no scan" in page.inner_text("tr[data-state=failed]")
    page.locator("tr[data-state=failed] button", has_text="Delete").click()
    page.wait_for_selector("tr[data-state=failed]", state="detached", timeout=20_000)
    page.context.close()


def test_the_report_runs_apart_from_the_server(site, browser, study) -> None:
    page = opened(browser, f"{site[0]}/api{study}/versions/1/files/report.html")
    assert page.inner_text("h1") == "Anna"
    assert page.evaluate("window.origin") == "null"
    page.context.close()


def test_a_study_is_deleted_with_its_files(site, browser, study) -> None:
    address, folder = site
    page = viewed(browser, address + study)
    page.click("#delete")
    page.wait_for_selector("#studies", timeout=20_000)
    page.wait_for_selector("#empty:not([hidden])", timeout=20_000)
    assert not list((folder / "data" / "studies").iterdir())
    page.context.close()
