"""The module for 3D Slicer, with stand-ins for Slicer's packages: what it asks of otovox."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import MagicMock

import pytest
import SimpleITK as sitk

MODULE = Path(__file__).parents[2] / "integrations" / "slicer" / "Otovox.py"


@pytest.fixture
def slicer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> MagicMock:
    found = MagicMock()
    found.app.temporaryPath = str(tmp_path)
    base = ModuleType("slicer.ScriptedLoadableModule")
    for name in ("", "Logic", "Test", "Widget"):
        kind = f"ScriptedLoadableModule{name}"
        setattr(base, kind, type(kind, (), {}))
    given = {"slicer": found, "slicer.ScriptedLoadableModule": base, "ctk": MagicMock(),
             "qt": MagicMock(), "sitkUtils": MagicMock()}  # fmt: skip
    for name, module in given.items():
        monkeypatch.setitem(sys.modules, name, module)
    return found


def test_it_analyses_the_volume_and_loads_what_otovox_wrote(
    slicer: MagicMock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    spec = importlib.util.spec_from_file_location("Otovox", MODULE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    image = sitk.Image(4, 4, 4, sitk.sitkInt16)
    monkeypatch.setattr(module.sitkUtils, "PullVolumeFromSlicer", lambda _: image, raising=False)
    result = MagicMock(warnings=("look at the left ear",))
    from otovox.results.schema import FILES

    result.save.return_value.files = FILES
    analyze = MagicMock(return_value=result)
    monkeypatch.setattr("otovox.analysis.model.analyze", analyze)
    monkeypatch.setattr("otovox.analyze", analyze, raising=False)
    node = MagicMock()
    assert module.OtovoxLogic().analyze(node, "none") == ["look at the left ear"]
    (given,), options = analyze.call_args
    assert given.GetSize() == image.GetSize()
    assert options == {"tta": "none"}
    loaded = slicer.util.loadSegmentation.call_args[0][0]
    assert loaded.endswith("segmentation.seg.nrrd")
    assert Path(loaded).parent == result.save.call_args[0][0]
    assert Path(loaded).is_relative_to(tmp_path)
