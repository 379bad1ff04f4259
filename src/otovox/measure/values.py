"""A measured value with its unit, interval and reference range, or why there is no value."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Unit = Literal["mm", "mm3", "deg", "Hz", ""]


class Norm(BaseModel):
    """What is usual in healthy ears, and where that was published."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    low: float
    high: float
    source: str


class Measurement(BaseModel):
    """A value with its unit and definition; null where it cannot be measured, with the reason.

    `interval` holds 95 of 100 values if the scan's test-time samples are what it varies by.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    value: float | None
    unit: Unit
    definition: str
    group: str = "labyrinth"
    interval: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    norm: Norm | None = None
    withheld: str = ""

    @property
    def unusual(self) -> Literal["", "low", "high"]:
        """Whether the value lies outside the norm, and on which side."""
        if self.value is None or self.norm is None:
            return ""
        if self.value < self.norm.low:
            return "low"
        return "high" if self.value > self.norm.high else ""
