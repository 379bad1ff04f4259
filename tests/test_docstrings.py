"""Every `>>>` example in a docstring runs as it stands, and every public name has one."""

import doctest
import importlib
import inspect
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

import otovox
from otovox.analysis.model import _loaded
from otovox.analysis.result import Result
from otovox.core.case import Prediction
from otovox.core.volume import Scan
from otovox.measure.measured_scan import measure_scan

SOURCE = Path(__file__).parents[1] / "src"
EXAMPLES = sorted(path for path in SOURCE.rglob("*.py") if ">>> " in path.read_text("utf-8"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_of_a_module(
    path: Path, predict: Any, tiny_scan: Scan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the room `analysis`, `scan` is a scan and `result` its result; the networks are stood in
    for."""
    names = {}
    if path.parent.name == "analysis":
        names = {"scan": tiny_scan, "result": Result(measure_scan(predict(tiny_scan)))}

        class FakeAnalyzer:
            def predict(self, scan: Scan) -> Prediction:
                return predict(scan)

        monkeypatch.setattr("otovox.inference.single_ear.open_any", lambda **_: FakeAnalyzer())
    _loaded.cache_clear()
    name = ".".join(path.relative_to(SOURCE).with_suffix("").parts)
    result = doctest.testmod(importlib.import_module(name), extraglobs=names)
    _loaded.cache_clear()
    assert result.attempted
    assert not result.failed


def public_docstrings() -> dict[str, str]:
    """Of the public functions, and of the public methods and properties of the public classes."""
    found = {}
    for name in otovox.__all__:
        one = getattr(otovox, name)
        if inspect.isclass(one):
            members = vars(one).items() if not issubclass(one, Exception) else ()
            for key, member in members:
                documented = inspect.isroutine(member) or isinstance(
                    member, property | cached_property | classmethod
                )
                if documented and not key.startswith("_"):
                    found[f"{name}.{key}"] = inspect.getdoc(getattr(one, key)) or ""
        elif callable(one):
            found[name] = inspect.getdoc(one) or ""
    return found


@pytest.mark.parametrize(("name", "text"), public_docstrings().items())
def test_every_public_name_has_an_example(name: str, text: str) -> None:
    assert ">>> " in text, name
