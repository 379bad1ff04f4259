"""Writes the numbers in `benchmarks/results/` into the README, between its results marks.

python benchmarks/readme.py
"""

import csv
import json
from pathlib import Path
from typing import Any

from marks import write_between

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def load(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def phantoms() -> str:
    """One line per set of unseen phantoms."""
    lines = [
        "| phantoms, unseen | ears | found | right side | DSC | ASSD, mm | helicotrema, mm "
        "| oval window, mm | round window, mm |",
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
    """Each scanner and disease: the current model and the previous one."""
    with (RESULTS / "robustness.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [
        "| scanner or disease | ears | right side | DSC | DSC before | landmarks, mm "
        "| landmarks before, mm |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(row["set"] for row in rows):
        now, before = (
            next(row for row in rows if row["set"] == name and (row["model"] == "labyrinth") is new)
            for new in (True, False)
        )
        cells = [name, now["ears"], now["side_right"], now["dice"], before["dice"]]
        cells += [now["landmarks_mm"], before["landmarks_mm"]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


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
        "true mask, 0.1 mm": ("truth", "0.1x0.1x0.1"),
        "true mask, 0.25 x 0.25 x 0.5 mm": ("truth", "0.25x0.25x0.5"),
        "as analysed, fpvct": ("fpvct", "fpvct"),
        "as analysed, msct": ("msct", "msct"),
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
        "| a real head, voxels of 1 mm | volume, mm³ | centre off by, mm | helicotrema, mm "
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
        "| largest gap | Brier score |",
        "|---|---|---|---|",
    ]
    for name, row in facts["voxels"].items():
        lines.append(f"| {name} | {row['ece']:.3f} | {row['mce']:.2f} | {row['brier']:.3f} |")
    told, rho, auc = facts["test"], facts["spearman_with_dice"]["test"], facts["auc"]["test"]
    return "\n".join(lines) + (
        f"\n\nAn ear is told as unusual where its mean voxel SD exceeds {facts['threshold']:.4f}, "
        f"set on {facts['ears']['calibration']} phantoms. On {facts['ears']['test']} others it "
        f"exceeds that in {told['false_alarms']:.0%} of the healthy ones; its rank correlation "
        f"with the DSC is {rho['uncertainty']:.2f}. It tells poor masks, not disease (area under "
        f"the ROC of healthy against diseased {auc['uncertainty']:.2f}): most diseased phantoms "
        "are segmented as well as healthy ones."
    )


def speed() -> str:
    """Time and memory of the command, including reading and writing."""
    facts = load("speed")
    lines = [
        "| `otovox analyze`, everything included | time, s | peak memory, GiB |",
        "|---|---|---|",
    ]
    for name, measured in facts.items():
        if name.startswith("analyze "):
            lines.append(
                f"| {name.removeprefix('analyze ')} | {measured['wall_s']:.0f} "
                f"| {measured['peak_gib']:.1f} |"
            )
    machine = facts["machine"]
    return "\n".join(lines) + f"\n\non {machine['cores']} cores ({machine['processor']}), no GPU."


def main() -> None:
    parts = [
        phantoms(),
        "Phantoms (mean ± SD) have truth to the voxel, but are not patients: `python "
        "benchmarks/accuracy.py --scanner fpvct --cases 40`, and so on for each line.",
        robustness(),
        "Unseen phantoms again; before: the model trained on the first version of the phantom. "
        "Diseases are seen by a CBCT. `python benchmarks/robustness.py --cases 3 --model labyrinth "
        "--model OLDER`.",
        measured(),
        "Measurements of unseen phantoms whose geometry is known. Cochlea: 20 masks, 10 and 8 ears "
        "as analysed (`python benchmarks/measurements.py --cases 20`, again with `--cases 10 "
        "--predicted fpvct` and `--cases 8 --predicted msct`); canals: 10 masks, 8 and 8 ears as "
        "analysed (`measurements_canals.py` likewise). Ears as analysed have `--first-seed 100`.",
        head(),
        "The Visible Human Female (real, no expert truth; places are known to ±1.5 mm): "
        "`python benchmarks/real_head.py --scan vhf_head_ct.nii.gz`.",
        trust(),
        "`python benchmarks/calibration.py --usual 20 --unusual 1 --scanner msct cbct --ship`.",
        speed(),
        "`python benchmarks/speed.py --scan vhf_head_ct.nii.gz`.",
    ]
    write_between(ROOT / "README.md", "\n\n".join(parts))


if __name__ == "__main__":
    main()
