"""Compares locators: do they propose the true ears, and how near to their centres?

    python benchmarks/locator.py --locator locator --locator runs/locator/model --release RELEASE

Unseen phantoms (whole heads of four scanners; temporal bones of all diseases, degraded) and, where
they are given, real ears, original and degraded, and the real head of `real_head.py`, in ten
orientations. An ear counts as proposed if a candidate lies within `NEAR_MM` of its centre; other
candidates only cost time, because the second network checks every one.

Rule for replacing the included locator, fixed before the first comparison: fewer ears missed over
all sets, in no set more, and the median distance in no set larger by more than `FARTHER_MM`. Added
after it: whole analyses must lose no ear and change no side, because one that fulfilled the rule
gave a real ear the wrong side.
Writes `locator.csv`, one row per set and locator, and prints it.
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from quality import degraded, real
from real_head import PLACES_MM

from otovox.core.case import Case
from otovox.core.geometry import FloatArray, cube_turns
from otovox.core.volume import Grid, Scan
from otovox.formats.scans import load_scan
from otovox.inference.locator import proposed
from otovox.learning.bundle import Bundle, load_bundle
from otovox.learning.engine import Engine, open_engine
from otovox.phantom.cases import make_case
from otovox.phantom.disease import DIAGNOSES
from otovox.systems.registry import trained_network

#: No training or validation sample, and no other benchmark, uses these.
FIRST_SEED = 12_000
#: Chosen, not measured: a bit less than half of a labyrinth's length.
NEAR_MM = 8.0
#: Chosen: a tenth of it.
FARTHER_MM = 0.8
HEAD_SCANNERS = ("msct", "cbct", "msct-embalmed", "pcct")

Ears = list[FloatArray]


def phantom_heads(count: int) -> Iterator[tuple[str, Scan, Ears]]:
    """Whole heads, with the centres of both labyrinths."""
    for number in range(count):
        scanner = HEAD_SCANNERS[number % len(HEAD_SCANNERS)]
        case = make_case(FIRST_SEED + number, kind="head", scanner=scanner)
        yield "phantom heads", case.scan, centres(case)


def phantom_ears(count: int) -> Iterator[tuple[str, Scan, Ears]]:
    """Temporal bones of all diseases, degraded."""
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        rng = np.random.default_rng([seed, 78])
        diagnosis = str(rng.choice(DIAGNOSES))
        scanner = str(rng.choice(HEAD_SCANNERS))
        case = degraded(make_case(seed, scanner=scanner, diagnosis=diagnosis), rng)
        yield "phantom bones, degraded", case.scan, centres(case)


def real_bones(folder: Path) -> Iterator[tuple[str, Scan, Ears]]:
    """Real ears, in the conditions of `real_ears.py`, and twice degraded like the phantoms."""
    for _, case, condition in real(folder, 2):
        of = "real bones" if condition == "original" else "real bones, degraded"
        yield of, case.scan, centres(case)


def real_heads(path: Path) -> Iterator[tuple[str, Scan, Ears]]:
    """The real head, its header turned: the anatomy lies otherwise in the patient's axes."""
    scan = load_scan(path)
    ears = [np.array(places["center"]) for places in PLACES_MM.values()]
    for turn in cube_turns("paper"):
        affine = scan.grid.affine.copy()
        affine[:3] = turn @ affine[:3]
        grid = Grid(scan.grid.shape, affine)
        yield "real head", replace(scan, grid=grid), [turn @ ear for ear in ears]


def centres(case: Case) -> Ears:
    """Centre of mass of each labyrinth inside the field of view."""
    labels, grid = case.labels.values, case.labels.grid
    each = [np.argwhere(labels == side.label) for side in case.landmarks]
    return [grid.to_mm(ijk.mean(axis=0)) for ijk in each if len(ijk)]


def nearest_mm(bundle: Bundle, engine: Engine, scan: Scan, ears: Ears) -> tuple[list[float], int]:
    """Distance of the nearest candidate to each ear, and the number of other candidates."""
    candidates = proposed(scan, bundle, engine)
    away = np.array([[np.linalg.norm(one.center_mm - ear) for ear in ears] for one in candidates])
    if not len(candidates):
        return [np.inf] * len(ears), 0
    return away.min(axis=0).tolist(), int((away.min(axis=1) > NEAR_MM).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--locator", action="append", default=[])
    parser.add_argument("--release", type=Path, help="folder of the real ears")
    parser.add_argument("--head", type=Path, help="the real head")
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--bones", type=int, default=60)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    options = parser.parse_args()
    bundles = {name: load_bundle(name) for name in options.locator or ["locator"]}
    engines = {
        name: open_engine(bundle, trained_network, many=True, precision="bf16")
        for name, bundle in bundles.items()
    }
    rows: list[dict[str, object]] = []
    sets = [phantom_heads(options.heads), phantom_ears(options.bones)]
    sets += [real_bones(options.release)] if options.release else []
    sets += [real_heads(options.head)] if options.head else []
    for one in sets:
        for name, scan, ears in one:
            for locator, bundle in bundles.items():
                away, others = nearest_mm(bundle, engines[locator], scan, ears)
                rows += [{"set": name, "locator": locator, "away_mm": gap} for gap in away]
                rows[-1]["others"] = others
    table = pd.DataFrame(rows)
    table["missed"] = table["away_mm"] > NEAR_MM
    groups = table.groupby(["set", "locator"], sort=False)
    summary = groups.agg(
        ears=("away_mm", "size"),
        missed=("missed", "sum"),
        median_mm=("away_mm", "median"),
        others=("others", "sum"),
    )
    summary.round(2).to_csv(options.output / "locator.csv")
    print(summary.round(2).to_string())


if __name__ == "__main__":
    main()
