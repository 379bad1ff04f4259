"""Quality against acquisition: the same phantom ears, one setting of the scanner changed at a time.

    python benchmarks/acquisition.py --cases 6

Lim et al. 2024 could not study how voxel size, slice thickness, dose and kernel affect the result;
a simulated scanner can. Every ear is scanned with a reference protocol and with each of the others,
and analysed with the embedded model. DSC is on the scan's own voxels, of the whole labyrinth and of
its structures; a predicted voxel belongs to the structure of the ground truth that is nearest to
it. Writes `acquisition.csv` (per ear) and
`docs/acquisition.png`, and prints means.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import otovox
from otovox.core.case import Case, EarPrediction
from otovox.core.segments import Part
from otovox.evaluation.scores import score_case
from otovox.imaging.metrics import dice
from otovox.measure.parts import Parts, split
from otovox.phantom.cases import make_case
from otovox.phantom.scanner import Protocol

#: No training or validation sample, and no other benchmark, uses these.
FIRST_SEED = 890_000
FIELD_MM = (28.0, 28.0, 28.0)
SPECIMEN = "msct"
#: A good clinical scan; chosen.
REFERENCE = Protocol((0.2, 0.2, 0.2), (0.4, 0.4, 0.4), 80.0, noise_grain=0.3, overshoot=0.25)
#: Ratio of the point spread to the voxel when both change; chosen, as in the reference.
SPREAD = 2.0
STRUCTURES = {
    "cochlea": [Part.COCHLEA],
    "vestibule": [Part.VESTIBULE],
    "superior canal": [Part.ANTERIOR, Part.CRUS],
    "posterior canal": [Part.POSTERIOR],
    "lateral canal": [Part.LATERAL],
}


def thick(slice_mm: float) -> Protocol:
    i, j, _ = REFERENCE.voxel_mm
    x, y, z = REFERENCE.fwhm_mm
    return replace(REFERENCE, voxel_mm=(i, j, slice_mm), fwhm_mm=(x, y, max(z, slice_mm)))


def coarse(voxel_mm: float) -> Protocol:
    spread = SPREAD * voxel_mm
    return replace(REFERENCE, voxel_mm=(voxel_mm,) * 3, fwhm_mm=(spread,) * 3)


#: By factor: values and their protocols. Noise is proportional to dose^-1/2.
FACTORS: dict[str, dict[float, Protocol]] = {
    "voxel edge, mm": {edge: coarse(edge) for edge in (0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0)},
    "slice thickness, mm": {one: thick(one) for one in (0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0)},
    "dose, relative": {
        dose: replace(REFERENCE, noise_hu=REFERENCE.noise_hu / dose**0.5)
        for dose in (4.0, 1.0, 0.25, 0.1, 0.04, 0.016)
    },
    "kernel: FWHM, mm": {
        one: replace(REFERENCE, fwhm_mm=(one,) * 3) for one in (0.25, 0.4, 0.6, 0.8, 1.0, 1.4)
    },
    "kernel: edge enhancement": {
        one: replace(REFERENCE, overshoot=one) for one in (0.0, 0.25, 0.5, 0.75, 1.0)
    },
}


def structures(case: Case, prediction: otovox.Result, parts: Parts) -> dict[str, float]:
    """DSC of each structure."""
    truth = case.labels.values > 0
    predicted = prediction.prediction.labels.values > 0
    ijk = np.argwhere(truth | predicted)
    nearest = parts.part_at(case.labels.grid.to_mm(ijk))
    truth, predicted = truth[tuple(ijk.T)], predicted[tuple(ijk.T)]
    rows = {name: np.isin(nearest, which) for name, which in STRUCTURES.items()}
    return {name: dice(truth & here, predicted & here) for name, here in rows.items()}


def true_parts(case: Case, ear: EarPrediction) -> Parts:
    """The ground truth in its structures, in the pose that the reference scan gave."""
    (landmarks,) = case.landmarks.values()
    truth = (case.labels.values > 0).astype(np.float32)
    return split(truth, case.labels.grid, landmarks, ear.pose)


def rows_of(model: otovox.Model, seed: int) -> list[dict[str, object]]:
    """All settings of one ear."""

    def scanned(protocol: Protocol) -> Case:
        return make_case(seed, scanner=SPECIMEN, field_mm=FIELD_MM, protocol=protocol)

    usual = scanned(REFERENCE)
    parts = true_parts(usual, model.analyze(usual.scan).prediction.ears[0])
    rows: list[dict[str, object]] = []
    # Every factor has the reference among its values.
    scored: dict[Protocol, dict[str, object]] = {}
    for factor, protocols in FACTORS.items():
        for value, protocol in protocols.items():
            if protocol not in scored:
                scored[protocol] = scores(model, scanned(protocol), parts)
            rows.append({"factor": factor, "value": value, "seed": seed} | scored[protocol])
            print(*rows[-1].values(), flush=True)
    return rows


def scores(model: otovox.Model, case: Case, parts: Parts) -> dict[str, object]:
    """One analysed scan against its ground truth."""
    result = model.analyze(case.scan)
    (score,) = score_case(result.prediction, case)
    row: dict[str, object] = {"found": score.found, "side_right": score.side_right}
    row |= {"labyrinth": score.dice} | structures(case, result, parts)
    row |= {f"{name}_mm": error for name, error in score.landmark_mm.items()}
    return row | {"expected": result.prediction.ears[0].confidence if result.ears else 0.0}


def figure(table: pd.DataFrame, path: Path) -> None:
    """One column per factor: DSC above, landmark errors below."""
    picture, axes = plt.subplots(
        2, len(FACTORS), figsize=(3.2 * len(FACTORS), 5.6), sharey="row", layout="constrained"
    )
    errors = ("helicotrema_mm", "oval_window_mm", "round_window_mm")
    for (above, below), (factor, protocols) in zip(axes.T, FACTORS.items(), strict=True):
        mean = table[table["factor"] == factor].groupby("value").mean(numeric_only=True)
        mean = mean.loc[sorted(protocols)]
        for name in ("labyrinth", *STRUCTURES, "expected"):
            style = "--" if name == "expected" else "-"
            above.plot(mean.index, mean[name], style, marker=".", label=name,
                       color="black" if name in ("labyrinth", "expected") else None)  # fmt: skip
        for name in errors:
            finite = mean[name].where(np.isfinite(mean[name]))
            below.plot(mean.index, finite, marker=".", label=name[:-3].replace("_", " "))
        below.set_xlabel(factor)
        if factor.startswith("dose"):
            for axis in (above, below):
                axis.set_xscale("log")
                axis.invert_xaxis()
    axes[0, 0].set_ylabel("DSC")
    axes[1, 0].set_ylabel("distance from the true landmark, mm")
    axes[0, 0].set_ylim(0.4, 1.0)
    axes[1, 0].set_ylim(0.0, 1.5)
    for axis in (axes[0, -1], axes[1, -1]):
        axis.legend(loc="lower left" if axis is axes[0, -1] else "upper left", fontsize=7)
    picture.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=6, help="ears per setting")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--figure", action="store_true", help="only draw the stored results")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / "acquisition.csv"
    if not options.figure:
        model = otovox.load_model()
        seeds = range(FIRST_SEED, FIRST_SEED + options.cases)
        rows = [row for seed in seeds for row in rows_of(model, seed)]
        pd.DataFrame(rows).round(4).to_csv(path, index=False)
    table = pd.read_csv(path)
    means = table.groupby(["factor", "value"], sort=False).mean(numeric_only=True)
    print(means.drop(columns="seed").round(3).to_string())
    figure(table, Path("docs/acquisition.png"))


if __name__ == "__main__":
    main()
