"""The registry of systems and their packages.

Settings are parsed here, in a layer below the systems that they belong to. Therefore `otovox`
registers the packages of `systems.registry` on import, without importing them.
"""

from importlib import import_module
from types import ModuleType

_PACKAGES: dict[str, str] = {}


def register(kind: str, package: str) -> None:
    """Register a system.

    Args:
        kind: the name that selects it in settings.
        package: dotted name. Its module `settings` defines `SETTINGS`, a subclass of
            `config.systems.SystemConfig` with this kind; its module `system` defines `SYSTEM`, a
            `systems.interface.System`.
    """
    _PACKAGES[kind] = package


def kinds() -> tuple[str, ...]:
    """The systems in order of registration.

    >>> kinds()
    ('dual-head', 'autocasnet', 'jsdnet', 'mpunet')
    """
    return tuple(_PACKAGES)


def module(kind: str, name: str) -> ModuleType:
    """A module of a system's package.

    Raises:
        KeyError: if there is no such system.

    >>> module("dual-head", "settings").__name__
    'otovox.systems.dual_head.settings'
    """
    return import_module(f"{_PACKAGES[kind]}.{name}")
