"""Tables 3 and 5 of Lim et al. 2024: DSC by subgroup and Likert score, with published figures."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from otovox.core.segments import STRUCTURES, Part
from otovox.errors import InputError
from otovox.evaluation.readers import READER, readers_of
from otovox.evaluation.stebani_tables import OURS, markdown
from otovox.formats.writing import replacing

EXTERNAL, TRAINING = "Lim et al. 2024, external", "Lim et al. 2024, training"
LEVELS = (1, 2, 3, 4)
#: Diagnoses that change the shape of the labyrinth. Source: Lim et al. 2024, Population
#: characteristics, count canal dehiscence and Mondini among the malformations; the others are
#: malformations by definition.
MALFORMATIONS = frozenset(
    {
        "canal_dehiscence",
        "incomplete_partition",
        "hypoplasia",
        "common_cavity",
        "absent_lateral_canal",
        "enlarged_aqueduct",
    }
)
#: Diagnoses that make an ear neither normal nor pathological: the scan ends within it.
INCOMPLETE = frozenset({"cut_field"})
SUBGROUPS = ("overall", "normal", "pathological", "malformation", "otosclerosis", "incomplete")


@dataclass(frozen=True)
class Subgroup:
    """Figures that Lim et al. 2024 report for a subgroup of a set: ears, then DSC."""

    ears: float
    mean: float
    sd: float
    median: float
    least: float
    greatest: float


_NAN = float("nan")
#: Source: Lim et al. 2024, Table 3 (L11). Numbers of malformed and otosclerotic ears of the
#: external set: its Table 2.
SUBGROUPS_PUBLISHED: dict[str, dict[str, Subgroup]] = {
    EXTERNAL: {
        "overall": Subgroup(70, 0.83, 0.14, 0.88, 0.16, 0.94),
        "normal": Subgroup(55, 0.85, 0.11, 0.89, 0.43, 0.94),
        "pathological": Subgroup(15, 0.75, 0.20, 0.85, 0.16, 0.92),
        "malformation": Subgroup(7, 0.90, 0.04, 0.90, 0.87, 0.92),
        "otosclerosis": Subgroup(7, 0.72, 0.14, 0.67, 0.55, 0.89),
        "incomplete": Subgroup(0, *[_NAN] * 5),
    },
    TRAINING: {
        "overall": Subgroup(271, 0.76, 0.13, 0.79, 0.17, 0.92),
        "normal": Subgroup(192, 0.77, 0.12, 0.81, 0.17, 0.92),
        "pathological": Subgroup(79, 0.72, 0.14, 0.76, 0.19, 0.90),
        "malformation": Subgroup(18, 0.81, 0.12, 0.76, 0.48, 0.92),
        "otosclerosis": Subgroup(23, 0.73, 0.14, 0.77, 0.19, 0.90),
        "incomplete": Subgroup(5, 0.63, 0.05, 0.64, 0.54, 0.66),
    },
}


@dataclass(frozen=True)
class LikertLevels:
    """DSC by Likert score in one set.

    Attributes:
        ears: numbers of ears with scores 1 to 4.
        means: their mean DSC; nan if there is none.
        correlation: Spearman's correlation of DSC and score; nan if either is constant.
        p: two-sided p value.
    """

    ears: tuple[int, int, int, int]
    means: tuple[float, float, float, float]
    correlation: float
    p: float


#: Source: Lim et al. 2024, Table 5 and Results (L10); p is given as < 0.001.
LIKERT_PUBLISHED = {
    EXTERNAL: LikertLevels((29, 17, 5, 19), (0.90, 0.90, 0.83, 0.69), -0.70, 0.001),
    TRAINING: LikertLevels((125, 97, 39, 10), (0.81, 0.73, 0.70, 0.63), -0.47, 0.001),
}
CANAL_PARTS = (Part.ANTERIOR, Part.POSTERIOR, Part.LATERAL)
#: Share of the lost structures that are canals. Source: Lim et al. 2024, Qualitative evaluation.
CANALS_PUBLISHED = 0.85
#: Note below the tables.
NOTE = (
    "The Likert score counts the structures that the mask lost against the ground truth; ears that "
    "were not detected count as DSC 0 and score 4. Readers judged the masks themselves. Published "
    "p: below 0.001. Published figures refer to the paper's own scans, which differ from ours."
)


def subgroups_of(diagnosis: str) -> tuple[str, ...]:
    """The subgroups of Lim et al. 2024 that an ear belongs to.

    Args:
        diagnosis: as in a data set's index; an empty one counts as healthy.

    >>> subgroups_of("healthy"), subgroups_of("otosclerosis")
    (('overall', 'normal'), ('overall', 'pathological', 'otosclerosis'))
    """
    if diagnosis in INCOMPLETE:
        return "overall", "incomplete"
    if diagnosis in ("", "healthy"):
        return "overall", "normal"
    if diagnosis in MALFORMATIONS:
        return "overall", "pathological", "malformation"
    if diagnosis == "otosclerosis":
        return "overall", "pathological", "otosclerosis"
    return "overall", "pathological"


def subgroup_table(table: pd.DataFrame) -> pd.DataFrame:
    """DSC by subgroup (L11), the published figures below ours.

    Args:
        table: one row per ear, with `dice` and `diagnosis`, as from `runs.score_runs`.

    Returns:
        Columns `subgroup`, `from`, `ears`, `mean`, `sd`, `median`, `least`, `greatest`; nan
        if unavailable.

    Raises:
        InputError: if a column is missing.

    >>> ears = pd.DataFrame({"dice": [0.9, 0.7], "diagnosis": ["", "otosclerosis"]})
    >>> rows = subgroup_table(ears)
    >>> rows.loc[rows["subgroup"] == "normal", ["from", "ears", "mean"]].values.tolist()[0]
    ['otovox', 1, 0.9]
    """
    _check(table, "dice", "diagnosis")
    groups = [subgroups_of(name) for name in table["diagnosis"].fillna("").astype(str)]
    rows: list[dict[str, object]] = []
    for name in SUBGROUPS:
        inside = np.array([name in group for group in groups], dtype=bool)
        own = _subgroup(table["dice"].to_numpy(dtype=float)[inside])
        published = {where: sets[name] for where, sets in SUBGROUPS_PUBLISHED.items()}
        for where, figures in {OURS: own, **published}.items():
            rows.append({"subgroup": name, "from": where, **asdict(figures)})
    return pd.DataFrame(rows)


def likert_levels(table: pd.DataFrame) -> LikertLevels:
    """DSC by Likert score, and their correlation (L10).

    Args:
        table: one row per ear, with `dice` and `likert` (1 to 4, nan if unavailable).

    Raises:
        InputError: if a column is missing, or a score is not between 1 and 4.

    >>> levels = likert_levels(pd.DataFrame({"dice": [0.92, 0.9, 0.7], "likert": [1, 1, 3]}))
    >>> levels.ears, round(levels.correlation, 2)
    ((2, 0, 1, 0), -0.87)
    """
    _check(table, "dice", "likert")
    scores, dice = (table[name].to_numpy(dtype=float) for name in ("likert", "dice"))
    finite = np.isfinite(scores) & np.isfinite(dice)
    scores, dice = scores[finite], dice[finite]
    strange = sorted(set(scores) - set(LEVELS))
    if strange:
        raise InputError(f"Likert scores are 1 to 4, not {strange[0]:g}")
    groups = [dice[scores == level] for level in LEVELS]
    one, two, three, four = (len(group) for group in groups)
    means = [float(group.mean()) if len(group) else _NAN for group in groups]
    correlation = p = _NAN
    if len(dice) > 2 and np.ptp(dice) > 0 and np.ptp(scores) > 0:
        correlation, p = np.asarray(stats.spearmanr(dice, scores), dtype=float).tolist()
    return LikertLevels(
        (one, two, three, four), (means[0], means[1], means[2], means[3]), correlation, p
    )


def likert_table(table: pd.DataFrame) -> pd.DataFrame:
    """Ears and mean DSC by Likert score (L10), the published figures below ours.

    Args:
        table: as in `likert_levels`; scores of readers from `with_readers` get a row each.

    Returns:
        Columns `from`, `ears`, then `ears N` and `DSC N` for each score, `spearman`, `p`.

    >>> rows = likert_table(pd.DataFrame({"dice": [0.9, 0.7], "likert": [1, 3]}))
    >>> rows[["from", "ears", "DSC 1"]].values.tolist()[:2]
    [['otovox', 2, 0.9], ['Lim et al. 2024, external', 70, 0.9]]
    """
    rows: list[dict[str, object]] = []
    readers = {
        f"{OURS}, reader {name}": likert_levels(
            table.assign(likert=table[f"{READER}{name}"].to_numpy(dtype=float))
        )
        for name in readers_of(table)
    }
    for where, levels in {OURS: likert_levels(table), **readers, **LIKERT_PUBLISHED}.items():
        row: dict[str, object] = {"from": where, "ears": sum(levels.ears)}
        for level, ears, mean in zip(LEVELS, levels.ears, levels.means, strict=True):
            row |= {f"ears {level}": ears, f"DSC {level}": mean}
        rows.append(row | {"spearman": levels.correlation, "p": levels.p})
    return pd.DataFrame(rows)


def structures_table(table: pd.DataFrame) -> pd.DataFrame:
    """Ears that lost each structure, and the share of all losses (L9).

    Args:
        table: one row per ear, with `likert` and `lost`, as from `runs.score_runs`.

    Returns:
        Columns `structure`, `ears` (judged), `lost`, `share of losses`, `published share`: the
        canals together 85 %, "especially the superior canal" (Lim et al. 2024, Qualitative
        evaluation).

    >>> lost = ["", "anterior_canal", "anterior_canal cochlea"]
    >>> rows = structures_table(pd.DataFrame({"likert": [1, 2, 3], "lost": lost}))
    >>> rows.loc[rows["lost"] > 0, ["structure", "lost"]].values.tolist()
    [['anterior_canal', 2], ['cochlea', 1], ['all canals', 2]]
    """
    judged = table.loc[np.isfinite(table["likert"].to_numpy(dtype=float))]
    lost = [set(str(names).split()) for names in judged["lost"].fillna("")]
    counts = {
        STRUCTURES[part].name: sum(STRUCTURES[part].name in names for names in lost)
        for part in (*CANAL_PARTS, Part.VESTIBULE, Part.COCHLEA)
    }
    total = sum(counts.values())
    canals = sum(counts[STRUCTURES[part].name] for part in CANAL_PARTS)
    rows = [(name, count, _NAN) for name, count in counts.items()]
    return pd.DataFrame(
        [
            {
                "structure": name,
                "ears": len(judged),
                "lost": count,
                "share of losses": count / total if total else _NAN,
                "published share": published,
            }
            for name, count, published in [*rows, ("all canals", canals, CANALS_PUBLISHED)]
        ]
    )


def write_likert_tables(table: pd.DataFrame, folder: Path) -> list[Path]:
    """Write the tables as CSV with all digits, and together as Markdown.

    Args:
        table: one row per ear: `dice`, `diagnosis` and, for the other tables, `likert` and `lost`.
        folder: output folder.

    Returns:
        The files: `dsc-by-subgroup.csv`, `dsc-by-likert.csv`, `lost-structures.csv`, `likert.md`.

    Raises:
        InputError: if a column is missing.
        OutputError: if they cannot be written.

    >>> from tempfile import TemporaryDirectory
    >>> ears = pd.DataFrame({"dice": [0.9, 0.7], "diagnosis": ["", "otosclerosis"]})
    >>> with TemporaryDirectory() as folder:
    ...     [file.name for file in write_likert_tables(ears, Path(folder))]
    ['dsc-by-subgroup.csv', 'likert.md']
    """
    frames = {"dsc-by-subgroup": subgroup_table(table)}
    if {"likert", "lost"} <= set(table):
        frames["dsc-by-likert"] = likert_table(table)
        frames["lost-structures"] = structures_table(table)
    files = [folder / f"{name}.csv" for name in frames]
    for path, frame in zip(files, frames.values(), strict=True):
        with replacing(path) as beside:
            frame.to_csv(beside, index=False)
    text = "\n\n".join(markdown(printed(frame)) for frame in frames.values())
    with replacing(folder / "likert.md") as beside:
        beside.write_text(f"{text}\n\n{NOTE}\n", "utf-8")
    return [*files, folder / "likert.md"]


def _subgroup(dice: np.ndarray) -> Subgroup:
    if not len(dice):
        return Subgroup(0, *[_NAN] * 5)
    sd = float(dice.std(ddof=1)) if len(dice) > 1 else _NAN
    middle, least, greatest = np.median(dice), dice.min(), dice.max()
    return Subgroup(len(dice), float(dice.mean()), sd, float(middle), float(least), float(greatest))


def _check(table: pd.DataFrame, *columns: str) -> None:
    lacking = [name for name in columns if name not in table]
    if lacking:
        raise InputError(f"the table of scores lacks {', '.join(lacking)}")


def printed(frame: pd.DataFrame) -> pd.DataFrame:
    """A table's cells as text.

    Args:
        frame: from `subgroup_table` or `likert_table`.

    Returns:
        Numbers of ears as integers, p with three digits, others with the paper's digits.

    >>> printed(pd.DataFrame({"mean": [0.8349, np.nan]}))["mean"].tolist()
    ['0.83', '']
    """
    return pd.DataFrame({name: [_cell(name, value) for value in frame[name]] for name in frame})


def _cell(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    number = float(value)  # pyright: ignore[reportArgumentType]
    if not np.isfinite(number):
        return ""
    return f"{number:.{0 if name.startswith(('ears', 'lost')) else 3 if name == 'p' else 2}f}"
