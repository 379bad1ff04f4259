"""Comparison of the systems, and ablations, on phantoms at a scale suitable for two CPU cores.

    python benchmarks/comparison.py --work runs/comparison

renders the phantom sets of `reproduction.py`, runs the study `systems` (with the settings in
`benchmarks/comparison/scale.toml`) and some of the ablations (`ablations.toml` with `base.toml`),
and writes tables and figures to `docs/comparison/` and docs/comparison.md. Finished work is kept,
so a run can be interrupted and resumed. `--report` only reports the existing results, from all
finished folds. The costs are from the last run of `costs.py`.
"""

import argparse
import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd
from marks import write_between
from reproduction import SETS, VALIDATION, Sets, otovox_command, render, test_sets

import otovox
from otovox.evaluation.figures import levels
from otovox.evaluation.lim_tables import OURS, printed
from otovox.evaluation.statistics import compare
from otovox.evaluation.stebani_tables import markdown, published, read_scores
from otovox.experiments.studies.plans import load_study
from otovox.experiments.studies.report import paired, runs_markdown
from otovox.experiments.studies.running import read_study
from otovox.imaging.metrics import Rates

HERE = Path(__file__).parent
ROOT = HERE.parent
SYSTEMS, ABLATIONS = "systems", "ablations"
#: Measures of Hussain et al. 2021 (H10): column and title.
H10 = {
    "dice": "Dice", "iou": "Jaccard", "accuracy": "accuracy", "precision": "precision",
    "recall": "recall", "specificity": "specificity", "auc": "AUC", "hd_mm": "HD, mm",
}  # fmt: skip
#: The set with diseased ears, for L9-L11, as imaged by clinical scanners.
DISEASED: Sets = {
    "D": [
        ("msct", diagnosis, cases, seed)
        for diagnosis, cases, seed in (
            ("healthy", 6, 6000), ("otosclerosis", 3, 6100), ("incomplete_partition", 2, 6200),
            ("hypoplasia", 1, 6300), ("absent_lateral_canal", 1, 6400), ("common_cavity", 1, 6500),
        )
    ]
}  # fmt: skip
#: Models applied to it: the run's MPUNet, and the one included in otovox.
LOOKING = {"mpunet": "MPUNet, first fold", "own": "the model included in otovox"}
RATES = [field.name for field in fields(Rates)]


def run(work: Path) -> None:
    """Both studies."""
    common = ("--data", work / "A", *test_sets(work), "--validation", VALIDATION,
              "--match", "scanner", "--workers", os.cpu_count() or 1)  # fmt: skip
    settings = HERE / "comparison"
    otovox_command("study", "run", SYSTEMS, "--output", work / SYSTEMS, *common,
                   "--scale", settings / "scale.toml")  # fmt: skip
    otovox_command("study", "run", settings / "ablations.toml", "--output", work / ABLATIONS,
                   *common, "--base", settings / "base.toml", "--tta", "none")  # fmt: skip


def look_at_disease(work: Path) -> None:
    """Apply both models to the diseased set."""
    scans = sorted((work / "D" / "images").iterdir())
    mpunet = next(one for one in load_study(SYSTEMS).runs if one.factor == "MPUNet")
    model = work / SYSTEMS / "runs" / mpunet.name / "fold-0" / "model"
    for name, model_options in zip(LOOKING, (("--model", model), ()), strict=True):
        otovox_command(
            "analyze", *scans, *model_options, "--output", work / f"disease-{name}", "--quiet"
        )


def report(work: Path, output: Path) -> None:
    """Score the existing results; write tables and figures."""
    output.mkdir(parents=True, exist_ok=True)
    for study in (SYSTEMS, ABLATIONS):
        if (work / study).is_dir():
            otovox_command("study", "report", work / study, "--data", work / "A", *test_sets(work))
            report_folder = work / study / "report"
            figures = report_folder.glob("*.png") if study == ABLATIONS else ()
            for path in (report_folder / "runs.csv", *figures):
                shutil.copy(path, output / f"{study}-{path.name}")
    for name in LOOKING:
        if (work / f"disease-{name}").is_dir():
            otovox_command("evaluate", work / f"disease-{name}", "--data", work / "D",
                           "--output", work / "scores-D" / name)  # fmt: skip
    table = pd.read_csv(output / f"{SYSTEMS}-runs.csv")
    names = table["factor"].str.cat(table["level"], sep=", ")
    levels(table.assign(level=names), output / "systems.png", title="system")


def rates(work: Path) -> pd.DataFrame:
    """The measures of Hussain et al. 2021 on the validation ears of all folds, ours and theirs."""
    published_scores = published()
    rows = []
    for one in load_study(SYSTEMS).runs:
        scores = _scores(work, one.name, ("A",))
        if scores.empty or not one.factor.startswith("AutoCasNet"):
            continue
        scores["auc"] = [Rates(*row).auc for row in scores[RATES].to_numpy()]
        scores = scores.replace(np.inf, np.nan)
        row = {"system": f"{one.factor}, {one.level}", "ears": len(scores)}
        theirs = published_scores[published_scores["system"] == one.published].set_index("measure")[
            "mean"
        ]
        for measure, title in H10.items():
            reference = f" [{theirs[measure]:.3f}]" if one.published else ""
            row[title] = f"{scores[measure].mean():.3f} ± {scores[measure].std():.3f}{reference}"
        rows.append(row)
    return pd.DataFrame(rows)


def cascades(work: Path) -> pd.DataFrame:
    """Each cascade versus its single views and its reverse: Wilcoxon's test over all ears."""
    runs = load_study(SYSTEMS).runs
    table_rows = []
    for cascade in (one for one in runs if one.level == "cascade"):
        own = _scores(work, cascade.name, SETS)
        rest = [one for one in runs if one.factor == cascade.factor and one is not cascade]
        others = {one.level: _scores(work, one.name, SETS) for one in rest}
        pairs = {level: paired(other, own, "dice") for level, other in others.items()}
        for test in compare({level: pair for level, pair in pairs.items() if len(pair[0])}):
            table_rows.append(
                {
                    "cascade": cascade.factor,
                    "compared with": test.measure,
                    "ears": test.n,
                    "median difference in Dice": f"{test.median_difference:+.3f}",
                    "p (Holm)": f"{test.p_holm:.2g}",
                }
            )
    return pd.DataFrame(table_rows)


def _scores(work: Path, name: str, sets: Iterable[str]) -> pd.DataFrame:
    """Scores of a run's ears in some sets, over all folds."""
    folder = work / SYSTEMS / "scores" / name
    paths = [path for set_name in sets for path in sorted(folder.glob(f"{set_name}-*.csv"))]
    columns = pd.DataFrame(columns=["data", "case", "side", "dice"])
    return pd.concat([columns, *(read_scores(path) for path in paths)])


def costs() -> str:
    """The results of `costs.py` as Markdown."""
    path = HERE / "results" / "costs.csv"
    table = pd.read_csv(path)
    for column in (name for name in table.columns if name.startswith("parameters")):
        table[column] = [f"{count / 1e6:.2f} M" for count in table[column]]
    machine = json.loads(path.with_suffix(".json").read_text("utf-8"))["processor"]
    about = "The models above on one phantom ear of set W, PyTorch on one thread, no rotations"
    return f"{about} ({machine}, `benchmarks/costs.py`):\n\n{markdown(table)}"


def page(work: Path, output: Path) -> None:
    """Write the results between the marks of docs/comparison.md."""
    folds = [pd.read_csv(output / f"{study}-runs.csv").groupby("run")["folds"].max()
             for study in (SYSTEMS, ABLATIONS)]  # fmt: skip
    counts = ", ".join(f"{name} {sum(kind[2] for kind in kinds)}" for name, kinds in SETS.items())
    machine = f"{os.cpu_count()} CPU cores, {platform.machine()}"
    facts = f"phantoms, {counts}; {machine}; otovox {otovox.__version__}"
    pictures = sorted(output.glob(f"{ABLATIONS}-*.png"))
    body = [
        f"Made by `python benchmarks/comparison.py`: {facts}.",
        f"### Systems ({_fold_count(folds[0])})",
        _table(work / SYSTEMS),
        "![Systems](comparison/systems.png)",
        "Dots: mean and SD over the folds; dashes: published, on other scans.",
        "### AutoCasNet with the measures of its paper",
        markdown(rates(work)),
        "Mean ± SD over the validation ears; in brackets the paper's values, on micro-CT.",
        markdown(cascades(work)),
        "### By condition and by the Likert score (L9-L11)",
        f"Phantoms imaged by {DISEASED['D'][0][0].upper()}: "
        + ", ".join(f"{kind[2]} {kind[1].replace('_', ' ')}" for kind in DISEASED["D"])
        + ".",
        *_by_condition(work),
        "### Cost per scan",
        costs(),
        f"### Ablations ({_fold_count(folds[1])})",
        _table(work / ABLATIONS),
        *(f"![{path.stem}](comparison/{path.name})" for path in pictures),
    ]
    write_between(ROOT / "docs" / "comparison.md", "\n\n".join(body))


def _by_condition(work: Path) -> Iterator[str]:
    """Both tables of Lim et al. 2024, for every model applied to the diseased set."""
    folders = {work / "scores-D" / name: title for name, title in LOOKING.items()}
    for file, by in (("dsc-by-subgroup.csv", "subgroup"), ("dsc-by-likert.csv", "from")):
        tables = {title: pd.read_csv(folder / file) for folder, title in folders.items()
                 if (folder / file).is_file()}  # fmt: skip
        if tables:
            ours = [each[each["from"] == OURS].assign(**{"from": title})
                    for title, each in tables.items()]  # fmt: skip
            first = next(iter(tables.values()))
            table = pd.concat([*ours, first[first["from"] != OURS]])
            order = list(dict.fromkeys(table[by]))
            table = table.sort_values(by, key=lambda names: names.map(order.index), kind="stable")
            yield markdown(printed(table))


def _fold_count(folds: pd.Series) -> str:
    """The number of folds of the runs, as text."""
    few, many = int(folds.min()), int(folds.max())
    word = "fold" if many == 1 else "folds"
    return f"{few} {word} each" if few == many else f"{few} to {many} folds"


def _table(study: Path) -> str:
    """All runs of a study, and a list of those without results."""
    table = pd.read_csv(study / "report" / "runs.csv")
    missing = [one.name for one in read_study(study).runs if one.name not in set(table["run"])]
    note = f"\n\nWithout results: {', '.join(missing)}." if missing else ""
    return runs_markdown(table) + note


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for sets and runs")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "comparison")
    parser.add_argument("--report", action="store_true", help="only report existing results")
    options = parser.parse_args()
    if not options.report:
        render(options.work, SETS | DISEASED)
        run(options.work)
        look_at_disease(options.work)
    report(options.work, options.output)
    page(options.work, options.output)


if __name__ == "__main__":
    main()
