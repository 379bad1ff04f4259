"""Settings of the systems that otovox can train: its own, and those it is compared with.

A system is chosen by its `kind`. Values marked T are stated by the paper named, values marked C are
chosen, not measured.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
View = Literal["coronal", "sagittal", "axial"]


class Settings(BaseModel):
    """Frozen; a key that is not known is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DualHeadConfig(Settings):
    """The dual-headed U-Net of Stebani et al. 2023; all that is set of it is in `NetworkConfig`."""

    kind: Literal["dual-head"] = "dual-head"


class SliceCascadeConfig(Settings):
    """AutoCasNet of Hussain et al. 2021 (H1-H11), with one view the paper's baselines.

    Attributes:
        order: views in the order of the stages; every stage sees the masks of those before it (H3).
        backbone: of the 2D network (H5-H7).
        filters: per level, finest first (H5).
        dropout: share dropped at the bottleneck (H5). T.
        masks: which masks of the training cases the later stages see: those of the model trained on
            the very cases, as published, or those of models trained without the case.
        mask_folds: models per stage for masks out of fold. C.
        largest_component: keep of every stage's mask its largest part in three dimensions (H4). T.
    """

    kind: Literal["slice-cascade"]
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
            raise ValueError("order: a view is given twice")
        return self

    @property
    def stride(self) -> int:
        """Every side of a slice must be a multiple of this many pixels."""
        return 2 ** (len(self.filters) - 1)


class JsdnetConfig(Settings):
    """JSDNet of Zhang et al. 2020, the joint baseline of Stebani et al. 2023 (J).

    Attributes:
        channels: per level of both U-Nets, finest first. C.
        displacement_unit_voxels: one, in the maps of displacements. C.
    """

    kind: Literal["jsdnet"]
    channels: tuple[Count, ...] = Field(default=(32, 64, 128, 256), min_length=2)
    displacement_unit_voxels: Positive = 64.0

    @property
    def stride(self) -> int:
        """Every side of the input must be a multiple of this many voxels."""
        return 2 ** (len(self.channels) - 1)


class MultiPlanarConfig(Settings):
    """The multi-planar U-Net of Perslev et al. 2019, as Lim et al. 2024 used it (L2-L7).

    The size and the spacing of the planes are those of `DataConfig`.

    Attributes:
        views: directions from which planes are cut (L4). T.
        min_angle_deg: between any two of them; relaxed by 1 degree per failed draw (L4). T.
        depth: of the U-Net (L3). T.
        filters: at its finest level, times `filter_factor` (L3). T.
        filter_factor: sqrt(2) (L3). T.
        fusion: of the views: weights learned per view and class, or a plain sum (L7). T.
        elastic: deform planes in training (L5). T.
    """

    kind: Literal["multi-planar"]
    views: Count = 6
    min_angle_deg: Positive = 60.0
    depth: Count = 4
    filters: Count = 64
    filter_factor: Positive = 1.41421356
    fusion: Literal["learned", "sum"] = "learned"
    elastic: bool = True

    @property
    def stride(self) -> int:
        """Every side of a plane must be a multiple of this many pixels."""
        return 2**self.depth


SystemConfig = Annotated[
    DualHeadConfig | SliceCascadeConfig | JsdnetConfig | MultiPlanarConfig,
    Field(discriminator="kind"),
]
