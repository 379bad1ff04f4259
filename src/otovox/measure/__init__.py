"""Measurements of a segmented inner ear, in its own coordinates: what, by which definition."""

from otovox.measure.canals import Canal, Canals, measure_canals
from otovox.measure.cochlea import Cochlea, measure_cochlea
from otovox.measure.completeness import Completeness, State, score_completeness
from otovox.measure.duct import FORMULAS, Duct
from otovox.measure.electrodes import Electrode, Insertion, read_electrodes
from otovox.measure.head_planes import HeadPlanes, head_planes
from otovox.measure.norms import CUT_OFFS, NORMS, NormRange, side_of_norm, windows_problem

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
    "NormRange",
    "State",
    "head_planes",
    "measure_canals",
    "measure_cochlea",
    "read_electrodes",
    "score_completeness",
    "side_of_norm",
    "windows_problem",
]
