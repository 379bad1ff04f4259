"""Measurements of a segmented inner ear, in its own coordinates: what, by which definition."""

from otovox.measure.canals import Canal, Canals, HeadPlanes, head_planes, measure_canals
from otovox.measure.cochlea import Cochlea, measure_cochlea
from otovox.measure.completeness import Completeness, score_completeness
from otovox.measure.duct import FORMULAS, Duct
from otovox.measure.electrodes import Electrode, Insertion, read_electrodes
from otovox.measure.norms import CUT_OFFS, NORMS, windows_problem
from otovox.measure.parts import Part, Parts, split

__all__ = [
    "CUT_OFFS",
    "FORMULAS",
    "NORMS",
    "Canal",
    "Canals",
    "Cochlea",
    "Completeness",
    "Duct",
    "Electrode",
    "HeadPlanes",
    "Insertion",
    "Part",
    "Parts",
    "head_planes",
    "measure_canals",
    "measure_cochlea",
    "read_electrodes",
    "score_completeness",
    "split",
    "windows_problem",
]
