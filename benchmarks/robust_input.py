"""Robustness against damaged files, killed processes, parallel runs and full disks.

    python benchmarks/robust_input.py --output benchmarks/results

Damaged files: each number makes one damaged scan of some format (`tests/fuzzing.py`), which must be
read, or refused in one sentence. Killed processes: a cohort and a training run are ended by SIGKILL
at random moments and started again, until nothing may be missing, doubled or half-written. Full
disks: results are written to small file systems in memory (needs the right to mount one).
"""

import argparse
import csv
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

#: An input that takes longer, s, or a process with more memory, MiB, is a failure: chosen.
MOST_S, MOST_MIB = 10.0, 1024.0
OTOVOX = [sys.executable, "-m", "otovox"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for robust-input.json")
    parser.add_argument("--inputs", type=int, default=40_000, help="damaged files")
    parser.add_argument("--kills", type=int, default=50, help="SIGKILLs of each kind")
    parser.add_argument("--only", nargs="*", default=[], help="names of the parts to run")
    parser.add_argument("--read", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read_numbers(options.output, *options.read)
        return
    parts: dict[str, Callable[[Path], dict[str, Any]]] = {
        "damaged files": lambda folder: damaged_files(folder, options.inputs),
        "killed cohorts": lambda folder: killed_cohorts(folder, options.kills),
        "killed training": lambda folder: killed_training(folder, options.kills),
        "side by side": side_by_side,
        "full disks": full_disks,
    }
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "robust-input.json"
    results = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    for name, part in parts.items():
        if options.only and name not in options.only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            results[name] = part(Path(folder))
            results[name]["seconds"] = round(time.perf_counter() - start)
        print(name, json.dumps(results[name]), flush=True)
        path.write_text(json.dumps(results, indent=2) + "\n", "utf-8")


# ---------------------------------------------------------------- damaged files


def damaged_files(folder: Path, count: int) -> dict[str, Any]:
    """All numbers, in processes of their own, because a crash of a library ends one."""
    read: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    failures: list[dict[str, Any]] = []
    slowest = peak = 0.0
    number = 0
    (folder / "temporary").mkdir()
    while number < count:
        command = [sys.executable, __file__, "--output", folder, "--read", number, count]
        environment = os.environ | {"TMPDIR": str(folder / "temporary")}
        done = subprocess.run(
            list(map(str, command)), stdout=subprocess.PIPE, text=True, env=environment, check=False
        )
        for line in done.stdout.splitlines():
            fact = json.loads(line)
            number = fact["number"] + 1
            tried[fact["format"]] += 1
            read[fact["format"]] += fact["read"]
            slowest, peak = max(slowest, fact["s"]), max(peak, fact["peak_mib"])
            if fact["error"] or fact["s"] > MOST_S or fact["peak_mib"] > MOST_MIB:
                failures.append(fact)
        if done.returncode:
            failures.append({"number": number, "error": f"crash, code {done.returncode}"})
            number += 1
    return {
        "inputs": sum(tried.values()),
        "formats": {name: {"inputs": tried[name], "read": read[name]} for name in sorted(tried)},
        "failures": failures,
        "slowest_s": round(slowest, 2),
        "peak_memory_mib": round(peak),
        "left_behind": len(list((folder / "temporary").iterdir())),
    }


def read_numbers(folder: Path, first: int, last: int) -> None:
    """Read damaged scans one after the other; a line of JSON for each."""
    from fuzzing import damaged, read_all, write_sources
    from otovox.formats.native import silenced_libraries

    warnings.simplefilter("ignore")
    shutil.rmtree(folder / "sources", ignore_errors=True)
    sources = write_sources(folder / "sources")
    with silenced_libraries():
        for number in range(first, last):
            source = sources[number % len(sources)]
            named = damaged(source, number, folder / "damaged")
            error, count, start = "", 0, time.perf_counter()
            try:
                count, _sentences = read_all(named)
            except Exception as caught:
                error = f"{type(caught).__name__}: {caught}"[:300]
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            fact = {"number": number, "format": source.name, "read": int(count > 0)}
            fact |= {"s": time.perf_counter() - start, "peak_mib": peak, "error": error}
            print(json.dumps(fact), flush=True)
            shutil.rmtree(folder / "damaged")


# ---------------------------------------------------------------- killed processes


def heads(folder: Path, count: int) -> list[Path]:
    """Small heads of noise, without ears: little work, the same files."""
    folder.mkdir()
    paths = [folder / f"head-{number:03d}.nii.gz" for number in range(count)]
    for number, path in enumerate(paths):
        noise = np.random.default_rng(number).normal(0, 100, (40, 40, 40)).astype(np.int16)
        image = sitk.GetImageFromArray(noise)
        image.SetSpacing((1.6, 1.6, 1.6))
        sitk.WriteImage(image, str(path))
    return paths


def killed_after(command: list[object], seconds: float | None, log: Path) -> bool:
    """Whether a command, ended by SIGKILL with all of its processes after a time, was done."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            list(map(str, command)), stdout=file, stderr=file, start_new_session=True
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return False
    if process.returncode not in (0, 3):
        raise SystemExit(f"{command}: ended with {process.returncode}:\n{log.read_text()[-2000:]}")
    return True


def faults_of(output: Path, names: set[str], *, whole: bool) -> list[str]:
    """What is wrong with a folder of results; `whole` after a run that was not killed."""
    from otovox.analysis.summary import read_summary
    from otovox.results.schema import RESULT, read_result

    faults = []
    folders = {path.name for path in output.iterdir() if path.is_dir() and path.name[0] != "."}
    for name in folders:
        result = read_result(output / name / RESULT)
        missing = [file for file in result.files.values() if not (output / name / file).is_file()]
        faults += [f"{name}: lacks {file}" for file in missing]
    rows = Counter(
        (row["scan"], row.get("side", "")) for row in read_summary(output / "summary.csv")
    )
    faults += [f"{row} is there {count} times" for row, count in rows.items() if count > 1]
    if whole:
        faults += [f"{name}: no results" for name in names - folders]
        faults += [f"{name}: no row" for name in names - {scan for scan, _ in rows}]
        faults += [f"{path.name}: left" for path in output.iterdir() if path.name[0] == "."]
    return faults


def killed_cohorts(folder: Path, kills: int) -> dict[str, Any]:
    """A cohort of heads without ears and of one ear, killed at random moments."""
    chance = random.Random(0)
    paths = heads(folder / "scans", 12)
    subprocess.run([*OTOVOX, "phantom", "-o", folder / "ears"], check=True, stdout=subprocess.PIPE)
    paths += sorted((folder / "ears" / "images").iterdir())
    names = {path.name.removesuffix(".nii.gz") for path in paths}
    command = [*OTOVOX, "analyze", *paths, "--tta", "none", "--workers", "1", "-q", "-o"]
    start = time.perf_counter()
    killed_after([*command, folder / "whole"], None, folder / "log")
    usual = time.perf_counter() - start
    faults, done, repeated, runs = faults_of(folder / "whole", names, whole=True), 0, 0, 0
    output = folder / "out-0"
    while done < kills:
        times = {path: path.stat().st_mtime_ns for path in output.glob("*/result.json")}
        ended = killed_after([*command, output], chance.uniform(0, usual), folder / "log")
        again = [path for path, mtime in times.items() if path.stat().st_mtime_ns != mtime]
        repeated += len(again)
        if output.is_dir():
            faults += faults_of(output, names, whole=ended)
        done += not ended
        if ended:
            runs += 1
            output = folder / f"out-{runs}"
    killed_after([*command, output], None, folder / "log")
    faults += faults_of(output, names, whole=True)
    return {
        "kills": done,
        "scans": len(paths),
        "seconds_undisturbed": round(usual, 1),
        "completed_runs": runs + 1,
        "results_made_again": repeated,
        "faults": faults,
    }


def killed_training(folder: Path, kills: int) -> dict[str, Any]:
    """A short training, killed at random moments; at its end the same network as undisturbed."""
    import hashlib

    chance = random.Random(1)
    preset = (ROOT / "src/otovox/config/presets/tiny.toml").read_text("utf-8")
    settings = preset.replace("total_iterations = 4", "total_iterations = 60")
    (folder / "tiny.toml").write_text(settings.replace('name = "tiny"', 'name = "long-tiny"'))
    command = [*OTOVOX, "train", "--config", folder / "tiny.toml", "--accelerator", "cpu", "-o"]

    def facts(output: Path) -> tuple[str, list[str]]:
        weights = hashlib.sha256((output / "model" / "weights.safetensors").read_bytes())
        with (output / "validation.csv").open(newline="") as file:
            steps = [row["iteration"] for row in csv.DictReader(file)]
        return weights.hexdigest(), steps

    start = time.perf_counter()
    killed_after([*command, folder / "whole"], None, folder / "log")
    usual = time.perf_counter() - start
    wanted = facts(folder / "whole")
    faults, done, runs = [], 0, 0
    output = folder / "out-0"
    while done < kills or output.exists():
        # Nothing happens before PyTorch is loaded.
        moment = chance.uniform(0.2, 1.0) * usual if done < kills else None
        if not killed_after([*command, output], moment, folder / "log"):
            done += 1
            continue
        weights, steps = facts(output)
        if steps != wanted[1]:
            faults.append(f"iterations {steps} instead of {wanted[1]}")
        if weights != wanted[0]:
            faults.append("other weights than undisturbed")
        faults += [f"{path.name}: left" for path in output.rglob(".*")]
        runs += 1
        output = folder / f"out-{runs}"
    return {
        "kills": done,
        "seconds_undisturbed": round(usual, 1),
        "completed_runs": runs,
        "faults": faults,
    }


# ---------------------------------------------------------------- side by side, full disks


def side_by_side(folder: Path) -> dict[str, Any]:
    """200 scans by four processes into one folder."""
    paths, output = heads(folder / "scans", 200), folder / "out"
    command = [*OTOVOX, "analyze", "--tta", "none", "--workers", "1", "--threads", "1", "-q"]
    processes = [
        subprocess.Popen([*command, *map(str, paths[first::4]), "-o", str(output)])
        for first in range(4)
    ]
    codes = [process.wait() for process in processes]
    names = {path.name.removesuffix(".nii.gz") for path in paths}
    faults = faults_of(output, names, whole=True)
    with (output / "cohort.html").open(encoding="utf-8") as file:
        on_page = "200 scans" in file.read()
    faults += [] if on_page else ["cohort.html lacks scans"]
    return {"scans": len(paths), "processes": 4, "exit_codes": codes, "faults": faults}


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Path]:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def full_disks(folder: Path) -> dict[str, Any]:
    """The results of an ear written to file systems of growing size."""
    import otovox
    from otovox.errors import OutputError
    from otovox.results.schema import RESULT, read_result

    subprocess.run([*OTOVOX, "phantom", "-o", folder / "ears"], check=True, stdout=subprocess.PIPE)
    (scan,) = (folder / "ears" / "images").iterdir()
    result = otovox.analyze(scan, tta="none")
    result.save(folder / "whole" / "scan")
    need = sum(path.stat().st_size for path in (folder / "whole" / "scan").iterdir())
    refused = written = 0
    faults: list[str] = []
    for size in np.linspace(64 * 1024, 2 * need, 40).astype(int):
        with small_disk(folder / "disk", int(size)) as disk:
            try:
                result.save(disk / "scan")
                whole = read_result(disk / "scan" / RESULT)
                missing = [f for f in whole.files.values() if not (disk / "scan" / f).is_file()]
                faults += [f"{size}: lacks {file}" for file in missing]
                same = {
                    path.name: path.stat().st_size == (disk / "scan" / path.name).stat().st_size
                    for path in (folder / "whole" / "scan").iterdir()
                    if path.suffix not in (".json", ".html")
                }
                faults += [f"{size}: {name} is shorter" for name, good in same.items() if not good]
                written += 1
            except OutputError:
                refused += 1
                faults += [f"{size}: left {path.name}" for path in disk.iterdir()]
            except Exception as error:
                faults.append(f"{size}: {type(error).__name__}: {error}")
    return {"disks": 40, "refused": refused, "written": written, "faults": faults}


if __name__ == "__main__":
    main()
