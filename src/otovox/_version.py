"""The version, which files carry and `otovox.__version__` names."""

__version__ = "0.1.0"
