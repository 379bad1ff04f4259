"""Base and gold of Stebani et al. 2023 at full size: brief training, tested on real ears.

    python benchmarks/paper_size.py --work runs/paper-size --ears W --machine "one NVIDIA H200"

trains both networks with `benchmarks/reproduction/paper-size-*.toml` (some minutes on a current
GPU, days on a CPU) on ten phantoms of the paper's own scanner, predicts real ears of another
scanner that neither network has seen, and writes `benchmarks/results/paper-size.csv` (per ear) and
`docs/reproduction/paper-size.md`. Finished work is kept.
"""

import argparse
from pathlib import Path

import pandas as pd
from reproduction import otovox_command

from otovox.dataset.layout import Entry, add_case, read_index, start_dataset
from otovox.evaluation.stebani_tables import markdown
from otovox.experiments.predict import PredictionPlan, predict_fold
from otovox.phantom.cases import make_case

HERE = Path(__file__).parent
NETWORKS = ("base", "gold")
#: Training phantoms with their field of view; chosen: two of them validate, ten train.
SCANNER, CASES, FIRST_SEED, FIELD_MM = "fpvct-frozen", 12, 1000, (30.0, 30.0, 30.0)
VALIDATION = 2
MEASURES = ("dice", "assd_mm", "helicotrema_mm", "oval_window_mm", "round_window_mm")


def render(folder: Path) -> None:
    """The training phantoms; existing ones are kept."""
    start_dataset(folder, name="phantom A", source="otovox phantom")
    rendered = {entry.case for entry in read_index(folder)}
    for seed in range(FIRST_SEED, FIRST_SEED + CASES):
        case = make_case(seed, scanner=SCANNER, field_mm=FIELD_MM)
        if case.scan.name not in rendered:
            add_case(folder, case, Entry(case.scan.name, case.scan.name, scanner=SCANNER))


def train_and_predict(work: Path, ears: Path, network: str, device: str) -> None:
    """One fold, and its predictions of the real ears without rotations."""
    settings = HERE / "reproduction" / f"paper-size-{network}.toml"
    otovox_command("train", "--data", work / "A", "--config", settings, "--fold", 0,
                   "--validation", VALIDATION, "--output", work / network)  # fmt: skip
    plan = PredictionPlan(tests=(ears,), tta="none", match="1", device=device)
    predict_fold(work / "A", work / network, 0, plan=plan)


def scores(work: Path, ears: Path, network: str) -> pd.DataFrame:
    """Per ear."""
    folder = work / f"scores-{network}"
    otovox_command("evaluate", work / network, "--data", ears, "--output", folder)
    table = pd.read_csv(folder / "ears.csv")[["case", *MEASURES]]
    table.insert(0, "network", network)
    return table


def page(table: pd.DataFrame, curves: pd.DataFrame, machine: str) -> str:
    """The results as Markdown."""
    count = table["case"].nunique()
    rows = table.groupby("network")[list(MEASURES)].mean().round(3).reset_index()
    return "\n\n".join(
        [
            "# The paper's networks at their full size, trained briefly",
            f"Made by `python benchmarks/paper_size.py`; data: {CASES - VALIDATION} training and "
            f"{VALIDATION} validation phantoms ({SCANNER}), {count} real ears (Wimmer et al. "
            f"2019), which neither network has seen; machine: {machine}. Voxels of 0.099 mm, "
            "chunks of 128^3, all channels, but only 600 of the paper's 75,000 iterations: neither "
            "network has converged, and the figures only show how far so short a training leads.",
            "Real ears, means; contrast matched to the phantoms, no rotations:",
            markdown(rows.astype(str)),
            "Validation on phantoms:",
            markdown(curves.round(3).astype(str)),
        ]
    ) + "\n"  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for phantoms and runs")
    parser.add_argument("--ears", type=Path, required=True, help="imported data set of real ears")
    parser.add_argument("--machine", required=True, help="what trained the networks")
    parser.add_argument("--device", default="auto", help="for prediction")
    options = parser.parse_args()
    render(options.work / "A")
    for network in NETWORKS:
        train_and_predict(options.work, options.ears, network, options.device)
    table = pd.concat([scores(options.work, options.ears, name) for name in NETWORKS])
    table.round(4).to_csv(HERE / "results" / "paper-size.csv", index=False)
    curves = [
        pd.read_csv(options.work / name / "fold-0" / "validation.csv")
        .assign(network=name)[["network", "iteration", "dsc", "landmark_mm"]]
        for name in NETWORKS
    ]  # fmt: skip
    text = page(table, pd.concat(curves), options.machine)
    (HERE.parent / "docs" / "reproduction" / "paper-size.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
