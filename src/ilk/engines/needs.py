"""Needs: libraries that only some formats need, imported with a message that helps."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from ilk.errors import EngineError, told_by
from ilk.runtime import installed


def needed(module: str, package: str) -> ModuleType:
    """Import a library that does not come with ilk itself; ``package`` is what brings it.

    Raises
    ------
    EngineError
        It is not installed, or broken.
    """
    name = module.partition(".")[0]
    if not installed(name):
        raise EngineError(f"This needs {name}: pip install '{package}'.")
    try:
        return import_module(module)
    except ImportError as error:
        raise EngineError(f"{name} is installed but broken: {told_by(error)}.") from None
