"""Which systems there are, and the package in which each stands whole.

Settings are read here, in a room below the systems, and yet belong to them: `otovox` registers the
packages of `systems.registry` when it is imported, which costs nothing.
"""

from importlib import import_module
from types import ModuleType

_PACKAGES: dict[str, str] = {}


def register(kind: str, package: str) -> None:
    """Make a system known.

    Args:
        kind: by which settings choose it.
        package: dotted name. Its module `settings` holds `SETTINGS`, a class of
            `config.systems.SystemConfig` with this kind; its module `system` holds `SYSTEM`, a
            `systems.interface.System`.
    """
    _PACKAGES[kind] = package


def kinds() -> tuple[str, ...]:
    """The systems in the order in which they were named."""
    return tuple(_PACKAGES)


def module(kind: str, name: str) -> ModuleType:
    """A module of a system's package.

    Raises:
        KeyError: if there is no such system.
    """
    return import_module(f"{_PACKAGES[kind]}.{name}")
