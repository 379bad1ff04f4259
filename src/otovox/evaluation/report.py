"""Output of an evaluation: scores, statistics, the paper's tables, figures, tests."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.geometry import mean_pose
from otovox.core.landmarks import Landmarks
from otovox.dataset.layout import check_names, load_case, read_index
from otovox.errors import InputError
from otovox.evaluation.error_pictures import Panel, error_picture, nearest_the_mean
from otovox.evaluation.figures import bars, learning_curves, uncertainty_scatter
from otovox.evaluation.label_maps import LabelMaps
from otovox.evaluation.lim_tables import write_likert_tables
from otovox.evaluation.readers import agreement_table, few_ears, readers_of, with_readers
from otovox.evaluation.runs import find_case, folds_of, read_case, score_runs
from otovox.evaluation.statistics import compare
from otovox.evaluation.stebani_tables import (
    THEIRS,
    figure_3_table,
    paper_table,
    published_uncertainty,
    read_scores,
    statistics_table,
    uncertainty_table,
    write_paper_table,
)
from otovox.formats.writing import replacing

#: Measures for comparing two systems, corrected together (Holm).
COMPARED = ("dice", "hd_mm", "assd_mm", *(f"{name}_mm" for name in LANDMARK_NAMES))


@dataclass(frozen=True, kw_only=True)
class EvaluationPlan:
    """Settings of an evaluation.

    Attributes:
        split: only cases of this split of the data sets; all of them if empty.
        name: name of this system in the comparison with others.
        beside: `ears.csv` of other systems by name, from earlier evaluations.
        maps: how label maps are read, if there are these instead of results of otovox.
        readers: CSV with the Likert scores of readers, see `readers.with_readers`.
    """

    split: str = ""
    name: str = "otovox"
    beside: Mapping[str, Path] = field(default_factory=dict)
    maps: LabelMaps | None = None
    readers: Path | None = None


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        table: one row per true ear and fold.
        missing: labelled cases without any result.
        files: written files, in order.
        notes: sentences about figures that rest on few ears.
    """

    table: pd.DataFrame
    missing: list[str]
    files: list[Path]
    notes: list[str]


@dataclass(frozen=True)
class ResultSource:
    """A data set, the folder of its results for each fold, and how label maps are read."""

    dataset: Path
    folds: Mapping[str, Path]
    maps: LabelMaps | None = None

    @property
    def name(self) -> str:
        """Its name in tables.

        >>> ResultSource(Path("sets/fpvct-clinical"), {}).name
        'fpvct-clinical'
        """
        return self.dataset.resolve().name


def evaluate(
    results: Sequence[Path],
    datasets: Sequence[Path],
    output: Path,
    plan: EvaluationPlan = EvaluationPlan(),
) -> Evaluation:
    """Score results against data sets and write tables and figures.

    Args:
        results: folders of results or of cross-validations, see `runs.folds_of`.
        datasets: folders of the data sets, with different names.
        output: output folder.
        plan: all settings.

    Raises:
        ConfigError: if two data sets have the same name.
        InputError: if something cannot be read, or no labelled case has results.
        OutputError: if something cannot be written.
    """
    check_names(datasets)
    others = {other: read_scores(path) for other, path in plan.beside.items()}
    sources = [ResultSource(folder, folds_of(results, folder), plan.maps) for folder in datasets]
    tables, missing = [], []
    for source in sources:
        scored, without = score_runs(
            source.folds, source.dataset, split=plan.split, maps=source.maps
        )
        if scored.empty:
            which = f"labelled case of the split {plan.split}" if plan.split else "labelled case"
            raise InputError(f"{source.dataset}: no {which} has results in {_names(source)}")
        tables.append(scored)
        missing += without
    table = pd.concat(tables, ignore_index=True)
    if plan.readers is not None:
        table = with_readers(table, plan.readers)
    files = [output / "ears.csv", output / "statistics.csv"]
    for file, rows in zip(files, (table, statistics_table(table)), strict=True):
        with replacing(file) as temporary:
            rows.to_csv(temporary, index=False)
    for number in (3, 4):
        file = output / f"table-{number}.csv"
        write_paper_table(paper_table(table, number), file)
        files += [file, file.with_suffix(".md")]
    files += _likert(table, output)
    notes: list[str] = []
    if plan.readers is not None:
        agreement = agreement_table(table)
        files.append(output / "readers.csv")
        with replacing(files[-1]) as temporary:
            agreement.to_csv(temporary, index=False)
        notes = few_ears(agreement)
    files += _draw(table, sources, output)
    if others:
        files += _set_beside({plan.name: table} | others, output)
    return Evaluation(table, missing, files, notes)


def _names(source: ResultSource) -> str:
    """The folds of a source, and if they contain label maps, some names of these."""
    text = ", ".join(source.folds)
    if source.maps is None:
        return text
    names = [name for folder in source.folds.values() for name in source.maps.names(folder)]
    return f"{text}; label maps there: {', '.join(names[:5]) or 'none'}"


def _likert(table: pd.DataFrame, output: Path) -> list[Path]:
    """The tables of Lim et al. 2024, if there are diseased ears with masks, or readers' scores."""
    drawn = table.loc[np.isfinite(table["dice"].to_numpy(dtype=float))]
    if drawn["diagnosis"].fillna("").isin(["", "healthy"]).all() and not readers_of(table):
        return []
    scored = np.isfinite(drawn["likert"].to_numpy(dtype=float)).any() or readers_of(table)
    return write_likert_tables(drawn if scored else drawn.drop(columns="likert"), output)


def compare_systems(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Compare two systems on the ears scored for both, averaged over folds.

    Args:
        first, second: tables of scores.

    Returns:
        One row per measure: `measure`, `n`, `median_difference` (second minus first), `p`,
        `p_holm`. An ear that one of them did not detect has no distance, but counts in the DSC.

    >>> keys = {"case": list("abcdef"), "side": "right"}
    >>> one = pd.DataFrame(keys | dict.fromkeys(COMPARED, 0.8))
    >>> other = one.assign(dice=[0.9, 0.91, 0.92, 0.93, 0.94, 0.95])
    >>> row = compare_systems(one, other).to_dict("records")[0]
    >>> row["measure"], round(row["median_difference"], 3), round(row["p"], 3)
    ('dice', 0.125, 0.031)
    """
    means = [_by_ear(table) for table in (first, second)]
    both = sorted(set(means[0].index) & set(means[1].index))
    values = [table.loc[both].to_numpy(dtype=float) for table in means]
    pairs = {m: (values[0][:, n], values[1][:, n]) for n, m in enumerate(COMPARED)}
    return pd.DataFrame([asdict(row) for row in compare(pairs)])


def _by_ear(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over folds of every compared measure, by case and side."""
    return pd.DataFrame(table.groupby(["case", "side"])[list(COMPARED)].mean())


def _draw(table: pd.DataFrame, sources: Sequence[ResultSource], output: Path) -> Iterable[Path]:
    """Figures 4 and 5c, and S.3 if the folds contain learning curves."""
    errors, curves = (output / f"{name}.png" for name in ("errors", "learning-curves"))
    drawn = table.loc[np.isfinite(table["dice"].to_numpy(dtype=float))]
    if len(drawn):
        error_picture(_panels(drawn, sources), errors)
        yield errors
    yield from _uncertainty(table.assign(diagnosis=table["diagnosis"].fillna("")), output)
    runs = {
        fold: folder / "validation.csv"
        for source in sources
        for fold, path in source.folds.items()
        for folder in (path, path.parent)
        if (folder / "validation.csv").is_file()
    }
    if runs:
        learning_curves(runs, curves)
        yield curves


def _uncertainty(table: pd.DataFrame, output: Path) -> Iterable[Path]:
    """Figure 5c with the mean SD of the volume, its table, and the SD near the labyrinth."""
    whole, near = output / "uncertainty.png", output / "uncertainty-labyrinth.png"
    if np.any(table["volume_uncertainty"].to_numpy(dtype=float) > 0):
        published = {f"{THEIRS}: {name}": value for name, value in published_uncertainty().items()}
        uncertainty_scatter(table, whole, measure="volume_uncertainty", published=published)
        file = output / "uncertainty.csv"
        with replacing(file) as temporary:
            uncertainty_table(table).to_csv(temporary, index=False)
        yield from (whole, file)
    if np.any(table["uncertainty"].to_numpy(dtype=float) > 0):
        uncertainty_scatter(table, near)
        yield near


def _panels(table: pd.DataFrame, sources: Sequence[ResultSource]) -> list[Panel]:
    """For each set the ear nearest to its mean DSC."""
    by_name = {source.name: source for source in sources}
    panels = []
    for name, row in nearest_the_mean(table).items():
        source = by_name[row["data"]]
        entries = {entry.case: entry for entry in read_index(source.dataset)}
        entry = entries[row["case"]]
        case = load_case(source.dataset, entry)
        side = Side(row["side"])
        path = find_case(source.folds[row["fold"]], entry.case, source.maps)
        assert path is not None, "it was scored"
        prediction = read_case(path, case, entry, source.maps)
        truth = case.labels.values == side.label
        poses = [ear.pose for ear in prediction.ears if ear.side is side]
        panels.append(
            Panel(
                title=f"{name}: DSC {row['dice']:.2f} (mean {row['mean_dice']:.2f})",
                # A wrong side is not a voxel error: it is scored separately.
                predicted=_near(prediction.labels.values > 0, truth, case.labels.values > 0),
                truth=truth,
                grid=case.labels.grid,
                landmarks=case.landmarks.get(side, Landmarks((), np.empty((0, 3)))),
                side=side,
                axes=poses[0].matrix if poses else mean_pose(side).matrix,
            )
        )
    return panels


def _near(predicted: np.ndarray, truth: np.ndarray, every: np.ndarray) -> np.ndarray:
    """Predicted voxels without those nearer to the other true ear, to isolate one ear."""
    other = every & ~truth
    if not other.any():
        return predicted
    ijk = np.argwhere(predicted)
    centers = [np.argwhere(mask).mean(axis=0) for mask in (truth, other)]
    own, its = (np.linalg.norm(ijk - center, axis=1) for center in centers)
    kept = np.zeros_like(predicted)
    kept[tuple(ijk[own <= its].T)] = True
    return kept


def _set_beside(systems: Mapping[str, pd.DataFrame], output: Path) -> list[Path]:
    """Figure 3, and paired tests of every other system against the first."""
    first, *others = systems
    tests = [
        compare_systems(systems[first], systems[other]).assign(first=first, second=other)
        for other in others
    ]
    files = [output / "figure-3.csv", output / "comparison.csv"]
    table = figure_3_table(systems)
    for file, rows in zip(files, (table, pd.concat(tests)), strict=True):
        with replacing(file) as temporary:
            rows.to_csv(temporary, index=False)
    if not table.empty:
        bars(table, output / "figure-3.png")
        files.append(output / "figure-3.png")
    return files
