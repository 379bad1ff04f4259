"""What Python gets: a result with tables, files and a picture; models shared by threads."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

import otovox
from otovox.analysis.model import _loaded, as_scan
from otovox.analysis.result import Result
from otovox.core.anatomy import Side
from otovox.core.case import Estimate, Prediction, Quality
from otovox.core.volume import Scan
from otovox.errors import InputError
from otovox.formats.scans import load_scan
from otovox.measure.measured_scan import measure_scan
from otovox.results.findings import key_rows
from otovox.results.tables import EAR_COLUMNS, IDENTITY, long_table
from otovox.results.titles import title_of

QUALITY = Quality(Estimate(0.94, 0.9, 0.97), Estimate(0.21, 0.1, 0.5), 0.9)


@pytest.fixture
def result(tiny_scan: Scan, predict: Any) -> Result:
    made: Prediction = predict(tiny_scan)
    right, left = made.ears
    ears = (replace(right, quality=QUALITY), left)
    return Result(measure_scan(replace(made, ears=ears, warnings=("voxels <are> coarse",))))


def test_ears_hold_everything(result: Result) -> None:
    right, left = result.ears
    assert (right.side, left.side) == (Side.RIGHT, Side.LEFT)
    assert right.mask.shape == result.scan.values.shape
    assert right.landmarks.has("helicotrema")
    assert right.quality == QUALITY
    assert left.quality is None
    assert right.measurements["labyrinth_volume"].value == right.volume_mm3 == 200
    assert result.measurements[Side.LEFT]["labyrinth_volume"].unit == "mm3"
    assert result.warnings[0] == "voxels <are> coarse"
    assert len(result.warnings) == 3
    assert result.provenance["software"]["name"] == "otovox"
    assert result.uncertainty.shape == result.scan.values.shape


def test_segmentation_lies_on_the_grid_of_the_scan(result: Result) -> None:
    image = result.segmentation
    assert isinstance(image, sitk.Image)
    assert np.array_equal(sitk.GetArrayFromImage(image).T, result.prediction.labels.values)
    corner = image.TransformIndexToPhysicalPoint((23, 21, 19))
    assert corner == pytest.approx(result.scan.grid.to_mm((23, 21, 19)))


def test_the_table_has_one_row_per_ear(result: Result, predict: Any) -> None:
    table = result.to_dataframe()
    assert list(table.columns[: 4 + len(EAR_COLUMNS)]) == ["scan", *IDENTITY, *EAR_COLUMNS]
    assert table["side"].tolist() == ["right", "left"]
    assert table["expected_dsc"].tolist()[0] == 0.94
    assert table["expected_landmark_error_mm_high"].tolist()[0] == 0.5
    assert table["expected_dsc"].isna().tolist() == [False, True]
    none = Result(measure_scan(predict(result.scan, ())))
    assert none.to_dataframe().empty
    assert list(none.to_dataframe().columns) == ["scan", *IDENTITY, *EAR_COLUMNS]


def test_texts_are_short(result: Result) -> None:
    for thing in (result, result.ears, result.prediction, result.scan, result.ears[0].prediction):
        assert len(repr(thing)) < 300
        assert "array(" not in repr(thing)
    assert "right ear: 200 mm3, confidence 0.90" in repr(result)


def test_a_notebook_shows_the_overview(result: Result, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("otovox.results.overview.overview", lambda _, file: file.write(b"png"))
    html = result._repr_html_()
    assert "data:image/png;base64,cG5n" in html
    assert "voxels &lt;are&gt; coarse" in html


def test_files_are_those_of_the_command_line(
    result: Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("otovox.results.overview.overview", lambda _, to: to.write_bytes(b"png"))
    written = result.save(tmp_path / "one")
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert names == {"result.json", *written.files.values()}
    assert result.to_dict() == written.model_dump(mode="json")


def test_quality_is_shown_as_an_estimate(result: Result) -> None:
    shown = {row.title: row.cells for row in key_rows(result._described)}
    assert shown["expected agreement with an expert's outline (DSC)"] == ("0.94 (0.90 to 0.97)", "")
    assert shown["expected error of the landmarks, mm"] == ("0.21 (0.10 to 0.50)", "")
    assert "confidence (0 to 1)" not in shown
    rows = long_table({"one": result._described}).query("group == 'expected quality'")
    assert rows["quantity"].tolist() == ["expected_dsc", "expected_landmark_error"]
    assert rows["low"].tolist() == [0.9, 0.1]


def test_titles_are_words() -> None:
    assert title_of("duct_length_lw") == "cochlear duct length, lateral wall"
    assert title_of("anterior_canal_arc") == "superior (anterior) canal: arc length"


def test_arguments_that_do_not_apply_are_refused(tiny_scan: Scan) -> None:
    with pytest.raises(InputError, match="for arrays"):
        as_scan(tiny_scan, affine=np.eye(4))
    with pytest.raises(InputError, match="for arrays"):
        as_scan("scan.nii", space="LPS")
    with pytest.raises(InputError, match="DICOM series"):
        as_scan(tiny_scan, series="4")


def test_reading_leaves_standard_error_alone(
    write_scan: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, changed = write_scan(tmp_path / "scan.nii.gz"), []
    with monkeypatch.context() as patch:
        patch.setattr(os, "dup2", lambda *pair: changed.append(pair))
        load_scan(path)
    assert changed == []


def test_threads_that_load_the_same_model_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    barrier = threading.Barrier(4)

    def open_any(**options: Any) -> object:
        opened.append(options)
        return object()

    def load(_: int) -> otovox.Model:
        barrier.wait()
        return otovox.load_model("labyrinth", device="cpu", threads=3, tta="none")

    monkeypatch.setattr("otovox.inference.single_ear.open_any", open_any)
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(load, range(4)))) == 1
    assert opened == [{"device": "cpu", "threads": 3, "tta": "none", "model": "labyrinth"}]
    _loaded.cache_clear()


@pytest.mark.slow
def test_two_threads_see_what_one_sees() -> None:
    from otovox.phantom.cases import make_case

    scan = make_case(3, kind="ear", scanner="msct").scan
    flipped = Scan(
        np.ascontiguousarray(scan.values[::-1]),
        otovox.Grid(scan.grid.shape, scan.grid.affine @ _flip(scan.grid.shape[0])),
    )
    model = otovox.load_model(device="cpu", threads=1, tta="none")
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(model.analyze, (scan, flipped)))
    for volume, found in zip((scan, flipped), together, strict=True):
        alone = model.analyze(volume)
        assert np.array_equal(found.prediction.labels.values, alone.prediction.labels.values)
        assert found.to_dict()["ears"] == alone.to_dict()["ears"]
    # Both files describe the same ear.
    assert together[0].ears[0].center_mm == pytest.approx(together[1].ears[0].center_mm, abs=0.1)


def _flip(count: int) -> np.ndarray:
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = count - 1
    return flip
