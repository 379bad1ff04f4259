"""Writes the numbers in `benchmarks/results/` into the README, between its results marks.

python benchmarks/readme.py
"""

import csv
import json
from pathlib import Path
from typing import Any

from calibration import POOR_DSC
from marks import write_between
from scipy import stats

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def load(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def phantoms() -> str:
    """One line per set of unseen phantoms."""
    lines = [
        "| unseen phantoms | ears | detected | correct side | DSC | ASSD, mm "
        "| helicotrema, mm | oval window, mm | round window, mm |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for path in sorted(RESULTS.glob("accuracy-*.json")):
        facts = load(path.stem)
        mean, sd = facts["mean"], facts["sd"]
        points = [mean[f"{name}_mm"] for name in ("helicotrema", "oval_window", "round_window")]
        cells = [
            path.stem.removeprefix("accuracy-").replace("-", ", "),
            facts["ears"],
            facts["found"],
            facts["side_right"],
            f"{mean['dice']:.3f} ± {sd['dice']:.3f}",
            f"{mean['assd_mm']:.3f}",
            *(f"{point:.2f}" for point in points),
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def robustness() -> str:
    """Each scanner and disease."""
    with (RESULTS / "robustness.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["model"] == "labyrinth"]
    lines = [
        "| scanner or disease | ears | detected | correct side | DSC | landmarks, mm |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        names = ("set", "ears", "found", "side_right", "dice", "landmarks_mm")
        lines.append("| " + " | ".join(row[name] for name in names) + " |")
    return "\n".join(lines)


def real() -> str:
    """Real ears with expert ground truth, by what the model was trained on."""
    lines = [
        "| real ears | ears | evaluation | correct side | DSC | ASSD, mm | helicotrema, mm "
        "| oval window, mm | round window, mm | distance between windows, mm | confidence |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    evaluations = {
        "real-ears-phantoms-only": "phantoms only",
        "real-ears-cross-validated": "held-out",
        "real-ears": "in-sample",
    }
    for name, kind in evaluations.items():
        for condition, means in load(name)["means"].items():
            figures = [means["dice"], means["assd_mm"]]
            figures += [means[f"{one}_mm"] for one in ("helicotrema", "oval_window")]
            figures += [means["round_window_mm"], means["windows_mm"]]
            confidence = f"{means['confidence']:.2f}" if kind == "in-sample" else ""
            cells = [condition, means["ears"], kind, means["side_right"]]
            cells += [f"{figures[0]:.3f}", f"{figures[1]:.3f}"]
            cells += [f"{figure:.2f}" for figure in figures[2:]] + [confidence]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def quality() -> str:
    """Accuracy of the estimated quality of an ear."""
    lines = [
        "| expected quality | `--tta` | ears | rank correlation with the true value | mean error "
        "| coverage of the 90 % interval |",
        "|---|---|---|---|---|---|",
    ]
    by_tta = load("quality")
    for data, title in (("test", "unseen phantoms"), ("real", "real ears, in-sample")):
        for key, unit in (("dice", "DSC"), ("landmark_mm", "landmark error, mm")):
            for tta in ("none", "fast", "paper"):
                row = by_tta[tta][data][key]
                lines.append(
                    f"| {unit}, {title} | {tta} | {row['ears']} | {row['spearman']:.2f} "
                    f"| {row['mean_absolute_error']:.3f} | {row['interval_holds']:.0%} |"
                )
    return "\n".join(lines)


def duct() -> str:
    """Effect of the landmark errors on the duct length."""
    facts = load("duct-error")
    sentences = []
    for data, title in (("phantom", "unseen phantoms"), ("real", "real ears, in-sample")):
        traced, escude = facts[data]["traced_mm"], facts[data]["escude_mm"]
        sentences.append(
            f"{facts[data]['ears']} {title}: {traced['mean absolute']:.2f} mm on average and "
            f"{traced['largest']:.2f} mm at most along the traced wall, "
            f"{escude['mean absolute']:.2f} and {escude['largest']:.2f} mm by "
            "the formula of Escude et al."
        )
    return (
        "Error of the cochlear duct length caused by the landmark errors alone: "
        + "; ".join(sentences)
        + " Stebani et al. 2023 estimate a worst case of 1.08 mm."
    )


#: Measurements in the README: file, row, title, digits.
MEASURED = (
    ("cochlea", "A mm", "A, mm", 2),
    ("cochlea", "B mm", "B, mm", 2),
    ("cochlea", "axis deg", "modiolar axis, degrees", 1),
    ("cochlea", "length %", "duct length along the lateral wall, %", 1),
    ("canals", "anterior normal deg", "anterior canal's normal, degrees", 1),
    ("canals", "posterior normal deg", "posterior canal's normal, degrees", 1),
    ("canals", "lateral normal deg", "lateral canal's normal, degrees", 1),
    ("canals", "whole volume %", "labyrinth's volume, %", 1),
    ("canals", "cochlea volume %", "cochlea's volume, %", 1),
    ("canals", "vestibule volume %", "vestibule's volume, %", 1),
    ("canals", "anterior volume %", "anterior canal's volume, %", 1),
)


def measured() -> str:
    """Measurements against simulated ground truth: mean absolute and largest error."""
    columns = {
        "ground-truth mask, 0.1 mm": ("truth", "0.1x0.1x0.1"),
        "ground-truth mask, 0.25 x 0.25 x 0.5 mm": ("truth", "0.25x0.25x0.5"),
        "predicted mask, fpvct": ("fpvct", "fpvct"),
        "predicted mask, msct": ("msct", "msct"),
    }
    lines = [
        "| error, mean (largest) | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    for part, quantity, title, digits in MEASURED:
        cells = [title]
        for file, data in columns.values():
            with (RESULTS / f"measurements-{part}-{file}-statistics.csv").open(newline="") as table:
                (row,) = [
                    row
                    for row in csv.DictReader(table)
                    if row["data"] == data and row["quantity"] == quantity
                ]
            mean, largest = float(row["mean absolute"]), float(row["largest"])
            cells.append(f"{mean:.{digits}f} ({largest:.{digits}f})")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def head() -> str:
    """The real head's ears."""
    lines = [
        "| real head, voxels of 1 mm | volume, mm³ | centre error, mm | helicotrema, mm "
        "| oval window, mm | confidence |",
        "|---|---|---|---|---|---|",
    ]
    for side, ear in load("real-head")["whole head"].items():
        places = [f"{ear[name]:.1f}" for name in ("center_mm", "helicotrema_mm", "oval_window_mm")]
        cells = [side, f"{ear['volume_mm3']:.0f}", *places, f"{ear['confidence']:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def trust() -> str:
    """Calibration of probabilities, and performance of the threshold on held-out ears."""
    facts = load("calibration")
    lines = [
        "| voxels within 1.5 mm of the labyrinth | expected calibration error "
        "| maximum calibration error | Brier score |",
        "|---|---|---|---|",
    ]
    for name, row in facts["voxels"].items():
        lines.append(f"| {name} | {row['ece']:.3f} | {row['mce']:.2f} | {row['brier']:.3f} |")
    test, rho, auc = facts["test"], facts["spearman_with_dice"]["test"], facts["auc"]["test"]
    return "\n".join(lines) + (
        f"\n\nAn ear is flagged as unusual if its mean voxel SD exceeds {facts['threshold']:.4f}, "
        f"set on {facts['ears']['calibration']} phantoms. On {facts['ears']['test']} others it "
        f"exceeds this in {test['false_alarms']:.0%} of the healthy ones; its rank correlation "
        f"with the DSC is {rho['uncertainty']:.2f}. It does not detect disease (area under "
        f"the ROC of healthy against diseased {auc['uncertainty']:.2f}): most diseased phantoms "
        f"are segmented as well as healthy ones. It flagged {_poor_masks(test)}. The "
        "expected DSC says more about a mask; this threshold is for scans unlike all of these."
    )


def _poor_masks(test: dict[str, Any]) -> str:
    """Poor and other masks that were flagged, and the interval of the sensitivity."""
    (hits, poor), (alarms, others) = test["poor_told"], test["others_told"]
    table = [[hits, poor - hits], [alarms, others - alarms]]
    interval = stats.binomtest(hits, poor).proportion_ci()
    return (
        f"{hits} of {poor} poor masks (DSC below {POOR_DSC:g}) and {alarms} of {others} others "
        f"(Fisher's exact test p {stats.fisher_exact(table)[1]:.3f}; 95 % interval of the "
        f"sensitivity {interval.low:.2f} to {interval.high:.2f})"
    )


def speed() -> str:
    """Time and memory of the command, including reading and writing."""
    facts = load("speed")
    lines = [
        "| `otovox analyze`, from start to end | `--tta` | time, s | peak memory, GiB |",
        "|---|---|---|---|",
    ]
    for row in facts["growth"]:
        lines.append(
            f"| {row['scan']} | {row['tta']} | {row['wall_s']:.1f} | {row['peak_gib']:.2f} |"
        )
    later = facts["later scan in the same process, s"]
    machine, refused = facts["machine"], facts["a missing file is refused"]
    text = (
        f"Measured on {machine['cores']} cores ({machine['processor']}), no GPU. A later scan in "
        f"the same process: {', '.join(f'{name} {value:.1f} s' for name, value in later.items())}. "
        f"A cohort of clinical ears: {facts['cohort']['ears_per_minute']:.0f} ears a minute. A "
        f"missing file is refused after {refused['wall_s']:.1f} s. {other_machine()}"
    )
    return "\n".join(lines) + f"\n\n{text}\n\n{stages(facts['stages'])}{pairs(facts)}"


def other_machine() -> str:
    """The times of the default options on another machine."""
    facts = load("speed-other-machine")
    machine = facts["machine"]
    times = [
        f"{row['scan']} {row['wall_s']:.1f} s" for row in facts["growth"] if row["tta"] == "fast"
    ]
    return (
        f"Machines of the same size differ: on {machine['cores']} cores of another "
        f"({machine['processor']}), `--tta fast` takes: {', '.join(times)}; "
        f"{facts['cohort']['ears_per_minute']:.0f} clinical ears a minute."
    )


def stages(times: dict[str, dict[str, list[float]]]) -> str:
    """Where the time goes."""
    names = next(iter(times.values()))
    lines = [
        f"| stage, s | {' | '.join(names)} |",
        f"|---{'|---' * len(names)}|",
    ]
    for scan, values in times.items():
        lines.append(f"| {scan} | {' | '.join(f'{values[name][0]:.1f}' for name in names)} |")
    return "\n".join(lines)


def pairs(facts: dict[str, Any]) -> str:
    """The first release and this version in one run, if that was measured."""
    if "pair" not in facts:
        return ""
    rows = (
        f"{name} {row['before']['wall_s']:.1f} and {row['after']['wall_s']:.1f} s "
        f"({row['ratio']['wall_s']:.1f} times as fast), {row['before']['peak_gib']:.2f} and "
        f"{row['after']['peak_gib']:.2f} GiB"
        for name, row in facts["pair"].items()
    )
    release = "the first release (commit 57f1066) and this version"
    return f"\n\nTwo installations in alternation, {release}: {'; '.join(rows)}."


def odd_input() -> str:
    """Damaged files, killed processes, parallel runs, full disks."""
    facts = load("robust-input")
    files, disks = facts["damaged files"], facts["full disks"]
    cohort, training = facts["killed cohorts"], facts["killed training"]
    beside = facts["side by side"]
    rows = [
        (
            f"{files['inputs']:,} damaged files of {len(files['formats'])} kinds",
            files["failures"],
            f"read or refused in one sentence; at most {files['slowest_s']:.1f} s and "
            f"{files['peak_memory_mib']} MiB",
        ),
        (
            f"cohort of {cohort['scans']} scans, {cohort['kills']} times SIGKILL",
            cohort["faults"],
            f"{cohort['completed_runs']} runs completed; nothing lost, doubled or half-written",
        ),
        (
            f"training, {training['kills']} times SIGKILL",
            training["faults"],
            f"{training['completed_runs']} runs completed, with the weights of an undisturbed run",
        ),
        (
            f"{beside['scans']} scans by {beside['processes']} processes into one folder",
            beside["faults"],
            "every scan once in every table",
        ),
        (
            f"{disks['disks']} full or nearly full disks",
            disks["faults"],
            f"{disks['refused']} refused, nothing left behind; {disks['written']} complete",
        ),
    ]
    lines = ["| situation | faults | otherwise |", "|---|---|---|"]
    lines += [f"| {what} | {len(faults)} | {outcome} |" for what, faults, outcome in rows]
    return "\n".join(lines)


def main() -> None:
    parts = [
        phantoms(),
        "Phantoms (mean ± SD) have exact ground truth, but are not patients: `python "
        "benchmarks/accuracy.py --scanner fpvct --cases 20`, and likewise for each row.",
        real(),
        "Set W of Wimmer et al. 2019 (CC BY 4.0): nine ears with expert ground truth, original and "
        "degraded (with the ground truth averaged to coarser voxels). Phantoms only: the model "
        "from which the others started (`started_from` in `model.json`), which saw no real ear; "
        "its landmarks follow older definitions. Held-out: three folds by person, 1,000 "
        "iterations each, every ear analysed by the model not trained on it. "
        "In-sample: the embedded model, which was trained on all nine. `python "
        "benchmarks/real_ears.py RELEASE`, with `--model` for the folds.",
        quality(),
        "The estimate was fitted to phantoms only; the real ears are in-sample for the network "
        "that segmented them: `python benchmarks/quality.py --release RELEASE --tta fast --ship`, "
        "and likewise for `none` and `paper`.",
        duct(),
        "`python benchmarks/duct_error.py --cases 8 --release RELEASE`.",
        robustness(),
        "Unseen phantoms again, the diseases as imaged by a CBCT: `python benchmarks/robustness.py "
        "--cases 2 --model labyrinth`.",
        measured(),
        "Measurements of unseen phantoms with known geometry. Cochlea: 10 ground-truth masks, 6 "
        "and 6 predicted ones (`python benchmarks/measurements.py --cases 10`, again with "
        "`--cases 6 --predicted fpvct` and `--cases 6 --predicted msct`); canals: 10 ground-truth "
        "masks, 6 and 6 predicted ones (`measurements_canals.py` likewise). Predicted masks use "
        "`--first-seed 100`.",
        head(),
        "The Visible Human Female (real, no expert ground truth; positions are known to ±1.5 mm): "
        "`python benchmarks/real_head.py --scan vhf_head_ct.nii.gz`.",
        trust(),
        "`python benchmarks/calibration.py --usual 40 --unusual 2 --scanner msct cbct --ship`.",
        odd_input(),
        "`python benchmarks/robust_input.py --output benchmarks/results`; a part of it is a test.",
        speed(),
        "[How time and memory grow](docs/limits.md#of-the-software): `python benchmarks/speed.py "
        "--scan HEAD.nii.gz`.",
    ]
    write_between(ROOT / "README.md", "\n\n".join(parts))


if __name__ == "__main__":
    main()
