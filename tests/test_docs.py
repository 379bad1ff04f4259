"""README and docs say what is so: their Python runs, their commands and links exist."""

import importlib.util
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

import otovox
from otovox.analysis.model import _loaded
from otovox.cli import app as cli
from otovox.core.case import Prediction
from otovox.core.geometry import affine_from
from otovox.core.volume import Grid, Scan

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])
#: Made by a benchmark or by hand from a run, not part of every checkout.
PICTURES = {"docs/overview.png"}


def blocks(page: Path, language: str) -> list[str]:
    """The fenced code blocks of a page in a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def commands() -> Iterator[tuple[str, str]]:
    """Every `otovox ...` line in the pages' shell blocks, with its page's name."""
    for page in PAGES:
        for block in blocks(page, "bash"):
            for line in block.splitlines():
                if line.startswith("otovox "):
                    yield page.name, line


@pytest.mark.parametrize(
    ("page", "code"),
    [
        pytest.param(page, code, id=f"{page.stem}-{number}")
        for page in PAGES
        for number, code in enumerate(blocks(page, "python"))
    ],
)
def test_python_runs(
    page: Path, code: str, monkeypatch: pytest.MonkeyPatch, predict: Any, tmp_path: Path
) -> None:
    """The networks and the reading of files have tests of their own; here they are stood in for."""

    class FakeAnalyzer:
        def predict(self, scan: Scan) -> Prediction:
            return predict(scan)

    def as_scan(x: object, **_: object) -> Scan:
        return x if isinstance(x, Scan) else scan

    grid = Grid((24, 22, 20), affine_from(np.eye(3) * 0.5, np.zeros(3)))
    scan = Scan(np.zeros(grid.shape, np.float32), grid)
    monkeypatch.setattr("otovox.analysis.model.as_scan", as_scan)
    _loaded.cache_clear()
    monkeypatch.setattr("otovox.inference.single_ear.open_any", lambda **_: FakeAnalyzer())
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page.name, "exec"), {})
    _loaded.cache_clear()


@pytest.mark.parametrize(("page", "line"), list(commands()))
def test_commands_exist(page: str, line: str) -> None:
    """The command line accepts each line, up to running it: names, options and choices."""
    program = typer.main.get_command(cli.app)
    _, name, *arguments = shlex.split(line)
    if name.startswith("-"):
        program.make_context("otovox", [name], resilient_parsing=True)
        return
    found: Any = program.commands[name]  # pyright: ignore[reportAttributeAccessIssue]
    while hasattr(found, "commands"):
        name, *arguments = arguments
        found = found.commands[name]
    context = found.make_context(name, arguments)
    assert context.params is not None


def test_pages_show_commands() -> None:
    names = {line.split()[1] for _, line in commands()}
    program = typer.main.get_command(cli.app)
    assert names == set(program.commands)  # pyright: ignore[reportAttributeAccessIssue]


def test_every_option_of_analyze_is_documented() -> None:
    text = (ROOT / "docs" / "usage.md").read_text("utf-8")
    program = typer.main.get_command(cli.app)
    analyze = program.commands["analyze"]  # pyright: ignore[reportAttributeAccessIssue]
    options = [opt for parameter in analyze.params for opt in parameter.opts if opt[0] == "-"]
    assert "--output" in options
    assert not [option for option in options if f"`{option}`" not in text]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        if "://" in target or target in PICTURES:
            continue
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_reference_lists_every_public_name() -> None:
    text = (ROOT / "docs" / "reference" / "api.md").read_text("utf-8")
    listed = re.findall(r"^::: otovox\.(\w+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(set(otovox.__all__) - {"__version__"})


def test_the_reference_of_the_command_line_lists_every_command() -> None:
    place = ROOT / ".ci" / "docs_commands.py"
    spec = importlib.util.spec_from_file_location("docs_commands", place)
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    page = hook.on_page_markdown((ROOT / "docs" / "reference" / "cli.md").read_text("utf-8"))
    program = typer.main.get_command(cli.app)
    for name in program.commands:  # pyright: ignore[reportAttributeAccessIssue]
        assert f"\n## `otovox {name}`\n" in page
    assert hook.MARK not in page


def test_the_readme_of_a_package_index_has_no_relative_links() -> None:
    made = subprocess.run(
        [ROOT / ".ci" / "pypi-readme", "owner/name", "v1"],
        capture_output=True, encoding="utf-8", check=True,
    ).stdout  # fmt: skip
    targets = re.findall(r"\]\(([^)]+)\)", made)
    assert len(targets) > 10
    assert all("://" in target for target in targets)
    assert "](https://raw.githubusercontent.com/owner/name/v1/docs/overview.png)" in made
    assert "](https://github.com/owner/name/blob/v1/docs/usage.md#from-python)" in made


def test_readme_keeps_the_marks_for_results() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert text.index("<!-- results:start -->") < text.index("<!-- results:end -->")
    assert "Research use only, not a medical device" in text


@pytest.mark.parametrize(
    ("page", "letter", "count"),
    [("reproduction", "S", 27), ("comparison", "H", 11), ("comparison", "L", 11),
     ("comparison", "J", 5)],
)  # fmt: skip
def test_every_point_of_the_papers_has_its_row(page: str, letter: str, count: int) -> None:
    """The files and tests that the rows name are there."""
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    rows = re.findall(rf"^\| ({letter}\d+) \|(.*)$", text, re.MULTILINE)
    assert [name for name, _ in rows] == [f"{letter}{n}" for n in range(1, count + 1)]
    source, tests = ROOT / "src" / "otovox", ROOT / "tests"
    known = "\n".join(path.read_text("utf-8") for path in tests.rglob("*.py"))
    for name, row in rows:
        for file in re.findall(r"`([\w/-]+\.(?:py|toml))`", row):
            places = (
                source / file,
                source / "config" / "presets" / file,
                tests / file,
                ROOT / file,
            )
            assert any(place.is_file() for place in places), f"{name}: {file}"
        for test in re.findall(r"`(test_\w+)`", row):
            assert f"def {test}(" in known, f"{name}: {test}"
