"""The exception hierarchy.

OtovoxError
├── InputError      a scan or data set that cannot be used
├── ModelError      a trained model that cannot be loaded or applied
├── ConfigError     settings that are invalid
└── OutputError     results that cannot be written

A message states what was found, what is needed, in which file, and what to do. The command line
prints it as one sentence and exits with code 2.
"""

import re

#: Characters that would break a sentence or change a terminal.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class OtovoxError(Exception):
    """Any error that otovox reports, with a message for the user."""


class InputError(OtovoxError):
    """A scan or data set that cannot be used."""

    def __init__(self, message: str) -> None:
        # Damaged headers may contain anything.
        super().__init__(_CONTROL.sub(lambda match: ascii(match[0])[1:-1], message))


class ModelError(OtovoxError):
    """A trained model that cannot be loaded or applied."""


class ConfigError(OtovoxError):
    """Invalid settings."""


class OutputError(OtovoxError):
    """Results that cannot be written."""
