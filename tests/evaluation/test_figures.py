"""Pictures are drawn of what there is: right size, not empty, and every name in them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from otovox.errors import InputError
from otovox.evaluation.calibration import reliability, roc
from otovox.evaluation.figures import (
    bars,
    contrast_matching,
    learning_curves,
    reliability_diagram,
    roc_curves,
    uncertainty_scatter,
)

RNG = np.random.default_rng(0)


def drawn(path: Path) -> str:
    """The text of a picture, drawn as SVG with the letters kept."""
    assert path.stat().st_size > 2000
    return path.read_text("utf-8")


@pytest.fixture(autouse=True)
def _letters(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib

    monkeypatch.setitem(matplotlib.rcParams, "svg.fonttype", "none")


def test_bars(tmp_path: Path) -> None:
    sets = ("validation", "B", "test average")
    rows = [
        (system, name, measure, mean, sd, published)
        for system in ("multi-task", "single-task")
        for name in sets
        for measure, mean, sd, published in (
            ("dice", 0.9, 0.01, 0.95),
            ("landmark_mean_voxels", 5.0, np.nan, np.nan),
        )
    ]
    table = pd.DataFrame(rows, columns=["system", "set", "measure", "mean", "sd", "published"])
    bars(table, tmp_path / "bars.svg")
    text = drawn(tmp_path / "bars.svg")
    assert all(word in text for word in (*sets, "multi-task", "single-task", "Stebani"))
    bars(table, tmp_path / "bars.png")
    picture = imread(tmp_path / "bars.png")
    assert picture.shape[1] == 2 * 680
    assert 0.3 < picture[..., :3].mean() < 0.98


def test_uncertainty_scatter(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "uncertainty": [0.01, 0.02, 0.1],
            "dice": [0.95, 0.94, 0.6],
            "diagnosis": ["", "healthy", "common_cavity"],
        }
    )
    uncertainty_scatter(table, tmp_path / "scatter.svg", threshold=0.05)
    text = drawn(tmp_path / "scatter.svg")
    assert all(word in text for word in ("healthy (2)", "common cavity (1)", "threshold"))
    uncertainty_scatter(table, tmp_path / "plain.svg", threshold=np.inf)
    assert "threshold" not in drawn(tmp_path / "plain.svg")


def test_roc_curves(tmp_path: Path) -> None:
    roc_curves({"pose_residual_mm": roc([1, 2, 3], [2, 4])}, tmp_path / "roc.svg")
    assert "pose residual mm: AUC 0.75" in drawn(tmp_path / "roc.svg")


def test_reliability_diagram(tmp_path: Path) -> None:
    p = RNG.random(2000)
    curve = reliability(p, RNG.random(2000) < p)
    reliability_diagram({"msct": curve}, tmp_path / "calibration.svg")
    assert f"msct: ECE {curve.expected_error:.3f}" in drawn(tmp_path / "calibration.svg")


def test_learning_curves(tmp_path: Path) -> None:
    """A fold that stopped early, and a row that a resumed run wrote twice."""
    for fold, rows in (("a", (750, 1500, 1500, 2250)), ("b", (750, 1500))):
        lines = [f"{n},{1000 / n:.3f},{1 - 100 / n:.3f}" for n in rows]
        text = "\n".join(["iteration,val_loss,dsc", *lines]) + "\n"
        (tmp_path / f"{fold}.csv").write_text(text)
    runs = {f"fold {name}": tmp_path / f"{name}.csv" for name in "ab"}
    learning_curves(runs, tmp_path / "curves.svg")
    text = drawn(tmp_path / "curves.svg")
    assert all(word in text for word in ("fold a", "fold b", "mean", "DSC", "validation loss"))
    assert "IoU" not in text


def test_runs_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        learning_curves({"a": tmp_path / "gone.csv"}, tmp_path / "curves.svg")
    (tmp_path / "odd.csv").write_text("iteration,other\n1,2\n")
    with pytest.raises(InputError, match="no validation"):
        learning_curves({"a": tmp_path / "odd.csv"}, tmp_path / "curves.svg")
    assert not (tmp_path / "curves.svg").exists()


def test_contrast_matching(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    before = {"cluster 1": rng.normal(2, 1, 500), "cluster 2": rng.normal(5, 1, 500)}
    after = {name: rng.normal(1, 1, 500) for name in before}
    contrast_matching(before, after, tmp_path / "c.png", inside=(0.2, 0.1))
    assert (tmp_path / "c.png").stat().st_size > 5000
