"""How a command ends when something is refused: one sentence and an exit code, no traceback."""

import functools
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

import typer

from otovox.errors import OtovoxError


#: How long a signal waits while a module is imported, s: chosen.
_AGAIN_S = 0.05


def refusals(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose refusals end in one sentence and exit code 2, Ctrl-C in 130, SIGTERM in 143.

    Whatever ends it, what it was writing is removed.
    """

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        from otovox.formats.native import silenced_libraries

        try:
            with silenced_libraries(), _signals_raise():
                command(*args, **kwargs)
        except OtovoxError as error:
            stop(str(error), 2)
        except KeyboardInterrupt:
            stop("interrupted; what was finished is kept", 130)
        except _Ended as error:
            stop("terminated; what was finished is kept", 128 + error.signal)

    return guarded


class _Ended(BaseException):
    """A signal asked the process to end."""

    def __init__(self, signal: int) -> None:
        self.signal = signal


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Let signals that would end the process at once raise, so that it can tidy up.

    The second one ends it at once. Only in the main thread, which alone may do so.
    """

    def end(number: int, frame: FrameType | None) -> None:
        if _imports(frame):  # libraries may catch whatever is raised while they are imported
            threading.Timer(_AGAIN_S, os.kill, (os.getpid(), number)).start()
            return
        signal.signal(number, signal.SIG_DFL)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        raise _Ended(number)

    kept: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows lacks the last
            number = getattr(signal, name, None)
            usual = (signal.SIG_DFL, signal.default_int_handler)
            if number is not None and signal.getsignal(number) in usual:
                kept[number] = signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _imports(frame: FrameType | None) -> bool:
    """Whether a module is being imported."""
    while frame is not None:
        if frame.f_globals.get("__name__") == "importlib._bootstrap":
            return True
        frame = frame.f_back
    return False


def stop(message: str, code: int) -> NoReturn:
    """Print a message on stderr and end with a code."""
    typer.echo(f"otovox: {message}", err=True)
    raise typer.Exit(code)


def forgive_terminals() -> None:
    """Escape characters that the terminal or pipe cannot show, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def set_up_logging(verbose: bool) -> None:
    """Warnings of ours go to stderr; with `verbose` what is being done, and those of libraries."""
    logging.captureWarnings(True)
    logging.basicConfig(format="otovox: %(message)s", level=logging.WARNING)
    logging.getLogger("otovox").setLevel(logging.INFO if verbose else logging.WARNING)
    # Warnings of libraries are for developers.
    logging.getLogger("py.warnings").setLevel(logging.WARNING if verbose else logging.ERROR)
