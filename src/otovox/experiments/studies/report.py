"""The report of a study: every run scored, compared with the reference, plotted by factor."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from otovox.errors import InputError
from otovox.evaluation.figures import levels
from otovox.evaluation.runs import folds_of, score_runs
from otovox.evaluation.statistics import compare
from otovox.evaluation.stebani_tables import BESIDE, markdown, published, read_scores
from otovox.experiments.studies.fold import RUNS
from otovox.experiments.studies.plans import Study, StudyRun
from otovox.experiments.studies.running import read_study
from otovox.formats.writing import replacing
from otovox.results.schema import RESULT

#: Measures for comparing runs: primary (S20), and localisation.
MEASURES = {"dice": "DSC", "landmark_mean_voxels": "landmark error, voxels"}
#: Groups of ears: validation sets of the folds, the paper's clinical set, all test sets.
VALIDATION, CLINICAL, TESTS = "validation", "B", "mean of test sets"
#: Their names in `published.csv`.
PUBLISHED = {VALIDATION: "validation", CLINICAL: "B", TESTS: "test average"}
#: Subfolders of a study: scores of every run, and the report.
SCORES, REPORT = "scores", "report"
NOTE = (
    "Mean and SD over the folds' means; the mean of the test sets weights all sets equally and "
    "excludes diseased ears. p of Wilcoxon's signed-rank test against the reference, over ears, "
    "averaged over folds; Holm's correction over all runs of the study, for each measure and set. "
    "Ears that were not detected count as DSC 0 and have no landmark error. In brackets: published "
    "figures of the system, on other scans."
)


@dataclass(frozen=True)
class Report:
    """The written report.

    Attributes:
        table: see `runs_table`.
        missing: runs without results.
        files: written files, in order.
    """

    table: pd.DataFrame
    missing: list[str]
    files: list[Path]


def write_report(
    folder: Path, dataset: Path, tests: Sequence[Path] = (), *, fresh: bool = False
) -> Report:
    """Score, compare and plot every run of a study, and write `folder`/report.

    Args:
        folder: folder of the study.
        dataset: data set from which its folds were drawn.
        tests: test sets.
        fresh: recompute all scores.

    Raises:
        InputError: if the reference has no results, or something cannot be read.
        OutputError: if something cannot be written.
    """
    study = read_study(folder)
    scores: dict[int, pd.DataFrame] = {}
    for run in study.runs:
        table = _scored(folder, run, (dataset, *tests), fresh=fresh)
        if len(table):
            scores[run.number] = table
    if 0 not in scores:
        raise InputError(
            f"{folder}: {study.runs[0].name}, with which all others are compared, has no results"
        )
    table = runs_table(study, scores)
    output = folder / REPORT
    files = [output / "runs.csv"]
    with replacing(files[0]) as beside:
        table.to_csv(beside, index=False)
    pictures = {}
    for factor in dict.fromkeys(run.factor for run in study.runs[1:] if run.number in scores):
        rows = _where(table, [row in (factor, study.runs[0].factor) for row in table["factor"]])
        path = output / f"{re.sub(r'[^a-z0-9]+', '-', factor.lower())}.png"
        levels(rows, path, title=factor)
        pictures[factor] = path
    missing = [run.name for run in study.runs if run.number not in scores]
    text = output / "report.md"
    with replacing(text) as beside:
        beside.write_text(_page(study, table, pictures, missing), "utf-8")
    return Report(table, missing, [*files, *pictures.values(), text])


def runs_table(study: Study, scores: Mapping[int, pd.DataFrame]) -> pd.DataFrame:
    """Every run compared with the reference.

    Args:
        study: study of the runs.
        scores: scores by run number, from `runs.score_runs`, with a column `test` that marks the
            ears of test sets; 0 is the reference.

    Returns:
        Rows of `number`, `run`, `factor`, `level`, `status`, `measure`, `set`, `folds`, `ears`,
        `mean`, `sd` (over folds), `difference` to the reference over common folds; over
        `pairs` of ears `median_difference`, `p` and `p_holm`; `published`, the figure in the paper,
        or nan. Outputs that a run does not predict have no row.

    Source: Wilcoxon 1945; Holm 1979, over all runs, for each measure and set.
    """
    rows = []
    for measure in MEASURES:
        for group in (VALIDATION, CLINICAL, TESTS):
            parts = {number: _members(table, group) for number, table in scores.items()}
            parts = {n: ears for n, ears in parts.items() if np.isfinite(_of(ears, measure)).any()}
            if 0 not in parts:
                continue
            pairs = {str(n): paired(parts[0], ears, measure) for n, ears in parts.items() if n}
            tests = {int(row.measure): row for row in compare(pairs)}
            first = _folds(parts[0], measure)
            for number, ears in parts.items():
                run, folds, test = study.runs[number], _folds(ears, measure), tests.get(number)
                # Folds contain different ears: only common folds are compared.
                ahead = [mean - first[fold] for fold, mean in folds.items() if fold in first]
                means = list(folds.values())
                rows.append(
                    {
                        "number": number,
                        "run": run.name,
                        "factor": run.factor,
                        "level": run.level,
                        "status": run.status,
                        "measure": measure,
                        "set": group,
                        "folds": len(folds),
                        "ears": int(np.isfinite(_of(ears, measure)).sum()),
                        "mean": np.mean(means),
                        "sd": np.std(means, ddof=1) if len(means) > 1 else np.nan,
                        "difference": np.mean(ahead) if number and ahead else np.nan,
                        "pairs": test.n if test else np.nan,
                        "median_difference": test.median_difference if test else np.nan,
                        "p": test.p if test else np.nan,
                        "p_holm": test.p_holm if test else np.nan,
                        "published": _published(run, measure, group),
                    }
                )
    return pd.DataFrame(rows).sort_values("number", kind="stable", ignore_index=True)


def _scored(folder: Path, run: StudyRun, datasets: Sequence[Path], *, fresh: bool) -> pd.DataFrame:
    """Scores of a run on all data sets, the first being that of its folds; stored in `scores`."""
    place = folder / RUNS / run.name
    parts = []
    for number, dataset in enumerate(datasets if place.is_dir() else ()):
        for fold, results in folds_of([place], dataset).items():
            results_files = list(results.glob(f"*/{RESULT}"))
            if not results_files:
                continue
            kept = folder / SCORES / run.name / f"{dataset.resolve().name}-{fold}.csv"
            newest = max(path.stat().st_mtime_ns for path in results_files)
            if fresh or not kept.is_file() or kept.stat().st_mtime_ns <= newest:
                table, _ = score_runs({fold: results}, dataset)
                if table.empty or "dice" not in table:
                    continue
                with replacing(kept) as beside:
                    table.to_csv(beside, index=False)
            # Read back, so that stored and new scores have the same types.
            parts.append(read_scores(kept).assign(test=number > 0))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def _members(table: pd.DataFrame, group: str) -> pd.DataFrame:
    """The rows that belong to a group of ears."""
    clinical = [BESIDE.get(name, name) == CLINICAL for name in table["set"]]
    healthy = [pd.isna(name) or name in ("", "healthy") for name in table["diagnosis"]]
    test = table["test"].to_numpy(dtype=bool)
    if group == VALIDATION:
        return _where(table, ~test)
    return _where(table, test & healthy & (np.array(clinical) if group == CLINICAL else True))


def _where(table: pd.DataFrame, wanted: ArrayLike) -> pd.DataFrame:
    return pd.DataFrame(table.loc[np.asarray(wanted, dtype=bool)])


def _published(run: StudyRun, measure: str, group: str) -> float:
    published_means = published()
    rows = (published_means["system"] == run.published) & (
        published_means["set"] == PUBLISHED[group]
    )
    means = _of(_where(published_means, rows & (published_means["measure"] == measure)), "mean")
    return float(means[0]) if len(means) else np.nan


def _of(table: pd.DataFrame, measure: str) -> np.ndarray:
    return table[measure].to_numpy(dtype=float)


def _folds(table: pd.DataFrame, measure: str) -> dict[str, float]:
    """For each fold the mean over the means of its sets."""
    means = _means(table, measure, ["fold", "data", "set"])
    folds = pd.DataFrame(means.groupby("fold").mean())
    return dict(zip(folds.index.astype(str), _of(folds, measure), strict=True))


def _means(table: pd.DataFrame, measure: str, by: list[str]) -> pd.DataFrame:
    """Means over the ears that have the measure, by columns."""
    scored = _where(table, np.isfinite(_of(table, measure)))
    return pd.DataFrame(scored.groupby(by)[[measure]].mean())


def paired(
    first: pd.DataFrame, second: pd.DataFrame, measure: str
) -> tuple[np.ndarray, np.ndarray]:
    """A measure of the ears scored in both runs, averaged over folds.

    Args:
        first, second: from `runs.score_runs`.
        measure: a column of both.

    Returns:
        (n,) each, in the same order.
    """
    ears = ["data", "case", "side"]
    one, other = _means(first, measure, ears), _means(second, measure, ears)
    both = sorted(set(one.index) & set(other.index))
    return _of(pd.DataFrame(one.loc[both]), measure), _of(pd.DataFrame(other.loc[both]), measure)


def runs_markdown(table: pd.DataFrame) -> str:
    """All runs as a Markdown table, one row each, with a note below.

    Args:
        table: see `runs_table`.
    """
    groups = list(dict.fromkeys(zip(table["measure"], table["set"], strict=True)))
    records = table.to_dict("records")
    cells = {(row["number"], row["measure"], row["set"]): row for row in records}
    shown = []
    for number, run in {row["number"]: row for row in records}.items():
        row = {"factor": run["factor"], "level": run["level"], "status": run["status"]}
        for measure, group in groups:
            cell = cells.get((number, measure, group))
            row[f"{MEASURES[measure]}, {group}"] = _cell(cell, measure) if cell else ""
        shown.append(row)
    return f"{markdown(pd.DataFrame(shown))}\n\n{NOTE}"


def _page(
    study: Study, table: pd.DataFrame, pictures: Mapping[str, Path], missing: Sequence[str]
) -> str:
    """The report in Markdown: a table of all runs, then the figures."""
    lines = [f"# {study.name}", "", f"{study.description}. Reference: {study.runs[0].name}.", ""]
    lines += [runs_markdown(table), ""]
    if missing:
        lines += [f"Without results: {', '.join(missing)}.", ""]
    for factor, path in pictures.items():
        lines += [f"## {factor}", "", f"![{factor}]({path.name})", ""]
    return "\n".join(lines)


def _cell(row: Mapping, measure: str) -> str:
    """Mean, SD over folds, p after Holm's correction, and the published figure, as text."""
    digits = 3 if measure == "dice" else 1
    text = f"{row['mean']:.{digits}f}"
    if np.isfinite(row["sd"]):
        text += f" ± {row['sd']:.{digits}f}"
    text += f" (p {row['p_holm']:.2g})" if np.isfinite(row["p_holm"]) else ""
    return text + (f" [{row['published']:g}]" if np.isfinite(row["published"]) else "")
