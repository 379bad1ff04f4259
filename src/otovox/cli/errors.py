"""Reports errors as one sentence and an exit code, without a traceback."""

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

#: Delay of a signal received during an import, s: chosen.
_AGAIN_S = 0.05


def refusals(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command: errors print one sentence and exit with code 2, Ctrl-C with 130, SIGTERM
    with 143; unfinished output is removed.
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
            stop("interrupted; finished results are kept", 130)
        except _Ended as error:
            stop("terminated; finished results are kept", 128 + error.signal)

    return guarded


class _Ended(BaseException):
    """A signal requested termination."""

    def __init__(self, signal: int) -> None:
        self.signal = signal


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Raise exceptions on termination signals, so that unfinished output is removed.

    A second signal terminates immediately. Only the main thread can handle signals.
    """

    def end(number: int, frame: FrameType | None) -> None:
        if _imports(frame):  # some libraries suppress all exceptions during import
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
    """Print a message to stderr and exit with a code."""
    typer.echo(f"otovox: {message}", err=True)
    raise typer.Exit(code)


def escape_unencodable() -> None:
    """Escape characters that the terminal or pipe cannot encode, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def set_up_logging(verbose: bool) -> None:
    """Log our warnings to stderr; with `verbose` also progress and warnings from libraries."""
    logging.captureWarnings(True)
    logging.basicConfig(format="otovox: %(message)s", level=logging.WARNING)
    logging.getLogger("otovox").setLevel(logging.INFO if verbose else logging.WARNING)
    # Warnings from libraries are for developers.
    logging.getLogger("py.warnings").setLevel(logging.WARNING if verbose else logging.ERROR)
