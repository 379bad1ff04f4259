"""Likert scores of readers, imported and compared with the DSC and the computed score (L10)."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from otovox.core.anatomy import Side
from otovox.errors import InputError

#: Columns that identify a scored ear.
KEY = ("case", "side")
#: Ears below which a correlation is reported with a warning. Chosen: at a correlation of -.5, the
#: 95 % interval from 40 ears still reaches from -.71 to -.20.
FEW_EARS = 40
#: Prefix of a reader's column in the table of scores.
READER = "likert, reader "
#: Normal quantile of a two-sided 95 % interval.
_Z = 1.96


def with_readers(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Add the scores of readers to a table of scores, one column each.

    Args:
        table: one row per ear and fold, as from `runs.score_runs`.
        path: CSV with the columns `case`, `side`, `likert` (1 to 4), and optionally `reader` and
            `fold`; the latter is required if an ear is scored in several folds.

    Raises:
        InputError: if it cannot be read, a score is invalid, or an ear is unknown or occurs twice.

    >>> from tempfile import TemporaryDirectory
    >>> ears = pd.DataFrame({"case": ["anna", "bela"], "side": ["right", "left"]})
    >>> with TemporaryDirectory() as folder:
    ...     _ = Path(folder, "r.csv").write_text("case,side,reader,likert\\nbela,left,KM,3\\n")
    ...     with_readers(ears, Path(folder, "r.csv"))["likert, reader KM"].tolist()
    [nan, 3.0]
    """
    scores = _read(path)
    key = [*KEY, "fold"] if "fold" in scores else list(KEY)
    if table.duplicated(key).any():
        raise InputError(f"{path}: some ears have predictions of several folds; add a column fold")
    ears = pd.MultiIndex.from_frame(pd.DataFrame(table[key].astype(str)))
    for reader, rows in scores.groupby("reader", sort=True):
        given = rows.set_index(key)["likert"]
        if given.index.has_duplicates:
            twice = rows.loc[rows.duplicated(key), "case"].iloc[0]
            raise InputError(f"{path}: {reader} scores {twice} twice")
        unknown = given.index.difference(ears)
        if len(unknown):
            names = [", ".join(map(str, ear)) for ear in unknown.tolist()]
            raise InputError(f"{path}: {names[0]} is not among the scored ears")
        table = table.assign(**{f"{READER}{reader}": given.reindex(ears).to_numpy(dtype=float)})
    return table


def readers_of(table: pd.DataFrame) -> list[str]:
    """Names of the readers in a table from `with_readers`.

    >>> readers_of(pd.DataFrame(columns=["case", "dice", "likert, reader KM", "likert, reader TS"]))
    ['KM', 'TS']
    """
    return [name.removeprefix(READER) for name in table.columns if name.startswith(READER)]


def agreement_table(table: pd.DataFrame) -> pd.DataFrame:
    """Spearman's correlation of every reader with DSC, computed score, and other readers (L10).

    Args:
        table: from `with_readers`.

    Returns:
        Columns `reader`, `compared with`, `ears`, `spearman`, `low`, `high` (95 % interval), `p`,
        and `equal`, the share of equal scores; nan if undefined.

    Source: Lim et al. 2024, Statistical analysis; interval of Bonett and Wright 2000.

    >>> ears = pd.DataFrame({"dice": [0.95, 0.9, 0.7, 0.5], "likert": [1, 1, 3, 4]})
    >>> rows = agreement_table(ears.assign(**{"likert, reader KM": [1, 2, 3, 4]}))
    >>> rows[["compared with", "ears", "equal"]].values.tolist()[1]
    ['computed score', 4, 0.75]
    """
    names = readers_of(table)
    columns = {name: table[f"{READER}{name}"].to_numpy(dtype=float) for name in names}
    dice, computed = (table[name].to_numpy(dtype=float) for name in ("dice", "likert"))
    pairs = [(name, "DSC", columns[name], dice, False) for name in names]
    pairs += [(name, "computed score", columns[name], computed, True) for name in names]
    for one, two in combinations(names, 2):
        pairs.append((one, f"reader {two}", columns[one], columns[two], True))
    return pd.DataFrame(
        [
            {"reader": reader, "compared with": other} | _agreement(first, second, scores=scores)
            for reader, other, first, second, scores in pairs
        ]
    )


def few_ears(agreement: pd.DataFrame) -> list[str]:
    """A sentence for every correlation that rests on fewer than `FEW_EARS` ears.

    >>> few = pd.DataFrame({"reader": ["A"], "compared with": ["DSC"], "ears": [12]})
    >>> few_ears(few)
    ['the correlation of reader A with DSC rests on 12 ears; at least 40 are needed']
    """
    return [
        f"the correlation of reader {row['reader']} with {row['compared with']} rests on "
        f"{row['ears']} ears; at least {FEW_EARS} are needed"
        for row in agreement.to_dict(orient="records")
        if row["ears"] < FEW_EARS
    ]


def _agreement(first: np.ndarray, second: np.ndarray, *, scores: bool) -> dict[str, float]:
    rated = np.isfinite(first) & np.isfinite(second)
    first, second = first[rated], second[rated]
    ears, nan = len(first), float("nan")
    correlation = p = low = high = nan
    if ears > 3 and np.ptp(first) > 0 and np.ptp(second) > 0:
        correlation, p = np.asarray(stats.spearmanr(first, second), dtype=float).tolist()
        if abs(correlation) < 1:
            half = _Z * np.sqrt((1 + correlation**2 / 2) / (ears - 3))
            low, high = np.tanh(np.arctanh(correlation) + np.array([-half, half])).tolist()
    equal = float(np.mean(first == second)) if scores and ears else nan
    return {"ears": ears, "spearman": correlation, "low": low, "high": high, "p": p, "equal": equal}


def _read(path: Path) -> pd.DataFrame:
    """The scores of a CSV file, checked."""
    try:
        scores = pd.read_csv(path, dtype=str, skipinitialspace=True, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as CSV") from error
    lacking = [name for name in (*KEY, "likert") if name not in scores]
    if lacking:
        raise InputError(f"{path}: has no column {', '.join(lacking)}")
    scores = pd.DataFrame({name: scores[name].fillna("").str.strip() for name in scores})
    if "reader" not in scores:
        scores = scores.assign(reader="1")
    for row in scores.to_dict(orient="records"):
        if row["likert"] not in ("1", "2", "3", "4"):
            raise InputError(f"{path}: the score of {row['case']} is {row['likert']!r}, not 1 to 4")
        if row["side"] not in set(Side):
            raise InputError(f"{path}: the side of {row['case']} is {row['side']!r}")
    return scores.assign(likert=scores["likert"].astype(float))
