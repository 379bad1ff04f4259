"""Settings of networks, losses, training and data: frozen models, read from TOML.

A preset is a TOML file in `presets`. Unknown keys are refused. Values marked T are stated by
Stebani et al. 2023; values marked C are chosen, not measured, where their supplement is missing.
"""

import math
import tomllib
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from otovox.config.systems import (
    AnySystem,
    Count,
    Fraction,
    NotNegative,
    Positive,
    Probability,
    Settings,
    usual_system,
)
from otovox.core.anatomy import LANDMARK_NAMES
from otovox.errors import ConfigError

TrainPrecision = Literal["32-true", "16-mixed", "bf16-mixed"]
Initialisation = Literal["uniform", "he_uniform", "he_normal", "xavier_uniform", "xavier_normal"]


class NetworkConfig(Settings):
    """The dual-headed U-Net (S10-S14).

    Attributes:
        in_channels: image channels.
        channels: channels per encoder level, finest first.
        landmarks: names; one heatmap channel each, in this order.
        norm: normalisation before every convolution.
        activation: nonlinearity after every convolution.
        blocks: of two convolutions each; residual blocks add their input to their output.
        attention: which decoder's skips are gated; a single decoder allows "none" and "both".
        deep_supervision: auxiliary heads at the coarser decoder levels, during training only (S12).
        terminals: number of these levels, t1 first (S12).
        decoders: 2 as in the paper, 1 for a trunk shared by both heads.
        heads: both tasks, or a single one (S21).
        stem: 2 runs the network at half the resolution of its input and output: a learned
            downsampling folds 2^3 voxels into channels at the input, and is inverted at the output.
        initialisation: of the convolution weights (S14); "uniform" is uniform between
            +-1 / sqrt(fan in), PyTorch's default.
    """

    in_channels: Count = 1
    channels: tuple[Count, ...] = Field(default=(32, 64, 128, 256, 320), min_length=2)  # T
    landmarks: tuple[str, ...] = LANDMARK_NAMES
    norm: Literal["instance", "batch"] = "instance"
    activation: Literal["leaky_relu", "relu", "prelu", "gelu", "silu", "mish"] = "leaky_relu"
    blocks: Literal["plain", "residual"] = "plain"
    attention: Literal["none", "segmentation", "heatmap", "both"] = "none"
    deep_supervision: bool = True
    terminals: Literal[1, 2, 3] = 3
    decoders: Literal[1, 2] = 2
    heads: Literal["both", "segmentation", "landmarks"] = "both"
    stem: Literal[1, 2] = 1
    initialisation: Initialisation = "uniform"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(set(self.landmarks)) != len(self.landmarks):
            raise ValueError("landmarks: a name is repeated")
        if self.has_landmarks and not self.landmarks:
            raise ValueError("landmarks: at least one name is needed")
        if self.decoders == 2 and self.heads != "both":
            raise ValueError('decoders: 2 needs heads = "both"')
        if self.decoders == 1 and self.attention not in ("none", "both"):
            raise ValueError('attention: one decoder allows only "both" or "none"')
        return self

    @property
    def has_segmentation(self) -> bool:
        """Whether the network has a segmentation head."""
        return self.heads != "landmarks"

    @property
    def has_landmarks(self) -> bool:
        """Whether the network has a heatmap head."""
        return self.heads != "segmentation"

    @property
    def stride(self) -> int:
        """Every side of the input must be a multiple of this many voxels."""
        return self.stem * 2 ** (len(self.channels) - 1)

    @property
    def auxiliary_factors(self) -> tuple[int, ...]:
        """Downsampling factor of each auxiliary output (t1 to t3 of the paper)."""
        levels = range(1, min(len(self.channels) - 1, self.terminals + 1))
        return tuple(self.stem * 2**level for level in levels) if self.deep_supervision else ()


class HeatmapStep(Settings):
    """Shape of the Gaussian targets from a given iteration (S16)."""

    iteration: int = Field(ge=0)
    spread_voxels: Positive
    amplitude: Positive


def _schedule(
    iterations: tuple[int, ...], shapes: tuple[tuple[float, float], ...]
) -> tuple[HeatmapStep, ...]:
    return tuple(
        HeatmapStep(iteration=iteration, spread_voxels=spread, amplitude=amplitude)
        for iteration, (spread, amplitude) in zip(iterations, shapes, strict=True)
    )


_SHAPES = ((12, 10), (8, 20), (6, 30), (4, 55), (3, 85))
_STEPS = (0, 10_000, 20_000, 35_000, 50_000)
#: Schedules by name (S16). C: with plain MSE, amplitudes must grow as spread^-1.5; otherwise an
#: empty heatmap minimises the loss.
SCHEDULES = {
    "base": _schedule(_STEPS, _SHAPES),
    "fast": _schedule((0, 5_000, 10_000, 20_000, 30_000), _SHAPES),
    "late": _schedule((0, 15_000, 30_000, 45_000, 60_000), _SHAPES),
    "gamma": _schedule(_STEPS, ((12, 10), (8, 20), (5, 40), (3, 85), (2, 150))),
    "static": _schedule((0,), ((5, 39),)),
}
BASE_SCHEDULE = SCHEDULES["base"]


class LossConfig(Settings):
    """Segmentation loss + heatmap MSE, summed over the levels of deep supervision (S12, S15).

    Attributes:
        segmentation: the segmentation term.
        segmentation_weight: its weight.
        heatmap_weight: weight of the heatmap mean squared error.
        level_weights: t0 to t3, finest first; normalised to sum to 1 over the levels in use. C.
        smoothing: added to the numerator and denominator of every Dice ratio, voxels. C.
    """

    segmentation: Literal["ce+dice", "dice", "squared_dice", "logcosh_dice", "bce"] = "ce+dice"
    segmentation_weight: NotNegative = 1.0
    heatmap_weight: NotNegative = 1.0
    level_weights: tuple[Positive, ...] = Field(
        default=(1.0, 0.5, 0.25, 0.125), min_length=4, max_length=4
    )
    smoothing: Positive = 1.0


class OptimiserConfig(Settings):
    """Optimiser with a trapezoidal learning rate in iterations (S17), or one reduced on plateaus.

    Attributes:
        name: optimiser.
        peak_rate: learning rate on the trapezoid's plateau, or at first. C.
        schedule: "trapezoid", or "reduce-on-plateau": multiplied by `reduce_factor` after
            `reduce_patience` validations without improvement, without warm-up (L6).
        reduce_factor, reduce_patience: defaults of MPUNet, which Lim et al. 2024 kept (L2).
        stop_patience: training stops after this many validations without improvement (L6); 0 to
            use all iterations.
        betas: AdamW's decay rates.
        momentum: SGD's momentum.
        weight_decay: decoupled weight decay. T.
        warmup_iterations: length of the linear rise from 0.
        plateau_iterations: iteration at which the plateau ends.
        total_iterations: end of training, at 1 % of the peak.
        accumulation: iterations per optimiser step. T.
        gradient_clip: largest gradient norm; 0 for none, as in Stebani et al. 2023 (S17). C.
        average_decay: decay of the moving average of weights per optimiser step; 0 for none. C.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    peak_rate: Positive = 3e-4
    schedule: Literal["trapezoid", "reduce-on-plateau"] = "trapezoid"
    reduce_factor: Fraction = 0.9
    reduce_patience: Count = 2
    stop_patience: int = Field(default=0, ge=0)
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    momentum: Fraction = 0.9
    weight_decay: NotNegative = 0.025
    warmup_iterations: int = Field(default=3_750, ge=0)
    plateau_iterations: int = Field(default=52_500, ge=0)
    total_iterations: Count = 75_000
    accumulation: Count = 10
    gradient_clip: NotNegative = 0.0
    average_decay: Fraction = 0.999

    @model_validator(mode="after")
    def _rises_before_it_falls(self) -> Self:
        if not self.warmup_iterations <= self.plateau_iterations <= self.total_iterations:
            raise ValueError(
                "plateau_iterations: must be between warmup_iterations and total_iterations"
            )
        return self

    def rate(self, iteration: int) -> float:
        """Learning rate of the trapezoid at an iteration."""
        final = 0.01  # fraction of the peak at the end. C.
        if iteration < self.warmup_iterations:
            return self.peak_rate * (iteration + 1) / self.warmup_iterations
        falling = self.total_iterations - self.plateau_iterations
        past = max(0, iteration - self.plateau_iterations)
        done = min(1.0, past / falling) if falling else 0.0
        return self.peak_rate * (1.0 - (1.0 - final) * done)


class AugmentationConfig(Settings):
    """Augmentation of the chunks of a data set (S8).

    Phantoms need none because every sample is new.

    Attributes:
        protocol: "alpha" rotates by 90, 180 or 270 degrees about the first axis, then by up to 30
            degrees about an arbitrary axis; "beta" about any of the three axes, then up to 45. T.
        turn_probability: of the fixed and of the arbitrary rotation, each. C.
        probability: of contrast, Gaussian and Poisson noise, each. C.
        contrast: smallest and largest factor. C.
        gaussian_sd: largest SD of the noise, in SDs of the data set. C.
        poisson_rate: largest rate of the Poisson noise. C.
        poisson_scale: value of one count, in SDs of the data set. C.
    """

    protocol: Literal["none", "alpha", "beta"] = "none"
    turn_probability: Probability = 0.5
    probability: Probability = 0.1
    contrast: tuple[Positive, Positive] = (0.5, 1.5)
    gaussian_sd: NotNegative = 1.0
    poisson_rate: NotNegative = 1.0
    poisson_scale: NotNegative = 0.2

    @property
    def free_turn_deg(self) -> float:
        """Largest arbitrary rotation. T."""
        return {"none": 0.0, "alpha": 30.0, "beta": 45.0}[self.protocol]


class DataConfig(Settings):
    """Training and validation data: phantoms, or chunks of a data set on disk.

    Attributes:
        source: the content of a phantom chunk.
        spacing_mm: isotropic voxel size.
        shape: voxels of a training chunk.
        anatomies: number of phantom anatomies that are reused under new imaging conditions.
        seed: first seed of the training phantoms.
        cases_per_epoch: training chunks after which anatomies may be renewed.
        validation_cases: fixed chunks for validation.
        batch_size: chunks per iteration.
        workers: processes that prepare chunks; 0 for none.
        stride_voxels: between the chunks of a data set (S7); 25 as in the Methods of Stebani et
            al., 103 for the 25 voxels of overlap in their Results.
        near_labyrinth: share of a data set's chunks that contain labyrinth. C.
        normalisation: of a data set's volumes by quantiles, mean and SD: of all training volumes
            (S5), or of each chunk.
        ears_share: share of the samples that show a real ear, if a data set of real ears is used
            together with phantoms. C.
    """

    source: Literal["ear", "head"] = "ear"
    spacing_mm: Positive = 0.099
    shape: tuple[Count, Count, Count] = (128, 128, 128)
    anatomies: Count = 200
    seed: int = Field(default=0, ge=0)
    cases_per_epoch: Count = 750
    validation_cases: Count = 16
    batch_size: Count = 1
    workers: int = Field(default=2, ge=0)
    stride_voxels: Count = 25
    near_labyrinth: Probability = 2 / 3
    normalisation: Literal["dataset", "chunk"] = "dataset"
    ears_share: Probability = 0.4


class TrainConfig(Settings):
    """All settings that define how a system is trained.

    Attributes:
        name: of the preset.
        description: one-line description.
        system: to train; except for its landmarks, `network` is only used by "dual-head".
        heatmaps: schedule of the heatmap targets from iteration 0, or the name of one.
        seed: for the initial weights.
        precision: numerical precision of training; see `Hardware.precision` for old CPUs.
        validate_every: iterations between validations and checkpoints. T.
        kept: the weights that become the model: those of the best validation (T), or the last,
            as always if real ears are mixed into phantoms.
    """

    name: str
    description: str = ""
    system: AnySystem = Field(default_factory=usual_system)
    network: NetworkConfig = NetworkConfig()
    loss: LossConfig = LossConfig()
    heatmaps: tuple[HeatmapStep, ...] = Field(default=BASE_SCHEDULE, min_length=1)
    optimiser: OptimiserConfig = OptimiserConfig()
    data: DataConfig = DataConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    seed: int = Field(default=0, ge=0)
    precision: TrainPrecision = "32-true"
    validate_every: Count = 750
    kept: Literal["best", "last"] = "best"

    @field_validator("heatmaps", mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        if not isinstance(given, str):
            return given
        if given not in SCHEDULES:
            raise ValueError(f"there is no such schedule; choose one of {', '.join(SCHEDULES)}")
        return SCHEDULES[given]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        starts = [step.iteration for step in self.heatmaps]
        if starts[0] != 0 or any(a >= b for a, b in pairwise(starts)):
            raise ValueError("heatmaps: iterations must start at 0 and increase")
        stride = self.stride
        if any(side % stride for side in self.data.shape):
            raise ValueError(f"data.shape: every side must be a multiple of {stride} voxels")
        if self.validate_every % self.optimiser.accumulation:
            raise ValueError("validate_every: must be a multiple of optimiser.accumulation")
        if self.optimiser.total_iterations % self.validate_every:
            raise ValueError("optimiser.total_iterations: must be a multiple of validate_every")
        return self

    @property
    def stride(self) -> int:
        """Every side of a chunk, or of the volume that is sliced, is a multiple of this."""
        return self.system.stride or self.network.stride


def heatmap_step(schedule: tuple[HeatmapStep, ...], iteration: int) -> HeatmapStep:
    """The step of a schedule that applies at an iteration.

    >>> wide = HeatmapStep(iteration=0, spread_voxels=3, amplitude=10)
    >>> narrow = HeatmapStep(iteration=100, spread_voxels=1, amplitude=52)
    >>> [heatmap_step((wide, narrow), n).spread_voxels for n in (99, 100)]
    [3.0, 1.0]
    """
    return [step for step in schedule if step.iteration <= iteration][-1]


def preset_names() -> tuple[str, ...]:
    """Names of the built-in presets, sorted.

    >>> [name for name in preset_names() if name in ("base", "gold")]
    ['base', 'gold']
    """
    folder = resources.files("otovox.config") / "presets"
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load_preset(name: str) -> TrainConfig:
    """Load a preset by name.

    Raises:
        ConfigError: if it does not exist.

    >>> load_preset("base").optimiser.total_iterations
    75000
    """
    if name not in preset_names():
        raise ConfigError(f"there is no preset {name!r}; choose one of {', '.join(preset_names())}")
    text = (resources.files("otovox.config") / "presets" / f"{name}.toml").read_text("utf-8")
    return _parsed(text, f"preset {name}")


def load_config(path: str | Path) -> TrainConfig:
    """Load training settings from a TOML file.

    Raises:
        ConfigError: if the file cannot be read, is not TOML, or a key or value is invalid.
    """
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as settings ({error})") from error
    return _parsed(text, str(path))


def config_from(settings: dict[str, Any], *, origin: str) -> TrainConfig:
    """Training settings from plain values, as read from TOML or JSON.

    Args:
        settings: nested tables.
        origin: file or preset, named in messages.

    Raises:
        ConfigError: naming the invalid key.

    >>> config_from({"name": "mine"}, origin="example").name
    'mine'
    """
    try:
        return TrainConfig.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(name) for name in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        given = first["input"]
        shown = f" (found {given!r})" if key and not isinstance(given, dict) else ""
        raise ConfigError(f"{origin}: {key + ': ' if key else ''}{problem}{shown}") from error


def _parsed(text: str, origin: str) -> TrainConfig:
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{origin}: is not valid TOML ({error})") from error
    if not all(map(_finite, _leaves(settings))):
        raise ConfigError(f"{origin}: a number is infinite or NaN")
    return config_from(settings, origin=origin)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
