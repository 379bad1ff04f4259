"""Measurements of a segmented inner ear, in its own coordinates: what, by which definition."""

from otovox.measure.cochlea import Cochlea, measure_cochlea
from otovox.measure.duct import FORMULAS, Duct
from otovox.measure.electrodes import Electrode, Insertion, read_electrodes

__all__ = [
    "FORMULAS",
    "Cochlea",
    "Duct",
    "Electrode",
    "Insertion",
    "measure_cochlea",
    "read_electrodes",
]
