"""C code that reads and writes files: without noise, and with numbers as the format has them."""

import locale
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Standard error and the locale belong to the whole process.
_ALONE = threading.RLock()


@contextmanager
def alone() -> Iterator[None]:
    """No noise of C code, and numbers with a point whatever the locale, one thread at a time.

    C readers and writers print on standard error before our one sentence; and those of text headers
    read and write numbers by the process's locale, so that 0.5 would become 0 in a German one.
    """
    with _ALONE, _points(), _quiet():
        yield


@contextmanager
def _points() -> Iterator[None]:
    """The decimal point of the C locale."""
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
    """Standard error goes nowhere."""
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
