"""C code that reads and writes files: without noise, and with numbers as the format has them."""

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
    """No noise of C code, and numbers with a point whatever the locale, one thread at a time.

    The C readers and writers of text headers read and write numbers by the process's locale, so
    that 0.5 would become 0 in a German one. Noise is discarded in `silenced_libraries` only.
    """
    with _ALONE, _points(), _quiet():
        yield


@contextmanager
def silenced_libraries() -> Iterator[None]:
    """Discard what C libraries print on standard error within this block, in this context.

    Only for a process that otovox has for itself, such as the command line: standard error belongs
    to the whole process, and is redirected while an image is read or written. Python's own goes
    to a copy of it, so that no thread loses a message meanwhile.
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
    """What Python writes messages to, on a descriptor of its own; itself if it is no descriptor."""
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
    """No library noise in `silenced_libraries`: it would precede our one sentence."""
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
