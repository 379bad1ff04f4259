"""Stages of an analysis, reported to whoever shows its progress.

>>> seen = []
>>> with reported_to(seen.append):
...     report(Stage.READING)
>>> seen == [Stage.READING]
True
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum


class Stage(StrEnum):
    """What an analysis is doing, in the order of its work."""

    READING = "reading the scan"
    LOCATING = "locating the ears"
    SEGMENTING = "segmenting"
    MEASURING = "measuring"
    WRITING = "writing the results"


Report = Callable[[Stage], object]

_report: ContextVar[Report | None] = ContextVar("report", default=None)


@contextmanager
def reported_to(report: Report) -> Iterator[None]:
    """Report the stages of analyses in this thread to a function.

    >>> seen = []
    >>> with reported_to(seen.append):
    ...     report(Stage.LOCATING)
    ...     report(Stage.SEGMENTING)
    >>> [stage.value for stage in seen]
    ['locating the ears', 'segmenting']
    """
    token = _report.set(report)
    try:
        yield
    finally:
        _report.reset(token)


def report(stage: Stage) -> None:
    """Report that a stage begins; nothing happens if nobody asked.

    >>> seen = []
    >>> report(Stage.READING)
    >>> with reported_to(seen.append):
    ...     report(Stage.MEASURING)
    >>> [stage.value for stage in seen]
    ['measuring']
    """
    if show := _report.get():
        show(stage)
