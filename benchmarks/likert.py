"""DSC against the Likert score and by condition (Lim et al. 2024, L9-L11), for the embedded model.

    python benchmarks/likert.py --release RELEASE

Phantoms imaged by clinical scanners, a third each healthy, with otosclerosis and with another
disease, degraded like those of `quality.py` (kernel, voxels, noise, cut), so that masks of all
qualities occur; and real ears, degraded alike, which the network was trained on. The score counts
the structures that a mask lost against the ground truth (`evaluation/lost_structures.py`).
Writes `likert.csv`, one row per ear, and `docs/comparison/likert.md`.
"""

import argparse
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from quality import FIELD_MM, SEEN_BY, degraded, degraded_looks
from real_ears import release
from scipy.stats import mannwhitneyu

from otovox.core.case import Case
from otovox.evaluation.lim_tables import (
    NOTE,
    likert_table,
    printed,
    structures_table,
    subgroup_table,
)
from otovox.evaluation.lost_structures import case_losses
from otovox.evaluation.scores import score_case
from otovox.evaluation.stebani_tables import markdown
from otovox.inference.ears import Analyzer, open_analyzer
from otovox.phantom.cases import make_case
from otovox.phantom.disease import DIAGNOSES

#: No training or validation sample, and no other benchmark, uses these.
FIRST_SEED = 13_000
PAGE = Path("docs/comparison/likert.md")
OTHERS = [name for name in DIAGNOSES if name not in ("healthy", "otosclerosis", "cut_field")]


def phantoms(count: int) -> Iterator[tuple[str, Case]]:
    """Degraded phantoms of three groups in turn."""
    for number in range(count):
        other = OTHERS[number // 3 % len(OTHERS)]
        diagnosis = ("healthy", "otosclerosis", other)[number % 3]
        scanner = SEEN_BY[number % len(SEEN_BY)]
        seed = FIRST_SEED + number
        case = make_case(seed, scanner=scanner, diagnosis=diagnosis, field_mm=FIELD_MM)
        yield "phantoms", degraded(case, np.random.default_rng(seed))


def real_ears(folder: Path, looks: int) -> Iterator[tuple[str, Case]]:
    """Real ears, each degraded several times."""
    for case in release(folder):
        for look in degraded_looks(case, looks):
            yield "real ears, in-sample", look


def rows_of(analyzer: Analyzer, data: str, case: Case) -> Iterator[dict[str, object]]:
    """DSC and score of every true ear."""
    prediction = analyzer.predict(case.scan)
    losses = dict(case_losses(prediction, case))
    for score in score_case(prediction, case):
        loss = losses[score.side]
        yield {
            "data": data,
            "case": score.case,
            "diagnosis": case.facts.get("diagnosis", "healthy"),
            "dice": round(score.dice, 4),
            "likert": np.nan if loss is None else loss.likert,
            "lost": "" if loss is None else loss.names,
        }


def groups(table: pd.DataFrame) -> str:
    """Whether the DSC of otosclerotic and other diseased ears differs from that of healthy ones."""
    dice = table.groupby("diagnosis")["dice"].apply(list)
    healthy = dice.pop("healthy")
    others = {"otosclerosis": dice.pop("otosclerosis"), "other diseases": np.concatenate([*dice])}
    sentences = []
    for name, ears in others.items():
        p = float(mannwhitneyu(ears, healthy).pvalue)
        sentences.append(
            f"{name} against healthy: median DSC {np.median(ears):.3f} ({len(ears)} ears) and "
            f"{np.median(healthy):.3f} ({len(healthy)}), Mann-Whitney p {p:.2g}"
        )
    return "; ".join(sentences) + ", without correction."


def page(table: pd.DataFrame) -> str:
    """All tables, of phantoms and of real ears."""
    parts = [
        "# DSC by Likert score and condition",
        "Made by `python benchmarks/likert.py`: the embedded model on ears that were degraded at "
        "random (kernel, voxel size, noise, field of view), so that masks of all qualities occur. "
        "The real ears are those on which the network was trained.",
    ]
    for data, rows in table.groupby("data", sort=False):
        parts += [f"## {str(data).capitalize()}", markdown(printed(likert_table(rows)))]
        parts += [markdown(printed(structures_table(rows)))]
        if len(set(rows["diagnosis"])) > 1:
            parts += [markdown(printed(subgroup_table(rows))), groups(rows)]
    return "\n\n".join([*parts, NOTE]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=60)
    parser.add_argument("--release", type=Path, help="the release of Wimmer et al. 2019")
    parser.add_argument("--looks", type=int, default=4, help="degraded versions of a real ear")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    analyzer = open_analyzer()
    cases = phantoms(options.cases)
    if options.release is not None:
        cases = chain(cases, real_ears(options.release, options.looks))
    rows: list[dict[str, object]] = []
    for data, case in cases:
        rows += rows_of(analyzer, data, case)
        print(len(rows), case.scan.name, rows[-1]["dice"], rows[-1]["likert"], flush=True)
    table = pd.DataFrame(rows)
    table.to_csv(options.output / "likert.csv", index=False)
    PAGE.write_text(page(table), "utf-8")


if __name__ == "__main__":
    main()
