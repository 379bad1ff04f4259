"""Calibration of probabilities and uncertainty, ROC for disease, and a threshold to ship.

    python benchmarks/calibration.py --usual 20 --unusual 1 --scanner msct cbct --ship

Healthy and diseased phantoms are scanned alike, in two sets with different seeds: the threshold is
set from the healthy ears of the first set and tested on the second. The score is that of Stebani et
al. 2023 (S24), the spread over the test-time samples; others are shown for comparison. Writes
`calibration.csv` (a row per ear), `calibration.json` and three figures; with --ship also the
threshold, next to the model's weights.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

import otovox
from otovox.evaluation.calibration import Reliability, alarm_threshold, ear_reliability, pooled, roc
from otovox.evaluation.figures import reliability_diagram, roc_curves, uncertainty_scatter
from otovox.evaluation.scores import score_case
from otovox.inference.ears import Analyzer, open_analyzer
from otovox.inference.unusual import TITLES, Flag, save_flags, unusual_scores
from otovox.phantom.cases import make_case
from otovox.phantom.disease import DIAGNOSES

#: No training or validation sample, and no other benchmark, uses these.
FIRST_SEED = {"calibration": 8_000, "test": 8_500}
#: The score that the threshold applies to. Source: Stebani et al. 2023 (S24), not tuned on data.
SCORE = "uncertainty"
#: A mask with a DSC below this counts as poor: chosen, about three SDs below the usual.
POOR_DSC = 0.94
#: Largest false alarm rate allowed by the threshold.
FALSE_ALARMS = 0.05


@dataclass(frozen=True)
class Drawn:
    """A phantom to render: its set, seed, scanner and diagnosis."""

    set: str
    seed: int
    scanner: str
    diagnosis: str


def plan(options: argparse.Namespace) -> Iterator[Drawn]:
    """All phantoms; healthy and diseased ones use the scanners equally, so none implies disease."""
    for name, first in FIRST_SEED.items():
        kinds = ["healthy"] * options.usual
        kinds += [kind for kind in options.diagnosis for _ in range(options.unusual)]
        for number, kind in enumerate(kinds):
            yield Drawn(name, first + number, options.scanner[number % len(options.scanner)], kind)


def examine(analyzer: Analyzer, drawn: Drawn) -> tuple[list[dict[str, Any]], list[Reliability]]:
    """Rows of one phantom's ears, and the reliability curves of the detected ones."""
    case = make_case(drawn.seed, scanner=drawn.scanner, diagnosis=drawn.diagnosis)
    prediction = analyzer.predict(case.scan)
    rows, curves = [], []
    for score in score_case(prediction, case):
        row: dict[str, Any] = {**asdict(drawn), "case": score.case, "side": score.side.value}
        row |= {"found": score.found, "dice": score.dice, "confidence": score.confidence}
        row |= dict.fromkeys(TITLES, float("nan"))
        if score.found:  # a phantom scan contains a single ear
            ear = max(prediction.ears, key=lambda ear: ear.confidence)
            row |= unusual_scores(ear)
            if ear.probability is not None:
                curves.append(ear_reliability(ear.probability, case.labels, score.side))
        rows.append(row)
    return rows, curves


def values(table: pd.DataFrame, name: str, score: str, *, healthy: bool) -> np.ndarray:
    """Values of a score for one set's healthy or diseased ears."""
    rows = table[(table["set"] == name) & ((table["diagnosis"] == "healthy") == healthy)]
    return rows[score].to_numpy(dtype=float)


def shares(table: pd.DataFrame, name: str, score: str, threshold: float) -> dict[str, Any]:
    """The threshold's performance on a set: false alarms, sensitivity overall and per diagnosis."""
    rows = table[(table["set"] == name) & table[score].notna()]
    rates = (rows[score] > threshold).groupby(rows["diagnosis"]).mean().round(3).to_dict()
    sick = values(table, name, score, healthy=False)
    poor = rows["dice"] < POOR_DSC
    return {
        "poor_told": [int((rows[score] > threshold)[poor].sum()), int(poor.sum())],
        "others_told": [int((rows[score] > threshold)[~poor].sum()), int((~poor).sum())],
        "false_alarms": rates.pop("healthy", None),
        "sensitivity": round(float((sick[~np.isnan(sick)] > threshold).mean()), 3),
        "sensitivity_by_diagnosis": rates,
    }


def correlation(rows: pd.DataFrame, score: str) -> float | None:
    """Spearman's correlation of a score with the DSC; None if the score is constant."""
    finite = rows[np.isfinite(rows[score])]
    if finite[score].nunique() < 2:
        return None
    return round(float(spearmanr(finite[score], finite["dice"])[0]), 2)


def summarise(table: pd.DataFrame, curves: dict[str, list[Reliability]]) -> dict[str, Any]:
    """All results as numbers."""
    auc = {
        name: {
            score: round(
                roc(
                    values(table, name, score, healthy=True),
                    values(table, name, score, healthy=False),
                ).auc,
                3,
            )
            for score in TITLES
        }
        for name in FIRST_SEED
    }
    usual = values(table, "calibration", SCORE, healthy=True)
    threshold = alarm_threshold(usual, false_alarms=FALSE_ALARMS)
    finite = bool(np.isfinite(threshold))
    return {
        "ears": {name: int((table["set"] == name).sum()) for name in FIRST_SEED},
        "not_found": int((~table["found"]).sum()),
        "voxels": {
            name: {
                "ece": round(curve.expected_error, 4),
                "mce": round(curve.largest_error, 4),
                "brier": round(curve.brier, 4),
            }
            for name, parts in curves.items()
            for curve in [pooled(parts)]
        },
        "auc": auc,
        "spearman_with_dice": {
            name: {score: correlation(table[table["set"] == name], score) for score in TITLES}
            for name in FIRST_SEED
        },
        "score": SCORE,
        "threshold": threshold if finite else None,
        "healthy_ears_needed": int(np.ceil(1 / FALSE_ALARMS)) - 1,
        "test": shares(table, "test", SCORE, threshold) if finite else None,
    }


def draw(table: pd.DataFrame, curves: dict[str, list[Reliability]], facts: dict, to: Path) -> None:
    reliability_diagram(
        {name: pooled(parts) for name, parts in curves.items()}, to / "calibration.png"
    )
    rocs = {
        score: roc(
            values(table, "test", score, healthy=True), values(table, "test", score, healthy=False)
        )
        for score in TITLES
    }
    roc_curves(rocs, to / "calibration-roc.png")
    test = table[(table["set"] == "test") & table["found"]]
    uncertainty_scatter(test, to / "calibration-uncertainty.png", threshold=facts["threshold"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="labyrinth")
    parser.add_argument("--tta", default="fast")
    parser.add_argument("--scanner", nargs="+", default=["fpvct", "msct", "cbct"])
    parser.add_argument("--diagnosis", nargs="+", default=list(DIAGNOSES[1:]))
    parser.add_argument("--usual", type=int, default=30, help="healthy ears per set")
    parser.add_argument("--unusual", type=int, default=6, help="ears per diagnosis and set")
    parser.add_argument("--ship", action="store_true", help="write the threshold to the model")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)

    analyzer = open_analyzer(model=options.model, tta=options.tta)
    rows: list[dict[str, Any]] = []
    curves: dict[str, list[Reliability]] = {}
    for drawn in plan(options):
        new, reliabilities = examine(analyzer, drawn)
        rows += new
        kind = drawn.scanner if drawn.diagnosis == "healthy" else "disease"
        curves.setdefault(kind, []).extend(reliabilities)
        for row in new:
            print(row["set"], row["case"], f"{row['dice']:.3f}", f"{row['uncertainty']:.4f}",
                  flush=True)  # fmt: skip
        pd.DataFrame(rows).to_csv(options.output / "calibration.csv", index=False)
    table = pd.DataFrame(rows)
    curves = {name: parts for name, parts in curves.items() if parts}
    facts = summarise(table, curves)
    facts |= {
        "software": f"otovox {otovox.__version__}",
        "model": {"name": options.model, "sha256": analyzer.labyrinth.sha256, "tta": options.tta},
    }
    (options.output / "calibration.json").write_text(json.dumps(facts, indent=2) + "\n")
    draw(table, curves, facts, options.output)
    print(json.dumps(facts, indent=2))
    if options.ship:
        if facts["threshold"] is None:
            raise SystemExit(f"at least {facts['healthy_ears_needed']} healthy ears are needed")
        flag = Flag(
            model_sha256=analyzer.labyrinth.sha256,
            tta=options.tta,
            score=SCORE,
            threshold=facts["threshold"],
            false_alarms=FALSE_ALARMS,
            usual=int(np.isfinite(values(table, "calibration", SCORE, healthy=True)).sum()),
            unusual=int(np.isfinite(values(table, "calibration", SCORE, healthy=False)).sum()),
            auc=facts["auc"]["calibration"][SCORE],
            data=f"phantoms, scanners {', '.join(options.scanner)}, seeds from "
            f"{FIRST_SEED['calibration']}",
            software=facts["software"],
        )
        print(save_flags([flag], options.model))


if __name__ == "__main__":
    main()
