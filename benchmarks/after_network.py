"""What the steps around the network gain: matched contrast, rotations, smoothing and others.

    python benchmarks/after_network.py --work runs/real --ears W

takes base and gold as trained by `real_test_set.py` (`--work` is its folder) and predicts all test
sets again with one step switched on or off at a time. Writes `docs/comparison/after-network.csv`
(per ear and fold; other folds keep their rows) and `after-network.md`.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from real_test_set import STUDY, over_folds, parser_of, runs_folder, stored
from reproduction import OTHER_SCANNERS
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
REFERENCE, HIGHEST_VOXEL = "matched contrast only", "landmarks at the highest voxel"
ERRORS = [f"{name}_mm" for name in LANDMARK_NAMES]
SHOWN, FOLD = ["dice", "landmarks_mm"], ["network", "fold"]


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
                    assert volume.highest is not None
                    yield {"case": entry.case, "variant": HIGHEST_VOXEL} | row(
                        case, mask, volume.highest
                    )
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
    phantoms = [work / name for name in OTHER_SCANNERS]
    sets = [*phantoms, ears]
    tables = []
    names = {run.level: run.name for run in load_study(STUDY).runs}
    for network in NETWORKS:
        run = runs_folder(work) / names[network]
        for done in sorted(run.glob("fold-*/finished")):
            fold = int(done.parent.name.removeprefix("fold-"))
            bundle = load_bundle(done.parent / "model")
            look = system_of(bundle.config).open_model(bundle)
            apart = [scalings_of(bundle, some, by="scanner") for some in (phantoms, [ears])]
            match = {
                REFERENCE: scalings_of(bundle, sets, by="scanner"),
                "real ears matched apart from W": apart[0] | apart[1],
                "matched in four clusters": scalings_of(bundle, sets, by="4"),
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
    keys = ["data", "fold", "case"]
    scored = {
        name: rows.set_index(keys)[SHOWN] for name, rows in table.groupby(["network", "variant"])
    }
    lines = []
    for (network, variant), own in scored.items():
        means = own.groupby("data").mean()
        line = {"network": network, "step": variant}
        line["folds"] = f"{own.index.get_level_values('fold').nunique()}"
        line |= {f"DSC, {name}": f"{value:.3f}" for name, value in means["dice"].items()}
        line["landmarks, real ears, mm"] = f"{means.loc['real ears', 'landmarks_mm']:.2f}"
        apart = over_folds(own, scored[network, REFERENCE])
        for measure, title, digits in (("dice", "DSC", 3), ("landmarks_mm", "landmarks", 2)):
            values = apart[measure].dropna()
            gained = values.any()
            line[f"{title}, difference"] = f"{values.mean():+.{digits}f}" if gained else ""
            line[f"p ({title})"] = f"{wilcoxon(values).pvalue:.2g}" if gained else ""
        lines.append(line)
    ears = table.groupby("data")["case"].nunique()
    counts = ", ".join(f"{name} {count}" for name, count in ears.items())
    return "\n\n".join(
        [
            "# The steps around the network",
            "Made by `python benchmarks/after_network.py`: the networks of "
            "[the test on real ears](real-ears.md), with one step switched on or off at a time. "
            f"Every step is compared with \"{REFERENCE}\" of the same folds: mean difference over "
            f"all ears ({counts}; values averaged over the folds), and p of Wilcoxon's signed-rank "
            "test, without correction. Sets W, O and G are phantoms. The contrast is matched for "
            "each scanner; the real ears and W state the same one, so that they are matched "
            "together unless a row says otherwise.",
            markdown(pd.DataFrame(lines).fillna("")),
        ]
    ) + "\n"  # fmt: skip


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--report", action="store_true", help="only report the stored results")
    options = parser.parse_args()
    output = Path(__file__).parent.parent / "docs" / "comparison"
    path = output / "after-network.csv"
    if not options.report:
        new, last = rows(options.work, options.ears).round(4), stored(path, *FOLD)
        again = last.set_index(FOLD).index.isin(new.set_index(FOLD).index)
        pd.concat([last[~again], new]).to_csv(path, index=False)
    (output / "after-network.md").write_text(page(pd.read_csv(path)), "utf-8")


if __name__ == "__main__":
    main()
