"""Makes the pictures of `docs/gallery.md`: phantoms, analysed by the embedded model.

python benchmarks/gallery.py

Needs Chromium, for the pictures of the report. About three minutes on two cores.
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

import otovox
from otovox.phantom.cases import make_case

PICTURES = Path(__file__).parents[1] / "docs" / "gallery"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
FLAGS = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]
#: The seed of every phantom, as in the tutorial.
SEED = 501
#: Phantoms of one temporal bone: name, scanner and diagnosis.
EARS = (
    ("fpvct", "fpvct", "healthy"),
    ("msct", "msct", "healthy"),
    ("ossificans", "cbct", "ossificans"),
    ("implant", "cbct", "implant"),
)
#: Width of the overviews, pixels; quality of the JPEG files, per cent: chosen.
WIDTH, QUALITY = 1400, 82


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=PICTURES)
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    model = otovox.load_model()
    with tempfile.TemporaryDirectory() as place:
        results = Path(place)
        for name, scanner, diagnosis in EARS:
            scan = make_case(SEED, kind="ear", scanner=scanner, diagnosis=diagnosis).scan
            model.analyze(scan).save(results / name)
            shrink(results / name / "overview.png", output / f"{name}.jpg")
        model.analyze(make_case(SEED, kind="head", scanner="msct").scan).save(results / "head")
        with sync_playwright() as library:
            browser = library.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            photograph(browser, results / "head" / "report.html", output)
            browser.close()


def shrink(picture: Path, to: Path) -> None:
    """A PNG file as a smaller JPEG file."""
    from PIL import Image

    image = Image.open(picture).convert("RGB")
    image.thumbnail((WIDTH, WIDTH))
    image.save(to, quality=QUALITY)


def photograph(browser: Any, report: Path, output: Path) -> None:
    """The beginning of a report: on a screen, and dark on a phone; and its 3D model."""
    for name, width, height, scheme in (
        ("report", 1100, 1300, "light"), ("report-phone", 390, 844, "dark")
    ):  # fmt: skip
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.goto(report.as_uri())
        page.wait_for_selector("#model canvas", timeout=60_000)
        page.screenshot(path=output / f"{name}.jpg", type="jpeg", quality=QUALITY)
        if name == "report":
            page.wait_for_timeout(2000)
            page.locator("#model").screenshot(
                path=output / "model.jpg", type="jpeg", quality=QUALITY
            )
        page.close()


if __name__ == "__main__":
    main()
