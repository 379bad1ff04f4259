"""Results on disk scored against a data set on disk, errors known."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from otovox.core.anatomy import Side
from otovox.core.case import Prediction
from otovox.core.geometry import affine_from
from otovox.core.landmarks import Landmarks
from otovox.core.volume import Grid, Scan
from otovox.dataset.layout import Entry, load_case, read_index
from otovox.errors import InputError
from otovox.evaluation.runs import HIGHEST, folds_of, load_prediction, score_runs, set_name
from otovox.formats.markups import write_markups
from otovox.results.schema import RESULT

GRID = Grid((24, 22, 20), affine_from(np.eye(3) * 0.5, np.zeros(3)))


def column(rows: pd.DataFrame, name: str) -> dict[Any, Any]:
    """Values by case and fold."""
    return dict(zip(rows.index, rows[name], strict=True))


def test_a_prediction_is_read_back(tiny_results: tuple[Path, Prediction], tiny_scan: Scan) -> None:
    folder, made = tiny_results
    back = load_prediction(folder / "fold-0" / "one", tiny_scan)
    assert np.array_equal(back.labels.values, made.labels.values)
    assert back.uncertainty == pytest.approx(made.uncertainty)
    (ear,), (true,) = back.ears, made.ears
    assert ear.landmarks.points_mm == pytest.approx(true.landmarks.points_mm, abs=1e-4, nan_ok=True)
    assert ear.landmark_sd_mm == pytest.approx(true.landmark_sd_mm, nan_ok=True)
    assert ear.pose.matrix == pytest.approx(true.pose.matrix, abs=1e-6)
    assert (ear.side, ear.confidence, ear.uncertainty) == (Side.RIGHT, 0.9, 0.001)


def test_runs_are_scored_by_hand(tiny_results: tuple[Path, Prediction], tiny_dataset: Path) -> None:
    """The found box holds 64 voxels, the true one 96 with these among them."""
    table, missing = score_runs(folds_of([tiny_results[0]]), tiny_dataset)
    assert missing == ["three"]
    rows = table.set_index(["case", "fold"])
    assert sorted(rows.index) == [("one", "fold-0"), ("one", "fold-1"), ("two", "fold-0")]
    assert rows["dice"].tolist() == pytest.approx([128 / 160] * 3)
    assert rows["precision"].tolist() == [1, 1, 1]
    assert rows["recall"].tolist() == pytest.approx([2 / 3] * 3)
    # The two layers that are missing lie 0.5 and 1 mm away.
    assert rows["hd_mm"].tolist() == pytest.approx([1.0] * 3)
    assert rows["hd_voxels"].tolist() == pytest.approx([1 / 0.099] * 3)
    assert rows["helicotrema_voxels"].tolist() == pytest.approx([10.0] * 3, abs=2e-3)
    assert np.isinf(rows["round_window_mm"]).all()
    assert rows["landmark_mean_mm"].tolist() == pytest.approx([0.99] * 3, abs=2e-4)
    assert rows["volume_uncertainty"].tolist() == pytest.approx([0.2 / 10_560] * 3)
    one, two = rows.loc[("one", "fold-1")], rows.loc[("two", "fold-0")]
    assert (one["set"], two["set"]) == ("fpvct-clinical", "fpvct-clinical, otosclerosis")
    assert (one["patient"], one["side"], one["extra_ears"]) == ("a", "right", 0)


def test_the_argmax_of_the_heatmaps_is_scored_beside_the_landmarks(
    tiny_results: tuple[Path, Prediction], tiny_dataset: Path
) -> None:
    """S20: the highest voxels, where a case has them, 0.198 mm beside the true landmarks."""
    entry = next(entry for entry in read_index(tiny_dataset) if entry.case == "one")
    truth = load_case(tiny_dataset, entry).landmarks[Side.RIGHT]
    moved = Landmarks(truth.names, truth.points_mm + np.array([0, 0.198, 0]))
    write_markups(tiny_results[0] / "fold-0" / "one" / HIGHEST, {Side.RIGHT: moved})
    rows = score_runs(folds_of([tiny_results[0]]), tiny_dataset)[0].set_index(["case", "fold"])
    found = column(rows, "landmark_mean_argmax_voxels")
    assert found["one", "fold-0"] == pytest.approx(2.0, abs=1e-3)
    assert column(rows, "helicotrema_argmax_voxels")["one", "fold-0"] == pytest.approx(
        2.0, abs=1e-3
    )
    assert column(rows, "helicotrema_voxels")["one", "fold-0"] == pytest.approx(10.0, abs=2e-3)
    assert np.isnan(found["two", "fold-0"])


def test_the_volumes_uncertainty_is_that_of_the_prediction(
    tiny_results: tuple[Path, Prediction], tiny_dataset: Path
) -> None:
    """S24: 6.4e-4 lies between the steps of 1/255 in which the uncertainty is stored."""
    path = tiny_results[0] / "fold-0" / "one" / RESULT
    result = json.loads(path.read_text())
    result["provenance"]["settings"]["volume_mean_sd"] = 6.4e-4
    path.write_text(json.dumps(result))
    rows = score_runs(folds_of([tiny_results[0]]), tiny_dataset)[0].set_index(["case", "fold"])
    found = column(rows, "volume_uncertainty")
    assert found["one", "fold-0"] == pytest.approx(6.4e-4, rel=1e-12)
    assert found["two", "fold-0"] == pytest.approx(0.2 / 10_560)


def test_a_plain_folder_is_one_fold(tiny_results: tuple[Path, Prediction], tmp_path: Path) -> None:
    fold = tiny_results[0] / "fold-1"
    assert folds_of([fold]) == {"fold-1": fold}
    (tmp_path / "deep" / "fold-2" / "results").mkdir(parents=True)
    assert folds_of([tmp_path / "deep"]) == {"fold-2": tmp_path / "deep" / "fold-2" / "results"}
    with pytest.raises(InputError, match="same name"):
        folds_of([fold, fold])
    with pytest.raises(InputError, match="not a results folder"):
        folds_of([tmp_path / "gone"])


def test_results_of_another_scan_are_refused(
    tiny_results: tuple[Path, Prediction], tiny_scan: Scan
) -> None:
    moved = Grid(GRID.shape, affine_from(np.eye(3) * 0.5, np.ones(3)))
    with pytest.raises(InputError, match="differs from that of the scan one"):
        load_prediction(tiny_results[0] / "fold-0" / "one", Scan(tiny_scan.values, moved, "one"))
    (tiny_results[0] / "fold-0" / "one" / "uncertainty.nii.gz").write_bytes(b"damaged")
    with pytest.raises(InputError, match="cannot be read"):
        load_prediction(tiny_results[0] / "fold-0" / "one", tiny_scan)


def test_sets_are_named_by_scanner_and_disease() -> None:
    assert set_name(Entry("a", "p")) == "all"
    assert set_name(Entry("a", "p", scanner="W", diagnosis="healthy")) == "W"
    assert set_name(Entry("a", "p", scanner="W", diagnosis="ossificans")) == "W, ossificans"
