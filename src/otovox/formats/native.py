"""Calls into C readers and writers: no console output, and no locale-dependent numbers."""

import locale
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Standard error and the locale belong to the whole process.
_ALONE = threading.RLock()


@contextmanager
def alone() -> Iterator[None]:
    """Silence C code and fix the decimal point, one thread at a time.

    C readers and writers print to standard error before our own message. Those of text headers use
    the process's locale for numbers: under a German one, 0.5 would be read as 0.
    """
    with _ALONE, _points(), _quiet():
        yield


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
    """Discard standard error."""
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
