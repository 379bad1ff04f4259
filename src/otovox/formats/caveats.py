"""What has to be known of a result wherever it goes: no device, how sure, by which models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from otovox.core.anatomy import Side
from otovox.core.case import DISCLAIMER


@dataclass(frozen=True)
class Caveats:
    """Said beside every mask and number that leaves otovox.

    Attributes:
        warnings: sentences about the scan.
        confidence: of each ear, 0 to 1.
        ear_warnings: sentences about each ear.
        models: SHA-256 of each model by its name.
        by_model: whether a model of otovox made the mask.
    """

    warnings: Sequence[str] = ()
    confidence: Mapping[Side, float] = field(default_factory=dict)
    ear_warnings: Mapping[Side, Sequence[str]] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    by_model: bool = True

    def of_ear(self, side: Side) -> list[str]:
        """Sentences for the user of one ear's mask, the disclaimer first."""
        said = [DISCLAIMER]
        if side in self.confidence:
            said.append(f"Confidence {self.confidence[side]:.2f}.")
        return [*said, *self.warnings, *self.ear_warnings.get(side, ())]

    def of_scan(self) -> list[str]:
        """Sentences for the user of all of it, the disclaimer first."""
        ears = [text for side in Side for text in self.ear_warnings.get(side, ())]
        return [DISCLAIMER, *self.warnings, *ears]
