"""Needs: libraries that only some formats need, imported with a message that helps."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType

from ilk.errors import EngineError
from ilk.runtime import installed
from ilk.text import error_text

LOUD = ("coremltools", "nncf", "torch.utils._pytree", "torchao")  # loggers


def needed_quietly(module: str, package: str) -> ModuleType:
    """Import a library, as `needed` does, that warns at length of what this machine lacks."""
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return needed(module, package)


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
        raise EngineError(f"{name} is installed but broken: {error_text(error)}.") from None


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keep what native code writes to stderr off the terminal; what Python writes meanwhile too."""
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 -- devnull is no path
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
