"""The list of rooms in docs/architecture.md is the one that all imports keep to."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "otovox"
LIST = (ROOT / "docs" / "architecture.md").read_text("utf-8").split("```text\n")[1].split("```")[0]
ROOMS = [line.split()[0] for line in LIST.splitlines() if line.startswith("  ") and line[2] != " "]
#: Rooms that import the phantom: none that is for patients.
OF_PHANTOMS = {"phantom", "learning", "experiments", "cli"}
#: The first room that may import each library.
LIBRARIES = {
    "core": "numpy scipy",
    "workers": "dask distributed",
    "config": "pydantic",
    "imaging": "skimage SimpleITK",
    "formats": "filelock nibabel psutil pydicom highdicom trimesh",
    "learning": "torch lightning safetensors openvino threadpoolctl",
    "results": "pandas matplotlib plotly jinja2",
    "serve": "starlette uvicorn anyio pynetdicom dicomweb_client requests",
    "cli": "typer rich click",
}
FIRST = {library: room for room, names in LIBRARIES.items() for library in names.split()}
FILES = sorted(SOURCE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[list[str]]:
    """Everything that a file imports, anywhere in it, as the parts of its dotted name."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: relative import"
            yield from ([*node.module.split("."), alias.name] for alias in node.names)


def faults(path: Path) -> Iterator[str]:
    room, above = room_of(path), ROOMS[: ROOMS.index(room_of(path)) + 1]
    for first, *rest in imports(path):
        if first == "otovox":
            if not rest or rest[0] not in above:
                yield f"imports {rest}, which is not above it"
            elif rest[0] != room and any(re.match("_[^_]", part) for part in rest[1:]):
                yield f"imports {rest}, which is private"
            elif rest[0] == "phantom" and room not in OF_PHANTOMS:
                yield "imports the phantom"
        elif first not in sys.stdlib_module_names and FIRST.get(first) not in above:
            yield f"imports {first}, which is for a later room"


def test_the_list_is_that_of_the_folders_and_modules() -> None:
    assert sorted(ROOMS) == sorted({room_of(path) for path in FILES})
    listed, room = {}, ""
    for line in LIST.splitlines()[1:]:
        if line.startswith("    "):
            listed[room] += line.split()
        else:
            room = line.split()[0]
            listed[room] = []
    for room, modules in listed.items():
        paths = (SOURCE / room).rglob("*.py")
        held = {path.relative_to(SOURCE / room).parts[0].removesuffix(".py") for path in paths}
        assert sorted(modules) == sorted(held - {"__init__"})


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_keeps_to_the_list(path: Path) -> None:
    assert not list(faults(path))
    assert len(path.read_text("utf-8").splitlines()) <= 500
    if path.name == "__init__.py" and path.parent != SOURCE:
        assert len(ast.parse(path.read_text("utf-8")).body) == 1


def test_the_rule_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "SOURCE", tmp_path)
    (tmp_path / "measure.py").write_text(
        "import torch\nimport otovox\nfrom otovox.core import case\n"
        "def late(): from otovox.phantom import cases; from otovox.formats import _hidden\n"
        "from otovox.cli import app\n"
    )
    assert len(list(faults(tmp_path / "measure.py"))) == 5


def test_importing_otovox_imports_no_heavy_library() -> None:
    code = "import otovox, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "pandas", "matplotlib", "plotly", "numpy"} & set(done.stdout.split())
