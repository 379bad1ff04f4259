"""The quality estimate of an ear: fitted, calibrated and tested on three sets of phantoms.

    python benchmarks/quality.py --release RELEASE --tta fast --ship
    python benchmarks/quality.py --release RELEASE --tta none --ship

Phantoms of five scanners and all diseases, each in original and degraded form: a softer kernel,
coarser voxels, noise, a cut field of view. Three sets have different seeds: the first is for
fitting, the residuals of the second give the intervals, and the third, half as large, is for
testing only. With --release the estimate is also tested on real ears, degraded like the phantoms
and by the conditions of `real_ears.py`; nothing is fitted to them. Every type of test-time
augmentation has its own estimator; those of others are kept. Writes `quality.csv` (a row per ear
and condition), `quality.json` and `quality.png`; with --ship also the estimator, next to the
model's weights.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from real_ears import CONDITIONS, coarser, release, with_voxels
from scipy import ndimage
from scipy.stats import spearmanr

import otovox
from otovox.core.case import Case
from otovox.imaging.metrics import dice, landmark_errors_mm
from otovox.inference.ears import Analyzer, open_analyzer
from otovox.inference.quality import (
    FEATURES,
    Estimator,
    LogLinearModel,
    features,
    log_of_dice,
    log_of_landmark,
    save_estimator,
)
from otovox.phantom.cases import make_case
from otovox.phantom.disease import DIAGNOSES
from otovox.phantom.scanner import FWHM_PER_SD

#: No training or validation sample, and no other benchmark, uses these.
FIRST_SEED = {"fit": 9_000, "interval": 9_300, "test": 9_600}
#: Scanners and field of view of the phantoms: finer voxels are slow, and coarser ones are made from
#: these.
SEEN_BY, FIELD_MM = ("msct", "cbct", "pcct", "msct-embalmed", "cbct-resin"), (24.0, 24.0, 24.0)
#: Probability that an interval contains the true value.
COVERAGE = 0.9
#: Ridge of the fit, in units of the standardised features: chosen.
RIDGE = 0.1
#: A mask that overlaps the ground truth less than this is another structure: chosen.
LEAST_DICE = 0.05


def degraded(case: Case, rng: np.random.Generator) -> Case:
    """The case with a softer kernel, coarser voxels, noise and a cut, each with a probability."""
    if rng.random() < 0.3:
        case = softer(case, fwhm_mm=rng.uniform(0.4, 1.6))
    if rng.random() < 0.7:
        edge = float(np.exp(rng.uniform(np.log(0.25), np.log(1.2))))
        thick = edge * rng.uniform(1, 2) if rng.random() < 0.5 else edge
        edges = rng.permutation([edge, edge, min(thick, 1.5)])
        x, y, z = (float(max(e, s)) for e, s in zip(edges, case.scan.grid.spacing_mm, strict=True))
        case = coarser(case, (x, y, z))
    if rng.random() < 0.5:
        noise = rng.uniform(50, 400) * rng.standard_normal(case.scan.grid.shape)
        case = with_voxels(case, case.scan.values + noise, case.labels.values, case.scan.grid)
    if rng.random() < 0.3:
        case = cut(case, rng)
    return case


def softer(case: Case, *, fwhm_mm: float) -> Case:
    """The case with the additional point spread of a softer kernel."""
    sd = fwhm_mm / FWHM_PER_SD / case.scan.grid.spacing_mm
    values = ndimage.gaussian_filter(case.scan.values, sd)
    return with_voxels(case, values, case.labels.values, case.scan.grid)


def cut(case: Case, rng: np.random.Generator) -> Case:
    """The case without up to half of its labyrinth, along a random axis."""
    axis = int(rng.integers(3))
    inside = np.flatnonzero(np.moveaxis(case.labels.values > 0, axis, 0).any(axis=(1, 2)))
    if len(inside) < 4:
        return case
    keep = int(inside[0] + rng.uniform(0.5, 1.0) * (inside[-1] - inside[0])) + 1
    window = [slice(None)] * 3
    window[axis] = slice(0, keep)
    part = tuple(window)
    values, labels = case.scan.values[part], case.labels.values[part]
    i, j, k = values.shape
    return with_voxels(case, values, labels, case.scan.grid.crop([0, 0, 0], (i, j, k)))


def phantoms(cases: int, looks: int) -> Iterator[tuple[str, Case, str]]:
    """Set, case and condition."""
    for name, first in FIRST_SEED.items():
        for seed in range(first, first + (cases if name != "test" else cases // 2)):
            rng = np.random.default_rng([seed, 77])
            diagnosis = "healthy" if rng.random() < 0.6 else str(rng.choice(DIAGNOSES[1:]))
            scanner = str(rng.choice(SEEN_BY))
            case = make_case(seed, scanner=scanner, diagnosis=diagnosis, field_mm=FIELD_MM)
            yield name, case, "original"
            for _ in range(looks):
                yield name, degraded(case, rng), "degraded"


def real(folder: Path, looks: int) -> Iterator[tuple[str, Case, str]]:
    """Real ears, original and degraded."""
    for case in release(folder):
        for name, change in CONDITIONS.items():
            yield "real", change(case), name
        for look in degraded_looks(case, looks):
            yield "real", look, "degraded"


def degraded_looks(case: Case, looks: int) -> Iterator[Case]:
    """A case degraded several times, always alike."""
    rng = np.random.default_rng(sum(case.scan.name.encode()))
    for _ in range(looks):
        yield degraded(case, rng)


def row_of(analyzer: Analyzer, case: Case, of: str, condition: str) -> dict | None:
    """Features and ground truth of the detected ear; None if none was detected."""
    if max(case.scan.grid.shape) < 2 or not (case.labels.values > 0).any():
        return None
    prediction = analyzer.predict(case.scan)
    ((side, truth),) = case.landmarks.items()
    if not prediction.ears:
        return None
    middle = np.nanmean(truth.points_mm, axis=0)
    ear = min(prediction.ears, key=lambda one: float(np.linalg.norm(one.center_mm - middle)))
    overlap = dice(prediction.labels.values == ear.side.label, case.labels.values == side.label)
    if overlap < LEAST_DICE:
        return None
    errors = [e for e in landmark_errors_mm(ear.landmarks, truth).values() if np.isfinite(e)]
    values = dict(zip(FEATURES, features(ear, case.scan.grid.spacing_mm), strict=True))
    return {
        "set": of,
        "case": case.scan.name,
        "condition": condition,
        "dice": overlap,
        "landmark_mm": float(np.mean(errors)) if errors else np.nan,
        "side_right": ear.side is side,
        **values,
    }


def line(
    table: pd.DataFrame, held: pd.DataFrame, target: str, scale: pd.DataFrame
) -> LogLinearModel:
    """Ridge regression of a logarithm, and the conformal quantiles of the held-out residuals."""
    log = log_of_dice if target == "dice" else log_of_landmark
    table, held = table.dropna(subset=[target]), held.dropna(subset=[target])

    def design(rows: pd.DataFrame) -> np.ndarray:
        inside = rows[list(FEATURES)].clip(scale.loc["low"], scale.loc["high"], axis=1)
        standard = (inside - scale.loc["mean"]) / scale.loc["sd"]
        return np.column_stack([standard.to_numpy(), np.ones(len(rows))])

    x, y = design(table), log(table[target].to_numpy())
    ridge = RIDGE * np.diag([1.0] * len(FEATURES) + [0.0])
    solution = np.linalg.solve(x.T @ x + ridge, x.T @ y)
    rest = log(held[target].to_numpy()) - design(held) @ solution
    tail = (1 - COVERAGE) / 2
    # Split conformal: the quantiles of n residuals at the levels that n + 1 would have.
    level = np.clip(np.array([tail, 1 - tail]) * (len(rest) + 1) / len(rest), 0, 1)
    low, high = np.quantile(rest, [max(tail - 1 / len(rest), 0), level[1]])
    return LogLinearModel(
        weights=tuple(float(w) for w in solution[:-1]),
        bias=float(solution[-1]),
        low=float(low),
        high=float(high),
    )


def fit(table: pd.DataFrame, analyzer: Analyzer, data: str) -> Estimator:
    """The estimator of one model from its rows."""
    fitted, held = (table[table["set"] == name] for name in ("fit", "interval"))
    own = fitted[list(FEATURES)]
    scale = pd.DataFrame(
        {
            "mean": own.mean(),
            "sd": own.std().clip(lower=1e-6),
            "low": own.min(),
            "high": own.max(),
        }
    ).T
    column = {k: tuple(float(v) for v in scale.loc[k]) for k in ("mean", "sd", "low", "high")}
    return Estimator(
        model_sha256=analyzer.labyrinth.sha256,
        tta=analyzer.tta,
        features=FEATURES,
        means=column["mean"],
        sds=column["sd"],
        lows=column["low"],
        highs=column["high"],
        dice=line(fitted, held, "dice", scale),
        landmark_mm=line(fitted, held, "landmark_mm", scale),
        coverage=COVERAGE,
        fitted=len(fitted),
        held_out=len(held),
        data=data,
        software=f"otovox {otovox.__version__}",
    )


def tried(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Performance of the estimate on unseen ears."""
    statistics = {}
    for target in ("dice", "landmark_mm"):
        scored = rows.dropna(subset=[target])
        expected, true = scored[f"expected_{target}"], scored[target]
        held = (true >= scored[f"{target}_low"]) & (true <= scored[f"{target}_high"])
        statistics[target] = {
            "ears": len(scored),
            "spearman": round(float(spearmanr(expected, true).statistic), 3),
            "mean_absolute_error": round(float((expected - true).abs().mean()), 4),
            "interval_holds": round(float(held.mean()), 3),
        }
    return statistics


def picture(table: pd.DataFrame, path: Path) -> None:
    """Expected against true values, on ears not used for fitting."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.4), layout="constrained")
    titles = {"dice": "DSC", "landmark_mm": "mean landmark error, mm"}
    for axis, (target, title) in zip(axes, titles.items(), strict=True):
        for name, colour in (("test", "#0072B2"), ("real", "#D55E00")):
            rows = table[table["set"] == name].dropna(subset=[target])
            if len(rows):
                label = f"{'phantoms' if name == 'test' else 'real ears'} (n = {len(rows)})"
                axis.scatter(
                    rows[f"expected_{target}"], rows[target], 12, colour, alpha=0.7, label=label
                )
        ends = axis.get_xlim()
        axis.plot(ends, ends, color="0.6", lw=1, zorder=0)
        axis.set(xlabel=f"expected {title}", ylabel=f"true {title}")
        axis.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=40, help="number of phantoms for fitting")
    parser.add_argument("--looks", type=int, default=3, help="degraded versions of each")
    parser.add_argument("--release", type=Path)
    parser.add_argument("--model", default="labyrinth")
    parser.add_argument("--tta", default="fast")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--ship", action="store_true")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()

    tta = options.tta
    analyzer = open_analyzer(model=options.model, tta=tta, threads=options.threads)
    analyzer = replace(analyzer, estimator=None)
    rows: list[dict] = []
    for source in (phantoms(options.cases, options.looks), real_or_none(options)):
        for of, case, condition in source:
            row = row_of(analyzer, case, of, condition)
            if row is not None:
                rows.append({"tta": tta} | row)
            print(len(rows), of, case.scan.name, flush=True)
    table = pd.DataFrame(rows)
    data = (
        f"{options.cases} phantoms of five scanners and all diseases, "
        f"{options.looks} degraded versions of each"
    )
    estimator = fit(table, analyzer, data)
    estimates = [estimator.estimate(row) for row in table[list(FEATURES)].to_numpy()]
    for target in ("dice", "landmark_mm"):
        parts = [getattr(one, target) for one in estimates]
        table[f"expected_{target}"] = [part.value for part in parts]
        table[f"{target}_low"] = [part.low for part in parts]
        table[f"{target}_high"] = [part.high for part in parts]
    facts = {
        "data": data,
        "coverage": COVERAGE,
        "model_sha256": analyzer.labyrinth.sha256,
        "training_data": analyzer.labyrinth.facts.get("training_data", ""),
    } | {
        name: tried(table[table["set"] == name])
        for name in ("test", "real")
        if name in set(table["set"])
    }
    print(json.dumps(facts, indent=2))
    table = stored(table.round(4), tta, facts, options.output)
    picture(table[table["tta"] == "fast"], options.output / "quality.png")
    if options.ship:
        print(save_estimator(estimator, options.model))


def stored(table: pd.DataFrame, tta: str, facts: dict[str, object], output: Path) -> pd.DataFrame:
    """Write rows and facts beside those of other augmentations; returns all rows."""
    output.mkdir(parents=True, exist_ok=True)
    rows, summary = output / "quality.csv", output / "quality.json"
    earlier = json.loads(summary.read_text("utf-8")) if summary.is_file() else {}
    if rows.is_file():
        others = pd.read_csv(rows)
        table = pd.concat([others[others["tta"] != tta], table])
    table.to_csv(rows, index=False)
    summary.write_text(json.dumps(earlier | {tta: facts}, indent=2) + "\n", "utf-8")
    return table


def real_or_none(options: argparse.Namespace) -> Iterator[tuple[str, Case, str]]:
    return real(options.release, options.looks) if options.release else iter(())


if __name__ == "__main__":
    main()
