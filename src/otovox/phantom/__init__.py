"""The synthetic temporal bone: shape -> tissue -> scanner -> Case."""

from otovox.phantom.cases import make_case
from otovox.phantom.scanner import SCANNERS

__all__ = ["SCANNERS", "make_case"]
