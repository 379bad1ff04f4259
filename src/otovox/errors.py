"""The exception hierarchy.

OtovoxError
├── InputError      a scan or data set that cannot be used
├── ModelError      a trained model that cannot be loaded or applied
├── ConfigError     settings that are invalid
└── OutputError     results that cannot be written

A message states what was found, what is needed, in which file, and what to do. The command line
prints it as one sentence and exits with code 2.
"""


class OtovoxError(Exception):
    """Any error that otovox reports, with a message for the user."""


class InputError(OtovoxError):
    """A scan or data set that cannot be used."""


class ModelError(OtovoxError):
    """A trained model that cannot be loaded or applied."""


class ConfigError(OtovoxError):
    """Invalid settings."""


class OutputError(OtovoxError):
    """Results that cannot be written."""
