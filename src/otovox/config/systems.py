"""What settings of a system have in common; each system's own stand in its folder.

Values marked T are stated by the paper named, values marked C are chosen, not measured.
"""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny

from otovox.config import registry

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]

#: The system of settings that name none.
USUAL = "dual-head"


class Settings(BaseModel):
    """Frozen; a key that is not known is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SystemConfig(Settings):
    """Settings of one system.

    Attributes:
        kind: of the system.
    """

    kind: str

    @property
    def stride(self) -> int | None:
        """Every side of its input must be a multiple of this; None for that of `network`."""
        return None

    @property
    def variant(self) -> str:
        """What a training of it costs: settings of one variant cost about the same."""
        return self.kind


def _of_its_kind(given: Any) -> Any:
    """Plain values as the settings of the system that they name."""
    if not isinstance(given, dict):
        return given
    kind, known = given.get("kind"), registry.kinds()
    if kind is None:
        raise ValueError(f"its kind is missing; choose one of {', '.join(known)}")
    if kind not in known:
        raise ValueError(f"there is no kind {kind!r}; choose one of {', '.join(known)}")
    return registry.module(kind, "settings").SETTINGS.model_validate(given)


#: Settings of any system, read and written as what they are.
AnySystem = Annotated[SerializeAsAny[SystemConfig], BeforeValidator(_of_its_kind)]


def usual_system() -> SystemConfig:
    """The settings where none are named."""
    return _of_its_kind({"kind": USUAL})
