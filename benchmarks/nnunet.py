"""nnU-Net v2 beside otovox: the same training cases and voxels, the same test sets.

    python benchmarks/nnunet.py --work runs/real --ears W --bin NNUNET/bin --iterations 50 250

`--work` is the folder of `real_test_set.py`, whose phantom sets and folds are used; `--bin` has the
commands of nnU-Net v2 (Isensee et al. 2021), installed into an environment of its own. Images and
labels are those of the base network, 0.4 mm voxels, both sides one label; everything else is what
nnU-Net plans, but for the number of iterations (its own: 250,000). Predictions
(`nnUNetv2_predict`, with its mirroring) are probabilities, interpolated to the scan's own voxels as
otovox's are. The embedded model analyses the phantom sets; it was trained on the nine real ears,
which `real_ears.py` tests in folds by person. Writes `docs/comparison/nnunet.csv` (per ear)
and `nnunet.md`. Finished work is kept.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from accuracy import processor
from real_test_set import STUDY, parser_of, runs_folder
from reproduction import SETS, otovox_command

from otovox.core.volume import Grid, LabelMap
from otovox.dataset.layout import load_case, read_index
from otovox.dataset.prepared import working_grid
from otovox.evaluation.stebani_tables import markdown
from otovox.experiments.studies.estimate import cost
from otovox.experiments.studies.plans import load_study
from otovox.formats.images import load_label_map, save_image, save_label_map
from otovox.imaging.resample import resample
from otovox.learning.bundle import load_bundle

#: Epochs of ten iterations, because a CPU takes an hour for one of nnU-Net's own.
TRAINER = """
import os
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class nnUNetTrainerShort(nnUNetTrainer):
    # nnU-Net looks its arguments up by name.
    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = 10, 1
        self.num_epochs = int(os.environ["SHORT_ITERATIONS"]) // 10
"""
NUMBER, NAME = 501, "Dataset501_InnerEar"
SPACING_MM, LEAST = 0.4, (32, 32, 32)
MEASURES = ["dice", "hd_mm", "assd_mm"]


def convert(folder: Path, images: Path, labels: Path | None) -> None:
    """Cases of a data set in the voxels of the base network, in nnU-Net's layout."""
    for entry in read_index(folder):
        path = images / f"{entry.case}_0000.nii.gz"
        if path.is_file():
            continue
        case = load_case(folder, entry)
        grid = working_grid(case.scan.grid, SPACING_MM, LEAST)
        if labels:
            share = (case.labels.values > 0).astype(np.float32)
            values = resample(share, case.labels.grid, grid, outside="edge") > 0.5
            save_label_map(LabelMap(values.astype(np.uint8), grid), labels / f"{entry.case}.nii.gz")
        save_image(resample(case.scan.values, case.scan.grid, grid, outside="edge"), grid, path)


def nnunet(
    work: Path, programs: Path, command: str, *arguments: object, iterations: int = 0
) -> None:
    """Run one of nnU-Net's commands; runs of other lengths have models of their own."""
    folders = {"raw": "raw", "preprocessed": "preprocessed", "results": f"models-{iterations}",
               "extTrainer": "trainer"}  # fmt: skip
    environment = os.environ | {f"nnUNet_{key}": str(work / name) for key, name in folders.items()}
    environment |= {"nnUNet_compile": "f", "nnUNet_n_proc_DA": "1"}
    environment |= {"SHORT_ITERATIONS": str(iterations)}
    words = [str(programs / command), *map(str, arguments)]
    print(*words, flush=True)
    subprocess.run(words, check=True, env=environment)


def prepare(work: Path, phantoms: Path, folds: list[dict[str, list[str]]], programs: Path) -> None:
    """Training data, nnU-Net's plan, and the folds of the base network."""
    raw, planned = work / "raw" / NAME, work / "preprocessed" / NAME
    for folder in (raw / "imagesTr", raw / "labelsTr", work / "trainer"):
        folder.mkdir(parents=True, exist_ok=True)
    (work / "trainer" / "short.py").write_text(TRAINER)
    convert(phantoms / "A", raw / "imagesTr", raw / "labelsTr")
    facts = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "labyrinth": 1},
        "numTraining": len(list((raw / "labelsTr").iterdir())),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(facts))
    if not (planned / "nnUNetPlans.json").is_file():
        nnunet(work, programs, "nnUNetv2_plan_and_preprocess", "-d", NUMBER, "-c", "3d_fullres",
               "-np", 2, "--verify_dataset_integrity")  # fmt: skip
    splits = [{"train": fold["train"], "val": fold["validation"]} for fold in folds]
    (planned / "splits_final.json").write_text(json.dumps(splits))


def train(work: Path, programs: Path, iterations: int, fold: int) -> float:
    """Train one fold; the seconds of its epochs, as nnU-Net's log has them."""
    model = work / f"models-{iterations}" / NAME / "nnUNetTrainerShort__nnUNetPlans__3d_fullres"
    if not (model / f"fold_{fold}" / "checkpoint_final.pth").is_file():
        nnunet(work, programs, "nnUNetv2_train", NUMBER, "3d_fullres", fold, "-device", "cpu",
               "-tr", "nnUNetTrainerShort", iterations=iterations)  # fmt: skip
    log = "".join(path.read_text() for path in (model / f"fold_{fold}").glob("training_log*.txt"))
    return sum(map(float, re.findall(r"Epoch time: ([0-9.]+) s", log)))


def predict(work: Path, programs: Path, data: Path, iterations: int, fold: int) -> Path:
    """Masks of one set on its scans' own voxels."""
    images, predicted = work / "tests" / data.name, work / f"found-{iterations}-{fold}" / data.name
    masks = work / f"masks-{iterations}-{fold}" / data.name
    entries = read_index(data)
    if all((masks / f"{entry.case}.nii.gz").is_file() for entry in entries):
        return masks
    for folder in (images, masks):
        folder.mkdir(parents=True, exist_ok=True)
    convert(data, images, None)
    nnunet(work, programs, "nnUNetv2_predict", "-i", images, "-o", predicted, "-d", NUMBER, "-c",
           "3d_fullres", "-f", fold, "-tr", "nnUNetTrainerShort", "-device", "cpu",
           "--save_probabilities", "-npp", 1, "-nps", 1, iterations=iterations)  # fmt: skip
    for entry in entries:
        case = load_case(data, entry)
        with np.load(predicted / f"{entry.case}.npz") as arrays:
            probability = np.ascontiguousarray(arrays["probabilities"][1].T)
        source: Grid = load_label_map(predicted / f"{entry.case}.nii.gz").grid
        values = resample(probability, source, case.scan.grid, antialias=False) > 0.5
        save_label_map(
            LabelMap(values.astype(np.uint8), case.scan.grid), masks / f"{entry.case}.nii.gz"
        )
    return masks


def scored(output: Path, system: str, data: Path, *what: object) -> pd.DataFrame:
    """One row per ear."""
    otovox_command("evaluate", *what, "--data", data, "--output", output)
    table = pd.read_csv(output / "ears.csv")
    table["system"] = system
    return table[["system", "data", "fold", "case", "diagnosis", *MEASURES]]


def rows(options: argparse.Namespace, sets: list[Path], folds: int) -> pd.DataFrame:
    work, programs = options.work / "nnunet", options.bin
    tables = []
    for iterations in options.iterations:
        for fold in range(folds):
            seconds = train(work, programs, iterations, fold)
            for data in sets:
                masks = predict(work, programs, data, iterations, fold)
                out = work / "scores" / f"{iterations}-{fold}-{data.name}"
                table = scored(out, f"nnU-Net, {iterations} iterations", data,
                               "--predictions", masks, "--labels", "1=labyrinth")  # fmt: skip
                tables.append(table.assign(fold=fold, seconds=seconds))
    for data in sets[:-1]:
        results = work / "embedded" / data.name
        otovox_command("analyze", *(data / one.image for one in read_index(data)),
                       "--output", results, "--tta", "none")  # fmt: skip
        out = work / "scores" / f"embedded-{data.name}"
        tables.append(scored(out, "otovox, embedded model", data, results))
    return pd.concat(tables)


def base(options: argparse.Namespace) -> pd.DataFrame:
    """The rows of base and gold from `real_test_set.py`, and their training times."""
    table = pd.read_csv(Path("docs/comparison/real-ears.csv"))
    rows = []
    for run in load_study(STUDY).chosen(["multi-task"]):
        model = runs_folder(options.work) / run.name / "fold-0" / "model"
        seconds = 3600 * cost(load_bundle(model).config, "cpu").hours
        own = table[table["system"] == f"multi-task, {run.level}"]
        rows.append(own.assign(system=f"otovox, {run.level}", seconds=seconds))
    return pd.concat(rows)


def page(table: pd.DataFrame) -> str:
    """Means per system and set."""
    healthy = table[table["diagnosis"] != "otosclerosis"]
    means = healthy.groupby(["system", "data"], sort=False)
    shown = means[MEASURES].mean().round(3)
    shown.insert(0, "ears", means["case"].nunique())
    shown.insert(1, "folds", means["fold"].nunique())
    shown["training, s"] = means["seconds"].mean().round(0)
    shown = shown.astype(str).fillna("")
    return "\n\n".join(
        [
            "# nnU-Net beside otovox",
            "Made by `python benchmarks/nnunet.py`. All but the embedded model were trained on the "
            "same 15 phantoms of one scanner per fold (set A), in voxels of 0.4 mm. Test sets: "
            "phantoms of other scanners (B, W, O, G) and nine real ears (Wimmer et al. 2019), "
            "which none of these has seen. Grey values: nnU-Net scales with its training data; the "
            "contrast of otovox's test sets is matched to the training set (S6). "
            "Training times: the sum of nnU-Net's epochs; for base and gold (4,000 iterations), "
            f"extrapolated from one step. Two cores of {processor()}; ears that were not detected "
            "count as DSC 0. nnU-Net's own schedule has 250,000 iterations: in this time it has "
            "hardly begun to learn, which says nothing about its final quality.",
            markdown(shown.reset_index()),
        ]
    ) + "\n"  # fmt: skip


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--bin", type=Path, required=True, help="folder of nnU-Net's commands")
    parser.add_argument("--iterations", type=int, nargs="+", default=[50, 250])
    parser.add_argument("--folds", type=int, default=1)
    options = parser.parse_args()
    runs = runs_folder(options.work) / "00-multi-task"
    folds = [json.loads((runs / f"fold-{n}" / "data.json").read_text())["fold"] for n in range(3)]
    prepare(options.work / "nnunet", options.work, folds, options.bin)
    sets = [options.work / name for name in SETS if name != "A"] + [options.ears]
    table = pd.concat([base(options), rows(options, sets, options.folds)])
    table["data"] = table["data"].where(table["data"] != options.ears.name, "real ears")
    output = Path("docs/comparison")
    table.round(4).to_csv(output / "nnunet.csv", index=False)
    (output / "nnunet.md").write_text(page(table), "utf-8")


if __name__ == "__main__":
    sys.exit(main())
