"""The study of Stebani et al. 2023 on phantoms, at a scale suitable for two CPU cores.

    python benchmarks/reproduction.py --work runs/reproduction

renders phantom sets modelled on the paper's A, B, W, O and G, cross-validates the multi-task
network and both single tasks with the settings in `benchmarks/reproduction/`, predicts the test
sets with the paper's ten rotations after matching their contrast, and writes tables and figures to
`docs/reproduction/`. Finished work is kept, so a run can be interrupted and resumed.
"""

import argparse
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
from marks import write_between

import otovox
from otovox.evaluation.stebani_tables import markdown

HERE = Path(__file__).parent
SYSTEMS = ("multi-task", "segmentation-only", "landmarks-only")
#: By name of a set.
Sets = dict[str, list[tuple[str, str, int, int]]]
#: Per set: scanner, diagnosis, cases, first seed. No other phantom uses these seeds.
SETS: Sets = {
    "A": [("fpvct-frozen", "healthy", 18, 1000)],
    "B": [("fpvct-clinical", "healthy", 4, 2000), ("fpvct-clinical", "otosclerosis", 1, 2010)],
    "W": [("msct-embalmed", "healthy", 5, 3000)],
    "O": [("cbct-resin", "healthy", 4, 4000)],
    "G": [("microct-dry", "healthy", 4, 5000)],
}
#: Test sets of other scanners; B is of A's (S6, S9).
OTHER_SCANNERS = ("W", "O", "G")
#: Validation patients in each of the three folds; the rest of A is used for training.
VALIDATION = 3
#: Stands above Tables 3 and 4.
PUBLISHED_NOTE = (
    "The published rows of Tables 3 and 4 are those of the paper's best network (gold); ours are "
    "of the base network, which the paper reports only in Figure 3. The difference between the "
    "rows is therefore not one between two runs of the same network."
)
FILES = ("table-3.md", "table-4.md", "errors.png", "uncertainty.png", "learning-curves.png",
         "figure-3.png", "comparison.csv")  # fmt: skip


def otovox_command(*arguments: object) -> None:
    """Run the command line; exit if it fails."""
    words = [str(argument) for argument in arguments]
    print("otovox", *words, flush=True)
    done = subprocess.run([sys.executable, "-m", "otovox", *words], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def render(work: Path, sets: Sets) -> None:
    """Render the phantom sets; existing cases are kept."""
    for name, kinds in sets.items():
        for scanner, diagnosis, cases, seed in kinds:
            otovox_command("phantom", "--output", work / name, "--scanner", scanner,
                           "--diagnosis", diagnosis, "--cases", cases, "--seed", seed)  # fmt: skip


def test_sets(work: Path) -> list[object]:
    """All sets except A, as options of a command."""
    kinds = {
        name: "--test" if name in OTHER_SCANNERS else "--plain" for name in SETS if name != "A"
    }
    return [word for name, kind in kinds.items() for word in (kind, work / name)]


def train(work: Path, system: str) -> None:
    """Train all folds of a system and predict the test sets."""
    otovox_command("cross-validate", work / "A", "--output", work / "runs" / system,
                   "--config", HERE / "reproduction" / f"{system}.toml",
                   "--validation", VALIDATION, *test_sets(work), "--match", 4)  # fmt: skip


def score(work: Path, output: Path) -> None:
    """Score each system against ground truth, and compare the single tasks with multi-task."""
    data = [word for name in SETS for word in ("--data", work / name)]
    scores = {system: work / "scores" / system for system in SYSTEMS}
    for system in SYSTEMS[1:]:
        otovox_command("evaluate", work / "runs" / system, *data, "--output", scores[system])
    single = work / "scores" / "single-task.csv"
    joined([scores[system] / "ears.csv" for system in SYSTEMS[1:]], single)
    beside = ("--name", "multi-task", "--beside", f"single-task={single}")
    results = work / "runs" / "multi-task"
    otovox_command("evaluate", results, *data, *beside, "--output", scores["multi-task"])
    output.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(scores["multi-task"] / name, output / name)
    curves = {"segmentation-only": "table-3.md", "landmarks-only": "table-4.md"}
    for system, name in curves.items():
        shutil.copy(scores[system] / name, output / f"{system}-{name}")
    contrast = work / "runs" / "multi-task" / "tests" / "contrast-fold-0.png"
    shutil.copy(contrast, output / "contrast.png")


def joined(tables: list[Path], to: Path) -> None:
    """Combine the single tasks: masks of one, landmarks of the other (S21)."""
    keys = ["data", "fold", "case", "side"]
    masks, points = (pd.read_csv(path).set_index(keys) for path in tables)
    lacking = set(masks.columns[masks.isna().all()]) - set(points.columns[points.isna().all()])
    columns = sorted(lacking)
    masks[columns] = points[columns]
    masks.reset_index().to_csv(to, index=False)


def page(output: Path, facts: dict[str, object]) -> None:
    """Write the results between the marks of docs/reproduction.md."""
    tests = pd.read_csv(output / "comparison.csv")
    tests = tests.map(lambda value: f"{value:.2g}" if isinstance(value, float) else str(value))
    facts_text = "; ".join(f"{name}: {value}" for name, value in facts.items())
    body = "\n\n".join(
        [
            f"Made by `python benchmarks/reproduction.py`; {facts_text}.",
            "![Figure 3](reproduction/figure-3.png)",
            "Figure 3: multi-task versus single-task, SD over the folds; lines: the paper.",
            PUBLISHED_NOTE,
            "Table 3, multi-task:",
            (output / "table-3.md").read_text("utf-8").strip(),
            "Table 4, multi-task:",
            (output / "table-4.md").read_text("utf-8").strip(),
            "The same tables for [segmentation only](reproduction/segmentation-only-table-3.md) "
            "and [localisation only](reproduction/landmarks-only-table-4.md).",
            "Single-task minus multi-task, over ears scored for both, averaged over folds:",
            markdown(tests),
            "![Contrast](reproduction/contrast.png)",
            "Figure 1: tissue of sets W, O and G before and after matching to set A.",
            "![Errors](reproduction/errors.png)",
            "Figure 4: for each set, the ear with the DSC nearest the mean; green true positive, "
            "vermilion false positive, yellow false negative, blue true landmarks.",
            "![Uncertainty](reproduction/uncertainty.png)",
            "Figure 5c: uncertainty over the ten rotations against DSC.",
            "![Learning curves](reproduction/learning-curves.png)",
            "Figure S.3: validation during training.",
        ]
    )
    write_between(HERE.parent / "docs" / "reproduction.md", body)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for sets and runs")
    parser.add_argument("--output", type=Path, default=HERE.parent / "docs" / "reproduction")
    options = parser.parse_args()
    counts = (f"{name} {sum(kind[2] for kind in kinds)}" for name, kinds in SETS.items())
    render(options.work, SETS)
    for system in SYSTEMS:
        train(options.work, system)
    score(options.work, options.output)
    page(
        options.output,
        {
            "data": f"phantoms, {', '.join(counts)}",
            "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}",
            "software": f"otovox {otovox.__version__}",
        },
    )


if __name__ == "__main__":
    main()
