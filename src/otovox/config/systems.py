"""The common part of all systems' settings; each system's own settings are in its package.

Values marked T are stated in the cited paper; values marked C are chosen, not measured.
"""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny

from otovox.config import registry

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]

#: The default system.
USUAL = "dual-head"


class Settings(BaseModel):
    """Frozen; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SystemConfig(Settings):
    """Settings of one system.

    Attributes:
        kind: name of the system.
    """

    kind: str

    @property
    def stride(self) -> int | None:
        """Every side of its input must be a multiple of this; None means that of `network`."""
        return None

    @property
    def variant(self) -> str:
        """Settings of the same variant cost about the same to train."""
        return self.kind


def _of_its_kind(given: Any) -> Any:
    """Parse plain values as the settings of the system in `kind`."""
    if not isinstance(given, dict):
        return given
    kind, kinds = given.get("kind"), registry.kinds()
    if kind is None:
        raise ValueError(f"its kind is missing; choose one of {', '.join(kinds)}")
    if kind not in kinds:
        raise ValueError(f"there is no kind {kind!r}; choose one of {', '.join(kinds)}")
    return registry.module(kind, "settings").SETTINGS.model_validate(given)


#: Settings of any system, parsed and serialised as its own type.
AnySystem = Annotated[SerializeAsAny[SystemConfig], BeforeValidator(_of_its_kind)]


def usual_system() -> SystemConfig:
    """The settings of the default system.

    >>> usual_system().kind
    'dual-head'
    """
    return _of_its_kind({"kind": USUAL})
