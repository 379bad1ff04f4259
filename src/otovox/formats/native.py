"""Calls into C readers and writers: no console output, and no locale-dependent numbers."""

import locale
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

#: Standard error and the locale belong to the whole process.
_ALONE = threading.RLock()
#: Whether what C libraries print on standard error is discarded.
_SILENCED: ContextVar[bool] = ContextVar("silenced", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Silence C code and fix the decimal point, one thread at a time.

    C readers and writers of text headers use the process's locale for numbers: under a German one,
    0.5 would be read as 0. Standard error is discarded only within `silenced_libraries`.
    """
    with _ALONE, _points(), _quiet():
        yield


@contextmanager
def silenced_libraries() -> Iterator[None]:
    """Discard what C libraries print on standard error within this block, in this context.

    Only for a process that otovox has for itself, such as the command line: standard error belongs
    to the whole process, and is redirected while an image is read or written. Python's
    messages go to a duplicate of it, so that none is lost meanwhile.
    """
    token, usual = _SILENCED.set(True), sys.stderr
    try:
        with _copy_of_stderr() as copy:
            sys.stderr = copy
            yield
    finally:
        sys.stderr = usual
        _SILENCED.reset(token)


@contextmanager
def _copy_of_stderr() -> Iterator[TextIO]:
    """Python's stderr on a duplicated file descriptor; unchanged if it has none."""
    try:
        is_descriptor = sys.stderr.fileno() == 2
    except (AttributeError, OSError, ValueError):
        is_descriptor = False
    if not is_descriptor:
        yield sys.stderr
        return
    sys.stderr.flush()
    encoding = sys.stderr.encoding
    with open(os.dup(2), "w", 1, encoding=encoding, errors="backslashreplace") as copy:
        yield copy


@contextmanager
def _points() -> Iterator[None]:
    """Use the decimal point of the C locale."""
    kept = locale.setlocale(locale.LC_NUMERIC)
    if kept in ("C", "POSIX"):
        yield
        return
    locale.setlocale(locale.LC_NUMERIC, "C")
    try:
        yield
    finally:
        locale.setlocale(locale.LC_NUMERIC, kept)


@contextmanager
def _quiet() -> Iterator[None]:
    """Discard standard error within `silenced_libraries`, so that only our message appears."""
    if not _SILENCED.get():
        yield
        return
    try:
        kept = os.dup(2)
    except OSError:  # no standard error at all
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
