"""Settings of networks, losses, training and data: frozen models, TOML in, unknown keys refused.

A preset is a TOML file beside this module. Values marked T are stated by Stebani et al. 2023,
values marked C are chosen, not measured, where their supplement is missing.
"""

import math
import tomllib
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from otovox.anatomy import LANDMARK_NAMES
from otovox.errors import ConfigError

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Range = tuple[NotNegative, NotNegative]


class Settings(BaseModel):
    """Frozen; a key that is not known is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkConfig(Settings):
    """The dual-headed U-Net (S10-S14).

    Attributes:
        in_channels: image channels.
        channels: channels per encoder level, finest first.
        landmarks: one heatmap channel each, in this order.
        norm: normalisation before every convolution.
        activation: nonlinearity after every convolution.
        attention: which decoder's skips are gated; a single decoder knows "none" and "both" only.
        deep_supervision: auxiliary heads at the coarser decoder levels, in training only.
        terminals: the levels that have them, t1 to t3; a level the network lacks is left out.
        decoders: 2 as in the paper, 1 for a trunk shared by both heads.
        heads: both tasks, or one alone (S21).
        stem: 2 runs the network at half the resolution of its input and output, with a learned
            folding of 2^3 voxels into channels at the entrance and its inverse at the exit.
        initialisation: how the first weights are drawn; "torch" is torch's own, for convolutions
            uniform with a bound of 1 / sqrt(inputs).
    """

    in_channels: Count = 1
    channels: tuple[Count, ...] = Field(default=(32, 64, 128, 256, 320), min_length=2)  # T
    landmarks: tuple[str, ...] = LANDMARK_NAMES
    norm: Literal["instance", "batch"] = "instance"
    activation: Literal["leaky_relu", "relu", "prelu", "gelu", "silu", "mish"] = "leaky_relu"
    attention: Literal["none", "segmentation", "heatmap", "both"] = "none"
    deep_supervision: bool = True
    terminals: tuple[Literal[1, 2, 3], ...] = (1, 2, 3)
    decoders: Literal[1, 2] = 2
    heads: Literal["both", "segmentation", "landmarks"] = "both"
    stem: Literal[1, 2] = 1
    initialisation: Literal[
        "torch", "kaiming_uniform", "kaiming_normal", "xavier_uniform", "xavier_normal"
    ] = "torch"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(set(self.landmarks)) != len(self.landmarks):
            raise ValueError("landmarks: a name is given twice")
        if self.has_landmarks and not self.landmarks:
            raise ValueError("landmarks: at least one name is needed")
        if list(self.terminals) != sorted(set(self.terminals)):
            raise ValueError("terminals: must increase")
        if self.decoders == 2 and self.heads != "both":
            raise ValueError('decoders: 2 needs heads = "both"')
        if self.decoders == 1 and self.attention not in ("none", "both"):
            raise ValueError('attention: one decoder can be gated by "both" or "none" only')
        return self

    @property
    def has_segmentation(self) -> bool:
        """Whether there is a segmentation head."""
        return self.heads != "landmarks"

    @property
    def has_landmarks(self) -> bool:
        """Whether there is a heatmap head."""
        return self.heads != "segmentation"

    @property
    def stride(self) -> int:
        """Every side of the input must be a multiple of this many voxels."""
        return self.stem * 2 ** (len(self.channels) - 1)

    @property
    def auxiliary_levels(self) -> tuple[int, ...]:
        """Decoder levels with an auxiliary output, finest first (t1 to t3 of the paper)."""
        there = [level for level in self.terminals if level < len(self.channels) - 1]
        return tuple(there) if self.deep_supervision else ()

    @property
    def auxiliary_factors(self) -> tuple[int, ...]:
        """Coarsening of each auxiliary output against the input."""
        return tuple(self.stem * 2**level for level in self.auxiliary_levels)


class HeatmapStep(Settings):
    """Shape of the Gaussian targets from an iteration on (S16)."""

    iteration: int = Field(ge=0)
    spread_voxels: Positive
    amplitude: Positive


def _schedule(iterations: tuple[int, ...], last: tuple[float, float]) -> tuple[HeatmapStep, ...]:
    shapes = ((12, 10), (8, 20), (6, 30), (4, 55), last)
    return tuple(
        HeatmapStep(iteration=iteration, spread_voxels=spread, amplitude=amplitude)
        for iteration, (spread, amplitude) in zip(iterations, shapes, strict=True)
    )


#: Heatmap schedules by name (S16). C: plain MSE needs amplitudes that grow as spread^-1.5, or
#: silence pays; the paper names "gamma" and gives no values.
SCHEDULES = {
    "base": _schedule((0, 10_000, 20_000, 35_000, 50_000), (3, 85)),
    "fast": _schedule((0, 5_000, 10_000, 20_000, 30_000), (3, 85)),
    "late": _schedule((0, 15_000, 30_000, 45_000, 60_000), (3, 85)),
    "gamma": _schedule((0, 10_000, 20_000, 35_000, 50_000), (2, 150)),
    "static": (HeatmapStep(iteration=0, spread_voxels=5, amplitude=39),),
}
BASE_SCHEDULE = SCHEDULES["base"]


def _named_schedule(value: Any) -> Any:
    """The steps of a schedule that is given by its name."""
    if isinstance(value, str):
        if value not in SCHEDULES:
            raise ValueError(f"no schedule of this name; choose one of {', '.join(SCHEDULES)}")
        return SCHEDULES[value]
    return value


Schedule = Annotated[tuple[HeatmapStep, ...], BeforeValidator(_named_schedule), Field(min_length=1)]


class LossConfig(Settings):
    """Segmentation loss + heatmap MSE, summed over the levels of deep supervision (S12, S15).

    Attributes:
        segmentation: the segmentation term.
        segmentation_weight: its factor.
        heatmap_weight: factor of the heatmaps' mean squared error.
        level_weights: of the levels in use, finest first; normalised to sum 1 over them. C.
        smoothing: added to numerator and denominator of every Dice ratio, voxels. C.
    """

    segmentation: Literal["ce+dice", "dice", "squared_dice", "logcosh_dice", "bce"] = "ce+dice"
    segmentation_weight: NotNegative = 1.0
    heatmap_weight: NotNegative = 1.0
    level_weights: tuple[Positive, ...] = Field(
        default=(1.0, 0.5, 0.25, 0.125), min_length=4, max_length=4
    )
    smoothing: Positive = 1.0


class OptimiserConfig(Settings):
    """Optimiser and its trapezoidal learning rate, counted in iterations (S17).

    Attributes:
        name: optimiser.
        peak_rate: learning rate on the plateau. C.
        betas: AdamW's decay rates.
        momentum: SGD's momentum.
        weight_decay: decoupled weight decay. T.
        warmup_iterations: linear rise from nothing.
        plateau_iterations: iteration at which the plateau ends.
        total_iterations: end of training, at 1 % of the peak.
        accumulation: iterations per optimiser step. T.
        gradient_clip: largest gradient norm; 0 for none. C.
        average_decay: decay of the running mean of the weights per optimiser step; 0 for none. C.
    """

    name: Literal["adamw", "sgd"] = "adamw"
    peak_rate: Positive = 3e-4
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    momentum: Fraction = 0.9
    weight_decay: NotNegative = 0.025
    warmup_iterations: int = Field(default=3_750, ge=0)
    plateau_iterations: int = Field(default=52_500, ge=0)
    total_iterations: Count = 75_000
    accumulation: Count = 10
    gradient_clip: NotNegative = 1.0
    average_decay: Fraction = 0.999

    @model_validator(mode="after")
    def _rises_before_it_falls(self) -> Self:
        if not self.warmup_iterations <= self.plateau_iterations <= self.total_iterations:
            raise ValueError(
                "plateau_iterations: must lie between warmup_iterations and total_iterations"
            )
        return self

    def rate(self, iteration: int) -> float:
        """Learning rate at an iteration."""
        final = 0.01  # fraction of the peak at the end. C.
        if iteration < self.warmup_iterations:
            return self.peak_rate * (iteration + 1) / self.warmup_iterations
        falling = self.total_iterations - self.plateau_iterations
        past = max(0, iteration - self.plateau_iterations)
        done = min(1.0, past / falling) if falling else 0.0
        return self.peak_rate * (1.0 - (1.0 - final) * done)


class AugmentConfig(Settings):
    """What is done to training chunks at random (S8); image values are in SDs.

    Attributes:
        protocol: "alpha" turns by 90, 180 or 270 degrees about the first axis and freely by up to
            30 degrees; "beta" turns about all three and freely by up to 45. T.
        turn_probability, tilt_probability: of the fixed and the free rotation. C.
        intensity_probability: of contrast, Gaussian and Poisson noise, each by itself. C.
        contrast: range of the factor. C.
        gaussian_sd: range of the noise's SD. C.
        poisson_rate: range of the mean count. C.
        poisson_scale: largest height of one count. C.
    """

    protocol: Literal["none", "alpha", "beta"] = "none"
    turn_probability: Share = 0.5
    tilt_probability: Share = 0.5
    intensity_probability: Share = 0.1
    contrast: Range = (0.5, 1.5)
    gaussian_sd: Range = (0.0, 1.0)
    poisson_rate: Range = (0.0, 1.0)
    poisson_scale: NotNegative = 0.2


class DataConfig(Settings):
    """What to train and validate on: phantoms drawn as they are needed, or a data set on disk.

    Attributes:
        source: what a chunk shows: a phantom ear or head, or a piece of a data set's case.
        spacing_mm: isotropic voxel size.
        shape: voxels of a training chunk.
        anatomies: how many phantom anatomies are kept and seen again under new conditions.
        seed: first seed of the training phantoms, and of the draw of chunks.
        cases_per_epoch: training chunks after which anatomies may be renewed.
        validation_cases: fixed chunks for validation on phantoms.
        batch_size: chunks per iteration.
        workers: processes that prepare chunks; 0 for none.
        intensity: a data set's grey values are scaled by the training cases' statistics ("set",
            S5) or each chunk by its own ("chunk"). Phantom chunks are always scaled by their own.
        quantiles: fractions at which "set" clips (S5).
        window: whether `window_voxels` is what windows are apart or what they overlap by: the
            paper says both (S7).
        window_voxels: 25 in the paper. T.
        near_share: share of training chunks that are drawn around the labyrinth. C.
        validation_overlap: share of a window by which those of whole volumes overlap. C.
    """

    source: Literal["ear", "head", "dataset"] = "ear"
    spacing_mm: Positive = 0.099
    shape: tuple[Count, Count, Count] = (128, 128, 128)
    anatomies: Count = 200
    seed: int = Field(default=0, ge=0)
    cases_per_epoch: Count = 750
    validation_cases: Count = 16
    batch_size: Count = 1
    workers: int = Field(default=2, ge=0)
    intensity: Literal["chunk", "set"] = "chunk"
    quantiles: tuple[Fraction, Fraction] = (0.01, 0.99)
    window: Literal["stride", "overlap"] = "stride"
    window_voxels: Count = 25
    near_share: Share = 2 / 3
    validation_overlap: Fraction = 0.25

    @model_validator(mode="after")
    def _overlaps(self) -> Self:
        if self.window == "overlap" and self.window_voxels >= min(self.shape):
            raise ValueError("window_voxels: windows cannot overlap by more than their shape")
        if self.quantiles[0] >= self.quantiles[1]:
            raise ValueError("quantiles: must increase")
        return self

    @property
    def window_stride(self) -> tuple[int, int, int]:
        """Voxels between the windows of training along i, j, k."""
        i, j, k = (
            self.window_voxels if self.window == "stride" else side - self.window_voxels
            for side in self.shape
        )
        return i, j, k


class TrainConfig(Settings):
    """Everything that decides how a network is trained.

    Attributes:
        name: of the preset.
        description: one line.
        heatmaps: schedule of the heatmap targets, from iteration 0 on, or the name of one.
        augment: what is done to the chunks of a data set; phantoms have their own variety.
        seed: of the initial weights.
        precision: arithmetic of training, by Lightning's names.
        validate_every: iterations between validations and checkpoints. T.
    """

    name: str
    description: str = ""
    network: NetworkConfig = NetworkConfig()
    loss: LossConfig = LossConfig()
    heatmaps: Schedule = BASE_SCHEDULE
    optimiser: OptimiserConfig = OptimiserConfig()
    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    seed: int = Field(default=0, ge=0)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    validate_every: Count = 750

    @model_validator(mode="after")
    def _fits(self) -> Self:
        starts = [step.iteration for step in self.heatmaps]
        if starts[0] != 0 or any(a >= b for a, b in pairwise(starts)):
            raise ValueError("heatmaps: iterations must start at 0 and increase")
        stride = self.network.stride
        if any(side % stride for side in self.data.shape):
            raise ValueError(f"data.shape: every side must be a multiple of {stride} voxels")
        if self.validate_every % self.optimiser.accumulation:
            raise ValueError("validate_every: must be a multiple of optimiser.accumulation")
        if self.optimiser.total_iterations % self.validate_every:
            raise ValueError("optimiser.total_iterations: must be a multiple of validate_every")
        return self


def heatmap_step(schedule: tuple[HeatmapStep, ...], iteration: int) -> HeatmapStep:
    """The step of a schedule that holds at an iteration."""
    return [step for step in schedule if step.iteration <= iteration][-1]


def preset_names() -> tuple[str, ...]:
    """Names of the presets that come with the package, sorted."""
    folder = resources.files("otovox") / "presets"
    names = (entry.name for entry in folder.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml")))


def load_preset(name: str) -> TrainConfig:
    """The preset of this name.

    Raises:
        ConfigError: if there is none.
    """
    if name not in preset_names():
        raise ConfigError(f"there is no preset {name!r}; choose one of {', '.join(preset_names())}")
    text = (resources.files("otovox") / "presets" / f"{name}.toml").read_text("utf-8")
    return _parsed(text, f"preset {name}")


def load_config(path: str | Path) -> TrainConfig:
    """Training settings from a TOML file.

    Raises:
        ConfigError: if the file cannot be read, is no TOML, or a key or value does not fit.
    """
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as settings ({error})") from error
    return _parsed(text, str(path))


def config_from(settings: dict[str, Any], *, origin: str) -> TrainConfig:
    """Training settings from plain values, as TOML or JSON give them.

    Args:
        settings: nested tables.
        origin: file or preset, for the message.

    Raises:
        ConfigError: naming the key that does not fit.
    """
    try:
        return TrainConfig.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        given = first["input"]
        shown = f" (found {given!r})" if key and not isinstance(given, dict) else ""
        raise ConfigError(f"{origin}: {key + ': ' if key else ''}{what}{shown}") from error


def _parsed(text: str, origin: str) -> TrainConfig:
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{origin}: is not valid TOML ({error})") from error
    if not all(map(_finite, _leaves(settings))):
        raise ConfigError(f"{origin}: a number is infinite or not a number")
    return config_from(settings, origin=origin)


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


def _finite(value: Any) -> bool:
    return not isinstance(value, float) or math.isfinite(value)
