"""Optional libraries: imported with a helpful error, and kept from writing to the terminal."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from types import ModuleType

from ilk.errors import EngineError, ExportError, IlkError
from ilk.runtime import installed
from ilk.text import error_text

NOISY_LOGGERS = ("coremltools", "nncf", "torch.utils._pytree", "torchao")


def require(module: str, package: str) -> None:
    """Check that an optional library is installed, without importing it.

    Parameters
    ----------
    module : str
        The module to be imported.
    package : str
        What ``pip install`` needs to bring it.

    Raises
    ------
    EngineError
        It is not installed.
    """
    name = module.partition(".")[0]
    if not installed(name):
        raise EngineError(f"This needs {name}: pip install '{package}'.")


def import_optional(module: str, package: str) -> ModuleType:
    """Import an optional library, without the advice that some print on import.

    Raises
    ------
    EngineError
        It is not installed, or broken.
    """
    require(module, package)
    for name in NOISY_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(module)
    except ImportError as error:
        name = module.partition(".")[0]
        raise EngineError(f"{name} is installed but broken: {error_text(error)}.") from None


@contextmanager
def quiet_converter(converter: str) -> Iterator[None]:
    """Silence a converter's progress and warnings; name it in the error if it fails.

    Raises
    ------
    ExportError
        The converter raised; the message quotes the first cause, which names the operator.
    """
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    output = io.StringIO()
    try:
        with redirect_stdout(output), redirect_stderr(output), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except IlkError:
        raise
    except Exception as error:  # converters have exceptions of their own
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        reason = error_text(cause, 400)
        raise ExportError(f"{converter} cannot convert this network: {reason}") from error
    finally:
        root.setLevel(level)


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Discard what native code writes to stderr; Python's own output to it is lost too."""
    sys.stderr.flush()
    saved = os.dup(2)
    with open(os.devnull, "wb") as devnull:  # noqa: PTH123 -- devnull is no path
        os.dup2(devnull.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
