"""Training of AutoCasNet: stage by stage, in a cascade with the masks of the previous stages."""

import shutil
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from otovox.config.training import TrainConfig
from otovox.errors import InputError
from otovox.imaging.components import main_piece
from otovox.imaging.intensity import Scaling, Statistics
from otovox.imaging.metrics import dice, iou
from otovox.learning.bundle import Bundle
from otovox.learning.engine import on_device
from otovox.learning.losses import segmentation_loss
from otovox.systems.autocasnet.data import Slices, Stacked, Stacks, grey_statistics, kept, stacked
from otovox.systems.autocasnet.inference import BATCH, running, stage_mask, stage_probability
from otovox.systems.autocasnet.network import AutoCasNet, SliceUNet
from otovox.systems.autocasnet.settings import View, settings_of
from otovox.systems.interface import TrainingInput

if TYPE_CHECKING:
    from otovox.learning.training import Task, TrainingOptions


class StageTask:
    """One stage: slices in training, whole stacks in validation."""

    memory_format = torch.channels_last

    def __init__(self, config: TrainConfig, network: nn.Module) -> None:
        assert isinstance(network, SliceUNet)
        self.config = config
        self.network: nn.Module = network
        self.shape = (config.data.batch_size, network.incoming, *config.data.shape[:2])

    def losses(self, batch: dict[str, Tensor], iteration: int) -> dict[str, Tensor]:
        """Losses of (b, c, p, q) slices; see `training.Task.losses`."""
        return {"loss": self._loss(self.network(batch["image"]), batch["labels"])}

    def scores(self, batch: dict[str, Tensor], iteration: int) -> dict[str, float]:
        """Metrics of one case, (1, planes, c, p, q); see `training.Task.scores`."""
        images, labels = batch["image"][0], batch["labels"][0]
        logits = torch.cat([self.network(planes).float() for planes in images.split(BATCH)])
        predicted = (logits[:, 0] > 0).cpu().numpy()
        if settings_of(self.config).largest_component:
            predicted = main_piece(predicted)
        truth = labels[:, 0].cpu().numpy() > 0.5
        loss = float(self._loss(logits, labels))
        return {"val_loss": loss, "dsc": dice(predicted, truth), "iou": iou(predicted, truth)}

    def choice(self, figures: Mapping[str, float]) -> float:
        """The lowest training loss (H8)."""
        return -figures["train_loss"]

    def example(self, image: Tensor) -> dict[str, Tensor]:
        """See `training.Task.example`."""
        return {"image": image, "labels": (image[:, :1] > 1).float()}

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        return segmentation_loss(logits[..., None], labels[..., None], config=self.config.loss)


def tasks(config: TrainConfig) -> "list[Task]":
    """See `interface.Tasks`: one per stage."""
    return [StageTask(config, stage) for stage in AutoCasNet(settings_of(config)).stages]


def train(config: TrainConfig, output: Path, course: TrainingInput) -> Bundle:
    """See `interface.Train`; all stages but the last are trained in `output`/stage-1 etc.

    Grey values are normalised with mean and SD of the training cases (H2), not with `statistics`,
    which clip; the values used are in the bundle's facts under "intensity".
    """
    from otovox.learning.training import begin, clear, finish

    run = replace(course.run, hardware=course.run.hardware.alone())
    if not course.resume:
        clear(output.glob("stage-*"))
    training, validation = (
        [stacked(case, config.data.shape, output / "stacks") for case in cases]
        for cases in (course.training, course.validation)
    )
    given = grey_statistics(training)
    begin(config, output, {**course.origin, "intensity": asdict(given)})
    network = AutoCasNet(settings_of(config))
    order = settings_of(config).order
    facts: dict[str, Any] = {}
    for number, view in enumerate(order, start=1):
        last = number == len(order)
        place = output if last else output / f"stage-{number}"
        stage = network.stages[number - 1]
        parts = (Stacks(training, view, given), Stacks(validation, view, given))
        facts = _fit(stage, place, parts, config=config, run=run)
        if not last and settings_of(config).combination == "cascade":
            see = partial(_after, stage, config=config, statistics=given, view=view, run=run)
            validation = [see(case, place / "masks") for case in validation]
            if settings_of(config).masks == "in-sample":
                training = [see(case, place / "masks") for case in training]
            else:
                training = _out_of_fold(parts, place, config=config, run=run)
    shutil.rmtree(output / "stacks")
    for place in output.glob("stage-*/masks"):
        shutil.rmtree(place)
    return finish(network, output, config, facts)


def _fit(
    stage: nn.Module,
    place: Path,
    parts: tuple[Stacks, Stacks],
    *,
    config: TrainConfig,
    run: "TrainingOptions",
) -> dict[str, Any]:
    from otovox.learning.training import fit

    slices = Slices(parts[0], place / "slices", seed=config.data.seed)
    facts = fit(StageTask(config, stage), place, (slices, parts[1]), config=config, run=run)
    del slices
    shutil.rmtree(place / "slices")
    return facts


def _after(
    stage: nn.Module,
    case: Stacked,
    folder: Path,
    *,
    config: TrainConfig,
    statistics: Statistics,
    view: View,
    run: "TrainingOptions",
) -> Stacked:
    """A case with the mask of another stage, which is stored in a folder."""
    stage = on_device(stage, run.hardware.device)
    image = Scaling(statistics).apply(case.image)
    seen = stage_probability(running(stage), image, case.masks, view)
    mask = stage_mask(seen, largest=settings_of(config).largest_component)
    folder.mkdir(parents=True, exist_ok=True)
    return case.with_mask(kept(mask, folder / f"{case.case}.npy"))


def _out_of_fold(
    parts: tuple[Stacks, Stacks], place: Path, *, config: TrainConfig, run: "TrainingOptions"
) -> list[Stacked]:
    """The training cases, each with the mask of a model trained without its patient."""
    stacks, validation = parts
    patients = sorted({case.patient for case in stacks.cases})
    folds = settings_of(config).mask_folds
    if len(patients) < folds:
        raise InputError(f"{len(patients)} patients are too few for {folds} folds of masks")
    drawn = np.random.default_rng(config.seed).permutation(len(patients))
    fold_of = {patients[int(n)]: place_in % folds for place_in, n in enumerate(drawn)}
    seen: dict[str, Stacked] = {}
    for fold in range(folds):
        held = [case for case in stacks.cases if fold_of[case.patient] == fold]
        others = [case for case in stacks.cases if fold_of[case.patient] != fold]
        torch.manual_seed(config.seed + 1 + fold)
        stage = SliceUNet(settings_of(config), 1 + len(held[0].masks))
        inner = (Stacks(others, stacks.view, stacks.statistics), validation)
        _fit(stage, place / f"out-of-fold-{fold}", inner, config=config, run=run)
        for case in held:
            seen[case.case] = _after(
                stage,
                case,
                place / "masks",
                config=config,
                statistics=stacks.statistics,
                view=stacks.view,
                run=run,
            )
    return [seen[case.case] for case in stacks.cases]
