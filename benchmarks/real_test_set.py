"""The papers' systems, trained on phantoms at a reduced scale, tested on real ears.

    python benchmarks/real_test_set.py --work runs/real --ears W
    python benchmarks/real_test_set.py --work runs/real --ears W --study view-orders

renders the phantom sets of `reproduction.py`, runs the study `benchmarks/comparison/real.toml`
(three folds), or all orders of AutoCasNet's views (four folds), at the scale of `comparison.py`
with the imported real ears of Wimmer et al. 2019 as one more test set, and writes a table per ear
and fold, and a page, to `docs/comparison/`. Finished work is kept; `--report` only reports what
there is, from all finished folds; other folds keep their rows of the last report.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from reproduction import OTHER_SCANNERS, SETS, VALIDATION, otovox_command, render, test_sets
from scipy.stats import wilcoxon

from otovox.evaluation.stebani_tables import markdown
from otovox.experiments.studies.plans import load_study

HERE = Path(__file__).parent
OUTPUT = HERE.parent / "docs" / "comparison"
STUDY = HERE / "comparison" / "real.toml"
#: By name of the output: the study, and how its folds are drawn (H9: four; S19: three).
STUDIES: dict[str, tuple[str | Path, tuple[object, ...]]] = {
    "real-ears": (STUDY, ("--validation", VALIDATION)),
    "view-orders": ("view-orders", ("--folds", 4)),
}
MEASURES = ["dice", "assd_mm", "helicotrema_mm", "oval_window_mm", "round_window_mm"]


def run(work: Path, ears: Path, name: str, workers: int, only: str | None) -> None:
    """Train and predict."""
    study, folds = STUDIES[name]
    scale = ("--scale", HERE / "comparison" / "scale.toml")
    some = () if only is None else ("--only", only)
    otovox_command("study", "run", study, "--output", work / name, "--data", work / "A",
                   *test_sets(work), "--test", ears, *folds, "--match", "scanner",
                   "--workers", workers, *scale, *some)  # fmt: skip


def runs_folder(work: Path, study: str = "real-ears") -> Path:
    """One folder per system."""
    return work / study / "runs"


def stored(path: Path, *columns: str) -> pd.DataFrame:
    """The rows of the last report; an empty table with these columns if there is none."""
    return pd.read_csv(path) if path.exists() else pd.DataFrame(columns=list(columns))


def scores(work: Path, ears: Path, study: str) -> pd.DataFrame:
    """One row per system, set, fold and ear, of finished folds; others as last reported."""
    last = stored(OUTPUT / f"{study}.csv", "system", "fold")
    tables = []
    for one in load_study(STUDIES[study][0]).runs:
        name = f"{one.factor}, {one.level}"
        folder = runs_folder(work, study) / one.name
        earlier = last[last["system"] == name]
        if not list(folder.glob("fold-*/finished")):
            tables.append(earlier)
            continue
        data = [word for set_name in SETS for word in ("--data", work / set_name)]
        output = work / "scores" / study / one.name
        otovox_command("evaluate", folder, *data, "--data", ears, "--output", output)
        table = pd.read_csv(output / "ears.csv")
        table["system"] = name
        table["data"] = table["data"].where(table["data"] != ears.name, "real ears")
        keep = [name for name in MEASURES if name in table]
        tables.append(table[["system", "data", "fold", "case", "diagnosis", *keep]])
        tables.append(earlier[~earlier["fold"].isin(table["fold"])])
    return pd.concat(tables)


def over_folds(own: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """Differences per set and ear, averaged over the folds that both have.

    Args:
        own, reference: measures, indexed by data, fold and case.
    """
    apart = (own - reference.reindex(own.index)).dropna(how="all")
    return apart.groupby(["data", "case"], sort=False).mean()


def differences(table: pd.DataFrame) -> pd.DataFrame:
    """Every system against the first, over ears and folds that both have, averaged over folds."""
    first, *others = table["system"].unique()
    keys = ["data", "fold", "case"]
    scored = {name: rows.set_index(keys)[MEASURES] for name, rows in table.groupby("system")}
    lines = []
    for system in others:
        apart = over_folds(scored[system], scored[first]).reset_index()
        together = apart[apart["data"].isin(OTHER_SCANNERS)]
        groups = [*apart.groupby("data", sort=False), ("W, O and G", together)]
        for name, group in groups:
            for measure in MEASURES:
                values = group[measure].dropna()
                if len(values) and values.any():
                    line = {"system": system, "data": name, "measure": measure, "ears": len(values)}
                    line |= {"median difference": f"{np.median(values):+.3f}"}
                    lines.append(line | {"p": f"{wilcoxon(values).pvalue:.2g}"})
    return pd.DataFrame(lines)


def page(table: pd.DataFrame) -> str:
    """Means over ears and folds, per system and test set."""
    healthy = table[table["diagnosis"] != "otosclerosis"]
    means = healthy.groupby(["system", "data"], sort=False)
    rows = means[[name for name in MEASURES if name in table]].mean().round(2)
    rows = rows.dropna(axis=1, how="all")
    rows.insert(0, "folds", means["fold"].nunique())
    rows.insert(1, "ears", means["case"].nunique())
    return "\n\n".join(
        [
            "# The papers' systems on real ears",
            "Made by `python benchmarks/real_test_set.py`. Training data: phantoms of one scanner "
            "(set A); test sets: phantoms of other scanners, and the real ears of Wimmer et al. "
            "2019, which no system has seen. Reduced scale (`benchmarks/comparison/scale.toml`): "
            "voxels of 0.4 mm, so that no distance can be as small as the papers'. Means over "
            "ears and finished folds; ears that were not detected count as DSC 0 (ASSD inf: the "
            "mask of an ear is empty). The contrast is matched for each scanner; W and the real "
            "ears state the same one and are matched together: [what this changes]"
            "(after-network.md).",
            markdown(rows.reset_index().astype(str)),
            f"Differences from {table['system'].iloc[0]}; p of Wilcoxon's signed-rank test over "
            "ears, without correction, of values averaged over the folds that both have. p covers "
            "the variation between these ears, not between repeated trainings. With 4 or 5 ears p "
            "cannot fall below .06.",
            markdown(differences(healthy)),
        ]
    ) + "\n"  # fmt: skip


def parser_of(description: str | None) -> argparse.ArgumentParser:
    """The options of all scripts that use this one's folder."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", type=Path, required=True, help="folder for sets and runs")
    parser.add_argument("--ears", type=Path, required=True, help="imported data set of real ears")
    return parser


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--study", choices=tuple(STUDIES), default="real-ears")
    parser.add_argument("--workers", type=int, default=1, help="processes that train side by side")
    parser.add_argument("--only", metavar="FACTOR", help="only systems of this factor")
    parser.add_argument("--report", action="store_true", help="only report")
    options = parser.parse_args()
    if not options.report:
        render(options.work, SETS)
        run(options.work, options.ears, options.study, options.workers, options.only)
    # Rounded for both, so that the page does not depend on which rows are of an earlier report.
    table = scores(options.work, options.ears, options.study).round(4)
    table.to_csv(OUTPUT / f"{options.study}.csv", index=False)
    (OUTPUT / f"{options.study}.md").write_text(page(table), "utf-8")


if __name__ == "__main__":
    main()
