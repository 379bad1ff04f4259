"""The synthetic temporal bone: shape -> tissue -> scanner -> Case."""

from otovox.phantom.cases import case_name, check_case, make_case
from otovox.phantom.disease import DIAGNOSES
from otovox.phantom.scanner import SCANNERS

__all__ = ["DIAGNOSES", "SCANNERS", "case_name", "check_case", "make_case"]
