"""The notebook in docs runs from its first cell to its last."""

import json
from pathlib import Path

import pytest

import otovox

NOTEBOOK = Path(__file__).parents[1] / "docs" / "python.ipynb"
NUMBERED = {
    cell["id"]: "".join(cell["source"])
    for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    if cell["cell_type"] == "code"
}


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, code in NUMBERED.items():
        exec(compile(code, f"cell {number}", "exec"), names)
    assert (tmp_path / "results" / "first-scan" / "report.html").is_file()
    result = names["result"]
    assert isinstance(result, otovox.Result)
    assert result._repr_html_().count("data:image/png;base64,") == 1


def test_the_notebook_is_stored_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
