"""Tables 3 and 4 of Stebani et al. 2023: our figures and the published ones."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from otovox.errors import InputError
from otovox.evaluation.runs import ARGMAX_VOXELS, IN_VOXELS
from otovox.evaluation.scores import MEASURES
from otovox.evaluation.statistics import Spread, spread
from otovox.formats.writing import replacing

#: Published sets on which the phantoms' scanners are modelled (S1, S2).
BESIDE = {
    "fpvct-frozen": "A",
    "fpvct-clinical": "B",
    "msct-embalmed": "W",
    "cbct-resin": "O",
    "microct-dry": "G",
}
#: The published sets, in the tables' order.
SETS = ("A", "B", "W", "O", "G")
OURS, THEIRS = "otovox", "Stebani et al. 2023"
#: Row of Table 4 with landmarks at the highest voxel, as in the paper (S20).
ARGMAX = "otovox, argmax"

#: Columns of the two tables: measure, title, decimals as in the paper.
COLUMNS: dict[int, tuple[tuple[str, str, int], ...]] = {
    3: (
        ("dice", "DSC", 2),
        ("iou", "IoU", 2),
        ("vs", "VS", 2),
        ("hd_voxels", "HD", 1),
        ("avg_hd_voxels", "⟨HD⟩", 2),
    ),
    4: (
        ("landmark_mean_voxels", "average", 1),
        ("helicotrema_voxels", "helicotrema", 1),
        ("oval_window_voxels", "oval window", 1),
        ("round_window_voxels", "round window", 1),
    ),
}
TITLES = {title: digits for columns in COLUMNS.values() for _, title, digits in columns}
#: Note below every table.
NOTE = (
    "Distances in voxels of 0.099 mm. SD over ears; in brackets the SD over the folds' means, if "
    "there are several folds. MD: median. Ears that were not detected count as DSC, IoU and VS 0 "
    "and have no distances (n found). Published figures refer to the paper's own scans, which "
    "differ from ours."
)


@cache
def published() -> pd.DataFrame:
    """Results that the papers report for their systems.

    Returns:
        Columns `where`, `system`, `set`, `measure`, `mean`, `sd`, `median`, `source`; the
        figures are nan if not published. Distances in voxels of 0.099 mm.

    Source: Stebani et al. 2023, Tables 3 and 4, Results (Figure 3; uncertainty); Hussain et al.
    2021, Table 1, set "validation"; Lim et al. 2024, Table 3, its external set as "test average".

    >>> "gold" in set(published()["system"])
    True
    """
    with (resources.files("otovox.evaluation") / "published.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file)


def statistics_table(table: pd.DataFrame) -> pd.DataFrame:
    """Every measure of every set, with the spread over ears and over folds.

    Args:
        table: from `runs.score_runs`; intervals are resampled by patient.

    Returns:
        One row per set and measure: `set`, `measure`, and the fields of `statistics.Spread`.

    >>> names = {*MEASURES, *IN_VOXELS, *IN_VOXELS.values()}
    >>> table = pd.DataFrame(dict.fromkeys(names, [0.8, 0.9]) | {"set": "W", "fold": "0"})
    >>> rows = statistics_table(table.assign(patient=["p1", "p2"]))
    >>> rows.loc[rows["measure"] == "dice", ["set", "mean", "n"]].round(2).values.tolist()
    [['W', 0.85, 2]]
    """
    measures = [*MEASURES, *(name for name in IN_VOXELS if name not in MEASURES)]
    measures += list(IN_VOXELS.values())
    rows = []
    for name, ears in _by_set(table):
        for measure in measures:
            statistics = _spread(ears, measure)
            if statistics.n:
                rows.append({"set": name, "measure": measure} | asdict(statistics))
    return pd.DataFrame(rows, columns=["set", "measure", *Spread.__dataclass_fields__])


def paper_table(table: pd.DataFrame, number: Literal[3, 4]) -> pd.DataFrame:
    """One of the paper's tables, a row of ours per set and the published row below it.

    Args:
        table: from `runs.score_runs`.
        number: 3, segmentation; 4, landmarks, also at the highest voxel if scored (S20).

    Returns:
        Columns `set`, `from`, `ears`, `found`, then per measure `TITLE mean`, `TITLE SD`,
        `TITLE SD folds`, `TITLE MD`; nan if unavailable.

    >>> known = {"set": "W", "fold": "0", "patient": "p1", "found": True, "dice": 0.8, "iou": 0.7}
    >>> ears = pd.DataFrame([known | {"vs": 0.9, "hd_voxels": 5.0, "avg_hd_voxels": 0.4}])
    >>> paper_table(ears, 3)[["from", "DSC mean"]].values.tolist()
    [['otovox', 0.8], ['Stebani et al. 2023', 0.94]]
    """
    rows = []
    for name, ears in _by_set(table):
        rows.append(_own_row(name, ears, number))
        if number == 4 and set(ARGMAX_VOXELS.values()) <= set(ears.columns):
            renamed = ears.assign(**{old: ears[new] for old, new in ARGMAX_VOXELS.items()})
            rows.append(_own_row(name, renamed, number) | {"from": ARGMAX})
        like = BESIDE.get(name, name)
        if like in SETS:
            rows.append(_published_row(like, number))
    return pd.DataFrame(rows)


def figure_3_table(systems: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Data of Figure 3: validation set, clinical set and the average over all test sets.

    Args:
        systems: name to scores; for names used in the paper ("multi-task", "single-task") its
            figures are added. Tasks that a system does not perform (all errors infinite) have
            no row.

    Returns:
        Columns `system`, `set`, `measure`, `mean`, `sd` (over folds; nan with one), `published`.
        Validation is set A; the test average is the mean over the means of B, W, O and G, per
        fold. If some of these were not scored, its name lists the others, and published figures
        are omitted.

    >>> ears = {"set": ["A", "A"], "fold": ["0", "1"], "dice": [0.9, 0.96]}
    >>> table = pd.DataFrame(ears | {"landmark_mean_voxels": np.inf})
    >>> rows = figure_3_table({"single-task": table})
    >>> rows[["set", "measure", "mean", "sd"]].round(3).values.tolist()
    [['validation', 'dice', 0.93, 0.042]]
    """
    published = {
        (row["system"], row["set"], row["measure"]): row["mean"]
        for row in _records()
        if row["where"] == "Figure 3"
    }
    groups = {"validation": ("A",), "B": ("B",), "test average": ("B", "W", "O", "G")}
    rows = []
    for system, table in systems.items():
        like = table["set"].map(lambda name: BESIDE.get(name, name))
        for measure in ("dice", "landmark_mean_voxels"):
            finite = np.isfinite(table[measure].to_numpy(dtype=float))
            means = table.assign(set=like).loc[finite].groupby(["fold", "set"])[measure].mean()
            for group, members in groups.items():
                inside = means[means.index.get_level_values("set").isin(members)]
                folds = inside.groupby("fold").mean().to_numpy(dtype=float)
                if not len(folds):
                    continue
                sd = float(folds.std(ddof=1)) if len(folds) > 1 else np.nan
                there = [name for name in members if name in inside.index.get_level_values("set")]
                shown = group if len(there) == len(members) else f"{group} ({', '.join(there)})"
                theirs = published.get((system, shown, measure), np.nan)
                rows.append((system, shown, measure, float(folds.mean()), sd, theirs))
    return pd.DataFrame(rows, columns=["system", "set", "measure", "mean", "sd", "published"])


def uncertainty_table(table: pd.DataFrame) -> pd.DataFrame:
    """Mean voxel SD of the whole volume over the test-time samples, by set (S24).

    Args:
        table: from `runs.score_runs`.

    Returns:
        Columns `set`, `from`, `ears`, `mean`, `sd`, `median`; the published row below ours.

    Source: Stebani et al. 2023, Results: 6.4(15)e-4 on the regular ears of B, 9.81e-3 on the
    otosclerotic one, over fields of view of about 50 x 50 x 40 mm, on which the measure depends.

    >>> facts = {"set": ["B"], "fold": ["0"], "patient": ["p1"], "volume_uncertainty": [0.0005]}
    >>> uncertainty_table(pd.DataFrame(facts))[["from", "mean"]].values.tolist()
    [['otovox', 0.0005], ['Stebani et al. 2023', 0.00064]]
    """
    rows: list[dict[str, object]] = []
    for name, ears in _by_set(table):
        statistics = _spread(ears, "volume_uncertainty")
        if not statistics.n:
            continue
        row: dict[str, object] = {
            "set": name,
            "from": OURS,
            "ears": statistics.n,
            "mean": statistics.mean,
        }
        rows.append(row | {"sd": statistics.sd, "median": statistics.median})
        first, *rest = name.split(", ")
        published_set = ", ".join((BESIDE.get(first, first), *rest))
        rows += [
            {"set": published_set, "from": THEIRS, "mean": row["mean"], "sd": row["sd"]}
            for row in _records()
            if (row["measure"], row["set"]) == ("volume_uncertainty", published_set)
        ]
    return pd.DataFrame(rows, columns=["set", "from", "ears", "mean", "sd", "median"])


def published_uncertainty() -> dict[str, float]:
    """The published means of `uncertainty_table`, by set.

    >>> published_uncertainty()
    {'B': 0.00064, 'B, otosclerosis': 0.00981}
    """
    rows = (row for row in _records() if row["measure"] == "volume_uncertainty")
    return {row["set"]: row["mean"] for row in rows}


def write_paper_table(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV with all digits and as Markdown with the paper's.

    Args:
        frame: from `paper_table`.
        path: path of the CSV file; the Markdown file has the extension `.md`.

    Raises:
        OutputError: if it cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> frame = pd.DataFrame({"set": ["W"], "from": [OURS], "ears": [4], "found": [4]})
    >>> with TemporaryDirectory() as folder:
    ...     write_paper_table(frame, Path(folder, "table-3.csv"))
    ...     print("\\n".join(Path(folder, "table-3.md").read_text("utf-8").splitlines()[:3]))
    | set | from | ears | found |
    | --- | --- | ---: | ---: |
    | W | otovox | 4 | 4 |
    """
    with replacing(path) as beside:
        frame.to_csv(beside, index=False)
    text = f"{markdown(_printed(frame))}\n\n{NOTE}\n"
    with replacing(path.with_suffix(".md")) as beside:
        beside.write_text(text, "utf-8")


def markdown(frame: pd.DataFrame) -> str:
    """A frame of text cells as a Markdown table, numbers right-aligned.

    >>> print(markdown(pd.DataFrame({"set": ["A"], "DSC": ["0.97"]})))
    | set | DSC |
    | --- | --- |
    | A | 0.97 |
    """
    lines = [list(frame.columns), ["---"] * 2 + ["---:"] * (frame.shape[1] - 2)]
    lines += [[str(cell) for cell in row] for row in frame.to_numpy()]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def read_scores(path: Path) -> pd.DataFrame:
    """Read a table of scores from a CSV file.

    Raises:
        InputError: if it is not a table of scores.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "ears.csv").write_text(
    ...         "set,fold,case,patient,found,dice\\nW,0,anna,p1,True,0.9\\n")
    ...     read_scores(Path(folder, "ears.csv"))["dice"].tolist()
    [0.9]
    """
    try:
        table = pd.read_csv(path, dtype={"set": str, "fold": str, "case": str, "patient": str})
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a table of scores") from error
    lacking = {"set", "fold", "case", "patient", "found", "dice"} - set(table)
    if lacking:
        raise InputError(f"{path}: is not a table of scores: it lacks {', '.join(sorted(lacking))}")
    return table


def _by_set(table: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    """Rows by set: the paper's sets first, in its order, then the others."""
    names = [str(name) for name in table["set"].unique()] if len(table) else []
    order = {name: SETS.index(BESIDE.get(name, name)) for name in names if _is_published(name)}
    for name in sorted(names, key=lambda name: (order.get(name, len(SETS)), name)):
        yield name, table.loc[(table["set"] == name).to_numpy()]


def _is_published(name: str) -> bool:
    return BESIDE.get(name, name) in SETS


def _spread(ears: pd.DataFrame, measure: str) -> Spread:
    return spread(
        ears[measure].to_numpy(dtype=float),
        folds=ears["fold"].to_numpy(dtype=str),
        units=ears["patient"].to_numpy(dtype=str),
    )


def _own_row(name: str, ears: pd.DataFrame, number: int) -> dict[str, object]:
    row: dict[str, object] = {"set": name, "from": OURS, "ears": len(ears)}
    row["found"] = np.count_nonzero(ears["found"].to_numpy(dtype=bool))
    for measure, title, _ in COLUMNS[number]:
        statistics = _spread(ears, measure)
        row |= _cells(
            title, (statistics.mean, statistics.sd, statistics.fold_sd, statistics.median)
        )
    return row


def _published_row(name: str, number: int) -> dict[str, object]:
    where = f"Table {number}"
    records = [row for row in _records() if row["where"] == where and row["set"] == name]
    by_measure = {row["measure"]: row for row in records}
    row: dict[str, object] = {"set": name, "from": THEIRS, "ears": np.nan, "found": np.nan}
    for measure, title, _ in COLUMNS[number]:
        spread = by_measure[measure]
        row |= _cells(title, (spread["mean"], spread["sd"], np.nan, spread["median"]))
    return row


def _records() -> list[dict[str, Any]]:
    return published().to_dict("records")


def _cells(title: str, figures: tuple[float, float, float, float]) -> dict[str, object]:
    names = ("mean", "SD", "SD folds", "MD")
    return {f"{title} {name}": value for name, value in zip(names, figures, strict=True)}


def _printed(frame: pd.DataFrame) -> pd.DataFrame:
    """Text cells with the paper's digits; the SD over folds in brackets after that over ears."""
    text = pd.DataFrame({name: frame[name].astype(str) for name in ("set", "from")})
    for name in ("ears", "found"):
        text[name] = [_number(value, 0) for value in frame[name]]
    for title, digits in TITLES.items():
        if f"{title} mean" not in frame:
            continue
        spreads = [_number(value, digits) for value in frame[f"{title} SD"]]
        folds = [_number(value, digits) for value in frame[f"{title} SD folds"]]
        text[f"{title} mean"] = [_number(value, digits) for value in frame[f"{title} mean"]]
        text[f"{title} SD"] = [
            f"{sd} ({fold})" if fold else sd for sd, fold in zip(spreads, folds, strict=True)
        ]
        text[f"{title} MD"] = [_number(value, digits) for value in frame[f"{title} MD"]]
    return text


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else ""
