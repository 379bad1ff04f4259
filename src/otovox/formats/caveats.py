"""Caveats that accompany every result: disclaimer, confidence, warnings and models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from otovox.core.anatomy import Side
from otovox.core.case import DISCLAIMER


@dataclass(frozen=True)
class Caveats:
    """Caveats written with every exported mask and measurement.

    Attributes:
        warnings: about the scan, as sentences.
        confidence: of each ear, 0 to 1.
        ear_warnings: about each ear, as sentences.
        models: SHA-256 of each model by its name.
        by_model: whether a model of otovox made the mask.
    """

    warnings: Sequence[str] = ()
    confidence: Mapping[Side, float] = field(default_factory=dict)
    ear_warnings: Mapping[Side, Sequence[str]] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    by_model: bool = True

    def of_ear(self, side: Side) -> list[str]:
        """Caveats for one ear's mask, as sentences, the disclaimer first."""
        sentences = [DISCLAIMER]
        if side in self.confidence:
            sentences.append(f"Confidence {self.confidence[side]:.2f}.")
        return [*sentences, *self.warnings, *self.ear_warnings.get(side, ())]

    def of_scan(self) -> list[str]:
        """Caveats for the whole scan, as sentences, the disclaimer first."""
        ear_warnings = [text for side in Side for text in self.ear_warnings.get(side, ())]
        return [DISCLAIMER, *self.warnings, *ear_warnings]
