"""How a command ends when something is refused: one sentence and an exit code, no traceback."""

import functools
import io
import logging
import sys
from collections.abc import Callable
from typing import Any, NoReturn

import typer

from otovox.errors import OtovoxError


def refusals(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose refusals end in one sentence and exit code 2, and Ctrl-C in 130."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        from otovox.formats.native import silenced_libraries

        try:
            with silenced_libraries():
                command(*args, **kwargs)
        except OtovoxError as error:
            stop(str(error), 2)
        except KeyboardInterrupt:
            stop("interrupted; what was finished is kept", 130)

    return guarded


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
