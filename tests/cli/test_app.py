"""The command line and the running of many scans, with a fake analyzer instead of the networks."""

import csv
import inspect
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import otovox
from otovox.analysis.model import Model
from otovox.cli import app as cli
from otovox.core.anatomy import Side
from otovox.core.case import Prediction
from otovox.core.volume import Scan
from otovox.errors import ModelError, OutputError
from otovox.measure.measured_scan import MeasuredScan
from otovox.results.schema import ResultFile, read_result

SUMMARY = "summary.csv"


class FakeAnalyzer:
    """Predicts by the scan's name."""

    def __init__(self, predict: Any) -> None:
        self.predict_ears = predict
        self.seen: list[str] = []

    def predict(self, scan: Scan) -> Prediction:
        self.seen.append(scan.name)
        if scan.name.startswith("bug"):
            raise ZeroDivisionError("division by zero")
        if scan.name.startswith("huge"):
            raise MemoryError
        if scan.name.startswith("interrupted"):
            raise KeyboardInterrupt
        if scan.name.startswith("ended"):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        return self.predict_ears(scan, () if scan.name.startswith("empty") else tuple(Side))


@pytest.fixture
def analyzer(monkeypatch: pytest.MonkeyPatch, predict: Any) -> FakeAnalyzer:
    """The fake in place of the networks; results are a result.json alone, for speed."""
    fake = FakeAnalyzer(predict)

    def write_results(_: MeasuredScan, folder: Path, *, described: ResultFile) -> ResultFile:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text(described.model_dump_json())
        return described

    model = Model("fake", "cpu", "none", fake)  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr("otovox.analysis.model.load_model", lambda *_, **__: model)
    monkeypatch.setattr("otovox.results.folder.write_results", write_results)
    return fake


def otovox_command(*arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `otovox ARGUMENTS`."""
    result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    assert isinstance(result.exception, SystemExit | None), result.exception
    assert "Traceback" not in result.output
    return result.exit_code, result.stdout, result.stderr


def rows(output: Path) -> list[dict[str, str]]:
    with (output / SUMMARY).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("analyzer")
def test_two_ears_are_reported_and_written(tmp_path: Path, write_scan: Any) -> None:
    scan = write_scan(tmp_path / "head.nii.gz")
    code, out, err = otovox_command("analyze", scan, "--output", tmp_path / "out")
    assert code == 0
    assert err == ""
    assert "right ear" in out
    assert "absent" in out
    assert (tmp_path / "out" / "head" / "result.json").is_file()
    right, left = rows(tmp_path / "out")
    assert (right["side"], left["side"]) == ("right", "left")
    assert right["status"] == "done"
    assert float(right["volume_mm3"]) == 200
    assert right["round_window_x_mm"] == ""
    assert right["round_window_sd_mm"] == ""
    assert float(right["helicotrema_z_mm"]) == pytest.approx(float(left["helicotrema_z_mm"]))
    assert "round window" in right["reason"]


@pytest.mark.usefixtures("analyzer")
def test_no_ear_exits_3_and_is_written(tmp_path: Path, write_scan: Any) -> None:
    scan = write_scan(tmp_path / "empty.nrrd")
    code, out, _ = otovox_command("analyze", scan, "-o", tmp_path / "out")
    assert code == 3
    assert "no inner ear found" in out
    assert (tmp_path / "out" / "empty" / "result.json").is_file()
    assert [row["status"] for row in rows(tmp_path / "out")] == ["no inner ear found"]


def test_one_bad_scan_stops_no_other(
    tmp_path: Path, write_scan: Any, analyzer: FakeAnalyzer
) -> None:
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"not an image")
    paths = [bad, write_scan(tmp_path / "empty.mha"), write_scan(tmp_path / "good.nii")]
    code, out, err = otovox_command("analyze", *paths, "-o", tmp_path / "out")
    assert code == 2
    assert analyzer.seen == ["empty", "good"]
    assert "refused" in out
    assert err.startswith("otovox: ")
    assert str(bad) in err.replace("\n", "")
    assert err.count("otovox:") == 1
    assert not (tmp_path / "out" / "bad").exists()
    listed = {(row["scan"], row["status"], row["side"]) for row in rows(tmp_path / "out")}
    assert listed == {
        ("bad", "refused", ""),
        ("empty", "no inner ear found", ""),
        ("good", "done", "right"),
        ("good", "done", "left"),
    }


@pytest.mark.usefixtures("analyzer")
def test_a_path_that_is_not_there_stops_no_other(tmp_path: Path, write_scan: Any) -> None:
    good = write_scan(tmp_path / "good.nii")
    code, _, err = otovox_command("analyze", tmp_path / "gone.nii", good, "-o", tmp_path / "out")
    assert code == 2
    assert "gone.nii" in err
    assert [row["scan"] for row in rows(tmp_path / "out")] == ["gone", "good", "good"]


@pytest.mark.usefixtures("analyzer")
@pytest.mark.parametrize(
    ("name", "code", "words"),
    [("bug", 1, "ZeroDivisionError: division by zero"), ("huge", 2, "not enough memory")],
)
def test_what_goes_wrong_inside_is_reported_in_a_sentence(
    tmp_path: Path, write_scan: Any, name: str, code: int, words: str
) -> None:
    paths = [write_scan(tmp_path / f"{name}.nii"), write_scan(tmp_path / "good.nii")]
    found, _, err = otovox_command("analyze", *paths, "-o", tmp_path / "out")
    assert found == code
    assert words in err
    assert (tmp_path / "out" / "good" / "result.json").is_file()


@pytest.mark.usefixtures("analyzer")
def test_results_that_cannot_be_written_are_refused(
    tmp_path: Path, write_scan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OutputError("the disk is full")

    monkeypatch.setattr("otovox.results.folder.write_results", full)
    scan = write_scan(tmp_path / "head.nii")
    code, _, err = otovox_command("analyze", scan, "-o", tmp_path / "out")
    assert (code, err) == (2, "otovox: the disk is full\n")


@pytest.mark.usefixtures("analyzer")
def test_two_scans_of_one_name_get_their_folders_names(tmp_path: Path, write_scan: Any) -> None:
    first, second = write_scan(tmp_path / "a" / "ct.nii"), write_scan(tmp_path / "b" / "CT.nrrd")
    code, _, _ = otovox_command("analyze", first, second, "-o", tmp_path / "out")
    assert code == 0
    assert {path.parent.name for path in tmp_path.rglob("result.json")} == {"a_ct", "b_CT"}


@pytest.mark.usefixtures("analyzer")
def test_two_files_of_one_name_are_refused(tmp_path: Path, write_scan: Any) -> None:
    first, second = write_scan(tmp_path / "ct.nii"), write_scan(tmp_path / "CT.nrrd")
    code, _, err = otovox_command("analyze", first, second, "-o", tmp_path / "out")
    assert code == 2
    assert str(first) in err
    assert str(second) in err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("analyzer")
def test_silent_headers_are_refused_or_stated(tmp_path: Path, write_scan: Any) -> None:
    scan = write_scan(tmp_path / "a.nii")
    raw = bytearray(scan.read_bytes())
    raw[252:256] = bytes(4)  # NIfTI-1: qform_code and sform_code
    scan.write_bytes(raw)
    code, _, err = otovox_command("analyze", scan, "-o", tmp_path / "out")
    assert code == 2
    assert "--space" in err
    code, _, _ = otovox_command("analyze", scan, "-o", tmp_path / "out", "--space", "RAS")
    assert code == 0
    code, _, err = otovox_command("analyze", scan, "-o", tmp_path / "out", "--space", "XYZ")
    assert code == 2
    assert "--space XYZ" in err
    options = ("--space", "RAS", "--spacing", "1,1,1")
    code, _, err = otovox_command("analyze", scan, "-o", tmp_path / "out", *options)
    assert code == 2
    assert "--spacing is 1 x 1 x 1 mm" in err


def test_a_series_is_one_scan_however_it_is_given(
    tmp_path: Path, write_series: Any, analyzer: FakeAnalyzer
) -> None:
    folder = write_series(tmp_path / "anna" / "DICOM" / "ST0" / "SE0", ending="")
    out = tmp_path / "anna" / "out"
    for given in ([folder], sorted(folder.iterdir()), [tmp_path / "anna"], [tmp_path]):
        code, _, err = otovox_command("analyze", *given, "-o", out)
        assert (code, err) == (0, "")
    # Once for all, and what was written beside the series meanwhile changes nothing.
    assert analyzer.seen == ["anna_DICOM_ST0_SE0"]


def test_a_zip_file_is_analysed_once(
    tmp_path: Path, write_series: Any, analyzer: FakeAnalyzer
) -> None:
    write_series(tmp_path / "cd" / "a")
    packed = shutil.make_archive(str(tmp_path / "anna"), "zip", tmp_path / "cd")
    for _ in range(2):
        code, _, _ = otovox_command("analyze", packed, "-o", tmp_path / "out")
        assert code == 0
    assert analyzer.seen == ["anna"]


@pytest.mark.usefixtures("analyzer")
def test_the_input_is_no_output(tmp_path: Path, write_scan: Any) -> None:
    scan = write_scan(tmp_path / "in" / "scan" / "scan.nii")
    for given, output in ((scan.parent, scan.parent), (scan, tmp_path / "in")):
        code, _, err = otovox_command("analyze", given, "-o", output)
        assert code == 2
        assert "choose another --output" in err
    assert [path.name for path in tmp_path.rglob("*")] == ["in", "scan", "scan.nii"]


def test_a_scan_given_twice_is_analysed_once(
    tmp_path: Path, write_scan: Any, analyzer: FakeAnalyzer
) -> None:
    scan = write_scan(tmp_path / "in" / "ct.nii")
    code, _, _ = otovox_command("analyze", scan, scan.parent, "-o", tmp_path / "out")
    assert code == 0
    assert analyzer.seen == ["ct"]


@pytest.mark.usefixtures("analyzer")
def test_an_output_that_is_no_folder_is_refused(tmp_path: Path, write_scan: Any) -> None:
    scan = write_scan(tmp_path / "ct.nii")
    (tmp_path / "file").write_text("in the way")
    code, _, err = otovox_command("analyze", scan, "-o", tmp_path / "file" / "out")
    assert code == 2
    assert err.startswith("otovox: ")
    assert "file" in err


def test_a_model_that_cannot_be_used_is_refused(
    tmp_path: Path, write_scan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ModelError("there is no GPU here; choose --device cpu")

    monkeypatch.setattr("otovox.analysis.model.load_model", refuse)
    scan = write_scan(tmp_path / "ct.nii")
    code, _, err = otovox_command("analyze", scan, "-o", tmp_path / "out", "--device", "cuda")
    assert (code, err) == (2, "otovox: there is no GPU here; choose --device cpu\n")


def test_finished_scans_are_kept_until_what_they_depend_on_changes(
    tmp_path: Path, write_scan: Any, analyzer: FakeAnalyzer
) -> None:
    scans = [write_scan(tmp_path / "in" / name) for name in ("a.nii", "empty.nii")]
    out = tmp_path / "out"
    assert otovox_command("analyze", scans[0], "-o", out)[0] == 0
    assert otovox_command("analyze", *scans, "-o", out)[0] == 3
    assert otovox_command("analyze", *scans, "-o", out)[0] == 3
    assert analyzer.seen == ["a", "empty"]
    assert [row["scan"] for row in rows(out)] == ["a", "a", "empty"]

    otovox_command("analyze", *scans, "-o", out, "--fresh")
    assert analyzer.seen == ["a", "empty"] * 2
    otovox_command("analyze", *scans, "-o", out, "--tta", "none")
    assert analyzer.seen == ["a", "empty"] * 3
    scans[0].write_bytes(scans[1].read_bytes()[:-1] + b"!")
    otovox_command("analyze", *scans, "-o", out, "--tta", "none")
    assert analyzer.seen[6:] == ["a"]
    (out / "empty" / "result.json").write_text("{")
    otovox_command("analyze", *scans, "-o", out, "--tta", "none")
    assert analyzer.seen[7:] == ["empty"]


def test_scans_by_pattern_and_by_list(
    tmp_path: Path, write_scan: Any, analyzer: FakeAnalyzer
) -> None:
    for name in ("a.nii", "b.nii", "c.nrrd"):
        write_scan(tmp_path / "in" / name)
    assert otovox_command("analyze", tmp_path / "in" / "*.nii", "-o", tmp_path / "out")[0] == 0
    assert analyzer.seen == ["a", "b"]
    scans = tmp_path / "in" / "scans.txt"
    scans.write_text("# ours\nc.nrrd\n\n*.nii\nmissing.nii\n")
    assert otovox_command("analyze", scans, "-o", tmp_path / "other")[0] == 2
    assert analyzer.seen[2:] == ["c", "a", "b"]
    code, _, err = otovox_command("analyze", tmp_path / "*.mha", "-o", tmp_path / "out")
    assert code == 2
    assert "matches no file" in err


@pytest.mark.usefixtures("analyzer")
def test_interruption_keeps_what_is_finished(tmp_path: Path, write_scan: Any) -> None:
    scans = [write_scan(tmp_path / name) for name in ("a.nii", "interrupted.nii", "z.nii")]
    code, _, err = otovox_command("analyze", *scans, "-o", tmp_path / "out")
    assert code == 130
    assert "interrupted" in err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", SUMMARY]
    assert {row["scan"] for row in rows(tmp_path / "out")} == {"a"}


@pytest.mark.usefixtures("analyzer")
def test_a_signal_ends_it_and_keeps_what_is_finished(tmp_path: Path, write_scan: Any) -> None:
    scans = [write_scan(tmp_path / name) for name in ("a.nii", "ended.nii", "z.nii")]
    usual = signal.getsignal(signal.SIGTERM)
    code, _, err = otovox_command("analyze", *scans, "-o", tmp_path / "out", "--workers", 1)
    assert code == 143
    assert "terminated" in err
    assert signal.getsignal(signal.SIGTERM) is usual
    assert {row["scan"] for row in rows(tmp_path / "out")} == {"a"}


@pytest.mark.usefixtures("analyzer")
def test_the_tables_hold_the_scans_of_every_run(tmp_path: Path, write_scan: Any) -> None:
    out = tmp_path / "out"
    for name in ("a.nii", "empty.nii", "gone.nii"):
        scan = tmp_path / name if name == "gone.nii" else write_scan(tmp_path / name)
        otovox_command("analyze", scan, "-o", out)
    assert [row["scan"] for row in rows(out)] == ["a", "a", "empty", "gone"]
    page = (out / "cohort.html").read_text("utf-8")
    assert "3 scans, 2 ears" in page
    # A process was killed between a result and its row: the next run adds it.
    (out / SUMMARY).unlink()
    otovox_command("analyze", tmp_path / "gone.nii", "-o", out)
    assert sorted(row["scan"] for row in rows(out)) == ["a", "a", "empty", "gone"]


@pytest.mark.usefixtures("analyzer")
def test_a_scan_of_the_same_name_from_elsewhere_is_refused(tmp_path: Path, write_scan: Any) -> None:
    first, second = (write_scan(tmp_path / place / "ct.nii") for place in ("anna", "bert"))
    second.write_bytes(second.read_bytes() + b"another")
    assert otovox_command("analyze", first, "-o", tmp_path / "out")[0] == 0
    result = (tmp_path / "out" / "ct" / "result.json").read_bytes()
    for more in ((), ("--fresh",)):
        code, _, err = otovox_command("analyze", second, "-o", tmp_path / "out", *more)
        assert code == 2
        assert "contains the results of another scan with this name" in err
    assert (tmp_path / "out" / "ct" / "result.json").read_bytes() == result
    # The same scan, changed, replaces its own.
    first.write_bytes(first.read_bytes() + b"changed")
    assert otovox_command("analyze", first, "-o", tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / "ct" / "result.json").read_bytes() != result


def test_dicom_scans_are_identified_unless_anonymous(
    tmp_path: Path, write_series: Any, analyzer: FakeAnalyzer
) -> None:
    uids = ("1.2.826.0.1.3680043.8.498.7.1", "1.2.826.0.1.3680043.8.498.7")
    folder = write_series(tmp_path / "ct", SeriesInstanceUID=uids[1])
    out = tmp_path / "out"
    names = ("patient_id", "study_uid", "series_uid")
    assert otovox_command("analyze", folder, "-o", out)[0] == 0
    assert {tuple(row[name] for name in names) for row in rows(out)} == {("1", *uids)}
    result = read_result(out / "ct" / "result.json")
    assert tuple(getattr(result.input, name) for name in names) == ("1", *uids)
    assert "dicom_segmentation" in result.files
    assert otovox_command("analyze", folder, "-o", out, "--anonymous")[0] == 0
    assert {tuple(row[name] for name in names) for row in rows(out)} == {("", "", "")}
    assert uids[1] not in (out / "ct" / "result.json").read_text()
    anonymous = read_result(out / "ct" / "result.json")
    assert "dicom_segmentation" not in anonymous.files
    (remark,) = otovox.load_scan(folder).anonymous().warnings
    assert "they would identify the patient" in remark
    assert analyzer.seen == ["ct", "ct"]


@pytest.mark.usefixtures("analyzer")
def test_json_and_quiet(tmp_path: Path, write_scan: Any) -> None:
    scan = write_scan(tmp_path / "ct.nii")
    code, out, _ = otovox_command("analyze", scan, "-o", tmp_path / "out", "--json")
    (outcome,) = json.loads(out)["scans"]
    assert code == 0
    assert outcome["scan"] == "ct"
    assert [ear["side"] for ear in outcome["result"]["ears"]] == ["right", "left"]
    assert otovox_command("analyze", scan, "-o", tmp_path / "out", "-q") == (0, "", "")


def test_wrong_use_exits_2(tmp_path: Path) -> None:
    assert otovox_command("analyze")[0] == 2
    assert otovox_command("analyze", "x.nii", "-o", tmp_path, "--tta", "all")[0] == 2
    code, _, err = otovox_command("train", "-o", tmp_path)
    assert code == 2
    assert "tiny" in err
    code, _, err = otovox_command("train", "-o", tmp_path, "--preset", "huge")
    assert code == 2
    assert "huge" in err


def test_defaults_of_the_command_are_those_of_the_options() -> None:
    from otovox.analysis.scan import Options

    parameters = inspect.signature(cli.analyze).parameters
    for name in ("series", "device", "threads", "tta", "model", "fresh"):
        assert parameters[name].default == getattr(Options(), name)


@pytest.mark.usefixtures("analyzer")
def test_analyze_in_python(tmp_path: Path, write_scan: Any) -> None:
    path = write_scan(tmp_path / "ct.nii")
    result = otovox.analyze(str(path), device="cpu")
    assert [ear.side for ear in result.ears] == [Side.RIGHT, Side.LEFT]
    again = otovox.load_model("labyrinth", tta="none").analyze(otovox.load_scan(path))
    assert again.scan.grid.same_as(result.scan.grid)


def test_public_names_are_there() -> None:
    for name in otovox.__all__:
        assert getattr(otovox, name) is not None
    with pytest.raises(AttributeError):
        _ = otovox.nothing


def test_scanners_are_those_of_the_phantom() -> None:
    code, _, stderr = otovox_command("phantom", "--scanner", "xray", "--output", "nowhere")
    assert code == 2
    assert "fpvct-clinical" in stderr
    assert not Path("nowhere").exists()


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["analyze"],
        ["cross-validate"],
        ["dataset"],
        ["dataset", "check"],
        ["demo"],
        ["evaluate"],
        ["models"],
        ["phantom"],
        ["study", "run"],
        ["train"],
    ],
    ids=" ".join,
)
def test_help_in_short_and_in_full(command: list[str]) -> None:
    short, full = (CliRunner().invoke(cli.app, [*command, flag]) for flag in ("-h", "--help"))
    assert short.exit_code == full.exit_code == 0
    assert "Usage" in short.output
    assert short.output == full.output


@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version_in_short_and_in_full(flag: str) -> None:
    result = CliRunner().invoke(cli.app, [flag])
    assert result.output == f"otovox {otovox.__version__}\n"


@pytest.mark.parametrize(
    ("words", "completed"),
    [
        ("otovox an", "analyze"),
        ("otovox dataset sp", "split"),
        ("otovox analyze --ser", "--series"),
    ],
)
def test_the_shell_completes(words: str, completed: str) -> None:
    request = {
        "_OTOVOX_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(words.count(" ")),
    }
    result = CliRunner().invoke(cli.app, [], prog_name="otovox", env=request)
    assert completed in result.output.split()


def test_completion_can_be_installed() -> None:
    output = CliRunner().invoke(cli.app, ["--help"]).output
    assert "--install-completion" in output


def test_help_is_quick_and_module_runs() -> None:
    """The command line must not import the heavy libraries before it knows that it needs them."""
    command = [sys.executable, "-X", "importtime", "-m", "otovox", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "analyze" in result.stdout
    for heavy in ("numpy", "torch", "SimpleITK", "matplotlib", "pydantic"):
        assert f" {heavy}\n" not in result.stderr


def test_measure_refuses_in_one_sentence_and_writes_no_results(tmp_path: Path) -> None:
    mask, output = tmp_path / "none.nii.gz", tmp_path / "out"
    code, out, err = otovox_command("measure", mask, "--output", output, "--quiet")
    assert (code, out) == (2, "")
    assert "file not found" in err
    assert [path.name for path in output.iterdir()] == ["summary.csv"]
    code, _, err = otovox_command("measure", mask, "-o", output, "--labels", "1=wrong")
    assert code == 2
    assert "MEANING is one of" in err


@pytest.mark.slow
def test_terminals_in_ascii_are_enough(tmp_path: Path) -> None:
    """The table and the sentence hold characters that neither the terminal nor UTF-8 has."""
    name = os.fsdecode("ö-sch\xf6n.nii".encode("latin-1"))
    arguments = [tmp_path / "ö.nii", tmp_path / name, "-o", tmp_path / "out"]
    done = subprocess.run(
        [sys.executable, "-m", "otovox", "analyze", *map(str, arguments)],
        capture_output=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii", "LC_ALL": "C"},
        check=False,
    )
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert b"\\xf6.nii: cannot be read" in done.stderr
    assert b"\\xf6" in done.stdout
    assert done.stdout.isascii()
    assert [row["status"] for row in rows(tmp_path / "out")] == ["refused"] * 2
