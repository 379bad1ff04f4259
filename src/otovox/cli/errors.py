"""Reports errors as one sentence and an exit code, without a traceback."""

import functools
import logging
from collections.abc import Callable
from typing import Any, NoReturn

import typer

from otovox.errors import OtovoxError


def refusals(command: Callable[..., None]) -> Callable[..., None]:
    """Wrap a command: errors print one sentence and exit with code 2, Ctrl-C with 130."""

    @functools.wraps(command)
    def guarded(*args: Any, **kwargs: Any) -> None:
        from otovox.formats.native import silenced_libraries

        try:
            with silenced_libraries():
                command(*args, **kwargs)
        except OtovoxError as error:
            stop(str(error), 2)
        except KeyboardInterrupt:
            stop("interrupted; finished results are kept", 130)

    return guarded


def stop(message: str, code: int) -> NoReturn:
    """Print a message to stderr and exit with a code."""
    typer.echo(f"otovox: {message}", err=True)
    raise typer.Exit(code)


def set_up_logging(verbose: bool) -> None:
    """Log our warnings to stderr; with `verbose` also progress and warnings from libraries."""
    logging.captureWarnings(True)
    logging.basicConfig(format="otovox: %(message)s", level=logging.WARNING)
    logging.getLogger("otovox").setLevel(logging.INFO if verbose else logging.WARNING)
    # Warnings from libraries are for developers.
    logging.getLogger("py.warnings").setLevel(logging.WARNING if verbose else logging.ERROR)
