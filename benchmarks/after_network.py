"""What the steps after the network gain: rotations, matched contrast, smoothing, largest component.

    python benchmarks/after_network.py --work runs/real --ears W

takes base and gold as trained by `real_test_set.py` (`--work` is its folder) and predicts all test
sets again with one step switched on or off at a time. Writes `docs/comparison/after-network.csv`
(per ear and fold) and `after-network.md`.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from real_test_set import STUDY, parser_of, runs_folder
from reproduction import SETS
from scipy.stats import wilcoxon

from otovox.core.anatomy import LANDMARK_NAMES, Side
from otovox.core.case import Case
from otovox.core.landmarks import Landmarks
from otovox.dataset.layout import load_case, read_index
from otovox.evaluation.stebani_tables import markdown
from otovox.experiments.predict import scalings_of
from otovox.experiments.studies.plans import load_study
from otovox.formats.images import load_label_map
from otovox.formats.markups import read_landmarks
from otovox.imaging.components import largest
from otovox.imaging.metrics import dice
from otovox.learning.bundle import load_bundle
from otovox.systems.interface import Predict
from otovox.systems.registry import system_of
from otovox.systems.whole_volume import Sweep, on_grid, postprocessed

NETWORKS = ("base", "gold")
REFERENCE = "matched contrast only"
ERRORS = [f"{name}_mm" for name in LANDMARK_NAMES]


def row(case: Case, mask: np.ndarray, points: Landmarks) -> dict[str, Any]:
    """DSC and landmark errors of one ear."""
    (truth,) = case.landmarks.values()
    apart = points.only(LANDMARK_NAMES).points_mm - truth.only(LANDMARK_NAMES).points_mm
    scores = dict(zip(ERRORS, np.linalg.norm(apart, axis=1), strict=True))
    return {"dice": dice(mask, case.labels.values > 0)} | scores


def variants(
    look: Predict, results: Path, data: Path, match: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """All variants of all ears of one test set.

    Args:
        look: the network, ready to predict.
        results: its predictions with rotations.
        data: the test set.
        match: scalings by name of variant.
    """
    for entry in read_index(data):
        case = load_case(data, entry)
        for name, scalings in match.items():
            sweep = Sweep(scaling=scalings[data][entry])
            with tempfile.TemporaryDirectory() as folder:
                volume = look(case.scan, Path(folder), sweep=sweep)
                points = volume.landmarks
                assert points is not None
                mask = on_grid(volume, case.scan.grid).values > 0
                masks = {name: mask}
                if name == REFERENCE:
                    smooth = postprocessed(volume, replace(sweep, smooth=True))
                    masks["smoothing"] = on_grid(smooth, case.scan.grid).values > 0
                    masks["largest component"] = largest(mask)
                for variant, shown in masks.items():
                    yield {"case": entry.case, "variant": variant} | row(case, shown, points)
        mask = load_label_map(results / entry.case / "segmentation.nii.gz").values > 0
        points = read_landmarks(results / entry.case / "landmarks.mrk.json")[Side(entry.side)]
        yield {"case": entry.case, "variant": "rotations"} | row(case, mask, points)


def rows(work: Path, ears: Path) -> pd.DataFrame:
    """Every ear with every variant of every finished fold."""
    # B is of the training set's scanner: its contrast is not matched, its rotations do not count.
    sets = [work / name for name in SETS if name not in "AB"] + [ears]
    tables = []
    names = {run.level: run.name for run in load_study(STUDY).runs}
    for network in NETWORKS:
        run = runs_folder(work) / names[network]
        for done in sorted(run.glob("fold-*/finished")):
            fold = int(done.parent.name.removeprefix("fold-"))
            bundle = load_bundle(done.parent / "model")
            look = system_of(bundle.config).open_model(bundle)
            match = {
                REFERENCE: scalings_of(bundle, sets, by="scanner"),
                "contrast not matched": scalings_of(bundle, sets),
            }
            for data in sets:
                results = run / "tests" / data.name / f"fold-{fold}" / "results"
                table = pd.DataFrame(variants(look, results, data, match))
                shown = "real ears" if data == ears else data.name
                tables.append(table.assign(network=network, fold=fold, data=shown))
                print(network, fold, shown, flush=True)
    return pd.concat(tables)


def page(table: pd.DataFrame) -> str:
    """Means, and the difference of each variant from the reference, over ears."""
    table = table.assign(landmarks_mm=table[ERRORS].mean(axis=1))
    ears = table.groupby(["network", "variant", "data", "case"])[["dice", "landmarks_mm"]].mean()
    lines = []
    for (network, variant), group in ears.groupby(["network", "variant"]):
        reference = ears.loc[(network, REFERENCE)]
        own = group.droplevel(["network", "variant"])
        means = own["dice"].groupby("data").mean()
        line = {"network": network, "step": variant, "ears": len(own)}
        line |= {f"DSC, {name}": f"{value:.3f}" for name, value in means.items()}
        line["landmarks, real ears, mm"] = f"{own.loc['real ears', 'landmarks_mm'].mean():.2f}"
        apart = own["dice"] - reference["dice"].reindex(own.index)
        line["DSC, difference"] = f"{apart.mean():+.3f}" if apart.any() else ""
        line["p"] = f"{wilcoxon(apart).pvalue:.2g}" if apart.any() else ""
        lines.append(line)
    folds = table.groupby("network")["fold"].nunique().to_dict()
    counts = ", ".join(f"{name} {count}" for name, count in folds.items())
    return "\n\n".join(
        [
            "# The steps after the network",
            "Made by `python benchmarks/after_network.py`: the networks of "
            "[the test on real ears](real-ears.md), with one step switched on or off at a time; "
            f"folds: {counts}. Every step is compared with \"{REFERENCE}\": mean difference over "
            "all ears (values averaged over the folds), and p of Wilcoxon's signed-rank test, "
            "without correction. Sets W, O and G are phantoms.",
            markdown(pd.DataFrame(lines)),
        ]
    ) + "\n"  # fmt: skip


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--report", action="store_true", help="only report the stored results")
    options = parser.parse_args()
    output = Path(__file__).parent.parent / "docs" / "comparison"
    path = output / "after-network.csv"
    if not options.report:
        rows(options.work, options.ears).round(4).to_csv(path, index=False)
    (output / "after-network.md").write_text(page(pd.read_csv(path)), "utf-8")


if __name__ == "__main__":
    main()
