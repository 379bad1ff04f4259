"""The plan of the house: a module imports only modules above it, and only its layer's libraries.

The plan below is the one in docs/architecture.md. A package counts as one module; within it, only
cycles are refused. Imports inside functions and for type checkers count like all others.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "otovox"


@dataclass(frozen=True)
class Layer:
    """Modules in order, and the libraries that this layer adds to those of the layers above."""

    name: str
    modules: tuple[str, ...]
    adds: frozenset[str]


PLAN = (
    Layer(
        "words",
        (
            "errors",
            "anatomy",
            "config_systems",
            "config",
            "geometry",
            "volume",
            "landmarks",
            "case",
        ),
        frozenset({"numpy", "pydantic"}),
    ),
    Layer(
        "arrays",
        (
            "resample",
            "intensity",
            "augment",
            "chunks",
            "surfaces",
            "rendering",
            "planes",
            "metrics",
            "statistics",
            "calibration",
            "postprocess",
            "phantom",
            "measure",
        ),
        frozenset({"scipy", "skimage", "SimpleITK"}),
    ),
    Layer(
        "files",
        ("formats", "dataset", "contrast_sets"),
        frozenset({"pydicom", "highdicom", "trimesh"}),
    ),
    Layer(
        "learning",
        (
            "heatmaps",
            "networks",
            "losses",
            "bundle",
            "engine",
            "prepared",
            "training_data",
            "volume_inference",
            "validation",
            "training",
            "systems",
            "cross_validation",
            "finding",
            "unusual",
            "trust",
            "inference",
            "single_ear",
        ),
        frozenset({"torch", "lightning", "safetensors", "openvino", "threadpoolctl"}),
    ),
    Layer(
        "answers",
        (
            "dataset_summary",
            "evaluation",
            "pictures",
            "quantities",
            "measurements",
            "measured_shapes",
            "result",
            "tables",
            "page",
            "report",
            "corrections",
            "scored_runs",
            "paper_tables",
            "likert_tables",
            "figures",
            "case_results",
            "error_pictures",
            "evaluation_report",
            "summary",
            "analysis",
            "cohort_page",
            "workers",
            "cohort",
            "study",
        ),
        frozenset({"matplotlib", "pandas", "plotly", "jinja2", "dask", "distributed"}),
    ),
    Layer(
        "doors",
        (
            "refusing",
            "cli_options",
            "cli_dataset",
            "cli_evaluate",
            "cli_train",
            "cli_study",
            "cli",
            "__main__",
            "__init__",
        ),
        frozenset({"typer", "rich"}),
    ),
)

ORDER = tuple(module for layer in PLAN for module in layer.modules)
FILES = sorted(SOURCE.rglob("*.py"))


def module_of(path: Path) -> str:
    """The plan's name of a file: that of its package, if it has one."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def dotted(path: Path) -> str:
    """The import path of a file."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[str]:
    """Dotted names of everything that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_modules(path: Path) -> Iterator[str]:
    """The plan's names of the otovox modules that a file imports; the version is free to all."""
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "otovox" or name == "otovox.__version__":
            continue
        yield parts[1] if len(parts) > 1 and parts[1] in ORDER else "__init__"


def libraries(module: str) -> set[str]:
    """Third-party libraries that a module of the plan may import."""
    allowed: set[str] = set()
    for layer in PLAN:
        allowed |= layer.adds
        if module in layer.modules:
            return allowed
    raise KeyError(module)


def test_plan_and_tree_agree() -> None:
    assert len(set(ORDER)) == len(ORDER)
    assert {module_of(path) for path in FILES} == set(ORDER)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_only_modules_above_it(path: Path) -> None:
    module = module_of(path)
    above = ORDER[: ORDER.index(module)]
    below = {name for name in imported_modules(path) if name != module and name not in above}
    assert not below, f"{module} imports {sorted(below)}, which the plan puts below it"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_only_its_layers_libraries(path: Path) -> None:
    module = module_of(path)
    found = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names)
    strange = found - libraries(module) - {"otovox"}
    assert not strange, f"{module} imports {sorted(strange)}, which its layer may not"


def test_packages_hold_no_cycles() -> None:
    names = {dotted(path) for path in FILES if path.parent != SOURCE}
    graph: dict[str, set[str]] = {}
    for path in FILES:
        if path.parent == SOURCE:
            continue
        targets = {name for name in imports(path) if name in names}
        targets |= {name.rpartition(".")[0] for name in imports(path)} & names
        graph[dotted(path)] = targets - {dotted(path)}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_file_is_too_long(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 500


def test_the_plan_is_the_documented_one() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    block = text.split("```text\n")[1].split("```")[0]
    lines = [line for line in block.splitlines() if line.startswith("  ") and "  --" not in line]
    listed = [line.split()[0].removesuffix(".py").removesuffix("/") for line in lines]
    assert listed == [module for module in ORDER if module != "__main__"]


def test_the_rule_can_fail(tmp_path: Path) -> None:
    """A module that reached down, or for a library of a later layer, would be seen."""
    path = tmp_path / "errors.py"
    path.write_text("def f():\n    import torch\n    from otovox import cli\n    import otovox\n")
    assert set(imports(path)) == {"torch", "otovox.cli", "otovox"}
    assert set(imported_modules(path)) == {"cli", "__init__"}
    assert "torch" not in libraries("errors")
    assert "torch" in libraries("inference")
