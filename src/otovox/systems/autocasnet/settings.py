"""Settings of AutoCasNet. Values marked T are stated by Hussain et al. 2021, C are chosen."""

from typing import Literal, Self

from pydantic import Field, model_validator

from otovox.config.systems import Count, Fraction, SystemConfig
from otovox.config.training import TrainConfig

View = Literal["coronal", "sagittal", "axial"]


class AutoCasNetConfig(SystemConfig):
    """AutoCasNet of Hussain et al. 2021 (H1-H11), or with one view the paper's baselines.

    Attributes:
        order: views in the order of the stages; every stage receives the masks of the previous ones
            (H3).
        backbone: backbone of the 2D network (H5-H7).
        filters: per level, finest first (H5).
        dropout: dropout rate at the bottleneck (H5). T.
        masks: masks of the training cases for later stages: in-sample, from the model trained on
            these cases, as published, or out of fold, from models trained without the case.
        mask_folds: models per stage for masks out of fold. C.
        largest_component: keep only the largest 3D component of every stage's mask (H4). T.
    """

    kind: Literal["autocasnet"] = "autocasnet"  # pyright: ignore[reportIncompatibleVariableOverride]
    order: tuple[View, ...] = Field(
        default=("coronal", "sagittal", "axial"), min_length=1, max_length=3
    )
    backbone: Literal["unet", "resunet", "seunet"] = "unet"
    filters: tuple[Count, ...] = Field(default=(32, 64, 128, 256), min_length=2)
    dropout: Fraction = 0.2
    masks: Literal["in-sample", "out-of-fold"] = "in-sample"
    mask_folds: int = Field(default=3, ge=2)
    largest_component: bool = True

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(set(self.order)) != len(self.order):
            raise ValueError("order: contains a view twice")
        return self

    @property
    def stride(self) -> int:
        """Every side of a slice must be a multiple of this many pixels."""
        return 2 ** (len(self.filters) - 1)

    @property
    def variant(self) -> str:
        """Its backbone and the number of stages."""
        return f"{self.kind} {self.backbone} x {len(self.order)}"


#: See `registry.register`.
SETTINGS = AutoCasNetConfig


def settings_of(config: TrainConfig) -> AutoCasNetConfig:
    """The AutoCasNet settings of a training configuration."""
    assert isinstance(config.system, AutoCasNetConfig)
    return config.system
